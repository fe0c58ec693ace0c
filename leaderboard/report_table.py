"""Tables and forest bars of a report, as the templates draw them: every cell with what it shows and how it sorts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Bar:
    """A point with its interval on an axis that all bars of a table share; places in per cent of the axis."""

    point: float
    low: float
    high: float
    zero: float
    """Where nothing differs."""
    finding: str
    """'better', 'worse' or 'open'; colours the bar."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the number or text it sorts by, and perhaps a bar."""

    text: str
    value: float | str
    """What it sorts by; an infinite number, or none, comes last."""
    bar: Bar | None = None

    @property
    def key(self) -> str:
        """The value as the page's script reads it."""
        return self.value if isinstance(self.value, str) else f"{self.value:.10g}" if math.isfinite(self.value) else ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and filtered on the page."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[str] = field(default=frozenset())
    """Columns that hold words and stand to the left; all others hold numbers."""
    axis: tuple[tuple[float, str], ...] = ()
    """Ticks under the column of bars: place in per cent, and its text."""
    note: str = ""
    """What to know to read it."""

    @property
    def filtered(self) -> bool:
        """Whether there are so many lines that a filter helps."""
        return len(self.rows) > 8

    def without_bars(self) -> Table:
        """The same without columns that are only drawn."""
        kept = [k for k in range(len(self.columns)) if not any(row[k].bar for row in self.rows)]
        columns, rows = tuple(self.columns[k] for k in kept), tuple(tuple(row[k] for k in kept) for row in self.rows)
        return replace(self, columns=columns, rows=rows)


def make_table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    words: Sequence[str] = (),
    axis: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Table:
    """A table from its lines.

    Args:
        caption: what it shows, in one line.
        columns: names of the columns.
        rows: cells, one per column in each line.
        words: columns that hold words.
        axis: ticks of the bars.
        note: what to know to read it.

    Raises:
        ValueError: If a line has more or fewer cells than there are columns.
    """
    wrong = [len(row) for row in rows if len(row) != len(columns)]
    if wrong:
        raise ValueError(f"{caption}: {len(columns)} columns, and a line of {wrong[0]} cells")
    lines = tuple(tuple(row) for row in rows)
    return Table(caption, tuple(columns), lines, frozenset(words), tuple(axis), note)


def word(text: object) -> Cell:
    """A cell with words."""
    return Cell(str(text), str(text).lower())


def number(value: float | None, digits: int = 4) -> Cell:
    """A cell with a number, to so many digits that count; a dash where there is none."""
    return Cell(shown(value, digits), math.inf if value is None or math.isnan(value) else float(value))


def shown(value: float | None, digits: int = 4) -> str:
    """A number as it is printed, '–' where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return (f"{value:,.{places}f}" if places <= 7 else f"{value:.{digits - 1}e}").replace("-", "−")


def interval(low: float, high: float, digits: int = 3) -> str:
    """'0.712 to 0.869'."""
    return f"{shown(low, digits)} to {shown(high, digits)}"


def duration(seconds: float | None) -> Cell:
    """Seconds as seconds, minutes or hours."""
    if seconds is None:
        return Cell("–", math.inf)
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return Cell(f"{shown(seconds / size, 3)} {unit}", seconds)
    return Cell(f"{shown(seconds, 3)} s", seconds)


@dataclass(frozen=True)
class Axis:
    """The axis that the bars of a table share: of differences (zero in it) or of ratios (one in it, logarithmic)."""

    low: float
    high: float
    ratios: bool

    def place(self, value: float) -> float:
        """Per cent of the axis, kept inside."""
        low, high = self.low, self.high
        if self.ratios:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-12))
        return min(100.0, max(0.0, 100 * (value - low) / (high - low)))

    def bar(self, point: float, low: float, high: float, finding: str) -> Bar:
        """A point with its interval."""
        nothing = self.place(1.0 if self.ratios else 0.0)
        return Bar(self.place(point), self.place(low), self.place(high), nothing, finding)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers along the axis."""
        from matplotlib.ticker import MaxNLocator

        found = [float(v) for v in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)]
        # The tick where nothing differs matters most: others that would touch it give way.
        nothing = 1.0 if self.ratios else 0.0
        values = [nothing, *(v for v in found if self.low <= v and abs(self.place(v) - self.place(nothing)) > 15)]
        return [(self.place(v), f"{v:.6g}".replace("-", "−")) for v in sorted(values) if v <= self.high]


def axis_for(lows: Sequence[float], highs: Sequence[float], *, ratios: bool) -> Axis:
    """An axis that holds all intervals and the place where nothing differs.

    Args:
        lows: lower ends.
        highs: upper ends.
        ratios: whether the numbers are ratios, all above zero.
    """
    nothing = 1.0 if ratios else 0.0
    low, high = min([*lows, nothing]), max([*highs, nothing])
    if ratios:
        margin = max(high / max(low, 1e-12), 1.02) ** 0.06
        return Axis(max(low, 1e-12) / margin, high * margin, True)
    margin = 0.06 * (high - low) or 1.0
    return Axis(low - margin, high + margin, False)
