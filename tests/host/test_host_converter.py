"""The supercell converter gives what MatGL's own converters give, over the edges of Site-Net."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.converters import GraphConverter
from pymatgen.core import Lattice, Molecule, Structure

from matgl_infomax import host
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import supercell_matrix
from matgl_infomax.errors import InputError
from matgl_infomax.nn.presets import ELEMENTS


@pytest.fixture
def converter() -> host.SupercellConverter:
    return host.SupercellConverter(ELEMENTS, max_atoms=30)


def fields(graph: Any) -> dict[str, tuple[torch.dtype, int]]:
    """Name, precision and dimensions of all fields of either kind of graph."""
    found = {**graph.ndata, **graph.edata} if host.BACKEND == "DGL" else graph.to_dict()
    return {k: (v.dtype, v.dim()) for k, v in found.items() if isinstance(v, torch.Tensor)}


def test_returns_what_matgl_returns(converter: host.SupercellConverter, crystals: list[Crystal]) -> None:
    assert isinstance(converter, GraphConverter)
    structure = crystals[8].to_structure()
    ours, theirs = converter.get_graph(structure), Structure2Graph(ELEMENTS).get_graph(structure)
    assert type(ours[0]) is type(theirs[0])
    assert fields(ours[0]) == fields(theirs[0])
    assert ours[1].shape == (1, 3, 3)
    assert torch.equal(ours[1], theirs[1])
    assert ours[1].dtype == theirs[1].dtype
    assert np.array_equal(ours[2], theirs[2])
    assert type(ours[2]) is type(theirs[2])


@pytest.mark.parametrize("row", range(12))
def test_distances_are_those_of_pymatgens_supercell(
    converter: host.SupercellConverter, crystals: list[Crystal], row: int, numbers_of_type: torch.Tensor
) -> None:
    crystal = crystals[row]
    graph, lattice, _ = converter.get_graph(crystal.to_structure())
    batch = host.graph_to_batch(host.with_positions(graph, lattice), numbers_of_type)
    matrix = supercell_matrix(crystal.lattice, crystal.n_sites, 30)
    supercell = crystal.to_structure().make_supercell(matrix, in_place=False)
    images = len(supercell) // crystal.n_sites
    expected = supercell.distance_matrix[::images]  # (N, N * m), the images of a site are contiguous
    assert batch.n_pairs == expected.size
    got = batch.distance.reshape(crystal.n_sites, crystal.n_sites, images).sort(dim=2).values
    wanted = np.sort(expected.reshape(crystal.n_sites, crystal.n_sites, images), axis=2)
    np.testing.assert_allclose(got.numpy(), wanted, atol=2e-5)
    assert torch.equal(batch.number, torch.from_numpy(crystal.numbers))


def test_primitive_or_not() -> None:
    conventional = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert len(conventional) == 8
    reduced = host.SupercellConverter(ELEMENTS).reduced(conventional)
    assert len(reduced) == 2
    as_it_is = host.SupercellConverter(ELEMENTS, primitive=False)
    assert as_it_is.reduced(conventional) == conventional
    counts = [
        fields_length(host.SupercellConverter(ELEMENTS, primitive=p).get_graph(conventional)[0]) for p in (True, False)
    ]
    assert counts == [2, 8]


def fields_length(graph: Any) -> int:
    """Number of nodes of either kind of graph."""
    return int(graph.num_nodes()) if host.BACKEND == "DGL" else int(graph.num_nodes)


def test_oxidation_states_do_not_matter(converter: host.SupercellConverter, crystals: list[Crystal]) -> None:
    plain = crystals[2].to_structure()
    decorated = plain.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    ours, theirs = converter.get_graph(plain)[0], converter.get_graph(decorated)[0]
    kinds = [g.ndata["node_type"] if host.BACKEND == "DGL" else g.node_type for g in (ours, theirs)]
    assert torch.equal(*kinds)


def test_refused_with_a_sentence(converter: host.SupercellConverter) -> None:
    cubic = Lattice.cubic(4.0)
    disordered = Structure(cubic, [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(InputError, match=r"disordered crystal: K0.5 Na0.5 Cl1"):
        converter.get_graph(disordered)
    with pytest.raises(InputError, match="disordered"):
        converter.get_graph(Structure(cubic, [{"Na": 0.5}], [[0, 0, 0]]))
    with pytest.raises(InputError, match="Unknown element Cl in Na1 Cl1"):
        host.SupercellConverter(("H", "Na")).get_graph(Structure(cubic, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    with pytest.raises(InputError, match="Unknown element X"):
        converter.get_graph(Structure(cubic, ["X"], [[0, 0, 0]]))
    with pytest.raises(InputError, match="not Molecule"):
        converter.get_graph(Molecule(["O", "O"], [[0, 0, 0], [0, 0, 1.2]]))
    with pytest.raises(InputError, match="with atoms"):
        converter.get_graph(Structure(cubic, [], []))
    with pytest.raises(InputError, match="no numbers"):
        converter.get_graph(Structure(cubic, ["Na"], [[0, np.nan, 0]]))
    with pytest.raises(InputError, match="zero volume"):
        converter.get_graph(Structure(Lattice([[1, 0, 0], [2, 0, 0], [0, 0, 1]]), ["Na"], [[0, 0, 0]]))


def test_survives_a_trip_to_a_worker_process(converter: host.SupercellConverter, crystals: list[Crystal]) -> None:
    other = pickle.loads(pickle.dumps(converter))
    first, second = (c.get_graph(crystals[0].to_structure())[0] for c in (converter, other))
    assert fields(first) == fields(second)
