"""A build is finished or goes on, and gives a complete store or none, never another one's."""

from __future__ import annotations

import errno
import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pytest

from matgl_infomax.data import build as module
from matgl_infomax.data.build import content_key
from matgl_infomax.data.store import build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError
from tests.helpers.build import many

RULE = SupercellRule(20)
FAR = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])


@pytest.fixture
def small_shards(monkeypatch):
    """Sixteen crystals per shard in this process."""
    monkeypatch.setattr(module, "CRYSTALS_PER_SHARD", 16)


def build(crystals, folder, rule=RULE, **more):
    return build_store(crystals, rule, folder, progress=False, **more)


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
    monkeypatch.setattr(module, "_write_shards", lambda *_: pytest.fail("built again"))
    assert len(build(crystals, tmp_path)) == len(crystals)


def same_files(one, two):
    return {f.name: f.read_bytes() for f in one.iterdir()} == {f.name: f.read_bytes() for f in two.iterdir()}


def test_workers_change_nothing(crystals, tmp_path, small_shards):
    items = many(crystals, 70)
    one, two = build(items, tmp_path / "one", workers=1), build(items, tmp_path / "two", workers=2)
    assert len(list(one.path.glob("shard-*"))) == 5 and same_files(one.path, two.path)
    assert list(tmp_path.glob("*/.*")) == []


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


def test_interrupted_build_goes_on_from_its_shards(crystals, tmp_path, small_shards, monkeypatch):
    items, original, written = many(crystals, 70), module.write_shard, []

    def stopped(part, rule, key, path, tick):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.name)
        original(part, rule, key, path, tick)

    monkeypatch.setattr(module, "write_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        build(items, tmp_path, workers=1)
    assert not list(tmp_path.glob("store-*")) and len(list(tmp_path.glob(".draft-*/shard-*"))) == 3
    cut = next(tmp_path.glob(".draft-*/shard-000001.bin"))
    cut.write_bytes(cut.read_bytes()[:-8])  # a power cut may do that
    monkeypatch.setattr(module, "write_shard", lambda *more: (written.append(more[3].name), original(*more)))
    store = build(items, tmp_path, workers=1)
    assert sorted(written[3:]) == ["shard-000001.bin", "shard-000003.bin", "shard-000004.bin"]
    assert same_files(store.path, build(items, tmp_path / "fresh", workers=1).path)


def test_crystals_that_change_while_they_are_read_get_a_sentence(crystals, tmp_path):
    class Restless(list):
        def __getitem__(self, row):
            crystal = super().__getitem__(row)
            return replace(crystal, frac=crystal.frac + np.random.default_rng().random())

    with pytest.raises(InputError, match="crystals changed"):
        build(Restless(crystals), tmp_path)


def test_drafts_of_builds_that_died_long_ago_are_swept_away(crystals, tmp_path):
    old, fresh = tmp_path / ".draft-dead", tmp_path / ".draft-alive"
    for draft in (old, fresh):
        draft.mkdir(parents=True)
    parts = [tmp_path / ".part-dead", tmp_path / ".part-alive"]
    for part in parts:
        part.write_text("half")
    for left in (old, parts[0]):
        os.utime(left, (0, 0))
    build(crystals, tmp_path)
    assert [left.exists() for left in (old, fresh, *parts)] == [False, True, False, True]


def test_full_disk_gets_a_sentence_and_keeps_what_is_finished(crystals, tmp_path, small_shards, monkeypatch):
    original, space = os.fsync, [0]

    def full(number):
        space[0] -= 1
        if space[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(number)

    monkeypatch.setattr(module.os, "fsync", full)
    items = many(crystals, 40)
    with pytest.raises(InputError, match=r"No space left on device.*--cache\.$"):
        build(items, tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []
    space[0] = 2
    with pytest.raises(InputError, match=r"No space left on device.*--cache.*after the 2 shards"):
        build(items, tmp_path, workers=1)
    assert not list(tmp_path.glob(".part-*")) and len(list(tmp_path.glob(".draft-*/*"))) == 2
    space[0] = 3  # the third shard, the index and the record
    assert len(build(items, tmp_path, workers=1)) == 40
    assert [p.name for p in tmp_path.iterdir()] == [f"store-{content_key(items, RULE)}"]


def test_folder_that_is_a_file_gets_a_sentence(crystals, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write the store"):
        build(crystals, tmp_path / "file")


def test_no_crystals_get_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no crystals"):
        build([], tmp_path)
