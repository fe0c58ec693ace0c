"""Weights by name: what a name opens, what a card holds, and the sentence for everything that is wrong with either."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from matgl_infomax import weights
from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS
from tests.helpers.shipped import card_content, ship_small, stand_in

NAME = "sitenet-small"


@pytest.fixture
def shipped(tmp_path, crystals, monkeypatch):
    folder = tmp_path / "shipped"
    ship_small(folder, crystals[2:4])
    stand_in(monkeypatch, folder)
    return folder


def test_a_name_is_a_folder_and_back(shipped, tmp_path):
    assert weights.names() == [NAME]
    assert weights.folder_of(NAME) == shipped / NAME
    assert weights.shipped_name(shipped / NAME) == NAME and weights.spoken(shipped / NAME) == NAME
    assert weights.shipped_name(tmp_path) is None and weights.spoken(tmp_path) == str(tmp_path)


def test_a_folder_of_the_same_name_needs_a_dot(shipped, tmp_path, monkeypatch):
    (tmp_path / NAME).mkdir()
    monkeypatch.chdir(tmp_path)
    assert weights.folder_of(NAME) == shipped / NAME
    assert weights.folder_of(f"./{NAME}").resolve() == (tmp_path / NAME).resolve()


def test_the_table_says_what_there_is(shipped):
    table = weights.available()
    assert table.index.tolist() == [NAME]
    row = table.loc[NAME]
    assert (row["network"], row["objective"], row["corpus"], row["crystals"]) == ("sitenet", "denoise", "small", 2)
    assert row["saw"] == "structures"
    size = sum((shipped / NAME / file).stat().st_size for file in ("model.json", "model.pt", "state.pt"))
    assert row["megabytes"] == pytest.approx(size / 1e6, abs=0.005)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "sitenet-smaller",
            r"smaller\. No weights have this name\. Did you mean 'sitenet-small'\? Names: sitenet-small\.",
        ),
        ("quartz", r"quartz\. No weights have this name\. Names: sitenet-small\."),
    ],
)
def test_an_unknown_name_gets_the_list(shipped, word, said):
    with pytest.raises(InputError, match=said):
        weights.existing_folder_of(word)
    assert weights.folder_of(word) == Path(word)


def test_what_cannot_be_a_name_stays_a_path(shipped, tmp_path):
    assert weights.existing_folder_of(tmp_path / "nowhere") == tmp_path / "nowhere"


def test_an_installation_without_weights_says_so(tmp_path, monkeypatch):
    stand_in(monkeypatch, tmp_path / "none")
    assert len(weights.available()) == 0
    with pytest.raises(InputError, match=r"sitenet-mp\. This installation holds no weights that have names"):
        weights.existing_folder_of("sitenet-mp")


@pytest.mark.parametrize("file", weights.MODEL)
def test_a_flipped_bit_is_told(shipped, file):
    path = shipped / NAME / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{file} is not the file"):
        weights.folder_of(NAME)


def test_files_that_were_exchanged_with_their_hashes_are_told_by_the_card(shipped, tmp_path, crystals):
    """SHA256SUMS can be written anew; the card says which files were shipped."""
    other = ship_small(tmp_path / "other", crystals[2:4])
    (other / "state.pt").write_bytes((other / "state.pt").read_bytes() + b" ")
    (shipped / NAME / "state.pt").write_bytes((other / "state.pt").read_bytes())
    from matgl_infomax.io import write_sums

    write_sums(shipped / NAME, [shipped / NAME / file for file in weights.MODEL])
    with pytest.raises(InputError, match=r"state\.pt is not the file of the card of sitenet-small"):
        weights.folder_of(NAME)


def test_missing_hashes_are_told(shipped):
    (shipped / NAME / SUMS).unlink()
    with pytest.raises(InputError, match=r"holds no hash of SHA256SUMS"):
        weights.folder_of(NAME)


@pytest.mark.parametrize("content", ["", "name: x", "[1, 2", "\x00"])
def test_a_damaged_card_is_told(shipped, content):
    (shipped / NAME / weights.CARD).write_text(content)
    with pytest.raises(InputError, match=r"The card .*card\.yaml is damaged"):
        weights.card(NAME)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"limits": []},
        {"commit": "main"},
        {"weights": 0},
        {"saw": {"structures": True}},
        {"use": "everything"},
        {"sha256": {"state.pt": "abc"}},
    ],
)
def test_a_card_with_a_mistake_is_refused(change):
    whole = {**card_content(NAME), "sha256": {"state.pt": "0" * 64}, "answers": []}
    assert yaml.safe_load(weights.as_card(whole))["name"] == NAME
    with pytest.raises(ValidationError):
        weights.as_card({**whole, **change})


def test_the_hint_names_the_best_weights_for_own_data(shipped, crystals):
    better = [{**card_content(NAME)["gains"][0], "ratio": 0.6}]
    ship_small(shipped, crystals[2:4], "sitenet-better", gains=better)
    ship_small(shipped, crystals[2:4], "sitenet-best", gains=[{**better[0], "ratio": 0.5}], use="benchmarks")
    ship_small(shipped, crystals[2:4], "sitenet-unsure", gains=[{**better[0], "ratio": 0.4, "high": 1.2}])
    assert weights.hint("sitenet") == (
        "Pretrained weights come with the package: --init sitenet-better. With 100 labels they lowered the error of "
        "one property by 40%."
    )
    assert weights.hint("megnet") is None


def test_each_card_of_the_package_is_whole():
    for name in weights.names():
        card = weights.card(name)
        assert card.name == name and not card.saw.target
        weights.check(name)
        assert (weights.SHIPPED / "corpora" / f"{card.corpus.name}.npz").is_file()
