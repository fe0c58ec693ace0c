"""Maps of crystal vectors: each test crystal a point, near one another where the encoder finds them alike."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import elemental_properties
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write

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
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(scaled)
    else:
        # With a seed UMAP works with one thread, and says so.
        neighbours = min(15, len(vectors) - 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = _umap().UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(scaled)
    return np.asarray(points, dtype=np.float64)


def crystal_system(crystal: Crystal) -> str:
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
            "crystal_system": [crystal_system(crystal) for crystal in crystals],
            "element": [most_electronegative(crystal) for crystal in crystals],
        }
    )


def plot_map(points: pd.DataFrame, method: str, path: Path, *, target: str, unit: str | None, title: str) -> None:
    """Draw a map and write it as PNG: one row per arm, coloured by target, crystal system and element.

    Args:
        points: columns arm, target, crystal_system, element and, of the method, ``..._1`` and ``..._2``.
        method: ``pca``, ``tsne`` or ``umap``.
        path: file to write.
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
        row[0].set_ylabel(f"{arm}\n{TITLES[method]} 2", fontsize=9)
    for axes, heading in zip(grid[0], ("target", "crystal system", "most electronegative element"), strict=True):
        axes.set_title(heading, fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel(f"{TITLES[method]} 1", fontsize=9)
    figure.suptitle(title, fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _by_number(axes: Axes, place: NDArray[np.float64], values: NDArray[np.float64], label: str) -> None:
    """Points coloured by a number; the outermost hundredth at each end shares a colour."""
    low, high = np.quantile(values, [0.01, 0.99])
    drawn = axes.scatter(
        place[:, 0], place[:, 1], c=values, s=_size(len(place)), cmap="viridis", vmin=low, vmax=high, linewidths=0
    )
    bar = axes.figure.colorbar(drawn, ax=axes, extend="both", pad=0.02)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _plain(axes)


def _by_name(axes: Axes, place: NDArray[np.float64], names: NDArray[Any], shown: Sequence[str]) -> None:
    """Points coloured by a name; all names that are not shown are grey and lie below."""
    other, size = ~np.isin(names, list(shown)), _size(len(place))
    if other.any():
        label = f"other ({other.sum()})"
        axes.scatter(place[other, 0], place[other, 1], s=size, color=_GREY, linewidths=0, label=label)
    for name, colour in zip(shown, _COLOURS, strict=False):
        here = names == name
        if here.any():
            label = f"{name} ({here.sum()})"
            axes.scatter(place[here, 0], place[here, 1], s=size, color=colour, linewidths=0, label=label)
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
