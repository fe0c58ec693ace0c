"""The thirteen task cards state what Matbench and matminer state, and a card with a mistake is refused."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import yaml
from pydantic import ValidationError

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.task import card_names, load_card, read_task_card

NAMES = card_names()


def text_of(name: str) -> str:
    return (files("matgl_infomax.tasks.matbench") / "cards" / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_those_of_matbench_and_matminer(shared, name):
    folder, card = shared / "data" / "matbench", load_card(name)
    fact = json.loads((folder / "matbench_v0.1_dataset_metadata.json").read_text())[name]
    file = json.loads((folder / "matminer_dataset_metadata.json").read_text())[name]
    unit = None if fact["unit"] in (None, "unitless") else fact["unit"]
    assert (card.n_rows, card.target, card.unit, card.kind) == (
        fact["n_samples"], fact["target"], unit, fact["task_type"],
    )  # fmt: skip
    assert (card.mad, card.fraction_true, card.input) == (fact.get("mad"), fact.get("frac_true"), fact["input_type"])
    assert (card.url, card.sha256, card.n_rows) == (file["url"], file["hash"], file["num_entries"])
    assert card.target in file["columns"]


def test_all_thirteen_are_there(shared):
    known = json.loads((shared / "data" / "matbench" / "matbench_v0.1_dataset_metadata.json").read_text())
    assert sorted(known) == NAMES and len(NAMES) == 13


@pytest.mark.parametrize("name", NAMES)
def test_cards_are_complete(name):
    card = load_card(name)
    assert card.name == name
    assert card == load_card(card.short_name)
    assert card.metric == ("mae" if card.kind == "regression" else "rocauc")
    written = set(yaml.safe_load(text_of(name)))
    assert written == set(type(card).model_fields) - ({"content_sha256"} if card.input == "composition" else set())


def test_a_row_has_matbenchs_own_name():
    assert load_card("mp_e_form").mbid(0) == "mb-mp-e-form-000001"
    assert load_card("steels").mbid(311) == "mb-steels-312"


def test_a_card_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_card("steels").n_rows = 313


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("n_rows: 636", "n_rows: 4", "n_rows"),
        ("n_rows: 636", "n_rows: '636'", "valid integer"),
        ("n_rows: 636", "rows: 636", r"(?s)n_rows\n.*Field required.*rows\n.*Extra inputs"),
        ("kind: regression", "kind: ranking", "kind"),
        ("metric: mae", "metric: rocauc", "regression is not ranked by rocauc"),
        ("fraction_true: null", "fraction_true: 0.5", "regression states its mad"),
        ("input: structure", "input: composition", "only they, have a content_sha256"),
        ("url: https:", "url: ftp:", "url"),
        ("\nsha256: 2", "\nsha256: x", "sha256"),
        ("name: matbench_jdft2d", "name: matbench_steels", "it names the task matbench_steels"),
        ("name: matbench_jdft2d", "name: [", "is no task card"),
    ],
)
def test_a_card_with_a_mistake_is_refused(old, new, text):
    card = text_of("matbench_jdft2d")
    assert old in card
    with pytest.raises(InputError, match=text):
        read_task_card(card.replace(old, new), "matbench_jdft2d.yaml")


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"Received: mp_egap. Known: matbench_dielectric, .*matbench_steels"):
        load_card("mp_egap")
