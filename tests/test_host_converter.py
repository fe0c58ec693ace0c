"""The converters give what MatGL's own converters give, over the edges of Site-Net or those within a cut-off."""

from __future__ import annotations

from matgl_infomax import host  # chooses the backend before MatGL is imported

# isort: split
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.converters import GraphConverter
from pymatgen.core import Lattice, Molecule, Structure

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import supercell_matrix
from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import ELEMENTS
from tests.data.test_supercell import shared_crystals


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
    theirs = Structure2Graph(ELEMENTS).get_graph(structure)
    for ours in (converter.get_graph(structure), host.RadiusConverter(ELEMENTS).get_graph(structure)):
        assert type(ours[0]) is type(theirs[0])
        assert fields(ours[0]) == fields(theirs[0])
        assert ours[1].shape == (1, 3, 3)
        assert torch.equal(ours[1], theirs[1])
        assert ours[1].dtype == theirs[1].dtype
        assert np.array_equal(ours[2], theirs[2])
        assert (type(ours[2]), ours[2].dtype) == (type(theirs[2]), theirs[2].dtype)


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


ODD_CELLS = {
    "one atom": (Lattice(1.9 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])), ["Cu"], [[0.3, 0.3, 0.3]]),
    "needle": (Lattice.orthorhombic(2.1, 2.3, 40.0), ["C", "H"], [[0.1, 0.2, 0.0], [0.5, 0.1, 0.99]]),
    "oblique": (Lattice([[3.0, 0, 0], [14.9, 3.0, 0], [-7.0, 11.0, 25.0]]), ["K", "Cl"], [[0, 0, 0], [0.3, 0.9, 0.5]]),
    "sites outside": (Lattice.cubic(4.2), ["Mg", "O"], [[3.25, -2.5, 0.0], [-1.25, 0.01, 7.5]]),
    "at the cut-off": (Lattice.cubic(5.0), ["Po"], [[0.1, 0.2, 0.3]]),
    "lonely": (Lattice.cubic(30.0), ["He"], [[0.5, 0.5, 0.5]]),
}


def edge_table(graph: Any, lattice: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Edges as (src, dst, offset), (E, 5), in a fixed order, and their lengths, (E,), angstrom."""
    src, dst = graph.edges() if host.BACKEND == "DGL" else graph.edge_index
    nodes, edges = (graph.ndata, graph.edata) if host.BACKEND == "DGL" else (graph, graph)
    keys = torch.column_stack([src, dst, edges["pbc_offset"].int()]).numpy()
    frac = nodes["frac_coords"].double()
    vector = (frac[dst.long()] + edges["pbc_offset"] - frac[src.long()]) @ lattice[0].double()
    order = np.lexsort(keys.T[::-1])
    return keys[order], vector.norm(dim=1).numpy()[order]


def assert_same_graph(structure: Structure, cutoff: float) -> None:
    """Same nodes, edges, lengths, lattice and state as MatGL's converter gives."""
    ours, theirs = (k(ELEMENTS, cutoff).get_graph(structure) for k in (host.RadiusConverter, Structure2Graph))
    (edges, lengths), (their_edges, their_lengths) = (
        edge_table(graph, lattice) for graph, lattice, _ in (ours, theirs)
    )
    np.testing.assert_array_equal(edges, their_edges)
    np.testing.assert_allclose(lengths, their_lengths, atol=1e-6)
    nodes = [graph.ndata if host.BACKEND == "DGL" else graph for graph, _, _ in (ours, theirs)]
    for name in ("node_type", "frac_coords"):
        assert torch.equal(nodes[0][name], nodes[1][name]), name
    assert fields(ours[0]) == fields(theirs[0])
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("cutoff", [2.5, 5.0, 9.3])
def test_radius_graphs_of_fixture_crystals_are_matgls(crystals: list[Crystal], cutoff: float) -> None:
    for crystal in crystals:
        assert_same_graph(crystal.to_structure(), cutoff)


@pytest.mark.parametrize("name", ODD_CELLS)
@pytest.mark.parametrize("cutoff", [5.0, 12.0])
def test_radius_graphs_of_odd_cells_are_matgls(name: str, cutoff: float) -> None:
    assert_same_graph(Structure(*ODD_CELLS[name]), cutoff)


def test_radius_graphs_of_real_crystals_are_matgls(shared: Path) -> None:
    for crystal in shared_crystals(shared, 100):
        assert_same_graph(crystal.to_structure(), 5.0)


@pytest.mark.filterwarnings("ignore:For a single graph")  # MatGL's own MEGNet on DGL says this of itself
@pytest.mark.parametrize("name", ["MEGNet", "M3GNet"])
def test_models_of_matgl_take_the_radius_graphs(name: str, crystals: list[Crystal]) -> None:
    import matgl.models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(matgl.models, name)(element_types=ELEMENTS, cutoff=5.0, is_intensive=True).eval()
    converter = host.RadiusConverter(ELEMENTS, cutoff=5.0)
    for crystal in (crystals[2], crystals[8], crystals[11]):
        ours = model.predict_structure(crystal.to_structure(), graph_converter=converter)
        torch.testing.assert_close(ours, model.predict_structure(crystal.to_structure()), rtol=1e-4, atol=1e-5)


def test_radius_converter_refuses_what_it_cannot_convert() -> None:
    with pytest.raises(InputError, match="not Molecule"):
        host.RadiusConverter(ELEMENTS).get_graph(Molecule(["O", "O"], [[0, 0, 0], [0, 0, 1.2]]))
    with pytest.raises(InputError, match="Unknown element Po"):
        host.RadiusConverter(("H", "Na")).get_graph(Structure(*ODD_CELLS["at the cut-off"]))
    with pytest.raises(InputError, match="cut-off must be"):
        host.RadiusConverter(ELEMENTS, cutoff=0.0).get_graph(Structure(*ODD_CELLS["needle"]))
