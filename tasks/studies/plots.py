"""Maps of crystal vectors: each test crystal a point, near one another where the encoder finds them alike."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import elemental_properties
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.report.figures import ROW_NAME, draw_arms, legend_columns, log_axes, save, wrapped
from matgl_infomax.leaderboard.verdict import Paired, Verdict, against_scratch
from matgl_infomax.settings.base import seed_of_32_bits
from matgl_infomax.tasks.matbench.task import Task
from matgl_infomax.tasks.studies.overlap import LEVELS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


CODE_VERSION = 1
"""Raise it whenever the same crystals would get another map."""

MOST_POINTS = 3000
"""More points hide one another, and t-SNE takes minutes."""

SYMPREC = 0.1
"""Largest displacement of an atom that still counts as symmetric, angstrom; that of the Materials Project."""

SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic", "unknown")
TITLES = {"pca": "principal component", "tsne": "t-SNE", "umap": "UMAP"}

_SHOWN_ELEMENTS = 9
_COLOURS = [
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#8c564b", "#e377c2", "#bcbd22",
]  # fmt: skip
_GREY = "#c8c8c8"


def check_method(method: str) -> None:
    """Refuse a map whose library is missing, before anything is computed.

    Raises:
        InputError: If UMAP is asked for and not installed.
    """
    if method == "umap":
        _umap()


def project(vectors: NDArray[np.float64], method: str, seed: int) -> NDArray[np.float64]:
    """Bring vectors into a plane.

    Every dimension is brought to zero mean and unit spread first, as for the heads. t-SNE and UMAP keep neighbours
    together; distances between far groups mean nothing in them.

    Args:
        vectors: one per crystal, (m, D).
        method: ``pca``, ``tsne`` or ``umap``.
        seed: seed of ``tsne`` and ``umap``.

    Returns:
        Points, (m, 2); those of ``pca`` in units of the scaled vectors.

    Raises:
        InputError: If there are fewer than three crystals, or UMAP is not installed.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    if len(vectors) < 3:
        raise InputError(f"A map needs at least 3 crystals. Received: {len(vectors)}.")
    scaled = StandardScaler().fit_transform(np.asarray(vectors, dtype=np.float64))
    if method == "pca":
        points = PCA(2, svd_solver="full").fit_transform(scaled)
    elif method == "tsne":
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed_of_32_bits(seed), n_jobs=1).fit_transform(
            scaled
        )
    else:
        # With a seed UMAP works with one thread, and says so.
        neighbours = min(15, len(vectors) - 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = (
                _umap().UMAP(n_neighbors=neighbours, random_state=seed_of_32_bits(seed), n_jobs=1).fit_transform(scaled)
            )
    return np.asarray(points, dtype=np.float64)


def system_of_crystal(crystal: Crystal) -> str:
    """One of the seven crystal systems, or 'unknown' where the search for symmetry finds nothing."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    try:
        return str(SpacegroupAnalyzer(crystal.to_structure(), symprec=SYMPREC).get_crystal_system())
    except (SymmetryUndeterminedError, TypeError, ValueError):
        return "unknown"


def most_electronegative(crystal: Crystal) -> str:
    """Symbol of the element that names the compound: the most electronegative one (Pauling), the anion of a salt."""
    symbols, values = _electronegativities()
    z = max((int(z) for z in np.unique(crystal.numbers)), key=lambda z: (values[z], -z))
    return symbols[z]


def crystal_facts(crystals: Sequence[Crystal]) -> pd.DataFrame:
    """What the points are coloured by: columns id, crystal_system, element.

    Args:
        crystals: the crystals of the map.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "id": [crystal.id for crystal in crystals],
            "crystal_system": [system_of_crystal(crystal) for crystal in crystals],
            "element": [most_electronegative(crystal) for crystal in crystals],
        }
    )


