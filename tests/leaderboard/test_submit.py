"""A submission is what Matbench's own classes accept, with their scores, and nothing unfinished gets into one."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from matgl_infomax import cli
from matgl_infomax.errors import InputError
from matgl_infomax.io import vouch_for
from matgl_infomax.leaderboard.results import VOUCHED, read_benchmark
from matgl_infomax.leaderboard.submit import EXAMPLE, OBJECTIVE_WORDS, submit, unknown_objectives
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.base import build_parser, read_settings
from matgl_infomax.settings.commands import BenchmarkConfig, SubmitConfig
from matgl_infomax.settings.training import OBJECTIVE_NAMES
from matgl_infomax.tasks.matbench.task import load_task
from tests.helpers.finished import finished, parquet, write_predictions

INFO = {
    "authors": ["A. Chemist", "B. Physicist"],
    "algorithm": "Invented",
    "algorithm_long": "Truth plus noise.",
    "bibtex_refs": "@article{nobody}",
    "notes": "From a test.",
}


def info_file(folder, **changes):
    file = folder / "info.yaml"
    file.write_text(yaml.safe_dump({**INFO, **changes}))
    return file


def settings(tmp_path, *runs, name="matbench_v0.1_invented", **info):
    return SubmitConfig(run=list(runs), info=info_file(tmp_path, **info), out=tmp_path / name)


@pytest.fixture
def steels(tmp_path):
    return finished(tmp_path / "steels", "matbench_steels")


def test_command_writes_the_three_files_and_says_the_score(tmp_path, steels, capsys):
    out = tmp_path / "matbench_v0.1_invented"
    assert cli.main(["submit", str(steels), "--info", str(info_file(tmp_path)), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    mean = pd.read_csv(steels / "scores.csv")["mae"].mean()
    assert f"matbench_steels: mae {mean:.4f} ± " in said and "MPa over five folds" in said
    assert {file.name for file in out.iterdir()} == {"results.json.gz", "info.json", "run.py"}
    content = (out / "results.json.gz").read_bytes()
    assert content[:2] == b"\x1f\x8b"
    document = json.loads(gzip.decompress(content))
    assert set(document["tasks"]) == {"matbench_steels"} and document["benchmark_name"] == "matbench_v0.1"
    predictions = pd.read_parquet(steels / "predictions.parquet").set_index("id")["prediction"]
    for fold in document["tasks"]["matbench_steels"]["results"].values():
        assert "uncertainty" not in fold and fold["parameters"]["validation_error_by_learning_rate"]["0.001"] == 41
        assert all(predictions[id] == value for id, value in fold["data"].items())


def test_same_runs_give_the_same_bytes(tmp_path, steels):
    first = submit(settings(tmp_path, steels)).path
    content = {file.name: file.read_bytes() for file in first.iterdir()}
    again = submit(settings(tmp_path, steels)).path
    assert content == {file.name: file.read_bytes() for file in again.iterdir()}


def test_info_holds_the_authors_words_and_the_facts(tmp_path, steels):
    info = json.loads((submit(settings(tmp_path, steels)).path / "info.json").read_text())
    assert info["authors"] == "A. Chemist, B. Physicist" and info["bibtex_refs"] == "@article{nobody}"
    assert info["notes"].startswith("From a test.\n\nFacts written by matgl-infomax")
    assert (
        "matbench_steels: sitenet, arm scratch, all labels of each training part, one model per fold." in info["notes"]
    )
    assert "matbench==0.6" in info["requirements"]["python"]
    assert any(name.startswith("torch==") for name in info["requirements"]["python"])
    given = json.loads(
        (submit(settings(tmp_path, steels, requirements={"python": ["x==1"]})).path / "info.json").read_text()
    )
    assert given["requirements"] == {"python": ["x==1"]}


def test_label_masked_runs_are_declared_by_their_authors(tmp_path):
    run = finished(tmp_path / "few", "matbench_steels", labels=100)
    with pytest.raises(InputError, match=r"trained with 100 labels .* in the notes .* '100 labels'"):
        submit(settings(tmp_path, run))
    with pytest.raises(InputError, match="trained with 100 labels"):
        submit(settings(tmp_path, run, notes="Trained with 2,100 labels."))
    assert not (tmp_path / "matbench_v0.1_invented").exists()
    out = submit(settings(tmp_path, run, notes="Label masking: 100 labels per fold.")).path
    notes = json.loads((out / "info.json").read_text())["notes"]
    assert "arm scratch, 100 labels of each training part" in notes
    # The facts of an earlier info.json are no declaration of the authors'.
    with pytest.raises(InputError, match="trained with 100 labels"):
        submit(settings(tmp_path, run, notes=notes.partition("\n\n")[2]))


@pytest.mark.parametrize("name", ["mine", "matbench_v0.1_", "matbench_v0.2_x", "matbench_v0.1_a b", "matbench_v0x1_a"])
def test_folders_have_matbench_names(tmp_path, steels, name):
    with pytest.raises(InputError, match=r"folders named matbench_v0.1_NAME"):
        submit(settings(tmp_path, steels, name=name))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"authors": None}, "authors: Input should be a valid string"),
        ({"algorithm": "  "}, "algorithm: Value error, it is empty"),
        ({"author": "me"}, "author: Extra inputs are not permitted"),
        ({"requirements": {"python": "torch"}}, "requirements.python: Input should be a valid list"),
        ({"bibtex_refs": []}, "bibtex_refs"),
    ],
)
def test_wrong_info_is_refused_with_an_example(tmp_path, steels, changes, sentence):
    with pytest.raises(InputError, match="It needs:\nauthors: ") as error:
        submit(settings(tmp_path, steels, **changes))
    assert sentence in str(error.value)


def test_info_without_notes_or_that_is_no_info(tmp_path, steels):
    out = submit(settings(tmp_path, steels, notes=None)).path
    assert json.loads((out / "info.json").read_text())["notes"].startswith("Facts written by matgl-infomax")
    for content, sentence in (("[1]", "'name: value' lines"), ("a: [", "no valid YAML")):
        file = tmp_path / "wrong.yaml"
        file.write_text(content)
        with pytest.raises(InputError, match=sentence):
            submit(SubmitConfig(run=[steels], info=file, out=out))
    with pytest.raises(InputError, match=r"Cannot read .*absent.yaml"):
        submit(SubmitConfig(run=[steels], info=tmp_path / "absent.yaml", out=out))


def changed(folder, change):
    """The folder with another table of predictions, scores included."""
    write_predictions(folder, change(pd.read_parquet(folder / "predictions.parquet")))


def set_value(column, value):
    def change(table):
        table[column] = table[column].astype(object if isinstance(value, str) else table[column].dtype)
        table.loc[3, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t[t["fold"] != 2], "cards of the folds"),
        (lambda t: t.drop(index=3), "fold 0 was tested on 63 crystals, not as here"),
        (set_value("id", "mb-steels-999"), "is not the mean of the runs"),
        (lambda t: pd.concat([t, t.iloc[[3]]]), "more than once"),
        (lambda t: t.assign(fold=t["fold"].where(t.index != 3, 4)), "not as here"),
        (set_value("prediction", np.nan), "no number for mb-steels-"),
        (set_value("prediction", np.inf), "no number for mb-steels-"),
        (lambda t: t.assign(prediction=t["prediction"].astype(str)), "column prediction has values of a wrong type"),
        (lambda t: t.assign(prediction=1), r"column prediction has values of a wrong type \(int64\)"),
        (lambda t: t.assign(id=range(len(t))), "column id has values of a wrong type"),
        (lambda t: t.assign(fold=t["fold"].astype(float)), "column fold has values of a wrong type"),
        (lambda t: t.assign(prediction=t["prediction"] + 1), "is not the mean of the runs"),
        (set_value("std", 2.0), "no standard deviation for mb-steels-"),
        (lambda t: t.assign(std=-1.0), "no standard deviation for mb-steels-"),
        (lambda t: t.drop(columns="std"), "has the columns"),
    ],
    ids=["fold", "missing", "foreign", "twice", "moved", "nan", "inf", "text", "integers", "id", "float-fold", "edited",
         "some-std", "negative-std", "columns"],
)  # fmt: skip
def test_tables_that_are_not_right_are_refused(tmp_path, steels, change, sentence):
    changed(steels, change)
    with pytest.raises(InputError, match=sentence):
        submit(settings(tmp_path, steels))
    assert not (tmp_path / "matbench_v0.1_invented").exists()


def test_benchmarks_of_other_rows_are_refused(tmp_path):
    """Folders whose files agree with each other, but not with the official folds."""
    ids = load_task("matbench_steels").ids
    few = finished(tmp_path / "few", "matbench_steels", without=3)
    with pytest.raises(
        InputError, match=r"fold \d of matbench_steels: 1 of the ids are missing, such as mb-steels-004"
    ):
        submit(settings(tmp_path, few))
    other = finished(tmp_path / "other", "matbench_steels", ids=[*ids[:-1], "mb-steels-999"])
    with pytest.raises(InputError, match=r"1 of the ids are outside the official test part, such as mb-steels-999"):
        submit(settings(tmp_path, other))
    turned = finished(tmp_path / "turned", "matbench_steels", ids=ids[::-1])
    with pytest.raises(InputError, match=r"fold 0 of matbench_steels: \d\d of the ids are outside"):
        submit(settings(tmp_path, turned))


def test_benchmarks_that_are_still_running_are_refused(tmp_path, steels):
    """Folds were added to a finished benchmark, and the new ones are not done: all files agree, one fold is absent."""
    changed(steels, lambda table: table[table["fold"] != 2])
    cards = (steels / "cards.jsonl").read_text().splitlines(keepends=True)
    (steels / "cards.jsonl").write_text("".join(cards[:2] + cards[3:]))
    with pytest.raises(InputError, match="is not complete: fold 2 is missing"):
        submit(settings(tmp_path, steels))


@pytest.mark.parametrize(
    ("part", "entry", "value", "sentence"),
    [
        ("mask", "used", 60, "fold 0, seed 0, was trained with 60 labels, and 249 are said"),
        ("hashes", "folds", "0" * 64, "fold 0 is not the official one"),
    ],
)
def test_models_were_trained_on_what_is_said(tmp_path, steels, part, entry, value, sentence):
    first, *others = (steels / "cards.jsonl").read_text().splitlines()
    card = json.loads(first)
    card[part][entry] = value
    (steels / "cards.jsonl").write_text("\n".join([json.dumps(card), *others]))
    with pytest.raises(InputError, match=sentence):
        submit(settings(tmp_path, steels))


def test_probabilities_lie_between_0_and_1(tmp_path):
    glass = finished(tmp_path / "glass", "matbench_glass")
    changed(glass, set_value("prediction", 1.5))
    with pytest.raises(InputError, match="no probability of a class for mb-glass-"):
        submit(settings(tmp_path, glass))


def test_classes_are_the_official_ones(tmp_path):
    glass = finished(tmp_path / "glass", "matbench_glass")
    changed(glass, lambda table: table.assign(target=1 - table["target"]))
    with pytest.raises(InputError, match=r"target of mb-glass-0001 is not the official one .* nor those of 5679 more"):
        submit(settings(tmp_path, glass))


def test_damaged_or_half_folders_are_refused(tmp_path, steels):
    with pytest.raises(InputError, match="holds no finished benchmark"):
        submit(settings(tmp_path, tmp_path / "absent"))
    part = steels / "folds" / "fold_1-seed_0.parquet"
    part.write_bytes(parquet(pd.read_parquet(part).assign(prediction=1.0)))
    with pytest.raises(InputError, match=r"fold_1-seed_0.parquet is not the file that its card"):
        submit(settings(tmp_path, steels))
    part.unlink()
    with pytest.raises(InputError, match=r"cannot read fold_1-seed_0.parquet"):
        submit(settings(tmp_path, steels))
    shutil.move(steels / "folds", tmp_path / "elsewhere")
    with pytest.raises(InputError, match="lacks the folder folds with the single models"):
        submit(settings(tmp_path, steels))
    shutil.move(tmp_path / "elsewhere", steels / "folds")
    (steels / "predictions.parquet").write_text("no table")
    with pytest.raises(InputError, match="no table of predictions"):
        submit(settings(tmp_path, steels))
    (steels / "predictions.parquet").unlink()
    with pytest.raises(InputError, match=r"cannot read predictions.parquet"):
        submit(settings(tmp_path, steels))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"folds": [0, 1, 3, 4]}, "fold 2 is missing, and a submission needs all five"),
        ({"target": "hardness"}, "matbench_steels is regression of 'yield strength'"),
        ({"task": "matbench_bronze"}, "no such Matbench task"),
    ],
)
def test_benchmarks_of_something_else_are_refused(tmp_path, asked, sentence):
    run = finished(tmp_path / "run", "matbench_steels", **asked)
    with pytest.raises(InputError, match=sentence):
        submit(settings(tmp_path, run))


def test_one_submission_is_one_algorithm_and_each_task_comes_once(tmp_path, steels):
    with pytest.raises(InputError, match="Received more than one benchmark of matbench_steels"):
        submit(settings(tmp_path, steels, steels))
    other = finished(tmp_path / "glass", "matbench_glass", arm="finetuned")
    with pytest.raises(InputError, match="matbench_glass: sitenet, arm finetuned"):
        submit(settings(tmp_path, steels, other))


def test_official_targets_are_recognised_and_others_are_not(tmp_path, shared):
    truth = pd.read_parquet(shared / "data" / "matbench" / "matbench_jdft2d.parquet")["exfoliation_en"].to_numpy()
    run = finished(tmp_path / "jdft2d", "matbench_jdft2d", truth=truth)
    assert submit(settings(tmp_path, run)).path.is_dir()
    wrong = truth.copy()
    wrong[41] += 1e-3
    run = finished(tmp_path / "wrong", "matbench_jdft2d", truth=wrong)
    with pytest.raises(InputError, match=r"target of mb-jdft2d-042 is not the official one .* nor those of 0 more"):
        submit(settings(tmp_path, run))


def started(run, kind, objective=None, facts=None):
    """A benchmark whose cards say where their weights come from."""
    cards = tuple(
        card.model_copy(
            update={
                "initial": card.initial.model_copy(update={"name": kind, "facts": facts or {}}),
                "settings": {**card.settings, "pretrain": {"objective": objective}},
            }
        )
        for card in run.cards
    )
    return replace(run, cards=cards)


@pytest.mark.parametrize(
    ("algorithm", "kind", "objective", "facts", "missing"),
    [
        ("Site-Net, Deep InfoMax", "scratch", "infomax", {}, "infomax"),  # the setting that a scratch run never used
        ("Site-Net, denoising", "pretrained", "denoise", {}, None),
        ("Site-Net DIM (InfoMax) and denoising", "corpus", "infomax+denoise", {}, None),
        ("Deep InfoMax + denoising", "corpus", "denoise", {}, "infomax"),
        ("Crystal Twins", "pretrained", "denoise", {}, "twins"),
        ("DSSL", "pretrained", "dual", {}, None),
        ("DSSL", "init", "dual", {}, "dual"),  # weights of which the card says nothing
        ("Masked elements", "init", "denoise", {"objective": "masked"}, None),
        ("Structural fingerprints", "descriptors", "denoise", {}, "fingerprint"),
        ("MEGNet, supervised on energies", "transferred", "denoise", {}, None),
        ("MEGNet, supervised pretraining", "scratch", "supervised", {}, "supervised"),
        ("self-supervised Site-Net", "scratch", "denoise", {}, None),  # names no objective
        ("Site-Net v2", "scratch", "denoise", {}, None),
    ],
)
def test_a_name_that_no_run_card_bears_out_is_found(steels, algorithm, kind, objective, facts, missing):
    said = unknown_objectives(algorithm, [started(read_benchmark(steels), kind, objective, facts)])
    if missing is None:
        assert said == ""
    else:
        assert f"names the pretraining {missing}, and no run card does" in said and kind in said


def test_every_objective_has_words():
    assert set(OBJECTIVE_WORDS) == set(OBJECTIVE_NAMES)


def test_submit_warns_of_a_pretraining_that_never_was(tmp_path, steels, capsys):
    """On stderr, and in the notes that are handed in; the exit code stays 0."""
    vouch_for(steels, VOUCHED)
    words = ["submit", str(steels), "--out", str(tmp_path / "matbench_v0.1_invented"), "--info"]
    assert cli.main([*words, str(info_file(tmp_path, algorithm="Site-Net, Deep InfoMax"))]) == 0
    warned = capsys.readouterr().err
    assert warned.startswith("matgl-infomax: warning: The name of the algorithm, 'Site-Net, Deep InfoMax', names")
    notes = json.loads((tmp_path / "matbench_v0.1_invented" / "info.json").read_text())["notes"]
    assert "no run card does" in notes and "(initial weights: scratch)" in notes
    assert cli.main([*words, str(info_file(tmp_path, algorithm="Site-Net"))]) == 0
    assert capsys.readouterr().err == ""
    assert "no run card" not in (tmp_path / "matbench_v0.1_invented" / "info.json").read_text()


def test_the_guide_runs_what_its_submission_is_called():
    """Its benchmark pretrains, by the objective that its info.yaml names; so does the example in the messages."""
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "matbench.md").read_text()
    (command,) = re.findall(r"^matgl-infomax (benchmark .*?)\n```", guide, re.MULTILINE | re.DOTALL)[:1]
    parser = build_parser({"benchmark": (BenchmarkConfig, "")})
    given = vars(parser.parse_args(shlex.split(command.split("\n\n")[0].replace("\\\n", " "))))
    del given["command"]
    asked = read_settings(BenchmarkConfig, given)
    assert STARTS[asked.arm] == "pretrained"
    (info,) = re.findall(r"```yaml\n(authors.*?)```", guide, re.DOTALL)
    for text in (info, EXAMPLE):
        name = yaml.safe_load(text)["algorithm"].lower()
        assert [one for one, words in OBJECTIVE_WORDS.items() if re.search(words, name)] == [asked.pretrain.objective]
