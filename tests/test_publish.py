"""Weights go into the package and out of it whole: known answers, the hub's folder, and what a damaged one says."""

from __future__ import annotations

import matgl
import numpy as np
import pytest
import torch
import yaml
from pymatgen.core import Lattice, Structure

from matgl_infomax import SiteNet, publish, weights
from matgl_infomax.api import finetune
from matgl_infomax.cli import main
from matgl_infomax.data.corpus_index import structure_key
from matgl_infomax.errors import InputError
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.settings.training import FinetuneSettings
from tests.helpers.shipped import ship_small, stand_in

NAME = "sitenet-small"


@pytest.fixture
def shipped(tmp_path, crystals, monkeypatch):
    folder = tmp_path / "shipped"
    ship_small(folder, crystals[2:4])
    stand_in(monkeypatch, folder)
    return folder


def test_known_crystals_are_those_of_the_textbooks():
    keys = [structure_key(crystal) for crystal in publish.known_crystals()]
    assert keys == ["NaCl 225 2 11:1x1 17:1x1", "O2Ti 136 6 8:4x1 22:2x1", "O3TiSr 221 5 8:3x1 22:1x1 38:1x1"]
    rock = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert publish.known_crystals()[0].to_structure().matches(rock)


def test_weights_compute_what_their_card_says(shipped):
    assert publish.verify(NAME) <= publish.ANSWER_TOLERANCE
    assert publish.answers(NAME).shape[0] == 3


def test_weights_that_compute_something_else_are_told(shipped):
    file = shipped / NAME / weights.CARD
    content = yaml.safe_load(file.read_text())
    content["answers"][1]["vector"][0] += 2e-5
    file.write_text(yaml.safe_dump(content))
    (shipped / NAME / "SHA256SUMS").unlink()
    from matgl_infomax.io import write_sums

    write_sums(shipped / NAME, [shipped / NAME / name for name in (*weights.MODEL, weights.CARD)])
    with pytest.raises(InputError, match=r"compute something else here: their vectors differ by up to 2e-05"):
        publish.verify(NAME)


def test_a_network_opens_by_name(shipped):
    model = SiteNet.from_pretrained(NAME)
    state = torch.load(shipped / NAME / "state.pt", weights_only=True)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    with pytest.raises(InputError, match=r"sitenet-small holds weights of SiteNet\. Received them for MatGLNet"):
        MatGLNet.from_pretrained(NAME)


def test_the_folder_for_a_hub_opens_in_plain_matgl(shipped, tmp_path):
    out = publish.publish(NAME, tmp_path / "hub")
    model = matgl.load_model(out)
    assert type(model).__name__ == "SiteNet"
    _, front, page = (out / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "matgl",
        "license": "cc-by-4.0",
        "tags": ["materials-science", "crystal", "self-supervised", "sitenet", "matgl-infomax"],
    }
    assert "| energy, eV | 100 | 1 | 0.8 | 0.9 | 0.800 (0.700–0.900) |" in page and "They know nothing." in page
    with pytest.raises(InputError, match="is not empty"):
        publish.publish(NAME, out)


def test_finetune_takes_a_name_and_says_what_was_seen(shipped, tmp_path, crystals, capsys):
    few = [crystals[2], crystals[3]]
    settings = FinetuneSettings(steps=2, validate_every=1)
    made = finetune(few, "y", tmp_path / "model", init=NAME, settings=settings, cache=tmp_path / "cache")
    said = capsys.readouterr().err
    assert "has seen the structure of 2 and the formula of 2 of your 2 crystals, without labels" in said
    assert "pretrained weights in sitenet-small" in repr(made)


def test_elements_that_the_corpus_lacks_are_named(shipped, tmp_path, crystals):
    settings = FinetuneSettings(steps=2, validate_every=1)
    with pytest.raises(InputError, match=r"hold Cu, Po, but the corpus of sitenet-small knows 4 .*--extend-elements"):
        finetune(crystals[:4], "y", tmp_path / "model", init=NAME, settings=settings, cache=tmp_path / "cache")
    where = {"init": NAME, "cache": tmp_path / "cache"}
    made = finetune(crystals[:4], "y", tmp_path / "model", settings=settings, extend_elements=True, **where)
    assert made.path.is_dir()


def test_the_command_lists_shows_verifies_and_publishes(shipped, tmp_path, capsys):
    assert main(["weights"]) == 0
    assert "sitenet-small sitenet" in " ".join(capsys.readouterr().out.split())
    assert main(["weights", "show", NAME]) == 0
    assert "# sitenet-small" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    assert "sitenet-small: whole" in capsys.readouterr().out
    assert main(["publish", NAME, "--out", str(tmp_path / "hub")]) == 0
    assert main(["weights", "show"]) == 2
    assert "Say list, show NAME or verify [NAME]. Received: show." in capsys.readouterr().err
    assert main(["weights", "verify", "quartz"]) == 2
    assert main(["finetune", "--data", "x", "--target", "y", "--init", "quartz", "--out", str(tmp_path / "o")]) == 2
    assert "There is no folder quartz (--init)" in (said := capsys.readouterr().err)
    assert "No weights have this name. Names: sitenet-small." in said


def test_every_name_of_the_package_computes_what_its_card_says():
    assert all(publish.verify(name) <= publish.ANSWER_TOLERANCE for name in weights.names())


def test_answers_need_no_home_folder(shipped, monkeypatch):
    """Known answers are made in a folder of their own: a cache that cannot be written is not asked."""
    monkeypatch.setenv("HOME", "/nonexistent")
    assert np.isfinite(publish.answers(NAME)).all()