def plot_map(points: pd.DataFrame, method: str, path: Path, *, target: str, unit: str | None, title: str) -> None:
    """Draw a map and write it as PNG: one row per arm, coloured by target, crystal system and element.

    Args:
        points: columns arm, target, crystal_system, element and, of the method, ``..._1`` and ``..._2``.
        method: ``pca``, ``tsne`` or ``umap``.
        path: file to write, as ``save`` takes it.
        target: what the first column of pictures shows.
        unit: its unit, where known.
        title: heading.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(points["arm"]))
    figure = Figure(figsize=(12.6, 3.9 * len(arms) + 0.4), dpi=130, layout="constrained")
    grid = figure.subplots(len(arms), 3, squeeze=False)
    for row, arm in zip(grid, arms, strict=True):
        part = points[points["arm"] == arm]
        place = part[[f"{method}_1", f"{method}_2"]].to_numpy()
        _by_number(row[0], place, part["target"].to_numpy(), target + (f" ({unit})" if unit else ""))
        _by_name(row[1], place, part["crystal_system"].to_numpy(), [s for s in SYSTEMS if s != "unknown"])
        common = part["element"].value_counts()
        # Equally frequent elements in alphabetical order: the same colours at every repetition.
        frequent = sorted(common.index, key=lambda name: (-common[name], name))[:_SHOWN_ELEMENTS]
        _by_name(row[2], place, part["element"].to_numpy(), frequent)
        row[0].set_ylabel(f"{wrapped(arm, 3.0, 9)}\n{TITLES[method]} 2", fontsize=9)
    for axes, heading in zip(grid[0], ("target", "crystal system", "most electronegative element"), strict=True):
        axes.set_title(heading, fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel(f"{TITLES[method]} 1", fontsize=9)
    figure.suptitle(wrapped(title, figure.get_figwidth(), 11), fontsize=11)
    save(figure, path)


def _by_number(axes: Axes, place: NDArray[np.float64], values: NDArray[np.float64], label: str) -> None:
    """Points coloured by a number; the outermost hundredth at each end shares a colour."""
    low, high = np.quantile(values, [0.01, 0.99])
    drawn = axes.scatter(
        place[:, 0],
        place[:, 1],
        c=values,
        s=_size(len(place)),
        cmap="viridis",
        vmin=low,
        vmax=high,
        linewidths=0,
        rasterized=True,
    )
    bar = axes.figure.colorbar(drawn, ax=axes, extend="both", pad=0.02)
    bar.set_label(wrapped(label, 3.0, 8), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _plain(axes)


def _by_name(axes: Axes, place: NDArray[np.float64], names: NDArray[Any], shown: Sequence[str]) -> None:
    """Points coloured by a name; all names that are not shown are grey and lie below."""
    other, size = ~np.isin(names, list(shown)), _size(len(place))
    if other.any():
        label = f"other ({other.sum()})"
        axes.scatter(place[other, 0], place[other, 1], s=size, color=_GREY, linewidths=0, rasterized=True, label=label)
    for name, colour in zip(shown, _COLOURS, strict=False):
        here = names == name
        if here.any():
            label = f"{name} ({here.sum()})"
            axes.scatter(
                place[here, 0], place[here, 1], s=size, color=colour, linewidths=0, rasterized=True, label=label
            )
    legend = axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5),
                handletextpad=0.1, borderpad=0.2)  # fmt: skip
    for handle in legend.legend_handles:
        handle.set_sizes([20])  # type: ignore[union-attr]
    _plain(axes)


def _plain(axes: Axes) -> None:
    """No numbers: the axes of a map have no meaning of their own."""
    axes.set_xticks([])
    axes.set_yticks([])


def _size(n: int) -> float:
    """Area of a point."""
    return float(np.clip(6000 / n, 3, 16))


def _umap() -> Any:
    """The library for UMAP.

    Raises:
        InputError: If it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import umap
    except ImportError as error:
        raise InputError(
            "UMAP is not installed: pip install 'matgl-infomax[umap]'. Or take --map tsne, which needs nothing."
        ) from error
    return umap


