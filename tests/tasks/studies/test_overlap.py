"""What two lists of crystals share; the same answer from any number of processes, and from the cache."""

from __future__ import annotations

import io

import numpy as np
import pytest

from matgl_infomax.data.same_structure import compare_block
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies import overlap
from matgl_infomax.tasks.studies import overlap as overlap_jobs
from matgl_infomax.tasks.studies.overlap import LEVELS, find_overlap
from tests.helpers.polymorphs import named, other_basis, other_origin, perovskite, rotated, zinc_sulfide


@pytest.fixture
def ours(crystals):
    return [*crystals, zinc_sulfide("wurtzite"), zinc_sulfide("zincblende")]


@pytest.fixture
def corpus():
    """In other words: wurtzite twice, SrTiO3, and its twin with Sr and Ti exchanged."""
    wurtzite = zinc_sulfide("wurtzite")
    return [
        named(other_basis(wurtzite, [[1, 0, 0], [0, 2, 0], [0, 1, 1]]), "wurtzite-large"),
        named(rotated(wurtzite, 1.0), "wurtzite-turned"),
        named(other_origin(perovskite(38, 22), [0.2, 0.3, 0.4]), "SrTiO3-moved"),
        perovskite(22, 38, "TiSrO3"),
        perovskite(22, 56, "TiBaO3"),
        perovskite(20, 40, "CaZrO3"),
    ]


EXPECTED = {"ZnS": "formula", "wurtzite": "match", "zincblende": "formula", "SrTiO3": "match", "BaTiO3": "twin"}


def names(levels):
    return [LEVELS[int(level)] for level in levels]


def same(one, other) -> bool:
    arrays = all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("level", "corpus_level"))
    return arrays and one.pairs.equals(other.pairs) and one.no_space_group == other.no_space_group


def test_each_crystal_gets_the_level_of_its_closest(ours, corpus):
    found = find_overlap(ours, corpus, progress=False)
    assert names(found.level) == [EXPECTED.get(crystal.id, "novel") for crystal in ours]
    assert names(found.corpus_level) == ["match", "match", "match", "twin", "twin", "novel"]
    assert found.counts() == {"novel": 9, "formula": 2, "twin": 1, "match": 2}
    assert found.corpus_counts() == {"novel": 1, "formula": 0, "twin": 2, "match": 3}
    assert (found.undecided, found.no_space_group) == (0, 0)


def test_every_pair_that_shares_a_formula_is_listed_once(ours, corpus):
    pairs = find_overlap(ours, corpus, progress=False).pairs
    assert list(pairs.columns) == ["id", "corpus_id", "level", "decided"]
    assert len(pairs) == 3 * 2 + 2 + 1 and not pairs.duplicated(["id", "corpus_id"]).any()
    level = pairs.set_index(["id", "corpus_id"])["level"]
    assert level["SrTiO3", "SrTiO3-moved"] == "match"
    assert level["SrTiO3", "TiSrO3"] == "twin"
    assert level["ZnS", "wurtzite-large"] == "formula"


def test_without_structures_a_twin_is_the_closest(ours, corpus):
    found = find_overlap(ours, corpus, match=False, progress=False)
    wanted = {**EXPECTED, "wurtzite": "twin", "SrTiO3": "twin"}
    assert names(found.level) == [wanted.get(crystal.id, "novel") for crystal in ours]


def test_the_other_way_round_is_the_same(ours, corpus):
    there, back = find_overlap(ours, corpus, progress=False), find_overlap(corpus, ours, progress=False)
    assert np.array_equal(there.level, back.corpus_level) and np.array_equal(there.corpus_level, back.level)


def test_nothing_is_shared_with_an_empty_list(ours):
    found = find_overlap(ours, [], progress=False)
    assert names(found.level) == ["novel"] * len(ours) and len(found.pairs) == 0
    assert find_overlap([], ours, progress=False).counts()["novel"] == 0


