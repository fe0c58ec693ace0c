"""Does pretraining help? A learning curve over few labels, every arm on equal terms, and an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.verdict import (
    Verdict,
    absolute_errors,
    curve_frame,
    has_several,
    judge,
    markdown_table,
    ratio_table,
)
from matgl_infomax.record import RunCard
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.commands import CurveConfig
from matgl_infomax.tasks.engine import IN_MEMORY, carry_out_all, settings_of, take_folder, write_table
from matgl_infomax.tasks.starts import in_words
from matgl_infomax.tasks.study import CurveStudy, file_stamp, plan_curve, prepare_curve
from matgl_infomax.tasks.study_files import with_study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CurveResult:
    """The numbers of a study; it draws and prints them on demand."""

    frame: pd.DataFrame
    """One line per run: task, arm, labels_asked, labels_used, seed, fold, mae, rmse, r2, seconds."""
    predictions: pd.DataFrame
    """One line per run and test crystal: task, arm, labels, seed, fold, id, target, prediction."""
    verdict: Verdict
    """Yes, no or cannot tell, with intervals and label saving."""
    cards: tuple[RunCard, ...]
    """One card per run."""
    notes: tuple[str, ...] = ()
    """What a reader of the table has to know."""

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table of runs."""
        return self.frame.copy()

    def to_markdown(self) -> str:
        """The errors of all arms as a table to read."""
        v = self.verdict
        ratios = {p.labels: f"{p.ratio:.3f} ({p.ratio_low:.3f}–{p.ratio_high:.3f})" for p in v.points}
        return markdown_table(self.frame, ratios, f"{v.arm} / {v.baseline} (95 %)", v.unit)

    def plot(self, path: Path | str) -> None:
        """Draw the learning curves and write them as PNG.

        Args:
            path: file to write.

        Raises:
            InputError: If the file cannot be written.
        """
        from matgl_infomax.tasks.plot import plot_curve

        truth = self.predictions.drop_duplicates("id")["target"].to_numpy()
        guess = float(np.abs(truth - np.median(truth)).mean())
        v = self.verdict
        plot_curve(self.frame, Path(path), target=v.target, unit=v.unit, guess=guess, title=self.title)

    def plot_ratios(self, path: Path | str) -> None:
        """Draw every arm's error beside that from scratch, with intervals, and write it as PNG.

        Args:
            path: file to write.

        Raises:
            ValueError: If no arm was compared with scratch.
            InputError: If the file cannot be written.
        """
        from matgl_infomax.tasks.plot_ratios import plot_ratios

        plot_ratios(self.verdict, Path(path), title=self.title)

    @property
    def title(self) -> str:
        """What was tested, for the head of a picture."""
        return f"{self.frame['task'].iloc[0]}: {self.verdict.test_crystals} test crystals, {self.verdict.seeds} seeds"

    def summary(self) -> str:
        """Table and verdict as one page of Markdown."""
        v = self.verdict
        lines = [f"# Does pretraining help? {v.target}", "", self.to_markdown(), "", f"**{v.text}**", ""]
        lines += [f"- {point.sentence}" for point in v.points]
        lines += [f"- {saving.sentence}." for saving in v.savings]
        lines += ["", ratios] if (ratios := ratio_table(v)) else []
        lines += ["", f"Tested on {v.test_crystals} crystals with {v.seeds} seed(s). Rule: {v.rule}"]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"


def learning_curve(
    crystals: Crystals | Sequence[Crystal],
    target: str,
    config: CurveConfig | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> CurveResult:
    """Train every arm on the same few labels, test on the same crystals, and say whether pretraining helped.

    A study that was stopped goes on where it was when called again with the same folder. Numbers of labels, seeds
    and arms may be added later; other data or other settings in the same folder are refused.

    Args:
        crystals: all crystals, labelled or not.
        target: name of the label.
        config: the study; or give its fields as ``options``, such as ``out="study", labels=[50, 100]``.
        progress: show bars.
        options: fields of ``CurveConfig``, instead of ``config``.

    Raises:
        InputError: If anything asked for is not there, the folder holds another study or cannot be written, or the
            data change meanwhile.
        KeyboardInterrupt: After Ctrl-C; finished runs are kept.
    """
    in_memory = {"data": IN_MEMORY, "target": [target]} if config is None else {}
    config = with_study(settings_of(CurveConfig, config, {**in_memory, **options}))
    stamp = file_stamp(config)

    def check() -> None:
        if file_stamp(config) != stamp:
            raise InputError(
                f"The data in {config.data} changed while the study was running; finished runs are of the data as "
                "they were. Restore them to go on, or choose another --out for the new ones."
            )

    table = crystals if isinstance(crystals, Crystals) else Crystals(crystals)
    study = plan_curve(table, target, config)
    take_folder(study)
    study = prepare_curve(study, table, progress=progress)
    carry_out_all(study, check=check, progress=progress)
    result = collect_curve(study)
    _write(result, config.out)
    return result


def collect_curve(study: CurveStudy) -> CurveResult:
    """Put the finished runs of a study together, all cards into one file.

    Raises:
        InputError: If a run's files are missing or damaged.
    """
    import pandas as pd

    cards, predictions = study.collect_cards(), pd.concat(study.tables(), ignore_index=True)
    frame = curve_frame(card.model_dump() for card in cards)
    verdict = judge(absolute_errors(predictions), target=study.target, unit=study.unit)
    own = [name for name, folder in study.arms.items() if folder is not None]
    # Two arms may start from the same weights: they are told of once.
    told = dict.fromkeys(in_words(STARTS.get(arm, arm), start.facts) for arm, start in study.starts.items())
    notes = [f"Weights of {', '.join(own)}: nobody checked whether they have seen test crystals."] if own else []
    notes += [sentence for sentence in told if sentence]
    return CurveResult(frame, predictions, verdict, cards, tuple(notes))


def _write(result: CurveResult, out: Path) -> None:
    """The tables and pictures of a finished study, the verdict last."""
    write_table(out / "predictions.parquet", result.predictions)
    atomic_write(out / "curve.csv", result.frame.to_csv(index=False))
    result.plot(out / "curve.png")
    if has_several(result.verdict):
        result.plot_ratios(out / "ratios.png")
    atomic_write(out / "summary.md", result.summary())
    atomic_write(out / "verdict.json", result.verdict.model_dump_json(indent=1) + "\n")