@cache
def _electronegativities() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Symbols and Pauling electronegativities by atomic number; elements without one come last."""
    table = elemental_properties()
    column = table.names.index("electronegativity")
    return table.symbols, np.where(table.imputed[:, column], -1.0, table.values[:, column])


# The picture of a study: error against number of labels, one curve per arm.

ARM_COLOURS = {
    "scratch": "#4d4d4d",
    "finetuned": "#d1495b",
    "frozen": "#edae49",
    "untrained": "#8d96a3",
    "descriptors": "#00798c",
}
"""Fixed colours, so that an arm looks the same in every study."""
OTHERS = ["#5f4bb6", "#66a182", "#b5651d", "#2e86ab", "#c77cbb", "#9a8c1f", "#1b4332", "#e07a5f"]
MOST_BANDS = 5
"""With more arms the bands lie on each other and hide the lines; ``ratios.png`` tells such arms apart."""
ARM_MARKERS = "osD^vPX*"


def plot_curve(curve: pd.DataFrame, path: Path, *, verdict: Verdict, guess: float, title: str) -> None:
    """Draw the learning curves on logarithmic axes, or one line per arm where all have the same number of labels.

    Lines join the means over seeds, small dots are single runs; with few arms bands span the sample standard deviation.
    With one number of labels, bars are the verdict's 95 % intervals (see ``draw_arms``).

    Args:
        curve: the columns of ``curve.csv``.
        path: file to write, as ``save`` takes it.
        verdict: that of the study: the target, its unit, and the intervals.
        guess: error of always predicting the median of the test labels, drawn for scale.
        title: heading.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    arms, counts = list(dict.fromkeys(curve["arm"])), curve["labels_asked"].nunique()
    own = iter(OTHERS * len(arms))
    colours = {arm: ARM_COLOURS.get(arm) or next(own) for arm in arms}
    unit = f" ({verdict.unit})" if verdict.unit else ""
    error = f"mean absolute error of {verdict.target}{unit}"
    rows = sum(1 + wrapped(arm, ROW_NAME, 10).count("\n") for arm in arms)
    size = (7.2, 1.9 + 0.36 * rows) if counts == 1 else (7.2, 4.6)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    figure.suptitle(wrapped(title, 7.2, 10), fontsize=10)
    near = 0 < guess < 4 * float(curve["mae"].max())
    if counts == 1:
        draw_arms(axes, curve, verdict, colours)
        axes.set_xlabel(wrapped(error, 4.2, 10))
        if near:
            axes.axvline(guess, color="0.7", linestyle=":", linewidth=1, label="always guessing the median")
    else:
        for arm, marker in zip(arms, ARM_MARKERS * len(arms), strict=False):
            _draw_arm(axes, curve[curve["arm"] == arm], arm, colours[arm], marker, band=len(arms) <= MOST_BANDS)
        if near:
            axes.axhline(guess, color="0.7", linestyle=":", linewidth=1)
            axes.annotate("always guessing the median", (1, guess), xycoords=("axes fraction", "data"), ha="right",
                          va="bottom", fontsize=8, color="0.5")  # fmt: skip
        log_axes(axes, curve["labels_asked"])
        axes.set_ylabel(wrapped(error, 3.2, 10))
    # Below the axes: inside, some arm always runs through it.
    figure.legend(
        loc="outside lower center", ncols=3 if counts == 1 else legend_columns(arms, 7.2, 9), frameon=False, fontsize=9
    )
    save(figure, path)


