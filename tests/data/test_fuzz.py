"""Two thousand damaged files of every format: each is read as what it says, or refused in a sentence, and soon.

Never a traceback, never a hang, and never another crystal: what is accepted equals the sound file, or a second reader's
reading of the damaged one. Where the second readers are known to understand less, the reason is one of ``RULES``.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.formats import file_kind
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from tests.helpers.fuzz_bases import KNOWN, Found, database_bytes
from tests.helpers.mutants import Mutant, corpus
from tests.helpers.second_readers import (
    cif_by_ase,
    cif_by_gemmi,
    database_by_sqlite,
    extxyz_by_hand,
    json_by_pymatgen,
    parquet_by_rows,
    poscar_by_ase,
    why_other,
)

SEED = int(os.environ.get("FUZZ_SEED", "19"))
"""CI takes the default; another corpus is a number away."""
LIMIT_SECONDS = 20
"""For one file, of which the slowest takes 0.1 s; a busy machine gets some more, a hang does not."""
ONE_TEST_SECONDS = 120


class TooSlowError(BaseException):
    """No reader that catches everything else catches this."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what takes too long, and leave the alarm of pytest-timeout as it was."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"longer than {seconds} s")

    began, handler = time.monotonic(), signal.signal(signal.SIGALRM, stop)
    before, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before:
            signal.setitimer(signal.ITIMER_REAL, max(before - (time.monotonic() - began), 0.01))


TEXT_READERS: dict[str, tuple[Callable[[str, int], Found], ...]] = {
    "cif": (cif_by_ase, cif_by_gemmi),
    "poscar": (poscar_by_ase,),
    "xyz": (extxyz_by_hand,),
    "json": (json_by_pymatgen,),
}
FILE_READERS = {"parquet": parquet_by_rows, "db": database_by_sqlite}

RULES: dict[tuple[str, str], Callable[[str], str]] = {
    ("cif", "lines of remarks above the first block"): lambda text: text[max(text.find("data_"), 0) :],
    ("cif", "typographic minus signs are minus signs"): partial(re.sub, "[\u2010\u2013\u2212]", "-"),
    ("cif", "lines end as on an old Macintosh"): partial(re.sub, r"\r(?!\n)", "\n"),
    ("poscar", "ASE knows no charges in a POSCAR"): partial(re.sub, r"\b([A-Z][a-z]?)\d*[+-](?=\s)", r"\1"),
    ("poscar", "ASE knows no deuterium in a POSCAR"): partial(re.sub, r"\bD\b", "H"),
}
"""Format and known reason of a second reader's own -> what makes the text readable for it, with the same meaning."""

EXCEPTION = re.compile(r"\b[A-Z]\w*(Error|Exception)\b|Traceback")


def refusal(error: InputError) -> str:
    """The sentence about a bad file, without its name."""
    lines = str(error).split("\n")
    return lines[1].strip() if len(lines) > 1 else lines[0]


def agreement(ours: Found, mutant: Mutant, kind: str, path: Path, number: int) -> str:
    """Who confirms a crystal: ``the sound file``, the name of a second reader or of a rule; else how it differs."""
    same = any(why_other(ours, KNOWN[name].arrays()) is None for name in mutant.crystals)
    text = mutant.data.decode("utf-8-sig", errors="replace")
    tries = [(reader.__name__, partial(reader, text, number)) for reader in TEXT_READERS.get(kind, ())]
    tries += [(FILE_READERS[kind].__name__, partial(FILE_READERS[kind], path))] if kind in FILE_READERS else []
    for (of, rule), rewrite in RULES.items():
        tries += [(rule, partial(TEXT_READERS[kind][0], rewrite(text), number))] if of == kind else []
    found = []
    for name, read in tries:
        try:
            difference = why_other(ours, read())
        except Exception as error:  # noqa: BLE001 - a second reader may fail as it likes
            difference = f"cannot read it ({type(error).__name__})"
        if difference is None:
            return f"the sound file and {name}" if same else f"{name} alone"
        found.append(f"{name}: {difference}")
    return "the sound file alone" if same else f"ANOTHER CRYSTAL: {'; '.join(found)}"


def arrays(crystal: Crystal) -> Found:
    return crystal.numbers, crystal.lattice, crystal.frac


def tried(mutant: Mutant, folder: Path) -> tuple[str, list[str]]:
    """What came of a mutant, in few words, and what is wrong with that."""
    path = folder / mutant.name
    path.write_bytes(mutant.data)
    if mutant.name == "labels.csv":
        return labels_tried(mutant, path)
    kind = str(file_kind(path))
    try:
        crystals = read_crystals(path, on_error="skip")
    except InputError as error:
        sentence = refusal(error)
        wrong = [f"refused, although it says the same: {sentence}"] if mutant.same else []
        return f"{kind}: refused", wrong + not_a_sentence(sentence)
    wrong = [fault for entry in crystals.bad for fault in not_a_sentence(str(entry))]
    if mutant.same and len(crystals) != len(mutant.crystals):
        wrong.append(f"{len(crystals)} crystals instead of {len(mutant.crystals)}")
    outcomes = []
    for crystal in crystals:
        block = re.search(r" block (\d+)$", crystal.source)
        number = int(block[1]) if block else 0
        outcomes.append(agreement(arrays(crystal), mutant, kind, path, number))
        difference = why_other(arrays(crystal), KNOWN[mutant.crystals[number]].arrays()) if mutant.same else None
        wrong += [f"not that of the sound file: {difference}"] if difference else []
    wrong += [outcome for outcome in outcomes if outcome.startswith("ANOTHER")]
    return f"{kind}: accepted, confirmed by {' | '.join(sorted(set(outcomes)))}", wrong


