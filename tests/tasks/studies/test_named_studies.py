"""Studies under a name: all of them valid, known by what they ask, and overridden by what is given."""

from __future__ import annotations

import pytest

from matgl_infomax.cli import main
from matgl_infomax.errors import InputError
from matgl_infomax.record import read_card
from matgl_infomax.settings.commands import CurveConfig
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings, PretrainSettings
from matgl_infomax.tasks.matbench.task import load_card
from matgl_infomax.tasks.studies import named_studies
from matgl_infomax.tasks.studies.arms import named_arms
from matgl_infomax.tasks.studies.curve import learning_curve
from matgl_infomax.tasks.studies.named_studies import load_study, resolved_study, study_names, with_study
from matgl_infomax.tasks.studies.starts import check_starts
from tests.helpers.build import many
from tests.helpers.small_curve import FAST

NAMES = study_names()
DSSL = [name for name in NAMES if name.startswith("dssl_")]
WITHOUT_DATA = {"dssl_fermi", "dssl_e_form", "dssl_gap", "dssl_hoip", "dssl_lanthanides"}


def ask(name, **given):
    return with_study(CurveConfig(study=name, out="out", **given))


@pytest.mark.parametrize("name", NAMES)
def test_every_study_can_be_asked(name):
    study = load_study(name)
    assert study.about.endswith(".")
    given = {"data": "mine.parquet", "target": ["y"]} if study.no_data else {}
    settings = resolved_study(ask(name, **given))
    check_starts(named_arms(settings.arms), settings)
    assert settings.arms[:2] == ["scratch", "finetuned"]
    assert len(settings.target) == 1 and settings.labels == sorted(set(settings.labels))
    if settings.task is not None:
        card = load_card(settings.task)
        assert card.input == "structure" and card.kind == "regression" and settings.target == [card.target]
        assert max(settings.labels) <= 0.8 * card.n_rows - 1
        assert settings.data == named_studies.OFFICIAL


def test_what_the_issue_asks_for_is_there():
    assert {name for name in NAMES if load_study(name).no_data} == WITHOUT_DATA
    assert len(DSSL) == 10 and set(DSSL) > WITHOUT_DATA
    assert {ask(f"label_masking_{name}").task for name in ("mp_gap", "mp_e_form")} == {
        "matbench_mp_gap", "matbench_mp_e_form"
    }  # fmt: skip
    for name in ("mp_gap", "mp_e_form"):
        recipe, paper = ask(f"label_masking_{name}"), ask(f"label_masking_infomax_{name}")
        defaults = (ModelSettings(), PretrainSettings(), FinetuneSettings())
        assert (recipe.model, recipe.pretrain, recipe.finetune) == defaults
        assert (paper.model.preset, paper.pretrain.objective) == ("compact", "infomax")
        assert (paper.finetune.encoder_rate, paper.finetune.learning_rate) == (1, 0.001), "all weights at one rate"
    for source, task in (("mp_gap", "mp_e_form"), ("mp_e_form", "mp_gap")):
        transfer = ask(f"transfer_{source}_to_{task}")
        assert (transfer.task, transfer.source) == (f"matbench_{task}", f"matbench_{source}")
        assert transfer.arms == ["scratch", "finetuned", "transferred"]


def test_what_is_given_wins_and_the_rest_stays(monkeypatch):
    study = {"labels": [5, 9], "seeds": 7, "finetune": {"steps": 11, "seed": 3}, "arms": ["scratch"]}
    file = named_studies.StudyFile(about="A test.", settings=study)
    monkeypatch.setattr(named_studies, "load_study", lambda name: file)
    settings = ask("any", seeds=3, finetune={"seed": 0}, model={"supercell_atoms": 9})
    assert (settings.labels, settings.seeds, settings.arms) == ([5, 9], 3, ["scratch"])
    assert (settings.finetune.steps, settings.finetune.seed) == (11, 0), "a default that is given counts as given"
    assert settings.model.supercell_atoms == 9
    assert with_study(settings) == settings
    plain = CurveConfig(out="out")
    assert with_study(plain) is plain
    broken = named_studies.StudyFile(about="A test.", settings={"lables": [5]})
    monkeypatch.setattr(named_studies, "load_study", lambda name: broken)
    with pytest.raises(InputError, match="Unknown option 'lables'"):
        ask("any")


def test_an_unknown_study_is_refused_with_the_known_ones(tmp_path, capsys):
    assert main(["curve", "--study", "dsl_gap", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "There is no such study. Received: dsl_gap" in said
    assert all(f"{name}: {load_study(name).about}" in said for name in NAMES)
    assert not (tmp_path / "out").exists()


def test_a_study_without_data_says_why(tmp_path):
    with pytest.raises(InputError, match=r"No data can be had for the study dssl_hoip: .* give --data FILE"):
        ask("dssl_hoip")
    settings = ask("dssl_hoip", data="hoip.parquet", target=["gap"])
    assert (settings.data, settings.task, settings.seeds) == ("hoip.parquet", None, 3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Which crystals. Give --data FILE, or --task NAME"),
        ({"data": "x"}, r"about one property. Received --target \(none\)"),
        ({"data": "x", "target": ["a", "b"]}, "about one property. Received --target a b"),
        ({"task": "mp_is_metal"}, "classification task"),
    ],
)
def test_half_a_question_is_refused(options, text):
    with pytest.raises(InputError, match=text):
        resolved_study(CurveConfig(out="out", **options))


def test_data_are_found_below_the_data_folder(tmp_path):
    (tmp_path / "a.parquet").write_text("x")
    settings = resolved_study(CurveConfig(out="out", data="a.parquet", data_dir=tmp_path, target=["y"]))
    assert settings.data == str(tmp_path / "a.parquet")


def test_a_study_works_in_python_too(crystals, tmp_path):
    result = learning_curve(
        many(crystals, 80), "y", study="dssl_hoip", out=tmp_path / "out", cache=tmp_path, progress=False,
        labels=[20], seeds=1, folds=1, arms=["untrained"], model={"supercell_atoms": 12}, finetune=FAST,
    )  # fmt: skip
    assert list(result.frame["arm"]) == ["untrained"]
    assert "study" not in result.cards[0].settings and result.cards[0].settings["fold"] == 0


def test_a_study_from_the_command_line(shared, tmp_path, capsys):
    words = ["curve", "--study", "dssl_jdft2d", "--data-dir", str(shared / "data" / "matbench"), "--labels", "20"]
    words += ["--seeds", "1", "--arms", "descriptors", "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "Cannot tell" in capsys.readouterr().out
    card = read_card(tmp_path / "out" / "runs" / "descriptors-n20-s0.json")
    assert (card.task, card.target, card.unit, card.n_test) == ("matbench_jdft2d", "exfoliation_en", "meV/atom", 128)