def _draw_arm(axes: Axes, runs: pd.DataFrame, arm: str, colour: str, marker: str, *, band: bool) -> None:
    """Mean, spread and single runs of one arm."""
    grouped = runs.groupby("labels_asked")["mae"]
    mean, sd = grouped.mean(), grouped.std().fillna(0.0)
    low = (mean - sd).clip(lower=grouped.min() * 0.5)  # a logarithmic axis has no place for zero
    if band:
        axes.fill_between(mean.index, low, mean + sd, color=colour, alpha=0.15, linewidth=0)
    axes.plot(mean.index, mean, color=colour, marker=marker, markersize=5, linewidth=1.6, label=wrapped(arm, 5.0, 9))
    axes.plot(runs["labels_asked"], runs["mae"], ".", color=colour, alpha=0.35, markersize=4)


# The picture for many arms: each one's error beside scratch, with its interval, a panel per number of labels.

FINDING_COLOURS = {"better": "#00798c", "worse": "#d1495b", "open": "#8d96a3"}
FINDING_MARKERS = {"better": "o", "worse": "s", "open": "D"}
"""Findings differ in form too, for readers who do not tell the colours apart."""
SAID = {"better": "better than {} (95 %)", "worse": "worse than {} (95 %)", "open": "cannot tell"}