def not_a_sentence(text: str) -> list[str]:
    """What is wrong with a reason: nothing said, several lines, signs no terminal shows, or Python's own words."""
    faults = {
        "empty": not text.strip(),
        "not printable": not text.isprintable(),
        "too long": len(text) > 700,
        "names an exception": bool(EXCEPTION.search(text)),
    }
    return [f"the reason is no sentence ({fault}): {text[:300]}" for fault, there in faults.items() if there]


def labels_tried(mutant: Mutant, path: Path) -> tuple[str, list[str]]:
    """The labels of six crystals; pandas reads the cells a second time."""
    frame = pd.DataFrame(
        {"lattice": [np.eye(3).ravel() * 4] * 6, "atomic_numbers": [[14]] * 6, "frac_coords": [[0.0, 0, 0]] * 6},
        index=[f"a{k}" for k in range(6)],
    )
    try:
        crystals = read_crystals(frame, labels_file=path, on_error="skip")
    except InputError as error:
        return "labels: refused", not_a_sentence(" ".join(str(error).split("\n")))
    first = mutant.data.decode("utf-8-sig").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, pd.errors.ParserWarning):
        return "labels: accepted, pandas cannot read it", []
    names = [str(name).strip() for name in table.columns]
    cells = table.set_axis(names, axis=1).apply(lambda column: column.str.strip())
    wrong = []
    for crystal in crystals:
        for target, label in crystal.labels.items():
            given = cells.loc[cells[next(n for n in names if n.lower() == "id")] == crystal.id, target].tolist()
            if not given or float(given[0]) != label:
                wrong.append(f"label {target} of {crystal.id} is {label}, pandas has {given}")
    wrong += [fault for entry in crystals.bad for fault in not_a_sentence(str(entry))]
    return "labels: accepted, confirmed by pandas", wrong


def test_damaged_files_are_read_as_what_they_say_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began, counts, wrong = time.process_time(), Counter[str](), []
    mutants = list(corpus(SEED))
    assert len(mutants) == 2000
    for number, mutant in enumerate(mutants):
        place = f"{number} {mutant.name} of {', '.join(mutant.crystals) or 'none'} ({mutant.mutations})"
        try:
            with time_limit(LIMIT_SECONDS):
                outcome, faults = tried(mutant, tmp_path)
        except TooSlowError as error:
            outcome, faults = "too slow", [str(error)]
        except Exception as error:  # noqa: BLE001 - the very fault that is looked for
            outcome, faults = "traceback", [f"{type(error).__name__}: {error}"]
        counts[outcome] += 1
        wrong += [f"{place}: {fault}" for fault in faults]
    seconds = time.process_time() - began
    with capsys.disabled():
        print(summary(counts, seconds))
    assert not wrong, "\n".join([f"{len(wrong)} faults:", *wrong[:40]])
    assert seconds < ONE_TEST_SECONDS
    assert_worth_it(counts)


def summary(counts: Counter[str], seconds: float) -> str:
    """What the log of CI shows."""
    accepted = sum(count for outcome, count in counts.items() if "accepted" in outcome)
    second_readers = ("_by_", "pandas", *(rule for _, rule in RULES))
    compared = sum(n for outcome, n in counts.items() if any(reader in outcome for reader in second_readers))
    lines = [f"  {count:5d}  {outcome}" for outcome, count in sorted(counts.items())]
    total = f"\nFUZZ: {sum(counts.values())} damaged files in {seconds:.0f} s of one core: {accepted} accepted, "
    return "\n".join(
        [f"{total}{compared} of them confirmed by a second reader, {counts.total() - accepted} refused", *lines]
    )


def assert_worth_it(counts: Counter[str]) -> None:
    """A corpus that is refused as a whole, or accepted as a whole, would find nothing."""
    for kind in ("cif", "poscar", "xyz", "json", "parquet", "db", "labels"):
        refused = sum(count for outcome, count in counts.items() if outcome == f"{kind}: refused")
        accepted = sum(count for outcome, count in counts.items() if outcome.startswith(f"{kind}: accepted"))
        assert refused >= 5 and accepted >= 5, f"{kind}: {refused} refused, {accepted} accepted"
    by_second = sum(count for outcome, count in counts.items() if outcome.startswith("cif") and "cif_by_ase" in outcome)
    assert by_second >= 300


def test_the_corpus_is_the_same_every_time() -> None:
    first, again, other = list(corpus(3)), list(corpus(3)), list(corpus(4))
    assert first == again
    assert first != other
    assert database_bytes("rutile") == database_bytes.__wrapped__("rutile")


@pytest.mark.parametrize("name", KNOWN)
def test_the_comparison_sees_each_difference(name: str) -> None:
    """One atom moved, exchanged or lost, or another cell; the order of sites and whole cells are no difference."""
    numbers, lattice, frac = KNOWN[name].arrays()
    order = np.random.default_rng(0).permutation(len(numbers))
    assert why_other((numbers, lattice, frac), (numbers[order], lattice, frac[order] + [1, -2, 3])) is None
    assert "atoms" in str(why_other((numbers, lattice, frac), (numbers[1:], lattice, frac[1:])))
    assert "atoms" in str(why_other((numbers, lattice, frac), (np.r_[numbers[:-1], 92], lattice, frac)))
    assert "lattice" in str(why_other((numbers, lattice, frac), (numbers, 1.01 * lattice, frac)))
    moved = frac.copy()
    moved[-1, 1] += 0.05
    assert "is not there" in str(why_other((numbers, lattice, frac), (numbers, lattice, moved)))
