"""Where everything lies in a shard: lengths counted by hand, places against a plain walk, damage that is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.data import build
from matgl_infomax.data.build import HEADER_BYTES, INDEX, SECTIONS, checksum, narrow, record_bytes, record_starts
from matgl_infomax.errors import InputError
from tests.helpers.build import many, store_of


def index_of(*rows):
    return np.array(list(rows), INDEX)


def upward(n, to=8):
    return -(-n // to) * to


def test_lengths_of_records_are_the_sums_of_their_numbers():
    """Name of 5 bytes, N = 3 sites with 7 pairs each, K = 2 kinds, M = 9 merged pairs, images in 2 bytes."""
    found = {name: int(length[0]) for name, length in record_bytes(index_of((5, 3, 7, 2, 9, 2))).items()}
    float64, float32, int16 = 8, 4, 2
    merged = 9 * (float32 + int16 + int16) + 2 * (int16 + int16 + int16) + 3 * int16
    pairs = 21 * float32 + 7 * int16 + 3 * int16
    assert found == {
        "ids": 5,
        "sites": upward(9 * float64 + 9 * float64 + 3 * int16),
        "merged": upward(merged),
        "pairs": upward(pairs),
        "images": upward(3 * 21 * 2),
    }


def test_of_a_radius_rule_only_names_and_sites_are_stored():
    found = record_bytes(index_of((2, 4, 0, 0, 0, 0)))
    assert {name for name, length in found.items() if length[0]} == {"ids", "sites"}


def test_a_crystal_without_any_name_takes_no_room_for_one():
    assert record_bytes(index_of((0, 1, 1, 1, 1, 1)))["ids"].tolist() == [0]


def test_starts_are_those_of_a_plain_walk(monkeypatch):
    """Section after section, crystal after crystal, sections at multiples of eight; every shard from its own start."""
    monkeypatch.setattr(build, "CRYSTALS_PER_SHARD", 3)
    rng = np.random.default_rng(0)
    index = index_of(*((*rng.integers(1, 20, 5), 2) for _ in range(7)))
    lengths, (starts, sizes) = record_bytes(index), record_starts(index)
    assert [list(rows) for rows in build.shard_rows(7)] == [[0, 1, 2], [3, 4, 5], [6]]
    for number, rows in enumerate(build.shard_rows(7)):
        place = HEADER_BYTES + len(rows) * INDEX.itemsize
        for name in SECTIONS:
            place = upward(place)
            for row in rows:
                assert int(starts[name][row]) == place, (name, row)
                place += int(lengths[name][row])
        assert int(sizes[number]) == place
    assert build.shard_of(np.arange(7)).tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert build.shard_name(12) == "shard-000012.bin"


def test_no_crystals_need_no_shard():
    starts, sizes = record_starts(index_of())
    assert sizes.tolist() == [] and all(len(start) == 0 for start in starts.values())
    assert build.shard_rows(0) == []


def test_too_large_numbers_get_a_sentence():
    with pytest.raises(InputError, match=r"too large.*sites up to 40000"):
        narrow(np.array([1, 40_000]), "<i2", "sites")


def test_numbers_that_fit_stay_the_same():
    small = narrow(np.array([-32_768, 0, 32_767]), "<i2", "sites")
    assert small.dtype == np.dtype("<i2") and small.tolist() == [-32_768, 0, 32_767]
    with pytest.raises(InputError, match="too large"):
        narrow(np.array([0.5]), "<i2", "sites")


def test_checksum_notices_a_single_bit():
    data = bytearray(b"the records of a few thousand crystals")
    before = checksum(bytes(data))
    assert before == checksum(memoryview(data))
    data[7] ^= 1
    assert checksum(bytes(data)) != before


@pytest.fixture
def records(crystals, tmp_path, monkeypatch):
    """Records of thirty crystals in three shards."""
    monkeypatch.setattr(build, "CRYSTALS_PER_SHARD", 12)
    return store_of(many(crystals, 30), tmp_path).records


def test_records_are_the_bytes_of_the_files(records):
    rows = np.array([29, 3, 4, 5, 11, 12, 3])  # neighbours, a border between shards, one twice
    starts, _ = record_starts(records.index)
    for section in SECTIONS:
        data, places = records.read(section, rows)
        lengths = record_bytes(records.index[rows])[section]
        assert places == (np.cumsum(lengths) - lengths).tolist()
        for row, place, length in zip(rows, places, lengths, strict=True):
            file = (records.path / build.shard_name(int(row) // 12)).read_bytes()
            start = int(starts[section][row])
            assert data[place : place + length].tobytes() == file[start : start + length], (section, row)


def test_no_rows_read_nothing(records):
    data, places = records.read("sites", np.empty(0, np.int64))
    assert len(data) == 0 and places == []


def test_names_behave_like_a_sequence(records):
    names = build.Ids(records)
    assert len(names) == 30 and list(names) == names[:] == [names[k] for k in range(30)]
    assert names[-1] == names[29] and names[10:14] == list(names)[10:14] and names[::-1][0] == names[29]
    assert names == list(names) and names != list(names)[:-1] and names != "no sequence of names"
    with pytest.raises(IndexError, match=r"There are 30 crystals\. Received: row 30"):
        names[30]
    with pytest.raises(IndexError):
        names[-31]


def test_a_shard_that_is_gone_is_told(records):
    (records.path / build.shard_name(1)).unlink()
    with pytest.raises(InputError, match=r"Cannot read .*shard-000001\.bin: No such file.*it is rebuilt"):
        records.read("sites", np.array([13]))
    with pytest.raises(InputError, match=r"shard-000001\.bin is damaged"):
        build.Records(records.path, 30, checksum((records.path / "index.bin").read_bytes()))
