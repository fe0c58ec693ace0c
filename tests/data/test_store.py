"""A store is complete or absent, and never another one's."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax.data import store as module
from matgl_infomax.data.store import Store, build_store, content_key
from matgl_infomax.data.supercell import SupercellRule, supercell_pairs
from matgl_infomax.errors import InputError
from tests.build import many, store_of

RULE = SupercellRule(20)


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


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, id="renamed"),
        lambda c: replace(c, lattice=c.lattice * (1 + 1e-12)),
        lambda c: replace(c, numbers=c.numbers[::-1].copy()),
        lambda c: replace(c, frac=c.frac + 1e-12),
    ],
    ids=["id", "lattice", "numbers", "positions"],
)
def test_other_data_in_the_same_folder_gives_another_store(change, crystals, tmp_path):
    first = build(crystals, tmp_path)
    other = build([*crystals[:-1], change(crystals[-1])], tmp_path)
    assert first.key != other.key and first.path != other.path
    assert len(list(tmp_path.glob("store-*"))) == 2


def test_rule_and_code_version_are_part_of_the_key(crystals, monkeypatch):
    keys = {content_key(crystals, rule) for rule in (RULE, SupercellRule(30), SupercellRule(20, primitive=False))}
    monkeypatch.setattr(module, "CODE_VERSION", 0)
    assert len(keys | {content_key(crystals, RULE)}) == 4


def test_labels_are_no_part_of_a_store(crystals, tmp_path):
    unlabelled = [replace(c, labels={}) for c in crystals]
    assert build(crystals, tmp_path).key == build(unlabelled, tmp_path).key
    assert not any(b"-3.5" in file.read_bytes() for file in tmp_path.rglob("*.json"))


def test_second_build_opens_the_first(crystals, tmp_path, monkeypatch):
    build(crystals, tmp_path)
    monkeypatch.setattr(module, "_write", lambda *_: pytest.fail("built again"))
    assert len(build(crystals, tmp_path)) == len(crystals)


def test_workers_change_nothing(crystals, tmp_path):
    one, two = build(crystals, tmp_path / "one"), build(crystals, tmp_path / "two", workers=2)
    for file in one.path.iterdir():
        assert file.read_bytes() == (two.path / file.name).read_bytes(), file.name


def test_arrays_are_mapped_not_loaded_and_not_pickled(crystals, tmp_path):
    store = build(many(crystals, 200), tmp_path)
    assert all(isinstance(array, np.memmap) for array in store.arrays.values())
    assert len(pickle.dumps(store)) < 10_000
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.batch([5]).distance, store.batch([5]).distance)


def _build_in_process(crystals, folder, queue):
    queue.put(str(build_store(crystals, RULE, folder, progress=False).path))


def test_two_processes_build_at_once(crystals, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    items = many(crystals, 300)
    workers = [context.Process(target=_build_in_process, args=(items, tmp_path, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    paths = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(paths) == 1
    assert [p.name for p in tmp_path.iterdir()] == [f"store-{content_key(items, RULE)}"]


def test_loser_of_the_race_takes_the_winners_store(crystals, tmp_path, monkeypatch):
    original = module._publish

    def late(draft, final):
        monkeypatch.setattr(module, "_publish", original)
        build(crystals, tmp_path)  # somebody else was quicker
        original(draft, final)

    monkeypatch.setattr(module, "_publish", late)
    assert len(build(crystals, tmp_path)) == len(crystals)
    assert len(list(tmp_path.iterdir())) == 1


def test_killed_build_is_never_read(crystals, tmp_path):
    context = multiprocessing.get_context("spawn")
    items = many(crystals, 4_000)
    queue = context.Queue()
    worker = context.Process(target=_build_in_process, args=(items, tmp_path, queue))
    worker.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".draft-*/distance.raw")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert list(tmp_path.glob(".draft-*")) and not list(tmp_path.glob("store-*"))
    assert len(build(items[:10], tmp_path)) == 10


def test_drafts_of_builds_that_died_long_ago_are_swept_away(crystals, tmp_path):
    old, fresh = tmp_path / ".draft-dead", tmp_path / ".draft-alive"
    for draft in (old, fresh):
        draft.mkdir(parents=True)
    os.utime(old, (0, 0))
    build(crystals, tmp_path)
    assert not old.exists() and fresh.exists()


def test_full_disk_gets_a_sentence_and_leaves_nothing(crystals, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_give_header", full)
    with pytest.raises(InputError, match=r"No space left on device.*--cache"):
        build(crystals, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file_gets_a_sentence(crystals, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write the store"):
        build(crystals, tmp_path / "file")


@pytest.mark.parametrize("name", ["distance.npy", "store.json"])
def test_damaged_store_is_refused(name, crystals, tmp_path):
    store = build(crystals, tmp_path)
    file = store.path / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="rebuilt"):
        Store.open(store.path)


def test_record_names_rule_and_ids(crystals, tmp_path):
    store = store_of(crystals, tmp_path, max_atoms=30)
    meta = json.loads((store.path / "store.json").read_text())
    assert meta["rule"] == {"max_atoms": 30, "primitive": True} and meta["ids"] == [c.id for c in crystals]


def test_no_crystals_get_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no crystals"):
        build([], tmp_path)
