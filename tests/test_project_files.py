"""Files that maintainers expect: citation, changelog and hooks are valid and agree with the package."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_has_what_the_format_requires():
    """Required keys and forms of the Citation File Format 1.2.0; the whole schema was checked with cffconvert 2.0.0."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert found["cff-version"] == "1.2.0" and found["type"] == "software"
    known = {"abstract", "version", "license", "keywords", "references", "cff-version", "message", "title", "authors"}
    assert set(found) <= {*known, "type"}
    assert all(isinstance(found[key], str) and found[key] for key in ("message", "title", "abstract", "version"))
    for entry in found["references"]:
        assert {"type", "title", "authors"} <= set(entry) and re.fullmatch(r"10\.\d{4,9}/\S+", entry["doi"])
        assert all({"family-names", "given-names"} == set(author) for author in entry["authors"])


def test_the_citation_agrees_with_the_package():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (found["version"], found["license"]) == (PROJECT["version"], PROJECT["license"])
    assert [author["name"] for author in found["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_changelog_keeps_the_format():
    """Keep a Changelog 1.1.0: the newest section first, and under it only the six kinds of change."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"} and "Added" in kinds


def test_the_hooks_are_valid_and_download_nothing():
    file = ROOT / ".pre-commit-config.yaml"
    done = subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(file)], check=False)
    assert done.returncode == 0
    repos = yaml.safe_load(file.read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = {hook["id"]: hook for hook in repos[0]["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "mypy", "codespell"}
    assert all(hook["language"] == "system" for hook in hooks.values())


def test_no_project_urls_until_there_are_some():
    assert "urls" not in PROJECT


@pytest.mark.parametrize("stack", ["dgl", "pyg"])
def test_tools_of_the_hooks_have_exact_versions(stack):
    pins = (ROOT / "constraints" / f"{stack}.txt").read_text().lower().replace("_", "-").splitlines()
    assert all(any(pin.startswith(f"{tool}==") for pin in pins) for tool in ("codespell", "pre-commit", "ruff", "mypy"))


def test_spelling_of_the_texts():
    """Pages and examples; ``make lint`` goes over everything."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")]
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
