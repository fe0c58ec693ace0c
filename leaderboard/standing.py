"""Where answers stand beside the published ones: result objects that keep the numbers and show them.

``matgl-infomax compare`` makes them; a report reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from matgl_infomax.leaderboard.paired_tests import ALPHA
from matgl_infomax.leaderboard.scores import Kind
from matgl_infomax.leaderboard.uncertainty import Calibration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Finding = Literal["better", "worse", "tie", "untested"]


@dataclass(frozen=True)
class Duel:
    """One answer against another on the same materials of the same folds."""

    ours: str
    other: str
    way: Literal["per material", "per fold"]
    """Per material where the other's predictions are at hand; per fold is weaker: five numbers against five."""
    score: float
    """Ours, mean over folds: mean absolute error in the task's unit, or Matbench's rocauc."""
    other_score: float
    difference: float
    """Error of ours minus error of the other (unit of the task, or 1 - rocauc); below 0 ours is better."""
    low: float
    """Lower end of the 95 % interval of the difference; it covers other materials and, with two seeds or more, other
    seeds of our runs."""
    high: float
    low_materials: float
    """The same interval without other seeds: what can be said of the models that were trained; NaN per fold."""
    high_materials: float
    p: float
    """Two-sided p-value of the difference, before any correction."""
    p_holm: float
    """The same, corrected by Holm for all comparisons of this answer in this task."""
    p_sign: float
    """Exact sign test on which answer is closer, material by material; NaN per fold."""
    p_wilcoxon: float
    """Wilcoxon's signed-rank test of the errors; NaN per fold and for classes."""
    closer: float
    """Share of the materials on which ours is closer, among those where the errors differ; NaN per fold."""
    folds_won: int
    folds: int
    materials: int
    """Materials compared; 0 per fold."""

    @property
    def seeds_decide(self) -> bool:
        """Whether zero is left out by the interval without other seeds only: more seeds would settle it."""
        without = self.low_materials > 0 or self.high_materials < 0
        return without and self.low <= 0 <= self.high

    @property
    def finding(self) -> Finding:
        """Better or worse where the corrected p-value is below 5 %, else a tie; one fold alone cannot be tested."""
        if isnan(self.p):
            return "untested"
        if not self.p_holm < ALPHA:
            return "tie"
        return "better" if self.difference < 0 else "worse"


@dataclass(frozen=True)
class Place:
    """The place of an answer among the published ones, and which places the comparisons leave open."""

    place: int
    """By the mean over folds; 1 is best."""
    of: int
    """Ranked published entries, and this answer."""
    best: int
    """1 + the number of ranked entries that are better beyond doubt."""
    worst: int
    """``of`` minus the number of ranked entries that are worse beyond doubt."""

    def to_text(self) -> str:
        """'8 of 17 (5 to 12)'."""
        return f"{self.place} of {self.of} ({self.best} to {self.worst})"


@dataclass(frozen=True, eq=False)
class RunStanding:
    """One of our answers to one task, beside the published ones."""

    name: str
    """Name of its folder; unique in the comparison."""
    folder: Path
    source: Literal["benchmark", "submission"]
    arm: str
    """Arm of the benchmark; 'submission' for a result file."""
    network: str
    labels: int | None
    """Labels left unmasked in each training part; None for all, or where it is not known."""
    seeds: int
    score: float
    """Mean over folds of the score that ranks."""
    std: float
    """Standard deviation over folds (population, as on Matbench's website)."""
    fold_scores: tuple[float, ...]
    """Score of each fold, in the order of the task's ``folds``."""
    place: Place
    duels: tuple[Duel, ...]
    """Against published entries, the best of them first."""
    predictions: pd.DataFrame
    """One line per material: id, fold, target, prediction, std, error (absolute, or 1 for a wrong class)."""
    strata: pd.DataFrame
    """One line per kind of material: by, kind, materials, error, reference_error, guess, difference, low, high,
    p_holm, finding. Empty without predictions to compare with."""
    reference: str
    """The published entry that the strata compare with; empty where there is none."""
    worst: pd.DataFrame
    """The ten materials with the largest errors: id, fold, error, times_mean, reference_error, and attributes; empty
    for classes."""
    calibration: Calibration | None
    """How honest the uncertainties are; None where the answer has none."""
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One line per published entry that it was compared with."""
        from matgl_infomax.leaderboard.standing_text import duel_frame

        return duel_frame(self.duels)

    def to_markdown(self) -> str:
        """Place, differences, strata, largest errors and uncertainty, to read."""
        from matgl_infomax.leaderboard.standing_text import run_text

        return run_text(self)

    def plot(self) -> Figure:
        """Forest plot: the difference to each published entry with its 95 % interval."""
        from matgl_infomax.leaderboard.standing_plot import forest

        return forest(self.duels, self.name)


@dataclass(frozen=True, eq=False)
class TaskComparison:
    """One task: our answers, the published ones, and who cannot be told apart."""

    task: str
    """Full name, such as matbench_jdft2d."""
    target: str
    unit: str | None
    kind: Kind
    metric: str
    """Score that ranks: 'mae' (lower is better) or 'rocauc' (higher is better)."""
    folds: tuple[int, ...]
    """Folds that were compared; fewer than five give no place on the leaderboard proper."""
    materials: int
    runs: tuple[RunStanding, ...]
    """Our answers, the best first."""
    own: tuple[Duel, ...]
    """Our answers against each other, each pair once."""
    table: pd.DataFrame
    """One line per answer, the best first: entry, own, score, std, ranked, place, group, predictions, status, flag,
    reason, source, date. Place counts ranked entries only; group numbers the tie groups (0: not compared)."""
    groups: tuple[tuple[str, ...], ...]
    """Tie groups: each starts with the best answer not yet in one and takes in all that cannot be told from it."""
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """All comparisons of our answers, one line each."""
        from matgl_infomax.leaderboard.standing_text import duel_frame

        return duel_frame([duel for run in self.runs for duel in run.duels] + list(self.own))

    def to_markdown(self) -> str:
        """The task to read: who stands where, ties, and every answer of ours in detail."""
        from matgl_infomax.leaderboard.standing_text import task_text

        return task_text(self)

    def plot(self) -> Figure:
        """Forest plot of all comparisons of our answers."""
        from matgl_infomax.leaderboard.standing_plot import forest

        duels: Sequence[Duel] = [duel for run in self.runs for duel in run.duels] + list(self.own)
        return forest(duels, self.task)


@dataclass(frozen=True, eq=False)
class LeaderboardComparison:
    """Our answers beside the published leaderboard, task by task."""

    tasks: tuple[TaskComparison, ...]
    draws: int
    """Resamplings behind every interval."""
    published: str
    """Which published predictions were read: name of the folder, or 'none'."""
    ranked: str
    """Which published entries count for places: 'merged', 'comparable' or 'all'."""
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """All comparisons of all tasks, one line each, with the task in the first column."""
        import pandas as pd

        frames = [task.to_frame().assign(task=task.task) for task in self.tasks]
        table = pd.concat(frames, ignore_index=True)
        return table[["task", *(name for name in table.columns if name != "task")]]

    def to_markdown(self, *, details: bool = True) -> str:
        """Everything to read, the summary first.

        Args:
            details: with strata, largest errors and calibration of each answer.
        """
        from matgl_infomax.leaderboard.standing_text import comparison_text

        return comparison_text(self, details)

    def plot(self) -> Figure:
        """Forest plots, one panel per task."""
        from matgl_infomax.leaderboard.standing_plot import forests

        return forests(self)
