"""The numbers of a study with probes: one line per score, paired comparisons, and tables to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.probe import Folds, Score
from matgl_infomax.probe_targets import SHELL, Target
from matgl_infomax.tasks.represent_table import Errors, comparisons

if TYPE_CHECKING:
    import pandas as pd

Found = Sequence[tuple[Target, Folds, str, dict[str, Score]]]
"""Target, its folds, probe, and the score of every arm."""

NOTES = (
    "Scores are those of crystals that the probe has not seen: R² for numbers (0 is the mean, below 0 is worse), the "
    "share that is right for classes (chance is the most frequent class). All sites of a crystal are in one fold. "
    "Every arm gets the same sites, crystals, folds and probes.",
    f"Coordination number: neighbours within {SHELL:g} times the nearest distance of a site; second shell: the next "
    "distance. Space groups are those of spglib within 0.1 Å. Classes in fewer than five crystals are not asked.",
    "Untrained encoders share the architecture and have random weights, and every encoder is told the elements: what "
    "the trained one adds is its lead over them. Composition: elemental properties of the site and their mean over the "
    "crystal, or mean and spread over the crystal, without any structure.",
    "The interval of the ratio of errors (95 %) covers other crystals, not another training of the encoder; better "
    "(worse) needs the whole interval and a smaller (larger) error than each single untrained encoder. Whether the "
    "encoder was pretrained on these very crystals is not checked.",
)


def score_frame(found: Found, groups: dict[str, str], owner: NDArray[np.int64]) -> pd.DataFrame:
    """One line per target, probe and arm, in the columns of ``scores.csv``.

    Args:
        found: all scores.
        groups: ``pretrained``, ``untrained`` or ``composition``, by arm.
        owner: crystal of each site that was asked, (N,).
    """
    import pandas as pd

    lines = []
    for target, folds, name, scores in found:
        crystals = len(np.unique(owner[folds.rows])) if target.level == "site" else len(folds.rows)
        classes = len(np.unique(target.values[folds.rows])) if target.kind == "class" else None
        shared = {"level": target.level, "target": target.name, "kind": target.kind, "unit": target.unit,
                  "probe": name, "n": len(folds.rows), "crystals": crystals, "classes": classes,
                  "dropped": folds.dropped, "chance": folds.chance}  # fmt: skip
        for arm, score in scores.items():
            numbers = {"score": score.value, "sd": score.sd, "mae": score.mae, "balanced_accuracy": score.balanced}
            lines.append({"arm": arm, "group": groups[arm], **shared, **numbers})
    kinds = {"classes": "Int64", "sd": "float64", "mae": "float64", "balanced_accuracy": "float64"}
    return pd.DataFrame(lines).astype(kinds)


def compared(found: Found, groups: dict[str, str], owner: NDArray[np.int64]) -> pd.DataFrame:
    """The pretrained vectors against every baseline: errors of the same crystals, averaged over the sites of each.

    Args:
        found: all scores.
        groups: group of each arm.
        owner: crystal of each site that was asked, (N,).

    Returns:
        One line per target, probe and baseline, as in ``represent``; errors are absolute ones, or shares of wrong
        classes.
    """
    errors: Errors = {}
    for target, folds, name, scores in found:
        of = owner[folds.rows] if target.level == "site" else folds.rows
        crystals = np.unique(of, return_inverse=True)[1]  # (n,)
        share = 1 / np.bincount(crystals)  # (B,)
        key = (f"{target.level}:{target.name}", name, len(share))
        errors[key] = {
            arm: (np.bincount(crystals, weights=score.errors) * share)[None] for arm, score in scores.items()
        }
    table = comparisons(errors, groups).rename(columns={"head": "probe", "labels": "crystals"})
    asked = [str(key).split(":", 1) for key in table["scaling"]]
    table = table.drop(columns="scaling").rename(columns={"mae": "error", "baseline_mae": "baseline_error"})
    table.insert(0, "target", [name for _, name in asked])
    table.insert(0, "level", [level for level, _ in asked])
    return table


def probe_table(scores: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Scores as Markdown, one line per target and probe.

    Args:
        scores: the columns of ``scores.csv``.
        comparison: what ``compared`` gives.
    """
    head = ["target", "probe", "score", "pretrained", "untrained (lowest to highest)", "composition", "chance",
            "error, pretrained / untrained (95 %)"]  # fmt: skip
    parts = []
    for level, of_level in scores.groupby("level", sort=False):
        lines = [head, ["---", "---", "---", *["---:"] * (len(head) - 3)]]
        for key, part in of_level.groupby(["target", "probe"], sort=False):
            target, probe = cast(tuple[str, str], key)
            by_group = {name: values["score"] for name, values in part.groupby("group", sort=False)}
            floor = by_group["untrained"]
            span = f" ({floor.min():.3f} to {floor.max():.3f})" if len(floor) > 1 else ""
            here = comparison[(comparison["level"] == level) & (comparison["target"] == target)]
            line = here[(here["probe"] == probe) & (here["baseline"] == "untrained")].to_dict("records")[0]
            first = part.iloc[0]
            lines.append(
                [target.replace("_", " "), probe, "R²" if first["kind"] == "number" else "accuracy",
                 f"{by_group['pretrained'].iloc[0]:.3f}", f"{floor.mean():.3f}{span}",
                 f"{by_group['composition'].iloc[0]:.3f}", f"{first['chance']:.3f}", _ratio(line)]
            )  # fmt: skip
        parts += [f"## {level} vectors", "", *("| " + " | ".join(line) + " |" for line in lines), ""]
    return "\n".join(parts)


def vector_table(vectors: pd.DataFrame) -> str:
    """Effective rank and spread as Markdown.

    Args:
        vectors: the columns of ``vectors.csv``.
    """
    lines = [["vectors", "arm", "dimensions", "effective rank", "spread"], ["---", "---", "---:", "---:", "---:"]]
    for line in vectors.sort_values("level", kind="stable", ascending=False).to_dict("records"):
        numbers = [f"{line['dimensions']}", f"{line['effective_rank']:.1f}", f"{line['spread']:.3f}"]
        lines.append([line["level"], line["arm"], *numbers])
    return "\n".join(["## Do they collapse?", "", *("| " + " | ".join(line) + " |" for line in lines)])


def _ratio(line: dict[Any, Any]) -> str:
    """'0.913 (0.871–0.958), better'."""
    if max(line["error"], line["baseline_error"]) == 0:
        return "both without error"
    return f"{line['ratio']:.3g} ({line['ratio_low']:.3g}–{line['ratio_high']:.3g}), {line['answer']}"