def plot_ratios(verdict: Verdict, path: Path, *, title: str) -> None:
    """Draw the error ratio of every arm against scratch with its 95 % interval and write it.

    Args:
        verdict: that of a study with at least one arm beside scratch.
        path: file to write, as ``save`` takes it.
        title: heading.

    Raises:
        ValueError: If nothing was compared with scratch.
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    found = against_scratch(verdict)
    if not found:
        raise ValueError("the verdict compares no arm with scratch, so there are no ratios to draw")
    arms = list(dict.fromkeys(arm for arm, _ in found))
    counts = sorted({labels for _, labels in found})
    names = [wrapped(arm, ROW_NAME, 10) for arm in arms]
    # The names stand beside the panels and take no room from them; a lone panel has room for the legend below it.
    size = (max(6.4, ROW_NAME + 2.4 * len(counts)), 1.5 + 0.3 * sum(1 + name.count("\n") for name in names))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, labels in zip(panels, counts, strict=True):
        _draw_ratios(axes, [found.get((arm, labels)) for arm in arms])
        axes.set_title(f"{labels} labels", fontsize=9)
        axes.set_xlabel(wrapped(f"error / {verdict.baseline}", 2.2, 9), fontsize=9)
    panels[0].set_yticks(range(len(arms)), names)
    panels[0].invert_yaxis()
    figure.suptitle(wrapped(title, figure.get_figwidth(), 10), fontsize=10)
    handles = [
        Line2D(
            [], [], color=FINDING_COLOURS[name], marker=FINDING_MARKERS[name], label=SAID[name].format(verdict.baseline)
        )
        for name in FINDING_COLOURS
        if any(pair.finding == name for pair in found.values())
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save(figure, path)


def _draw_ratios(axes: Axes, pairs: list[Paired | None]) -> None:
    """One panel: a line of one, and a bar per arm."""
    axes.axvline(1.0, color="0.6", linewidth=1)
    for row, pair in enumerate(pairs):
        if pair is None:
            continue
        colour = FINDING_COLOURS[pair.finding]
        axes.plot([pair.ratio_low, pair.ratio_high], [row, row], color=colour, linewidth=1.6)
        axes.plot(
            [pair.ratio], [row], color=colour, marker=FINDING_MARKERS[pair.finding], markersize=5, linestyle="none"
        )
    axes.grid(True, axis="x", linewidth=0.4, alpha=0.5)
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.margins(y=0.08)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


# The picture of a representation study: error against number of labels, one panel per head.

STYLE = {
    "pretrained": ("#d1495b", "o"),
    "untrained": ("#8d96a3", "^"),
    "magpie": ("#00798c", "s"),
    "orbital_field": ("#5f4bb6", "D"),
    "xrd": ("#b5651d", "v"),
}
"""Fixed colours and markers, so that an arm looks the same in every study."""
DESCRIPTOR_NAMES = {
    "orbital_field": "orbital-field matrix",
    "xrd": "XRD pattern",
    "magpie": "Magpie",
    "linear": "least squares",
    "mlp": "one hidden layer",
    "forest": "random forest",
}

ABOVE = 2.0
"""Errors beyond this multiple of a guess are not drawn: least squares can be off by any factor."""


def plot_heads(fits: pd.DataFrame, path: Path, *, target: str, unit: str | None, guess: float, title: str) -> None:
    """Draw the mean error over draws on logarithmic axes and write it.

    Bars span the sample standard deviation over draws. The grey band goes from the best to the worst of the untrained
    encoders, the grey line is their mean.

    Args:
        fits: the columns of ``fits.csv``, of one scaling.
        path: file to write, as ``save`` takes it.
        target: what was predicted.
        unit: its unit, where known.
        guess: error of always predicting the median of the test labels, drawn for scale.
        title: heading.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    heads = list(dict.fromkeys(fits["head"]))
    figure = Figure(figsize=(max(6.4, 3.1 * len(heads) + 0.9), 4.3), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    top = ABOVE * guess if guess > 0 else float(fits["mae"].max()) * 1.1
    for axes, head in zip(panels, heads, strict=True):
        part = fits[fits["head"] == head]
        for group in dict.fromkeys(part["group"]):
            _draw_heads(axes, part[part["group"] == group], group)
        _label(axes, part, DESCRIPTOR_NAMES.get(head, head), guess, top)
    means = fits.groupby(["arm", "head", "labels"])["mae"].mean()
    panels[0].set_ylim(0.85 * float(fits["mae"].min()), min(top, 1.15 * float(means.max())))
    panels[0].set_ylabel(wrapped(f"mean absolute error of {target}{f' ({unit})' if unit else ''}", 3.0, 10))
    panels[0].annotate("guessing the median", (0.02, guess), xycoords=("axes fraction", "data"), va="bottom",
                       fontsize=7, color="0.45")  # fmt: skip
    figure.suptitle(wrapped(title, figure.get_figwidth(), 10), fontsize=10)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    save(figure, path)


def _draw_heads(axes: Axes, part: pd.DataFrame, group: str) -> None:
    """Mean and spread of one group of arms."""
    colour, marker = STYLE[group]
    per_arm = part.groupby(["labels", "arm"])["mae"].mean().unstack()
    per_draw = part.groupby(["labels", "seed"])["mae"].mean().unstack()
    counts = per_draw.index.to_numpy()
    mean, sd = per_draw.mean(axis=1).to_numpy(), per_draw.std(axis=1).fillna(0.0).to_numpy()
    label = DESCRIPTOR_NAMES.get(group, group)
    if per_arm.shape[1] > 1:
        low, high = per_arm.min(axis=1).to_numpy(), per_arm.max(axis=1).to_numpy()
        axes.fill_between(counts, low, high, color=colour, alpha=0.35, linewidth=0)
        label = f"{label}, {per_arm.shape[1]} encoders"
    down = np.minimum(sd, 0.5 * mean)  # a logarithmic axis has no place for zero
    axes.errorbar(counts, mean, yerr=[down, sd], color=colour, marker=marker, markersize=4.5, linewidth=1.5,
                  elinewidth=0.8, capsize=2, label=label)  # fmt: skip


def _label(axes: Axes, part: pd.DataFrame, head: str, guess: float, top: float) -> None:
    """Logarithmic axes with plain numbers, and a word on what lies above."""
    log_axes(axes, part["labels"])
    axes.axhline(guess, color="0.6", linestyle=":", linewidth=1)
    means = part.groupby(["group", "labels"])["mae"].mean()
    beyond = int((means > top).sum())
    axes.set_title(head + (f" ({beyond} of {len(means)} above the frame)" if beyond else ""), fontsize=9)


# The picture of a study with probes: one row per target, what each kind of vectors scores.

COMPOSITION = ("#00798c", "s")
LOWEST = -0.25
"""Scores below are drawn at the edge: R² has no lower end."""
PROBE_NAMES = {"linear": "linear", "knn": "5 nearest"}


def plot_probes(scores: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw the scores of all arms, sites on the left and crystals on the right, and write them.

    The grey bar goes from the lowest to the highest of the untrained encoders, the short line is chance.

    Args:
        scores: the columns of ``scores.csv``.
        path: file to write, as ``save`` takes it.
        title: heading.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    levels = list(dict.fromkeys(scores["level"]))
    rows = max(len(part.groupby(["target", "probe"])) for _, part in scores.groupby("level"))
    figure = Figure(figsize=(4.9 * len(levels) + 0.4, 0.28 * rows + 1.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(levels), squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        _draw_probes(axes, scores[scores["level"] == level])
        axes.set_title(f"{level} vectors", fontsize=9)
    figure.suptitle(wrapped(title, figure.get_figwidth(), 10), fontsize=10)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    save(figure, path)


def _draw_probes(axes: Axes, part: pd.DataFrame) -> None:
    """One level: a row for every target and probe."""
    ticks = []
    styles = {"composition": COMPOSITION, "pretrained": STYLE["pretrained"]}
    for place, (key, line) in enumerate(part.groupby(["target", "probe"], sort=False)):
        target, probe = cast(tuple[str, str], key)
        measure = "R²" if line["kind"].iloc[0] == "number" else "accuracy"
        ticks.append(f"{target.replace('_', ' ')} ({measure}), {PROBE_NAMES[probe]}")
        named = place == 0
        floor = line.loc[line["group"] == "untrained", "score"].clip(lower=LOWEST)
        axes.plot([floor.min(), floor.max()], [place, place], color=STYLE["untrained"][0], linewidth=7, alpha=0.55,
                  solid_capstyle="round", label=f"untrained, {len(floor)} encoders" if named else None)  # fmt: skip
        chance = float(line["chance"].iloc[0])
        axes.plot([chance, chance], [place - 0.33, place + 0.33], color="0.45", linewidth=1.2, linestyle="-",
                  label="chance" if named else None)  # fmt: skip
        for group, (colour, marker) in styles.items():
            value = max(float(line.loc[line["group"] == group, "score"].iloc[0]), LOWEST)
            axes.plot([value], [place], color=colour, marker=marker, markersize=5.5, linestyle="none",
                      label=group if named else None)  # fmt: skip
    axes.set_yticks(np.arange(len(ticks)), ticks, fontsize=7.5)
    axes.set_ylim(len(ticks) - 0.4, -0.6)
    axes.set_xlim(min(-0.03, float(part["score"].clip(lower=LOWEST).min()) - 0.03), 1.03)
    axes.set_xlabel("score on crystals not seen", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(True, axis="x", linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


# The picture of an overlap: how much of each test fold the corpus holds, and the error on each kind of crystal.

LEVEL_COLOURS = {"novel": "#c9d6df", "formula": "#8fb8c9", "twin": "#edae49", "match": "#d1495b"}
LEVEL_NAMES = {
    "novel": "novel",
    "formula": "same formula",
    "twin": "same formula and space group",
    "match": "same structure",
}
BENCHMARK_COLOURS = ["#4d4d4d", "#d1495b", "#00798c", "#edae49", "#5f4bb6", "#66a182", "#b5651d", "#2e86ab"]


def plot_overlap(folds: pd.DataFrame, scores: pd.DataFrame, path: Path, *, task: Task, corpus: str) -> None:
    """Draw the shares of each test fold and, with benchmarks, their errors by kind of crystal, and write them.

    Args:
        folds: table of the folds.
        scores: table of the scores; may be empty.
        path: file to write, as ``save`` takes it.
        task: the task.
        corpus: name of the corpus.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    both = len(scores) > 0
    figure = Figure(figsize=(10.4 if both else 5.6, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    _draw_shares(panels[0], folds)
    panels[0].set_title(wrapped(f"{task.card.name}: what {corpus} holds of it", 4.0, 10), fontsize=10)
    if both:
        _draw_errors(panels[1], scores)
        regression = task.card.kind == "regression"
        unit = f" ({task.card.unit})" if task.card.unit else ""
        panels[1].set_ylabel(f"mean absolute error{unit}" if regression else "share of wrong classes")
        panels[1].set_title("error by kind of test crystal", fontsize=10)
    save(figure, path)


def _draw_shares(axes: Axes, folds: pd.DataFrame) -> None:
    """One bar per fold, from novel to match."""
    place = np.arange(len(folds))
    total = np.maximum(folds["crystals"].to_numpy(dtype=float), 1)
    left = np.zeros(len(folds))
    for level in LEVELS:
        count = folds[level].to_numpy()
        share = 100 * count / total
        axes.barh(place, share, left=left, color=LEVEL_COLOURS[level], label=LEVEL_NAMES[level], height=0.7)
        for y, x, width, n in zip(place, left, share, count, strict=True):
            if width > 7:  # a narrower piece has no room for its number
                axes.annotate(f"{n:,}", (x + width / 2, y), ha="center", va="center", fontsize=8)
        left += share
    for y, line in zip(place, folds.to_dict("records"), strict=True):
        known = 100 * (line["crystals"] - line["novel"]) / max(line["crystals"], 1)
        # Often the pieces that matter are too narrow to be read.
        text = f"{known:.1f} % seen\n{line['match']:,} match"
        axes.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_yticks(place, [f"fold {name}" if name != "all" else "all" for name in folds["fold"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the test crystals (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_errors(axes: Axes, scores: pd.DataFrame) -> None:
    """One point per benchmark and kind of crystal, with its interval; a dash where a guess would lie."""
    kinds = [
        kind for kind in dict.fromkeys(scores["level"]) if (scores.loc[scores["level"] == kind, "crystals"] > 0).any()
    ]
    names = list(dict.fromkeys(scores["benchmark"]))
    for number, name in enumerate(names):
        part = scores[scores["benchmark"] == name].set_index("level").loc[kinds]
        x = np.arange(len(kinds)) + 0.6 * ((number + 0.5) / len(names) - 0.5)
        error = part["error"].to_numpy()
        sides = np.nan_to_num(np.stack([error - part["low"].to_numpy(), part["high"].to_numpy() - error]))  # (2, kinds)
        arm = part["arm"].iloc[0]
        label = name if name == arm else f"{name} ({arm})"
        axes.errorbar(
            x,
            error,
            yerr=sides,
            color=BENCHMARK_COLOURS[number % len(BENCHMARK_COLOURS)],
            marker=ARM_MARKERS[number % len(ARM_MARKERS)],
            markersize=5,
            linestyle="",
            capsize=2,
            linewidth=1.2,
            label=label,
        )
        guess = part["guess"].to_numpy()
        axes.plot(
            x, guess, "_", color="0.6", markersize=9, label="knowing nothing" if number == len(names) - 1 else None
        )
    first = scores[scores["benchmark"] == names[0]].set_index("level")["crystals"]
    axes.set_xticks(np.arange(len(kinds)), [f"{kind}\n{first[kind]:,}" for kind in kinds], fontsize=9)
    _scale(axes, scores)
    axes.grid(True, axis="y", linewidth=0.4, alpha=0.5)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _scale(axes: Axes, scores: pd.DataFrame) -> None:
    """Logarithmic where there is no zero: a guess can be ten times worse than every benchmark."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    lowest = scores.loc[scores["crystals"] > 0, ["error", "low", "guess"]].min().min()
    if not lowest > 0:
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
