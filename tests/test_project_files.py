"""Files that maintainers expect: citation, changelog and hooks are valid and agree with the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

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
    """The pages come with the package instead."""
    assert "urls" not in PROJECT


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """METADATA as setuptools writes it into a wheel, made in a copy so that nothing is left here."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("metadata")
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("docs", "matgl_infomax", "tasks", "leaderboard"):
        (copy / name).symlink_to(ROOT / name)
    code = f"from setuptools import build_meta as b; print(b.prepare_metadata_for_build_wheel({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = out.glob("*.dist-info/METADATA")
    return message_from_bytes(found.read_bytes())


def test_the_package_page_stands_on_its_own(metadata):
    """An index shows the page outside the repository: a picture or a link by a relative path would lead nowhere."""
    page = str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown" and page.startswith("# Install matgl-infomax")
    targets = re.findall(r"\]\(\s*([^)\s]+)|(?:src|href)=[\"']([^\"']+)|^\[[^\]]+\]:\s*(\S+)", page, re.MULTILINE)
    assert targets and all(re.match(r"https://", "".join(target)) for target in targets)
    assert "![" not in page and "<img" not in page and "```{" not in page


def test_the_package_names_the_versions_of_python_that_it_runs_on(metadata):
    found = (re.fullmatch(r"Programming .* :: (3\.\d+)", line) for line in metadata.get_all("Classifier"))
    named = {match[1] for match in found if match}
    assert named == {"3.11", "3.12", "3.13"}
    asked = SpecifierSet(metadata["Requires-Python"])
    assert all(version in asked for version in named) and "3.10" not in asked
    assert "Project-URL" not in metadata


def test_the_extra_dgl_asks_for_dgl_on_every_python(metadata):
    """DGL 1.1.3 has no release for 3.12: left out there, MatGL 3 would stand without it; asked for, pip refuses."""
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    for version in ("3.11", "3.12", "3.13"):
        there = {"python_version": version, "python_full_version": f"{version}.1", "extra": "dgl"}
        chosen = {r.name: str(r.specifier) for r in requirements if r.marker and r.marker.evaluate(there)}
        assert chosen == {"dgl": "==1.1.3", "matgl": "<4,>=3.0.5"}


def test_the_pages_come_with_the_package_and_their_links_hold():
    """Every page written by hand is installed, in folders laid out like the repository."""
    places = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    home = "share/doc/matgl-infomax"
    installed = {
        (Path(place) / path.name).relative_to(home)
        for place, names in places.items()
        for name in names
        for path in ROOT.glob(name)
    }
    assert all((ROOT / path).is_file() for path in installed), "a page lies in another folder than in the repository"
    made = {"_build", "_ext", "generated", "examples"}
    written = {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md") if not made & set(path.parts)}
    assert written <= installed
    linked = set(re.findall(r"\]\((docs/[^)#\s]+)", (ROOT / "README.md").read_text()))
    assert linked and {Path(link) for link in linked} <= installed


def test_the_readme_and_the_page_on_installing_give_the_same_lines():
    lines = {
        re.sub(r"\s+#.*", "", line)
        for page in ("README.md", "docs/install.md")
        for line in (ROOT / page).read_text().splitlines()
        if line.startswith("pip install")
    }
    assert lines == {f"pip install -c constraints/{stack}.txt '.[{stack}]'" for stack in ("dgl", "pyg")}


def test_the_image_is_linted_and_runs_without_rights_of_root():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    bases = [words for step, words in steps if step == "FROM"]
    assert {base.split()[0] for base in bases} == {"python:${PYTHON}-slim-bookworm"}
    last = steps[max(number for number, (step, _) in enumerate(steps) if step == "FROM") :]
    users = [words for step, words in last if step == "USER"]
    assert users and all(user.isdigit() and int(user) > 0 for user in users)
    after = [step for step, _ in last[[step for step, _ in last].index("USER") :]]
    assert "ENTRYPOINT" in after and "RUN" not in after
    assert "://" not in text, "addresses of indexes are given at the build"


def test_the_image_gets_what_the_package_is_made_of():
    """Everything is left out but what stands in the list, and what the wheel needs stands there."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    needed = {folder.split("/")[0] for folder in tool["package-dir"].values()} | {"pyproject.toml", "constraints"}
    needed |= {name.split("/")[0] for names in tool["data-files"].values() for name in names}
    assert let_in == needed | set(PROJECT["license-files"])
    assert all((ROOT / name).exists() for name in let_in)


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
