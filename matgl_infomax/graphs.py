"""Reading graphs of MatGL's two kinds by the fields they have, without importing the library of either."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from matgl_infomax.errors import InputError


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
