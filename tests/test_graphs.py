"""Graphs become batches and batches become graphs without losing a site, a pair or a gradient."""

from __future__ import annotations

from matgl_infomax import host  # chooses the backend before MatGL is imported

# isort: split
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matgl
import numpy as np
import pytest
import torch
from matgl.ext.pymatgen import Structure2Graph

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import ELEMENTS

FIELDS = ("number", "owner", "src", "dst")


def same_pairs(got: SiteBatch, wanted: SiteBatch, atol: float) -> None:
    """The two batches hold the same sites and pairs in the same order."""
    assert got.n_crystals == wanted.n_crystals
    for name in FIELDS:
        assert getattr(got, name).dtype == torch.int64
        assert torch.equal(getattr(got, name), getattr(wanted, name)), name
    torch.testing.assert_close(got.distance, wanted.distance.to(got.distance.dtype), rtol=0, atol=atol)


def edges_of(graph: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Receivers and neighbours of either kind of graph."""
    return graph.edges() if host.BACKEND == "DGL" else tuple(graph.edge_index)


def reordered(graph: Any, order: torch.Tensor) -> Any:
    """The same graph with its edges in another order."""
    src, dst = edges_of(graph)
    if host.BACKEND == "DGL":
        import dgl

        other = dgl.graph((src[order], dst[order]), num_nodes=graph.num_nodes())
        for name, value in graph.ndata.items():
            other.ndata[name] = value
        other.edata["pbc_offshift"] = graph.edata["pbc_offshift"][order]
        return other
    other = graph.clone()
    other.edge_index = graph.edge_index[:, order]
    other.pbc_offshift = graph.pbc_offshift[order]
    return other


def test_batch_to_graph_and_back(
    crystals: list[Crystal], make_batch: Callable[..., SiteBatch], numbers_of_type: torch.Tensor
) -> None:
    batch = make_batch(crystals)
    graph = host.batch_to_graph(batch, ELEMENTS)
    same_pairs(host.graph_to_batch(graph, numbers_of_type), batch, atol=1e-12)


def test_fields_are_those_of_matgl(crystals: list[Crystal], make_batch: Callable[..., SiteBatch]) -> None:
    ours = host.batch_to_graph(make_batch(crystals[:1]).to("cpu", torch.float32), ELEMENTS)
    theirs, _, _ = Structure2Graph(ELEMENTS, cutoff=4.0).get_graph(crystals[0].to_structure())
    nodes = (ours.ndata, theirs.ndata) if host.BACKEND == "DGL" else (ours, theirs)
    edges = (ours.edata, theirs.edata) if host.BACKEND == "DGL" else (ours, theirs)
    for name in ("node_type", "frac_coords"):
        assert nodes[0][name].dtype == nodes[1][name].dtype, name
        assert nodes[0][name].shape == nodes[1][name].shape, name
    assert edges[0]["pbc_offset"].dtype == edges[1]["pbc_offset"].dtype
    assert edges_of(ours)[0].dtype == edges_of(theirs)[0].dtype == matgl.int_th


def test_the_view_feeds_a_model_of_matgl(crystals: list[Crystal], make_batch: Callable[..., SiteBatch]) -> None:
    from matgl.models import MEGNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        megnet = MEGNet(element_types=ELEMENTS, cutoff=20.0).eval()
    state = torch.zeros(3, 2)
    with torch.no_grad():
        joint = megnet(host.batch_to_graph(make_batch(crystals[1:4]).to("cpu", torch.float32), ELEMENTS), state)
        single = [
            megnet(host.batch_to_graph(make_batch([c]).to("cpu", torch.float32), ELEMENTS), state[:1])
            for c in crystals[1:4]
        ]
    torch.testing.assert_close(joint.flatten(), torch.cat([s.flatten() for s in single]), rtol=0, atol=1e-6)


def test_elements_the_model_does_not_know(crystals: list[Crystal], make_batch: Callable[..., SiteBatch]) -> None:
    with pytest.raises(InputError, match="not among element_types: Na, Cl"):
        host.batch_to_graph(make_batch([crystals[2]]), ("H", "He"))


def test_no_geometry_no_graph(crystals: list[Crystal], make_batch: Callable[..., SiteBatch]) -> None:
    with pytest.raises(InputError, match="geometry=True"):
        host.batch_to_graph(replace(make_batch(crystals), offset=None), ELEMENTS)


def test_joined_graphs_equal_single_ones(
    crystals: list[Crystal], collate: Callable[..., Any], numbers_of_type: torch.Tensor
) -> None:
    converter = host.SupercellConverter(ELEMENTS, max_atoms=16)
    joint = host.graph_to_batch(collate([converter.get_graph(c.to_structure()) for c in crystals]), numbers_of_type)
    start, pair = 0, 0
    for row, crystal in enumerate(crystals):
        graph, lattice, _ = converter.get_graph(crystal.to_structure())
        single = host.graph_to_batch(host.with_positions(graph, lattice), numbers_of_type)
        sites, pairs = slice(start, start + single.n_sites), slice(pair, pair + single.n_pairs)
        part = SiteBatch(
            joint.number[sites], joint.owner[sites] - row, joint.src[pairs] - start, joint.dst[pairs] - start,
            joint.distance[pairs], 1,
        )  # fmt: skip
        same_pairs(part, single, atol=1e-6)
        start, pair = sites.stop, pairs.stop
    assert (start, pair) == (joint.n_sites, joint.n_pairs)


def test_graph_equals_the_batch_of_arrays(
    crystals: list[Crystal],
    make_batch: Callable[..., SiteBatch],
    collate: Callable[..., Any],
    numbers_of_type: torch.Tensor,
) -> None:
    converter = host.SupercellConverter(ELEMENTS, max_atoms=16)
    graph = collate([converter.get_graph(c.to_structure()) for c in crystals])
    same_pairs(host.graph_to_batch(graph, numbers_of_type), make_batch(crystals), atol=1e-5)


def test_unsorted_edges_are_sorted_and_keep_their_distance(
    crystals: list[Crystal], numbers_of_type: torch.Tensor
) -> None:
    graph, lattice, _ = host.SupercellConverter(ELEMENTS, max_atoms=16).get_graph(crystals[8].to_structure())
    graph = host.with_positions(graph, lattice)
    plain = host.graph_to_batch(graph, numbers_of_type)
    # Whole receivers change place, their own pairs keep order: a stable sort restores the original exactly.
    backwards = torch.cat([torch.where(plain.src == i)[0] for i in reversed(range(plain.n_sites))])
    same_pairs(host.graph_to_batch(reordered(graph, backwards), numbers_of_type), plain, atol=0)


def test_radius_graphs_of_matgl_are_read(
    crystals: list[Crystal], collate: Callable[..., Any], numbers_of_type: torch.Tensor
) -> None:
    chosen = [crystals[i] for i in (2, 8, 10, 11)]
    converter = Structure2Graph(ELEMENTS, cutoff=4.5)
    batch = host.graph_to_batch(collate([converter.get_graph(c.to_structure()) for c in chosen]), numbers_of_type)
    assert bool((batch.src[1:] >= batch.src[:-1]).all())
    offset = 0
    for row, crystal in enumerate(chosen):
        src, dst, _, distance = crystal.to_structure().get_neighbor_list(4.5)
        mine = batch.owner[batch.src] == row
        got = torch.stack([batch.src[mine] - offset, batch.dst[mine] - offset]).numpy()
        expected = np.lexsort((distance, dst, src))
        order = np.lexsort((batch.distance[mine].numpy(), got[1], got[0]))
        assert np.array_equal(got[:, order], np.stack([src, dst])[:, expected])
        np.testing.assert_allclose(batch.distance[mine].numpy()[order], distance[expected], atol=2e-5)
        offset += crystal.n_sites


def test_gradients_reach_the_positions(
    crystals: list[Crystal], make_batch: Callable[..., SiteBatch], numbers_of_type: torch.Tensor
) -> None:
    graph = host.batch_to_graph(make_batch(crystals[8:]), ELEMENTS)
    pos = (graph.ndata["pos"] if host.BACKEND == "DGL" else graph.pos).clone().requires_grad_()

    def distances(pos: torch.Tensor) -> torch.Tensor:
        if host.BACKEND == "DGL":
            graph.ndata["pos"] = pos
        else:
            graph.pos = pos
        return host.graph_to_batch(graph, numbers_of_type).distance

    distance = distances(pos)
    itself = distance == 0
    assert int(itself.sum()) == len(pos)
    (gradient,) = torch.autograd.grad(distance.square().sin().sum() + distance.sum(), pos)
    assert bool(torch.isfinite(gradient).all())
    step = torch.zeros_like(pos)
    step[1, 2] = 1e-6
    with torch.no_grad():
        energy = [(d.square().sin().sum() + d.sum()).item() for d in (distances(pos + step), distances(pos - step))]
    assert (energy[0] - energy[1]) / 2e-6 == pytest.approx(gradient[1, 2].item(), rel=1e-4, abs=1e-5)


def test_a_batch_is_handed_through(crystals: list[Crystal], make_batch: Callable[..., SiteBatch]) -> None:
    batch = make_batch(crystals)
    assert host.graph_to_batch(batch, torch.tensor([1])) is batch


def test_what_cannot_be_read(crystals: list[Crystal], numbers_of_type: torch.Tensor) -> None:
    graph, lattice, _ = host.SupercellConverter(ELEMENTS, max_atoms=4).get_graph(crystals[2].to_structure())
    with pytest.raises(InputError, match=r"host.with_positions"):
        host.graph_to_batch(graph, numbers_of_type)
    with pytest.raises(InputError, match="node type 16, but the model knows 3 elements"):
        host.graph_to_batch(host.with_positions(graph, lattice), numbers_of_type[:3])
    with pytest.raises(InputError, match="Received: str"):
        host.graph_to_batch("NaCl", numbers_of_type)


def test_atomic_numbers() -> None:
    assert host.atomic_numbers(("Lr", "H", "Cl")) == [103, 1, 17]
    with pytest.raises(InputError, match="Received: 'Xx', 'Na\\+'"):
        host.atomic_numbers(("H", "Xx", "Na+"))
