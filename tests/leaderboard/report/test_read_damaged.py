"""Damaged files of every kind that a report reads: the page, or one sentence and exit code 2; never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.io import vouch_for
from matgl_infomax.leaderboard.report.page import Report, report
from tests.helpers import report_folders
from tests.helpers.mutate import ends_well

KINDS: dict[str, Callable[[Path], Path]] = {
    "study": report_folders.write_study,
    "answer": report_folders.write_benchmark,
    "without truth": lambda folder: report_folders.write_benchmark(folder, truth=False),
    "map": report_folders.write_map,
    "comparison": lambda folder: report_folders.write_comparison(folder, beside(folder)),
    "overlap": lambda folder: report_folders.write_overlap(folder, beside(folder)),
}


def beside(folder: Path) -> Path:
    """A whole benchmark next to a folder that is about it."""
    return report_folders.write_benchmark(folder.parent / "beside")


def read(folder: Path) -> Report:
    """A report on all folders that lie beside one, with the true values in it."""
    return report([folder.parent], truth=list(folder.glob("truth.csv")))


@pytest.mark.parametrize("kind", list(KINDS))
def test_damage_gives_a_sentence_or_the_page(kind, tmp_path):
    folder = KINDS[kind](tmp_path / "results" / "damaged")
    assert read(folder).to_markdown()
    done, refused = ends_well(folder, 15, lambda: read(folder).to_markdown())
    assert refused > 2 * done


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_damage_gives_a_sentence_or_the_page_with_figures(kind, tmp_path):
    folder = KINDS[kind](tmp_path / "results" / "damaged")
    done, refused = ends_well(folder, 100, lambda: read(folder).to_html())
    assert refused > 2 * done


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_changed_byte_of_vouched_results_is_refused(kind, tmp_path):
    """Also where nothing can be computed again, as the ends of an interval."""
    folder = KINDS[kind](tmp_path / "results" / "damaged")
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "truth.csv")
    vouch_for(folder, [file.name for file in files])
    assert read(folder).to_markdown()
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
        with pytest.raises(InputError, match=f"{file.name} is not the file that was written"):
            read(folder)
        file.write_bytes(whole)
