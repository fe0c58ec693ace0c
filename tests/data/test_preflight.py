"""The look before computing counts right and warns of what will go wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from matgl_infomax.data.crystal import BadEntry, Crystal
from matgl_infomax.data.preflight import preflight
from matgl_infomax.data.read import Crystals
from matgl_infomax.data.supercell import supercell_pairs
from matgl_infomax.errors import InputError


def relabel(crystals: list[Crystal], values: list[float]) -> Crystals:
    return Crystals([dataclasses.replace(c, labels={"y": v}) for c, v in zip(crystals, values, strict=True)])


def test_numbers(crystals: list[Crystal]) -> None:
    held = Crystals(crystals, bad=[BadEntry("a.cif", "a", "empty file")])
    found = preflight(held, ["y"])
    values = np.array([c.labels["y"] for c in crystals])
    assert (found.n_crystals, found.n_bad, found.sites) == (12, 1, (1, 2.0, 5))
    assert next(iter(found.elements.items())) == ("O", 4)
    assert found.elements["Cl"] == 2
    label = found.labels[0]
    assert (label.count, label.mean, label.sd) == (12, pytest.approx(values.mean()), pytest.approx(values.std()))
    assert (label.minimum, label.maximum) == (values.min(), values.max())
    assert found.same_formula == 0
    text = found.to_text()
    for part in ("12 good, 1 bad", "1 to 5, median 2", "y: 12 known, mean -1.583", "50-atom supercells", "below 50"):
        assert part in text


@pytest.mark.parametrize("atoms", [10, 50])
def test_pairs_are_those_of_the_supercell(atoms: int, crystals: list[Crystal]) -> None:
    exact = np.mean([len(supercell_pairs(c.lattice, c.frac, atoms).src) for c in crystals])
    assert preflight(Crystals(crystals), [], supercell_atoms=atoms).pairs_per_crystal == exact


def test_same_formula_counts_cells_of_other_size(crystals: list[Crystal]) -> None:
    double = crystals[2].to_structure() * (2, 1, 1)
    held = Crystals([*crystals, Crystal.from_structure(double, id="double")])
    assert preflight(held, []).same_formula == 2


def test_warnings(crystals: list[Crystal]) -> None:
    many = [dataclasses.replace(crystals[0], id=str(k)) for k in range(600)]
    for values, text in (
        ([1.0] * 600, "same value everywhere"),
        ([0.0] * 599 + [1e6], "20 standard deviations"),
    ):
        assert text in preflight(relabel(many, values), ["y"]).to_text()
    assert preflight(relabel(many, np.linspace(0, 1, 600).tolist()), ["y"]).warnings == ()
    heavy = dataclasses.replace(crystals[0], id="Cf", numbers=np.array([98]))
    found = preflight(Crystals([*many, heavy], targets=["y"]), ["y"])
    assert any("Cf" in warning and "beyond plutonium" in warning for warning in found.warnings)
    assert any("one crystal only: Cf" in warning for warning in found.warnings)
    assert any("mean over similar elements: Cf: " in warning for warning in found.warnings)
    empty = preflight(Crystals([heavy], targets=["z"]), ["z"], supercell_atoms=1)
    assert "z has no label at all" in empty.to_text()
    assert "z: 0 known" in empty.to_text()
    large = preflight(Crystals([crystals[8]]), [], supercell_atoms=4)
    assert "largest cell has 5 sites" in large.to_text()


def test_bad_use(crystals: list[Crystal]) -> None:
    with pytest.raises(InputError, match="no crystals"):
        preflight(Crystals([]), [])
    with pytest.raises(InputError, match=r"Unknown target\. Received: gap\. Known: y"):
        preflight(Crystals(crystals), ["gap"])