def test_several_processes_and_small_pieces_change_nothing(ours, corpus, monkeypatch):
    alone = find_overlap(ours, corpus, progress=False)
    monkeypatch.setattr(overlap, "SIDE", 1)
    monkeypatch.setattr(overlap_jobs, "BATCH_SITES", 8)
    assert same(find_overlap(ours, corpus, progress=False), alone)
    assert same(find_overlap(ours, corpus, workers=2, progress=False), alone)


def test_no_process_is_an_error(ours):
    with pytest.raises(InputError, match="workers = 0"):
        find_overlap(ours, ours, workers=0)


def test_a_process_that_dies_is_told(ours, corpus, monkeypatch):
    def dies(*_):
        yield from ()
        raise InputError("stopped")

    monkeypatch.setattr(overlap_jobs, "BATCH_SITES", 8)
    monkeypatch.setattr(overlap_jobs, "run_jobs", dies)
    with pytest.raises(InputError, match=r"fewer --workers. Received: 2"):
        find_overlap(ours, corpus, workers=2, progress=False)


class Stopped(Exception):
    pass


class Counted:
    """The comparison of blocks, counted; it stops after some."""

    def __init__(self, allowed):
        self.allowed, self.calls = allowed, 0

    def __call__(self, *arguments):
        if self.calls == self.allowed:
            raise Stopped
        self.calls += 1
        return compare_block(*arguments)


@pytest.fixture
def counted(monkeypatch):
    def start(allowed=1000):
        counter = Counted(allowed)
        monkeypatch.setattr(overlap_jobs, "compare_block", counter)
        return counter

    monkeypatch.setattr(overlap_jobs, "BATCH_SITES", 8)  # one formula per batch
    return start


def test_what_was_compared_is_never_compared_again(ours, corpus, counted, tmp_path):
    first = find_overlap(ours, corpus, progress=False, cache=tmp_path)
    again = counted(0)
    assert same(find_overlap(ours, corpus, progress=False, cache=tmp_path), first)
    assert again.calls == 0


def test_the_cache_knows_content_not_names(ours, corpus, counted, tmp_path):
    find_overlap(ours, corpus, progress=False, cache=tmp_path)
    counter = counted(0)
    find_overlap([named(crystal, f"new-{crystal.id}") for crystal in ours], corpus, progress=False, cache=tmp_path)
    assert counter.calls == 0
    counter = counted()
    moved = [other_origin(crystal, [1e-6, 0, 0]) if crystal.id == "SrTiO3" else crystal for crystal in ours]
    find_overlap(moved, corpus, progress=False, cache=tmp_path)
    assert counter.calls == 1  # SrTiO3 alone
    counter = counted()
    find_overlap(ours, corpus, match=False, progress=False, cache=tmp_path)
    assert counter.calls == 3  # another question


def test_a_stopped_search_goes_on_where_it_was(ours, corpus, counted, tmp_path):
    whole = find_overlap(ours, corpus, progress=False)
    counted(2)
    with pytest.raises(Stopped):
        find_overlap(ours, corpus, progress=False, cache=tmp_path)
    rest = counted()
    assert same(find_overlap(ours, corpus, progress=False, cache=tmp_path), whole)
    assert rest.calls == 1


def other_shape() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, level=np.zeros(99), undecided=np.zeros(99), no_group=np.zeros(99))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", other_shape()], ids=["empty", "cut", "other shape"])
def test_a_damaged_file_of_the_cache_is_made_again(ours, corpus, counted, tmp_path, content):
    first = find_overlap(ours, corpus, progress=False, cache=tmp_path)
    files = list(tmp_path.rglob("*.npz"))
    assert len(files) == 3
    for file in files:
        file.write_bytes(content)
    counter = counted()
    assert same(find_overlap(ours, corpus, progress=False, cache=tmp_path), first)
    assert counter.calls == 3
