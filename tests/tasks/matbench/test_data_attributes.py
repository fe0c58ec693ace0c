"""Facts about crystals by which errors are split."""

from __future__ import annotations

import pytest

from matgl_infomax.tasks.matbench.data import attribute_table, crystal_system


def test_facts_of_known_crystals(crystals):
    table = attribute_table(crystals).set_index("id")
    assert table.loc["NaCl"].to_dict() == {
        "formula": "NaCl", "elements": 2, "sites": 2, "crystal_system": "cubic", "space_group": 225}  # fmt: skip
    assert table.loc["SrTiO3", ["formula", "elements", "space_group"]].tolist() == ["SrTiO3", 3, 221]
    assert table.loc["GaN", ["formula", "crystal_system", "space_group"]].tolist() == ["GaN", "hexagonal", 186]
    assert table.loc["KXeO", "crystal_system"] == "triclinic"


@pytest.mark.parametrize(
    ("group", "system"),
    [(0, "unknown"), (1, "triclinic"), (2, "triclinic"), (3, "monoclinic"), (16, "orthorhombic"), (75, "tetragonal"),
     (143, "trigonal"), (168, "hexagonal"), (195, "cubic"), (230, "cubic")],
)  # fmt: skip
def test_systems_begin_where_they_should(group, system):
    assert crystal_system(group) == system
