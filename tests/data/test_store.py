"""A store gives back what was put into it, or says what is wrong with it."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from matgl_infomax.data import build as module
from matgl_infomax.data.build import CODE_VERSION, Records, shard_key
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule, supercell_pairs
from matgl_infomax.data.symmetry import merge_equal, same_where_equal
from matgl_infomax.errors import InputError
from tests.helpers.build import many, store_of

RULE = SupercellRule(20)
FAR = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])


@pytest.fixture
def small_shards(monkeypatch):
    """Sixteen crystals per shard in this process."""
    monkeypatch.setattr(module, "CRYSTALS_PER_SHARD", 16)


def build(crystals, folder, rule=RULE, **more):
    return build_store(crystals, rule, folder, progress=False, **more)


def test_holds_what_the_edge_rule_gives(crystals, tmp_path):
    store = build(crystals, tmp_path)
    for row, crystal in enumerate(crystals):
        pairs = supercell_pairs(crystal.lattice, crystal.frac, 20)
        batch = store.batch([row], geometry=True)
        assert batch.number.tolist() == crystal.numbers.tolist()
        np.testing.assert_array_equal(batch.src, pairs.src)
        np.testing.assert_array_equal(batch.dst, pairs.dst)
        np.testing.assert_allclose(batch.distance, pairs.distance, rtol=1e-6)
        vector = (batch.frac[batch.dst] + batch.offset - batch.frac[batch.src]) @ batch.lattice[0]
        np.testing.assert_allclose(vector.norm(dim=1), batch.distance, atol=1e-4)
        assert store.crystal(row).id == crystal.id
        np.testing.assert_array_equal(store.crystal(row).frac, crystal.frac)


def test_batch_puts_crystals_side_by_side_in_any_order(crystals, tmp_path):
    store = build(crystals, tmp_path)
    rows = [8, 0, 8, 3]
    batch = store.batch(rows)
    assert batch.size.tolist() == store.n_sites[rows].tolist()
    site = pair = 0
    for k, row in enumerate(rows):
        alone = store.batch([row])
        sites, pairs = slice(site, site + alone.n_sites), slice(pair, pair + alone.n_pairs)
        assert torch.equal(batch.number[sites], alone.number) and set(batch.owner[sites].tolist()) == {k}
        assert torch.equal(batch.src[pairs] - site, alone.src) and torch.equal(batch.dst[pairs] - site, alone.dst)
        assert torch.equal(batch.distance[pairs], alone.distance)
        site, pair = sites.stop, pairs.stop


def test_primitive_cell_is_what_is_stored(crystals, tmp_path):
    cubic = crystals[2].to_structure().to_conventional()
    doubled = [replace(crystals[2].from_structure(cubic, id="cubic"))]
    assert build(doubled, tmp_path).n_sites.tolist() == [2]
    assert build(doubled, tmp_path, SupercellRule(20, primitive=False)).n_sites.tolist() == [8]


def test_rows_of_all_shards_are_found(crystals, tmp_path, small_shards):
    items = many(crystals, 40)
    store, rows = build(items, tmp_path), np.array([39, 0, 15, 16, 17, 18, 31, 32, 16])
    whole = build_store(items, SupercellRule(20), tmp_path / "whole", progress=False)
    for view in ("full", "merged"):
        batch, parts = store.batch(rows, view=view), [whole.batch([row], view=view) for row in rows]
        for name in ("number", "distance", *(("weight", "copies") if view == "merged" else ())):
            assert torch.equal(getattr(batch, name), torch.cat([getattr(part, name) for part in parts])), name
        start = np.cumsum([0, *(part.n_sites for part in parts)])
        for name in ("src", "dst"):
            expected = torch.cat([getattr(part, name) + int(n) for part, n in zip(parts, start, strict=False)])
            assert torch.equal(getattr(batch, name), expected), name
    assert list(store.ids) == [c.id for c in items] and store.ids[17] == items[17].id and store.ids[-1] == items[39].id
    assert store.ids[14:18] == [c.id for c in items[14:18]]
    with pytest.raises(IndexError):
        store.ids[40]


def test_merged_view_holds_the_classes_of_equal_sites(crystals, tmp_path):
    store = build(crystals, tmp_path)
    for row, crystal in enumerate(crystals):
        pairs = supercell_pairs(crystal.lattice, crystal.frac, 20)
        pairs = replace(pairs, distance=same_where_equal(pairs.distance))
        merged = merge_equal(crystal.numbers, pairs, RULE.merge_angstrom)
        batch, both = store.batch([row], view="merged"), store.batch([row], view="both")
        first = [merged.kind.tolist().index(k) for k in range(len(merged.degree))]
        assert batch.number.tolist() == crystal.numbers[first].tolist()
        assert batch.weight.tolist() == np.bincount(merged.kind).tolist()
        assert batch.degree.tolist() == merged.degree.tolist()
        for name in ("dst", "distance", "copies"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(merged, name))
        assert both.kind.tolist() == merged.kind.tolist()
        assert torch.equal(both.dst, store.batch([row]).dst) and torch.equal(both.merged.distance, batch.distance)
    batch = store.batch([8, 0, 8], view="both")
    assert torch.equal(batch.merged.number[batch.kind], batch.number)
    assert torch.equal(batch.merged.owner[batch.kind], batch.owner)
    assert torch.equal(torch.bincount(batch.kind).float(), batch.merged.weight)


def test_merged_view_never_touches_the_full_pairs(crystals, tmp_path, monkeypatch):
    store, read = build(crystals, tmp_path), []
    original = Records.read
    monkeypatch.setattr(Records, "read", lambda self, name, rows: read.append(name) or original(self, name, rows))
    store.batch([1, 2], view="merged")
    assert read == ["merged"]


@pytest.mark.parametrize("wrong", [{"view": "half"}, {"view": "merged", "geometry": True}])
def test_view_that_does_not_exist_gets_a_sentence(wrong, crystals, tmp_path):
    with pytest.raises(InputError, match="full, merged"):
        build(crystals[:2], tmp_path).batch([0], **wrong)


def test_far_images_and_long_names_are_exact(tmp_path):
    skewed = Crystal("ü" * 300, np.array([29, 47]), np.array([[3.0, 0, 0], [1200.0, 3.0, 0], [0, 0, 3.0]]), FAR)
    store = build([skewed], tmp_path, SupercellRule(20, primitive=False))
    pairs = supercell_pairs(skewed.lattice, skewed.frac, 20)
    assert np.abs(pairs.offset).max() > 127
    np.testing.assert_array_equal(store.batch([0], geometry=True).offset, pairs.offset)
    assert store.ids[0] == skewed.id


def test_files_are_read_not_mapped_and_not_pickled(crystals, tmp_path, small_shards):
    store = build(many(crystals, 200), tmp_path)
    assert len(pickle.dumps(store)) < 2_000
    store.batch(np.arange(200))
    with open("/proc/self/maps") as maps:
        assert str(store.path) not in maps.read()
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.batch([5]).distance, store.batch([5]).distance)


def test_many_shards_need_few_open_files(crystals, tmp_path, small_shards):
    store = build(many(crystals, 1_100), tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    store.batch(np.arange(1_100))
    assert len(os.listdir("/proc/self/fd")) <= before + 64
    del store
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("name", ["shard-000000.bin", "index.bin", "store.json"])
def test_damaged_store_is_refused(name, crystals, tmp_path):
    store = build(crystals, tmp_path)
    file = store.path / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="rebuilt"):
        Store.open(store.path)


def test_bit_that_flipped_in_the_index_is_noticed(crystals, tmp_path):
    file = build(crystals, tmp_path).path / "index.bin"
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(InputError, match="rebuilt"):
        build(crystals, tmp_path)


def test_shard_that_shrinks_after_opening_is_noticed(crystals, tmp_path):
    store = build(crystals, tmp_path)
    os.truncate(store.path / "shard-000000.bin", 3_000)
    with pytest.raises(InputError, match="ends too early"):
        store.batch([11])


def test_record_names_the_rule(crystals, tmp_path):
    store = store_of(crystals, tmp_path, max_atoms=30)
    meta = json.loads((store.path / "store.json").read_text())
    assert meta["rule"] == {"max_atoms": 30, "primitive": True, "merge_angstrom": 1e-4, "standard": True}
    assert meta["crystals"] == 12 and store.rule == SupercellRule(30, standard=True)


def test_a_network_for_reduced_vectors_refuses_pairs_on_the_given_ones(crystals, tmp_path):
    """The number of sites fits in both, so nothing else would see it."""
    store = store_of(crystals, tmp_path, standard=False)
    store.check_rule(SupercellRule(50))  # another size is fine
    with pytest.raises(InputError, match=r"standard=True.*Received: a store of .*standard=False.*Build another"):
        store.check_rule(SupercellRule(20, standard=True))


def test_a_store_from_before_there_were_reduced_vectors_is_found_again(crystals, tmp_path):
    """The key of a rule without them is the hash of the three fields that rules had then."""
    rule = SupercellRule(20)
    assert {field.name for field in fields(rule)} == {"max_atoms", "primitive", "merge_angstrom", "standard"}
    old = {"code": CODE_VERSION, "rule": {"max_atoms": 20, "primitive": True, "merge_angstrom": 1e-4}}
    digest = hashlib.sha256(json.dumps(old, sort_keys=True).encode())
    crystal = crystals[0]
    digest.update(f"{crystal.id}\0{crystal.n_sites}\0".encode())
    for array, kind in ((crystal.lattice, "<f8"), (crystal.numbers, "<i8"), (crystal.frac, "<f8")):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    assert shard_key([crystal], rule) == digest.hexdigest()[:32]
    assert shard_key([crystal], replace(rule, standard=True)) != digest.hexdigest()[:32]
