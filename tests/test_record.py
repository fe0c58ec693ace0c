"""A run card holds what decided a result, and nothing that is not in its schema."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pydantic import ValidationError

from matgl_infomax.errors import InputError
from matgl_infomax.record import InFolder, claim_folder, new_card, read_card, spoken_time, versions, write_card


def fields():
    hashes = dict.fromkeys(("run", "data", "folds", "predictions"), "0" * 64)
    return {
        "task": "own data",
        "target": "y",
        "unit": "eV",
        "arm": "scratch",
        "fold": 0,
        "seed": 1,
        "mask": {"asked": 5, "used": 5, "sha256": "a" * 64},
        "n_test": 3,
        "initial": {"name": "scratch", "sha256": None},
        "settings": {"finetune": {"steps": 3}},
        "tried": [{"learning_rate": 0.1, "mae": 0.5}],
        "hashes": {**hashes, "store": None},
        "cost": {"seconds": 1.5, "pretraining_seconds": None, "peak_memory_mb": 10.0},
        "metrics": {"mae": 0.1, "rmse": 0.2, "r2": None},
    }


def test_card_survives_the_file(tmp_path):
    card = new_card(**fields())
    write_card(tmp_path / "card.json", card)
    assert read_card(tmp_path / "card.json") == card
    assert card.versions.packages["torch"] and card.versions.packages["matgl-infomax"]
    assert card.created.endswith("+00:00")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"surprise": 1}, "surprise"),
        ({"metrics": {"mae": float("nan"), "rmse": 0.0, "r2": None}}, "metrics.mae"),
        ({"hashes": {"run": "xyz"}}, "hashes.run"),
        ({"arm": None}, "arm"),
        ({"created": "yesterday"}, "created"),
    ],
    ids=["unknown key", "NaN", "no hash", "missing", "no time"],
)
def test_wrong_cards_are_refused(tmp_path, change, place):
    with pytest.raises(ValidationError):
        new_card(**{**fields(), **change})
    broken = {**json.loads(new_card(**fields()).model_dump_json()), **change}
    (tmp_path / "card.json").write_text(json.dumps(broken))
    with pytest.raises(InputError, match=rf"card.json is no valid run card \({place}.*Delete it"):
        read_card(tmp_path / "card.json")


def test_a_truncated_or_missing_card_is_said(tmp_path):
    file = tmp_path / "card.json"
    file.write_text(new_card(**fields()).model_dump_json()[:50])
    with pytest.raises(InputError, match="no valid run card"):
        read_card(file)
    with pytest.raises(InputError, match="No such file"):
        read_card(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("packages", "chosen", "backend"),
    [
        ({"matgl": "4.1.2", "dgl": "1.1.3"}, "DGL", "PYG"),
        ({"matgl": "3.0.5", "dgl": "1.1.3"}, "pyg", "PYG"),
        ({"matgl": "3.0.5", "dgl": "1.1.3"}, "", "DGL"),
        ({"matgl": "3.0.5", "dgl": None}, "", "PYG"),
        ({"matgl": None, "dgl": None}, "", None),
    ],
)
def test_backend_follows_matgl(monkeypatch, packages, chosen, backend):
    monkeypatch.setenv("MATGL_BACKEND", chosen)
    monkeypatch.setattr("matgl_infomax.record._installed", packages.get)
    assert versions()["backend"] == backend


def test_versions_import_nothing_heavy():
    code = "import sys; from matgl_infomax.record import versions; versions()\n"
    code += "print([m for m in ('torch', 'matgl', 'dgl', 'lightning', 'pymatgen') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_damaged_claim_is_refused_whatever_is_damaged(tmp_path):
    """Bits, and entries of another kind: a sentence each time, and never another run's folder taken for this one's."""
    claim = {"settings": {"steps": 3, "loss": None}, "rows": np.arange(4), "split": None}
    claim_folder(tmp_path, "finetune", claim)
    file = tmp_path / "run.json"
    whole = file.read_bytes()
    damaged = [bytes([*whole[:k], whole[k] ^ 1 << bit, *whole[k + 1 :]]) for k in range(len(whole)) for bit in (1, 7)]
    others = [b"null", b"[]", b"{}", b'{"kind": "finetune", "settings": 5}', b"", b"[" * 100_000]
    for content in [*damaged, *others]:
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"holds another run|is damaged"):
            claim_folder(tmp_path, "finetune", claim, undeciding=["settings.loss"])
    file.write_bytes(whole)
    claim_folder(tmp_path, "finetune", claim, undeciding=["settings.loss"])


def test_a_result_shows_itself_and_stands_for_its_folder(tmp_path):
    class Made(InFolder):
        path = tmp_path

        def facts(self):
            return "A <made> thing", {"Error": "0.1 < 0.2", "Next": 'predict("x")'}

    made = Made()
    assert repr(made) == 'A <made> thing\n  Error  0.1 < 0.2\n  Next   predict("x")'
    page = ElementTree.fromstring(f"<div>{made._repr_html_()}</div>")
    assert [cell.text for cell in page.iter("td")] == ["0.1 < 0.2", 'predict("x")']
    assert page.find("strong").text == "A <made> thing"
    assert Path(made) == tmp_path


@pytest.mark.parametrize(("seconds", "said"), [(3.2, "3 s"), (89, "89 s"), (240, "4 min"), (7200, "2.0 h")])
def test_times_are_told_in_the_unit_that_fits(seconds, said):
    assert spoken_time(seconds) == said
