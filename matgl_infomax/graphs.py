"""Reading graphs of MatGL's two kinds by the fields they have, without importing the library of either."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure


class View(NamedTuple):
    """The same things of either kind of graph: N nodes, E edges, B crystals."""

    nodes: Any  # mapping of (N, ...) fields
    edges: Any  # mapping of (E, ...) fields
    src: Tensor  # (E,)
    dst: Tensor  # (E,)
    owner: Tensor  # (N,)
    n_crystals: int


def view(graph: Any) -> View:
    """Read a ``DGLGraph`` or PyG ``Data``, whichever MatGL uses."""
    if hasattr(graph, "ndata"):
        src, dst = graph.edges()
        sizes = graph.batch_num_nodes().long()  # (B,)
        owner = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)  # (N,)
        return View(graph.ndata, graph.edata, src.long(), dst.long(), owner, graph.batch_size)
    if not hasattr(graph, "edge_index"):
        raise InputError(f"Expected a DGLGraph, a PyG Data or a SiteBatch. Received: {type(graph).__name__}.")
    src, dst = graph.edge_index.long()
    if "batch" not in graph:
        return View(graph, graph, src, dst, src.new_zeros(graph.num_nodes), 1)
    # A plain Data with a batch field does not know how many graphs it holds.
    count = graph.num_graphs if hasattr(graph, "num_graphs") else int(graph["batch"].max()) + 1
    return View(graph, graph, src, dst, graph["batch"].long(), count)


def rows_times(row: Tensor, matrix: Tensor) -> Tensor:
    """Each row vector (M, 3) times its own matrix (M, 3, 3)."""
    return (row.unsqueeze(2) * matrix).sum(1)


def length(vector: Tensor) -> Tensor:
    """Length of each vector (E, 3), with a zero instead of an undefined gradient where it is zero."""
    square = (vector * vector).sum(1)  # (E,)
    zero = square == 0
    return square.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)


def with_positions(graph: Any, lattice: Tensor) -> Any:
    """Add Cartesian ``pos`` and ``pbc_offshift`` to a graph fresh from a converter, in place, as MatGL's trainers do.

    The lattice holds vectors as rows, (B, 3, 3) or (3, 3), angstrom.
    """
    seen = view(graph)
    lattice = lattice.reshape(-1, 3, 3)
    seen.nodes["pos"] = rows_times(seen.nodes["frac_coords"], lattice[seen.owner])
    seen.edges["pbc_offshift"] = rows_times(seen.edges["pbc_offset"], lattice[seen.owner[seen.src]])
    return graph


def graph_to_batch(graph: Any, numbers_of_type: Tensor, *, geometry: bool = False) -> SiteBatch:
    """Read a graph of any edge rule into the flat tensors all networks here work on.

    Args:
        graph: ``DGLGraph`` or PyG ``Data``, single or batched, with ``node_type``, ``pos`` and (unless it is a
            molecule) ``pbc_offshift``; edges run from the receiver to its neighbour. A SiteBatch is handed through.
        numbers_of_type: atomic number of each node type, (K,).
        geometry: hold positions too, in a cell of one cubic angstrom: graphs do not say what their lattice is.

    Returns:
        A batch whose distances are differentiable with respect to ``pos``, in its precision.

    Raises:
        InputError: For a graph without positions, or with a node type beyond K.
    """
    if isinstance(graph, SiteBatch):
        return graph
    nodes, edges, src, dst, owner, n_crystals = view(graph)
    if "pos" not in nodes or ("pbc_offset" in edges and "pbc_offshift" not in edges):
        raise InputError("The graph has no positions yet. Call host.with_positions(graph, lattice) on it first.")
    kind = nodes["node_type"].long()  # (N,)
    if len(kind) and int(kind.max()) >= len(numbers_of_type):
        raise InputError(
            f"The graph has node type {int(kind.max())}, but the model knows {len(numbers_of_type)} elements. "
            "Give the converter the element_types of the model."
        )
    pos = nodes["pos"]  # (N, 3)
    offset = edges["pbc_offshift"].to(pos.dtype) if "pbc_offshift" in edges else pos.new_zeros(len(src), 3)  # (E, 3)
    if bool((src[1:] < src[:-1]).any()):
        order = src.argsort(stable=True)
        src = src[order]
        dst = dst[order]
        offset = offset[order]
    distance = length(pos.index_select(0, dst) + offset - pos.index_select(0, src))  # (E,)
    batch = SiteBatch(numbers_of_type[kind], owner, src, dst, distance, n_crystals)
    if not geometry:
        return batch
    lattice = torch.eye(3, dtype=pos.dtype, device=pos.device).expand(n_crystals, 3, 3)
    return replace(batch, frac=pos, lattice=lattice, offset=offset)


def short_first(batch: SiteBatch, reach_angstrom: float) -> SiteBatch:
    """The batch with the pairs up to a distance before all longer ones; otherwise in the order they had.

    Args:
        batch: B crystals with geometry.
        reach_angstrom: the distance.
    """
    order = (batch.distance > reach_angstrom).long().argsort(stable=True)  # (E,)
    offset = None if batch.offset is None else batch.offset[order]
    return replace(batch, src=batch.src[order], dst=batch.dst[order], distance=batch.distance[order], offset=offset)


def with_company(batch: SiteBatch, number: int) -> SiteBatch:
    """The batch and, after it, one more crystal: a single site with a neighbour on either side, 1 angstrom away.

    Args:
        batch: B crystals with geometry, N sites; there may be none, as in a process without a share of a batch.
        number: atomic number of the single site.
    """
    frac = batch.frac
    lattice = batch.lattice
    offset = batch.offset
    if frac is None or lattice is None or offset is None:
        return batch  # refused in a moment, with a sentence
    where = batch.src.device
    n = batch.n_sites
    b = batch.n_crystals
    own = torch.full((2,), n, device=where)  # both pairs join the new site to its own images
    return replace(
        batch,
        number=torch.cat([batch.number, batch.number.new_full((1,), number)]),
        owner=torch.cat([batch.owner, batch.owner.new_full((1,), b)]),
        src=torch.cat([batch.src, own]),
        dst=torch.cat([batch.dst, own]),
        distance=torch.cat([batch.distance, batch.distance.new_ones(2)]),
        n_crystals=b + 1,
        frac=torch.cat([frac, frac.new_zeros(1, 3)]),
        lattice=torch.cat([lattice, torch.eye(3, device=where, dtype=lattice.dtype)[None]]),
        offset=torch.cat([offset, offset.new_tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])]),
        hidden=None if batch.hidden is None else torch.cat([batch.hidden, batch.hidden.new_zeros(1)]),
    )


# From a pymatgen structure to plain arrays: what the graph converters accept, and what they say about the rest.


def atomic_numbers(element_types: Sequence[str]) -> list[int]:
    """Atomic number of each element symbol, in the order given.

    Raises:
        InputError: For something that is no element symbol.
    """
    from pymatgen.core import Element

    wrong = [symbol for symbol in element_types if not Element.is_valid_symbol(symbol)]
    if wrong:
        raise InputError(f"element_types must be element symbols. Received: {', '.join(map(repr, wrong))}.")
    return [Element(symbol).Z for symbol in element_types]


def checked_crystal(structure: Structure, known: frozenset[int]) -> Crystal:
    """Take an ordered crystal apart that holds known elements only; oxidation states are dropped.

    Args:
        structure: pymatgen ``Structure``.
        known: atomic numbers that may occur.

    Raises:
        InputError: For a molecule, partial occupancies, an unknown element, no volume or positions that are no numbers.
    """
    from pymatgen.core import IStructure

    if not isinstance(structure, IStructure) or len(structure) == 0:
        raise InputError(f"A crystal graph needs a pymatgen Structure with atoms, not {type(structure).__name__}.")
    # Element by element in C where it can be: this runs for every crystal of a data set.
    occupants = [site.species for site in structure]
    species = list(chain.from_iterable(occupants))
    if len(species) != len(occupants) or set(map(attrgetter("num_atoms"), occupants)) != {1}:
        raise InputError(f"Received a disordered crystal: {structure.formula}. Order its sites first.")
    numbers = [specie.Z for specie in species]
    if not known.issuperset(numbers):
        strange = sorted({specie.symbol for specie in species if specie.Z not in known})
        raise InputError(f"Unknown element {', '.join(strange)} in {structure.formula}. Leave this crystal out.")
    lattice = np.array(structure.lattice.matrix, dtype=np.float64)  # (3, 3)
    frac = np.array(structure.frac_coords, dtype=np.float64)  # (N, 3)
    if not np.isfinite(frac).all() or not _has_volume(lattice.tolist()):
        raise InputError(f"Received {structure.formula} with zero volume or coordinates that are no numbers.")
    return Crystal("structure", np.array(numbers), lattice, frac)


def _has_volume(lattice: list[list[float]]) -> bool:
    """Whether the three rows of a lattice span any volume; numpy's cross product takes ten times longer."""
    a, b, c = lattice
    x, y, z = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
    return 0 < abs(a[0] * x + a[1] * y + a[2] * z) < math.inf
