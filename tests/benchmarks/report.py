"""From the JSON of pytest-benchmark to the table of ``make bench``: ours, reference, ratio, memory, bar, verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PUBLISHED_RATE = {1: 75.0, 2: 114.0}
"""Crystals per second of the published code, by threads (issue 3)."""


@dataclass(frozen=True)
class Bar:
    """What must be reached; ``quick`` is the generous form that CI asks for, None where CI asks for nothing."""

    limit: float
    quick: float | None
    at_most: bool = False

    def holds(self, value: float, quick: bool) -> bool | None:
        """Whether the bar is met; None where it does not apply."""
        limit = self.quick if quick else self.limit
        if limit is None:
            return None
        return value <= limit if self.at_most else value >= limit

    def text(self, quick: bool) -> str:
        limit = self.quick if quick else self.limit
        return "" if limit is None else f"{'<=' if self.at_most else '>='} {limit:g}"


BARS = {
    "published": Bar(10, None),
    "stand-in": Bar(1, None),
    "outputs": Bar(1e-4, 1e-4, at_most=True),
    "memory": Bar(4, 2),
    "infomax": Bar(800, 80),
    "loader": Bar(5, 25, at_most=True),
    "pairs 50": Bar(3000, 300),
    "pairs 500": Bar(300, 30),
    "radius": Bar(1.5, 0.8),
    # A step has a constant part, so time per pair falls with the number of pairs; it may rise by this much at most.
    "growth": Bar(1.5, 3, at_most=True),
    "memory 500": Bar(8000, 8000, at_most=True),
    "on matgl": Bar(1.4, 2, at_most=True),
    "gpu": Bar(2, None, at_most=True),
}


class Results:
    """One run of the benchmarks: rates and facts by the name of the benchmark."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._runs = {b["name"]: b for b in data["benchmarks"]}
        self._left_out: dict[str, list[str]] = data["left_out"]

    def rate(self, name: str, unit: str = "units") -> float:
        """Things per second, from the median round."""
        run = self._runs[name]
        return float(run["extra_info"][unit]) / float(run["stats"]["median"])

    def fact(self, name: str, key: str) -> float:
        """A number that is no time."""
        return float(self._runs[name]["extra_info"][key])

    def missing(self, names: Iterable[str]) -> tuple[str, str] | None:
        """What a line lacks: whether it was skipped, failed or did not run, and why; None when all is there."""
        for name in names:
            if name in self._left_out:
                kind, why = self._left_out[name]
                return kind, f"{kind}: {why}"
            if name not in self._runs:
                return "absent", f"{name} did not run"
        return None


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    ours: str = ""
    reference: str = ""
    ratio: str = ""
    memory: str = ""
    bar: str = ""
    verdict: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.what, self.ours, self.reference, self.ratio, self.memory, self.bar, self.verdict)


HEADER = ("what", "ours", "reference", "ratio", "memory MB", "bar", "verdict")
MET, MISSED, SKIPPED, SHOWN = "met", "MISSED", "not judged", "shown"


