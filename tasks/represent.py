"""What do frozen vectors know? Simple heads on them, beside untrained encoders and descriptors, on equal terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.record import RunCard
from matgl_infomax.settings.commands import RepresentConfig
from matgl_infomax.tasks import embedding_map
from matgl_infomax.tasks.engine import IN_MEMORY, carry_out_all, settings_of, take_folder
from matgl_infomax.tasks.represent_map import map_points
from matgl_infomax.tasks.represent_plot import plot_heads
from matgl_infomax.tasks.represent_study import Representation, plan_representation, prepare_vectors
from matgl_infomax.tasks.represent_table import (
    Errors,
    comparisons,
    failure_lines,
    fit_frame,
    overview,
    sentences,
    tables,
)

if TYPE_CHECKING:
    import pandas as pd

NOTES = (
    "Every arm gets the same labels per draw, the same test crystals, the same scaling and the same heads. The "
    "untrained encoders share the architecture and have random weights: what they reach owes nothing to training.",
    "The interval covers other draws of labels and other test crystals, on this fold; the pretrained vectors count as "
    "better (worse) than the untrained ones only if each single untrained encoder has the larger (smaller) error.",
    "Nobody checked which crystals the encoder was pretrained on: `matgl-infomax overlap` compares a corpus with a "
    "task.",
)


@dataclass(frozen=True)
class RepresentResult:
    """The numbers of a representation study."""

    fits: pd.DataFrame
    """One line per fit: task, arm, group, head, scaling, labels, seed, fold, dimensions, imputed_train, imputed_test,
    mae, rmse, r2, seconds."""
    comparisons: pd.DataFrame
    """Pretrained against each baseline: ratio of the errors with its interval, and the answer."""
    failures: pd.DataFrame
    """Crystals on which a descriptor failed: arm, id, part, reason."""
    points: pd.DataFrame
    """Coordinates of the maps: arm, id, target, crystal_system, element, pca_1, pca_2 and those of the other map."""
    cards: tuple[RunCard, ...]
    """One card per fit."""
    out: Path
    """Folder with the tables and pictures."""

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table of fits."""
        return self.fits.copy()

    def to_text(self) -> str:
        """What came out, and where the rest is."""
        card = self.cards[0]
        pages = [tables(self.fits, self.comparisons, card.unit), overview(self.comparisons)]
        pages += failure_lines(self.failures)
        return "\n".join([*pages, f"\nTables and pictures: {self.out}"])

    def summary(self) -> str:
        """Tables and answers as one page of Markdown."""
        card = self.cards[0]
        draws, test = self.fits["seed"].nunique(), card.n_test
        lines = [f"# What do frozen vectors know about {card.target}?", ""]
        lines += [f"{card.task}, fold {card.fold}: {test} test crystals, {draws} draws of labels.", ""]
        lines += [tables(self.fits, self.comparisons, card.unit), "## Pretrained against", ""]
        lines += [f"- {line}" for line in overview(self.comparisons).splitlines()]
        lines += ["", *(f"- {line}" for line in sentences(self.comparisons)), ""]
        lines += [f"{line}\n" for line in failure_lines(self.failures)]
        return "\n".join([*lines, *(f"{note}\n" for note in NOTES)])


def represent(
    crystals: Crystals | Sequence[Crystal],
    config: RepresentConfig | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> RepresentResult:
    """Fit simple heads on the frozen vectors of an encoder, of untrained encoders and on descriptors, and compare.

    A study that was stopped goes on where it was when called again with the same folder. Draws, numbers of labels,
    heads, descriptors and untrained encoders may be added later.

    Args:
        crystals: all crystals, labelled or not.
        config: the study; or give its fields as ``options``, such as
            ``target=["e_form"], checkpoint="encoder", out="study"``.
        progress: show bars.
        options: fields of ``RepresentConfig``, instead of ``config``.

    Raises:
        InputError: If anything asked for is not there, or the folder holds another study or cannot be written.
        KeyboardInterrupt: After Ctrl-C; finished fits are kept.
    """
    config = settings_of(RepresentConfig, config, {"data": IN_MEMORY, **options} if config is None else options)
    if len(config.target) != 1:
        given = " ".join(config.target) or "(none)"
        raise InputError(f"A representation study is about one property. Received --target {given}.")
    embedding_map.check_method(config.map)
    table = crystals if isinstance(crystals, Crystals) else Crystals(crystals)
    study = plan_representation(table, config.target[0], config)
    take_folder(study)
    study = prepare_vectors(study, progress=progress)
    carry_out_all(study, progress=progress)
    result = _collect(study, progress)
    _write(study, result)
    return result


def _collect(study: Representation, progress: bool) -> RepresentResult:
    """Put the finished fits of a study together."""
    cards = study.collect_cards()
    groups = {arm: study.vectors[arm].kind for arm in study.arms}
    points = map_points(study, progress)
    compared = comparisons(_errors(study), groups)
    return RepresentResult(fit_frame(cards), compared, _failures(study), points, cards, study.config.out)


def _errors(study: Representation) -> Errors:
    """Absolute errors of all fits on the same test crystals."""
    rows: dict[tuple[str, str, int], dict[str, list[NDArray[np.float64]]]] = {}
    read = study.tables(["target", "prediction"])
    for fit, table in zip(study.runs, read, strict=True):  # of each arm in the order of the draws
        error = (table["prediction"] - table["target"]).abs().to_numpy(dtype=np.float64)
        rows.setdefault((fit.scaling, fit.head, fit.labels), {}).setdefault(fit.arm, []).append(error)
    return {key: {arm: np.stack(errors) for arm, errors in by_arm.items()} for key, by_arm in rows.items()}


def _failures(study: Representation) -> pd.DataFrame:
    """Every crystal without a descriptor, and why."""
    import pandas as pd

    test = set(study.parts.test.tolist())
    lines = [
        {"arm": arm, "id": study.crystals[row].id, "part": "test" if row in test else "train", "reason": reason}
        for arm, found in study.vectors.items()
        for row, reason in sorted(found.failures.items())
    ]
    return pd.DataFrame(lines, columns=["arm", "id", "part", "reason"])


def _write(study: Representation, result: RepresentResult) -> None:
    """All files of a finished study, the summary last."""
    out, config = study.config.out, study.config
    for old in [*out.glob("heads*.png"), *out.glob("map_*.png")]:
        old.unlink()  # an earlier call may have drawn what this one does not
    frames = {"fits": result.fits, "comparisons": result.comparisons, "failures": result.failures}
    for name, frame in {**frames, "map": result.points}.items():
        atomic_write(out / f"{name}.csv", frame.to_csv(index=False))
    truth = study.labels[study.parts.test]
    guess = float(np.abs(truth - np.median(truth)).mean())
    title = f"{study.task}, fold {config.fold}: {len(truth)} test crystals, {config.repeats} draws of labels"
    for scaling, part in result.fits.groupby("scaling", sort=False):
        name, more = ("heads.png", "") if scaling == "standard" else ("heads_unscaled.png", ", vectors not scaled")
        plot_heads(part, out / name, target=study.target, unit=study.unit, guess=guess, title=title + more)
    shown = result.points["id"].nunique()
    for method in ["pca", *([config.map] if config.map != "none" else [])]:
        heading = f"Frozen vectors of {shown} test crystals of {study.task}, fold {config.fold}"
        embedding_map.plot_map(
            result.points, method, out / f"map_{method}.png", target=study.target, unit=study.unit, title=heading
        )
    atomic_write(out / "summary.md", result.summary())
