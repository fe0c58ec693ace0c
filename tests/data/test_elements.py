"""The element table: Magpie's numbers, its gaps, and how the gaps are filled."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.data import elements
from matgl_infomax.data.elements import (
    INFOMAX_SCALE,
    MORE_NAMES,
    PROPERTY_NAMES,
    element_stiffness,
    elemental_properties,
    imputed_elements,
    standardised_properties,
    valence_class,
)
from matgl_infomax.errors import InputError

MAGPIE = {
    "atomic_number": "Number",
    "atomic_weight": "AtomicWeight",
    "row": "Row",
    "column": "Column",
    "first_ionisation_energy": "FirstIonizationEnergy",
    "electronegativity": "Electronegativity",
    "atomic_radius": "AtomicRadius",
    "density": "Density",
}
RADIUS, ENERGY, DENSITY = (PROPERTY_NAMES.index(n) for n in ("atomic_radius", "first_ionisation_energy", "density"))


def test_table_equals_magpie_where_magpie_has_a_value() -> None:
    pytest.importorskip("matminer")
    from matminer.utils.data import MagpieData
    from pymatgen.core import Element

    magpie, table = MagpieData(impute_nan=False), elemental_properties()
    for z in range(1, 119):
        element = Element.from_Z(z)
        assert table.symbols[z] == element.symbol
        theirs = np.array([magpie.get_elemental_property(element, MAGPIE[name]) for name in PROPERTY_NAMES])
        known = ~np.isnan(theirs)
        np.testing.assert_array_equal(table.values[z, known], theirs[known], err_msg=element.symbol)
        if z <= 112:
            np.testing.assert_array_equal(table.imputed[z], ~known, err_msg=element.symbol)


MORE = {
    "mendeleev_number": "MendeleevNumber",
    "covalent_radius": "CovalentRadius",
    "melting_point": "MeltingT",
    **{f"{s}_{kind}": f"N{s}{kind.title()}" for kind in ("valence", "unfilled") for s in "spdf"},
    "ground_state_volume": "GSvolume_pa",
    "polarisability": "Polarizability",
}


def test_further_properties_are_magpies_too() -> None:
    pytest.importorskip("matminer")
    from matminer.utils.data import MagpieData
    from pymatgen.core import Element

    magpie, (symbols, ours) = MagpieData(impute_nan=False), elements._read_table("elements_more.csv", MORE_NAMES)
    for z in range(1, 119):
        theirs = [magpie.get_elemental_property(Element(symbols[z]), MORE[name]) for name in MORE_NAMES]
        np.testing.assert_allclose(ours[z], theirs, rtol=1e-5, err_msg=symbols[z])


def test_standardised_properties_have_one_scale_and_no_gap() -> None:
    table = standardised_properties()
    assert table.shape == (119, 21)
    assert np.isfinite(table).all()
    assert (table[0] == 0).all(), "number 0 is no element"
    _, more = elements._read_table("elements_more.csv", MORE_NAMES)
    known = ~np.isnan(np.concatenate([elemental_properties().values, more], axis=1))[1:104]
    for column, there in zip(table[1:104].T, known.T, strict=True):
        assert column[there].mean() == pytest.approx(0.0, abs=1e-9)
        assert column[there].std() == pytest.approx(1.0)
        assert (column[~there] == 0).all(), "a gap is the mean"


def test_no_gap_is_left_and_no_zero_stands_for_one() -> None:
    table = elemental_properties()
    assert table.values.shape == table.imputed.shape == (119, 8)
    assert np.isfinite(table.values).all()
    assert (table.values[1:] > 0).all()
    assert (table.values[0] == 0).all()
    assert not table.imputed[0].any()


def test_missing_radii_and_energies_are_those_of_the_specification() -> None:
    table = elemental_properties()
    without_radius = {table.symbols[z] for z in np.flatnonzero(table.imputed[:, RADIUS]) if z < 96}
    assert without_radius == {"He", "Ne", "Kr", "Xe", "At", "Rn", "Fr"}
    assert table.imputed[96:, RADIUS].all()
    assert {table.symbols[z] for z in np.flatnonzero(table.imputed[:, ENERGY]) if z < 100} == {"At"}


def test_gap_is_filled_from_the_same_column() -> None:
    table = elemental_properties()
    halogens = table.values[[9, 17, 35, 53], ENERGY]
    assert table.values[85, ENERGY] == pytest.approx(halogens.mean())
    # Argon is the only noble gas with a tabulated radius.
    assert table.values[54, RADIUS] == table.values[18, RADIUS] == 0.71


def test_gap_falls_back_to_the_row_and_then_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    symbols, raw = elements._read_table()
    halogens = raw[:, 3] == 17
    raw[halogens, DENSITY] = np.nan
    monkeypatch.setattr(elements, "_read_table", lambda: (symbols, raw))
    second_row = raw[[3, 4, 5, 6, 7, 8, 10], DENSITY]
    assert elemental_properties().values[9, DENSITY] == pytest.approx(second_row.mean())
    raw[raw[:, 2] == 2, DENSITY] = np.nan
    assert elemental_properties().values[9, DENSITY] == pytest.approx(np.nanmean(raw[1:, DENSITY]))


def test_infomax_factors_bring_all_properties_to_similar_size() -> None:
    scaled = elemental_properties().values[1:104] * np.array(INFOMAX_SCALE)
    assert ((scaled.mean(axis=0) > 1) & (scaled.mean(axis=0) < 20)).all()


def test_imputed_elements_names_each_gap_once() -> None:
    assert imputed_elements([54, 8, 54, 11]) == {"Xe": ["atomic_radius"]}
    assert imputed_elements(np.array([85, 2])) == {
        "He": ["electronegativity", "atomic_radius"],
        "At": ["first_ionisation_energy", "atomic_radius", "density"],
    }


@pytest.mark.parametrize("number", [0, 119, -1])
def test_number_of_no_element_is_refused(number: int) -> None:
    with pytest.raises(InputError, match=str(number)):
        imputed_elements([8, number])


def test_valence_electrons():
    found = valence_class()
    known = {1: 1, 2: 2, 6: 4, 10: 8, 11: 1, 18: 8, 26: 8, 29: 11, 30: 12, 31: 3, 36: 8, 48: 12, 54: 8, 57: 3, 58: 4}
    known |= {71: 17, 72: 4, 79: 11, 80: 12, 81: 3, 82: 4, 86: 8, 92: 6, 103: 17, 104: 4}
    assert {z: int(found[z]) + 1 for z in known} == known
    assert found[0] == -1 and set(found[1:]) == set(range(17))


def test_stiffness_of_elements_is_bulk_modulus_times_volume_and_missing_is_missing():
    """K and V from a handbook: Fe 170 GPa, 7.09 cm3/mol; the numbers are K V in eV."""
    found = element_stiffness()
    known = {4: 6.53, 13: 7.88, 22: 12.13, 26: 12.49, 28: 12.29, 29: 10.32, 41: 19.08, 74: 30.43, 75: 33.98, 82: 8.71}
    assert {z: round(float(found[z]), 2) for z in known} == known
    nothing = [1, 2, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 34, 35, 53, 54, 80, 85, 86, 100, 118]
    assert np.isnan(found[nothing]).all() and not (found == 0).any()