class Table:
    """All lines of one run.

    Args:
        data: the JSON of pytest-benchmark, with what was left out.
        threads: threads of the run.
        quick: judge by the generous bars of CI.
        part: only some benchmarks were asked for; what did not run gets no line.
    """

    def __init__(self, data: dict[str, Any], threads: int, quick: bool, part: bool = False) -> None:
        self.results, self.threads, self.quick, self.part = Results(data), threads, quick, part
        self.lines: list[Line] = []
        self._fill()

    def count(self, verdict: str) -> int:
        """Lines with this verdict."""
        return sum(line.verdict.startswith(verdict) for line in self.lines)

    def _add(self, bar: str, value: float, what: str, **cells: str) -> None:
        """A line that is judged."""
        held = BARS[bar].holds(value, self.quick)
        verdict = SHOWN if held is None else MET if held else MISSED
        self.lines.append(Line(what, **cells, bar=BARS[bar].text(self.quick), verdict=verdict))

    def _without(self, what: str, *names: str) -> bool:
        """Write down a line that cannot be made, and say so; only a skipped benchmark is no missed bar."""
        lack = self.results.missing(names)
        if lack is not None:
            kind, why = lack
            if kind == "absent" and self.part:
                return True
            self.lines.append(Line(what, verdict=f"{SKIPPED if kind == 'skipped' else MISSED} ({why})"))
        return lack is not None

    def _fill(self) -> None:
        self._steps()
        self._memory()
        self._outputs()
        self._pretraining()
        self._graphs()
        self._growth()
        self._peers()
        self._gpu()

    def _steps(self) -> None:
        r = self.results
        what = "Site-Net step, crystals/s"
        if self._without(what, "test_step[ours]", "test_step[plain]"):
            return
        mine, plain, anchor = r.rate("test_step[ours]"), r.rate("test_step[plain]"), PUBLISHED_RATE[self.threads]
        if r.fact("test_step[ours]", "mp"):
            text = {"ours": f"{mine:,.0f}", "reference": f"{anchor:,.0f}", "ratio": f"{mine / anchor:.1f}"}
            self._add("published", mine / anchor, f"{what}, against the published code", **text)
            text = {"ours": f"{plain:,.0f}", "reference": f"{anchor:,.0f}", "ratio": f"{plain / anchor:.2f}"}
            self._add("stand-in", plain / anchor, "plain formula, crystals/s: a fair stand-in?", **text)
        else:
            why = f"{SKIPPED} (no Materials Project crystals)"
            self.lines.append(Line(f"{what}, against the published code", verdict=why))
        text = {"ours": f"{mine:,.0f}", "reference": f"{plain:,.0f}", "ratio": f"{mine / plain:.1f}"}
        self.lines.append(Line(f"{what}, against the plain formula", **text, verdict=SHOWN))

    def _memory(self) -> None:
        r = self.results
        what = "Site-Net step, its peak in MB"
        if self._without(what, "test_memory[ours]", "test_memory[plain]"):
            return
        step = [r.fact(f"test_memory[{kind}]", "step_mb") for kind in ("ours", "plain")]
        whole = [r.fact(f"test_memory[{kind}]", "process_mb") for kind in ("ours", "plain")]
        text = {"ours": f"{step[0]:,.0f}", "reference": f"{step[1]:,.0f}", "ratio": f"{step[1] / step[0]:.1f}"}
        process = f"{whole[0]:,.0f} / {whole[1]:,.0f}"
        self._add("memory", step[1] / step[0], what, **text, memory=process)

    def _outputs(self) -> None:
        what = "difference from the plain formula, relative"
        if not self._without(what, "test_same_outputs"):
            difference = self.results.fact("test_same_outputs", "difference")
            self._add("outputs", difference, what, ours=f"{difference:.1e}")

    def _pretraining(self) -> None:
        r = self.results
        what = "Deep InfoMax step, crystals/s"
        if self._without(what, "test_step[infomax]"):
            return
        rate, memory = r.rate("test_step[infomax]"), ""
        if r.missing(["test_memory[infomax]"]) is None:
            memory = f"{r.fact('test_memory[infomax]', 'process_mb'):,.0f}"
        self._add("infomax", rate, what, ours=f"{rate:,.0f}", memory=memory)
        what = "reading the store, crystals/s, as a share of the InfoMax step"
        if not self._without(what, "test_reading"):
            reading = r.rate("test_reading")
            share = 100 * rate / reading
            text = {"ours": f"{reading:,.0f}", "reference": f"{rate:,.0f}", "ratio": f"{share:.1f} %"}
            self._add("loader", share, what, **text)

    def _graphs(self) -> None:
        r = self.results
        for atoms in (50, 500):
            what, name = f"supercell pairs, {atoms} atoms, crystals/s", f"test_supercell_pairs[{atoms}]"
            if not self._without(what, name):
                self._add(f"pairs {atoms}", r.rate(name), what, ours=f"{r.rate(name):,.0f}")
        what = "radius graphs, crystals/s, against MatGL"
        names = [f"test_radius_graphs[{whose}]" for whose in ("ours", "matgl")]
        if not self._without(what, *names):
            mine, theirs = map(r.rate, names)
            text = {"ours": f"{mine:,.0f}", "reference": f"{theirs:,.0f}", "ratio": f"{mine / theirs:.2f}"}
            self._add("radius", mine / theirs, what, **text)

    def _growth(self) -> None:
        sizes = {atoms: f"test_by_supercell[{atoms}]" for atoms in (50, 100, 200, 500)}
        self._growth_of("Site-Net step, microseconds per pair", "atoms", sizes, 50, "units")
        pairs = {atoms: f"test_supercell_pairs[{atoms}]" for atoms in (50, 100, 200, 500)}
        self._growth_of("building pairs, microseconds per pair", "atoms", pairs, 50, "pairs")
        for kind, title in (("ours", "Site-Net"), ("infomax", "Deep InfoMax")):
            batch = {sites: f"test_by_batch[{kind}-{sites}]" for sites in (200, 600, 1200, 2400)}
            self._growth_of(f"{title} step, microseconds per pair", "sites", batch, 200, "units")
        if not self._without("Site-Net step at 500 atoms", "test_memory_500"):
            step, whole = (self.results.fact("test_memory_500", key) for key in ("step_mb", "process_mb"))
            text = {"ours": f"{step:,.0f}", "memory": f"{whole:,.0f}"}
            self._add("memory 500", whole, "Site-Net step at 500 atoms, its peak in MB", **text)

    def _growth_of(self, what: str, axis: str, names: dict[int, str], first: int, unit: str) -> None:
        """Time per pair at each size; the worst against the first."""
        what = f"{what} at {', '.join(map(str, names))} {axis}"
        if self._without(what, *names.values()):
            return
        cost = {size: 1e6 / self.results.rate(name, unit) for size, name in names.items()}
        worst = max(cost.values()) / cost[first]
        self._add("growth", worst, what, ours=", ".join(f"{c:.3g}" for c in cost.values()), ratio=f"{worst:.2f}")

    def _peers(self) -> None:
        r = self.results
        for name in ("MEGNet", "M3GNet"):
            steps, peaks = (
                [f"test_matgl_{what}[{kind}-{name}]" for kind in ("infomax", "bare")] for what in ("step", "memory")
            )
            what = f"Deep InfoMax on MatGL's {name}, crystals/s; time against its bare step"
            if not self._without(what, *steps):
                mine, theirs = map(r.rate, steps)
                text = {"ours": f"{mine:,.0f}", "reference": f"{theirs:,.0f}", "ratio": f"{theirs / mine:.2f}"}
                self._add("on matgl", theirs / mine, what, **text)
            what = "the same at 400 sites, peak of the step in MB"
            if not self._without(what, *peaks):
                step = [r.fact(peak, "step_mb") for peak in peaks]
                whole = " / ".join(f"{r.fact(peak, 'process_mb'):,.0f}" for peak in peaks)
                text = {"ours": f"{step[0]:,.0f}", "reference": f"{step[1]:,.0f}", "ratio": f"{step[0] / step[1]:.2f}"}
                self.lines.append(Line(what, **text, memory=whole, verdict=SHOWN))

    def _gpu(self) -> None:
        what = "Site-Net step on the GPU against its memory traffic, ms"
        if not self._without(what, "test_gpu_step"):
            seconds, least = (self.results.fact("test_gpu_step", key) for key in ("gpu_s", "floor_s"))
            times = {"ours": f"{1e3 * seconds:.2f}", "reference": f"{1e3 * least:.2f}"}
            self._add("gpu", seconds / least, what, **times, ratio=f"{seconds / least:.1f}")


def as_text(lines: Iterable[Line]) -> str:
    """The table for a terminal."""
    rows = [HEADER, *(line.cells for line in lines)]
    width = [max(len(row[k]) for row in rows) for k in range(len(HEADER))]
    right = [False, True, True, True, True, True, False]

    def text_of(row: tuple[str, ...]) -> str:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, width, right, strict=True))
        return "  ".join(cells).rstrip()

    texts = [text_of(row) for row in rows]
    return "\n".join([texts[0], "-" * (sum(width) + 2 * len(width)), *texts[1:]])


def as_markdown(lines: Iterable[Line]) -> str:
    """The same table for the documentation."""
    rows = [HEADER, ("---", *["---:"] * 5, "---"), *(line.cells for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
