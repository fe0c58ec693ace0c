"""Errors of force fields in one table: each arm by element and share of the frames, and its ratio to scratch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.statistics import Comparison, compare

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "scratch"
ALL = "all"
"""All elements together, each with the same weight: the mean of their ratios."""
KINDS = {"energy": ("meV/atom", 1000.0), "force": ("eV/Å", 1.0)}
"""Kinds of error, their unit in the table, and the factor to it from eV and angstrom."""


@dataclass(frozen=True)
class ForceLine:
    """One arm against scratch, or scratch itself, with a 95 % interval."""

    element: str
    share: float
    arm: str
    kind: str
    mae: float | None
    """eV/atom or eV/angstrom; none for all elements together."""
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    seeds: int
    frames: int


@dataclass(frozen=True)
class ForceTable:
    """All lines of a study."""

    lines: tuple[ForceLine, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"lines": [asdict(line) for line in self.lines]}

    def to_markdown(self) -> str:
        """One row per element, share and arm."""
        rows = ["| element | frames used | arm | energy, meV/atom | ratio (95 %) | force, eV/Å | ratio (95 %) |"]
        rows.append("|---|---|---|---|---|---|---|")
        groups = dict.fromkeys((line.element, line.share, line.arm) for line in self.lines)
        for element, share, arm in groups:
            cells = []
            for kind, (_, factor) in KINDS.items():
                line = next(
                    x for x in self.lines if (x.element, x.share, x.arm, x.kind) == (element, share, arm, kind)
                )
                cells += ["" if line.mae is None else f"{line.mae * factor:.3g}", _ratio(line)]
            rows.append(f"| {element} | {share:.0%} | {arm} | {' | '.join(cells)} |")
        return "\n".join(rows)


def _ratio(line: ForceLine) -> str:
    """The ratio to scratch with its interval; nothing for scratch itself."""
    return "" if line.ratio is None else f"{line.ratio:.3f} ({line.ratio_low:.3f}–{line.ratio_high:.3f})"


def force_table(predictions: pd.DataFrame) -> ForceTable:
    """The table from one line per run and test frame.

    Forces are averaged over components: a frame counts as often as it has sites.

    Args:
        predictions: columns element, share, arm, seed, id, n_sites, target, prediction, force_error.

    Raises:
        ValueError: If arms were run with different seeds or tested on different frames.
    """
    errors = _errors(predictions)
    elements = list(dict.fromkeys(predictions["element"]))
    lines: list[ForceLine] = []
    for share in sorted(set(predictions["share"])):
        for element in elements:
            for arm in dict.fromkeys(predictions["arm"]):
                lines += [_line(errors, element, share, arm, kind) for kind in KINDS]
        if len(elements) > 1:
            arms = [arm for arm in dict.fromkeys(predictions["arm"]) if arm != BASELINE]
            lines += [x for arm in arms for kind in KINDS for x in _together(errors, elements, share, arm, kind)]
    return ForceTable(tuple(lines))


Errors = dict[tuple[str, float, str, str], NDArray[np.float64]]
"""By element, share, arm and kind: absolute errors, seeds in rows and frames in columns, (S, M)."""


def _errors(predictions: pd.DataFrame) -> Errors:
    """Absolute errors of energies and forces; frames in the same order for all arms of an element."""
    found: Errors = {}
    for group, part in predictions.groupby(["element", "share", "arm"], sort=False):
        element, share, arm = cast(tuple[str, float, str], group)
        tables = {"energy": (part["prediction"] - part["target"]).abs(), "force": part["force_error"] * part["n_sites"]}
        for kind, error in tables.items():
            table = error.groupby([part["seed"], part["id"]]).mean().unstack()
            values = table.to_numpy()
            if np.isnan(values).any():
                raise ValueError(f"{arm} of {element} at {share} was not tested on the same frames for all seeds")
            if kind == "force":
                sites = part.groupby("id")["n_sites"].first()[table.columns].to_numpy()
                values = values / sites.mean()
            found[element, share, arm, kind] = values
    return found


def _line(errors: Errors, element: str, share: float, arm: str, kind: str) -> ForceLine:
    """One arm of one element."""
    mine = errors[element, share, arm, kind]
    base = errors.get((element, share, BASELINE, kind))
    found = compare(mine, base) if base is not None and arm != BASELINE else None
    return _made(element, share, arm, kind, float(mine.mean()), found, mine.shape)


def _together(errors: Errors, elements: list[str], share: float, arm: str, kind: str) -> list[ForceLine]:
    """One arm over all elements, errors in units of the mean error of scratch on the same element."""
    if any(not errors.get((e, share, BASELINE, kind), np.zeros(1)).any() for e in elements):
        return []  # without scratch, or errors of it, there is no ratio
    pairs = [(errors[e, share, arm, kind], errors[e, share, BASELINE, kind]) for e in elements]
    # Each element counts the same, however many test frames it has.
    units = [base.mean() * base.shape[1] for _, base in pairs]
    mine, base = (np.concatenate([p[k] / u for p, u in zip(pairs, units, strict=True)], axis=1) for k in (0, 1))
    return [_made(ALL, share, arm, kind, None, compare(mine, base), mine.shape)]


def _made(
    element: str, share: float, arm: str, kind: str, mae: float | None, c: Comparison | None, shape: tuple[int, ...]
) -> ForceLine:
    """A line from a comparison."""
    ratio, low, high = (None, None, None) if c is None else (c.ratio, c.ratio_low, c.ratio_high)
    return ForceLine(element, share, arm, kind, mae, ratio, low, high, shape[0], shape[1])
