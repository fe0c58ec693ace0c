"""A store for the usual graphs holds crystals alone; their pairs are found with each batch, as one by one."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax.data import build as module
from matgl_infomax.data.build import content_key
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.loader import StoreBatches
from matgl_infomax.data.radius import RadiusRule, batch_pairs, radius_pairs
from matgl_infomax.data.share import part
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError
from tests.helpers.build import many, store_of

RULE = RadiusRule(5.0)
LONELY = Crystal("lonely", np.array([2]), 20.0 * np.eye(3), np.zeros((1, 3)))


def build(crystals, folder, rule=RULE):
    return build_store(crystals, rule, folder, progress=False)


def test_batch_holds_the_radius_pairs_of_each_crystal(crystals, tmp_path):
    items = [*crystals, LONELY]
    store, rows = build(items, tmp_path), [8, 12, 0, 8, 11, 3]
    batch = store.batch(rows, geometry=True)
    assert torch.equal(batch.src, batch.src.sort().values) and batch.n_crystals == 6
    for k, row in enumerate(rows):
        alone, crystal = part(batch, k, k + 1), items[row]
        pairs = radius_pairs(crystal.lattice, crystal.frac, 5.0)
        assert alone.number.tolist() == crystal.numbers.tolist()
        for name in ("src", "dst", "offset"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(pairs, name), err_msg=name)
        np.testing.assert_allclose(alone.distance, pairs.distance, rtol=1e-6)
        np.testing.assert_allclose(alone.lattice[0], crystal.lattice, rtol=1e-6)
        vector = (alone.frac[alone.dst] + alone.offset - alone.frac[alone.src]) @ alone.lattice[0]
        np.testing.assert_allclose(vector.norm(dim=1), alone.distance, atol=1e-5)
    assert int((batch.owner == 1).sum()) == 1 and not bool((batch.owner[batch.src] == 1).any()), "lonely"


def test_only_crystals_lie_on_disk(crystals, tmp_path):
    store, rich = build(crystals, tmp_path), store_of(crystals, tmp_path)
    lengths = module.record_bytes(store.records.index)
    assert {name for name in module.SECTIONS if lengths[name].any()} == {"ids", "sites"}
    assert (store.path / "shard-000000.bin").stat().st_size < 0.3 * (rich.path / "shard-000000.bin").stat().st_size
    for row, crystal in enumerate(crystals):
        np.testing.assert_array_equal(store.crystal(row).frac, crystal.frac)
        np.testing.assert_array_equal(store.crystal(row).lattice, crystal.lattice)
    assert list(store.ids) == [c.id for c in crystals] and store.n_sites.tolist() == [c.n_sites for c in crystals]


def test_rows_of_all_shards_are_found(crystals, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CRYSTALS_PER_SHARD", 16)
    items = many(crystals, 40)
    store = build(items, tmp_path)
    rows = [39, 0, 15, 16, 17]
    expected = np.concatenate([items[row].numbers for row in rows])
    assert store.batch(rows).number.tolist() == expected.tolist()


def test_rules_never_share_a_store(crystals, tmp_path):
    rules = (RULE, RadiusRule(4.0), RadiusRule(5.0, primitive=True), SupercellRule(5), SupercellRule(50))
    assert len({content_key(crystals, rule) for rule in rules}) == len(rules)
    assert content_key(crystals, RadiusRule(5)) == content_key(crystals, RULE)
    for rule in rules:
        assert Store.open(build(crystals, tmp_path, rule).path).rule == rule


def test_store_names_the_class_of_its_rule(crystals, tmp_path):
    for rule in (RULE, SupercellRule(20)):
        store = build(crystals, tmp_path, rule)
        assert json.loads((store.path / "store.json").read_text())["rule_class"] == type(rule).__name__


def test_store_of_an_unknown_rule_is_refused(crystals, tmp_path):
    store = build(crystals, tmp_path)
    file = store.path / "store.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "rule_class": "VoronoiRule"}))
    with pytest.raises(InputError, match=r"VoronoiRule.*known are SupercellRule, RadiusRule"):
        Store.open(store.path)


def test_store_from_before_rules_had_names_is_a_supercell_store(crystals, tmp_path):
    store = store_of(crystals, tmp_path, standard=False)
    file = store.path / "store.json"
    meta = json.loads(file.read_text())
    del meta["rule_class"], meta["rule"]["standard"]
    file.write_text(json.dumps(meta))
    assert Store.open(store.path).rule == SupercellRule(20)


def test_primitive_cell_is_what_is_stored(crystals, tmp_path):
    cubic = [replace(Crystal.from_structure(crystals[2].to_structure().to_conventional(), id="cubic"))]
    assert build(cubic, tmp_path, RadiusRule(5.0, primitive=True)).n_sites.tolist() == [2]
    assert build(cubic, tmp_path).n_sites.tolist() == [8]


def test_elements_of_some_and_of_all_crystals(crystals, tmp_path):
    store = build(crystals, tmp_path)
    assert store.elements() == sorted({int(z) for c in crystals for z in c.numbers})
    assert store.elements([8, 0]) == [8, 22, 29, 38] and store.elements([]) == []


@pytest.mark.parametrize("view", ["merged", "both"])
def test_views_that_need_stored_pairs_get_a_sentence(view, crystals, tmp_path):
    store = build(crystals, tmp_path)
    with pytest.raises(InputError, match=f"radius rule is full.*{view}"):
        store.batch([0], view=view)
    with pytest.raises(InputError, match="found for each batch"):
        _ = store.n_pairs


def test_loader_gives_the_geometry_without_being_asked(crystals, tmp_path):
    batch = StoreBatches(build(crystals, tmp_path), np.array([4, 6, 8]))[[2, 0]]
    assert batch.number.tolist() == [38, 22, 8, 8, 8, 3, 9]
    assert batch.frac.shape == (7, 3) and batch.lattice.shape == (2, 3, 3) and batch.offset.shape == (batch.n_pairs, 3)


def test_crystal_without_volume_is_refused_when_it_is_stored(crystals, tmp_path):
    flat = replace(crystals[0], lattice=np.diag([3.0, 3.0, 0.0]))
    with pytest.raises(InputError, match="volume"):
        build([*crystals, flat], tmp_path)
    with pytest.raises(InputError, match="number 1 of a batch"):
        batch_pairs(np.stack([np.eye(3), np.zeros((3, 3))]), np.zeros((2, 3)), np.array([1, 1]), 1.5)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan"), float("inf")])
def test_rule_without_a_cutoff_is_refused(cutoff):
    with pytest.raises(InputError, match="cut-off must be a positive number"):
        RadiusRule(cutoff)


def test_no_crystals_make_an_empty_batch(crystals, tmp_path):
    batch = build(crystals, tmp_path).batch([])
    assert (batch.n_crystals, batch.n_sites, batch.n_pairs) == (0, 0, 0)


def test_batch_of_75_crystals_is_quick(shared, tmp_path):
    from matgl_infomax.data.read import read_crystals

    items = list(read_crystals(str(shared / "data/mp_matched/log_kvrh.parquet")))[:600:8]
    store = build(items, tmp_path)
    rows = np.arange(len(items))
    assert store.batch(rows).n_pairs > 10_000
    spent = []
    for _ in range(9):
        start = time.process_time()
        store.batch(rows)
        spent.append(time.process_time() - start)
    assert len(items) == 75 and min(spent) < 0.015
