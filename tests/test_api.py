"""The job in Python: what a user of scikit-learn would expect of pretrain, finetune, predict and embed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matgl_infomax.api import embed, finetune, forcefield, predict, pretrain
from matgl_infomax.errors import InputError
from matgl_infomax.host import load_model
from matgl_infomax.nn.build import load_encoder, new_model
from matgl_infomax.settings.training import FinetuneSettings, LabelColumns, ModelSettings, PretrainSettings
from matgl_infomax.tasks.studies.curve import learning_curve
from tests.helpers.build import many

PRETRAIN = PretrainSettings(steps=4, validate_every=2, batch_sites=40, validation_fraction=0.2)
FINETUNE = FinetuneSettings(steps=6, validate_every=3, batch_sites=40)
MODEL = ModelSettings(supercell_atoms=12)


@pytest.fixture
def items(crystals):
    """Twenty crystals, every third without a label, with a second target on some."""
    out = []
    for k, crystal in enumerate(many(crystals, 20)):
        labels = {} if k % 3 == 0 else {"y": crystal.labels["y"], **({"z": 1.0 + k} if k % 2 else {})}
        out.append(replace(crystal, labels=labels))
    return out


@pytest.fixture
def encoder(items, tmp_path):
    return pretrain(items, tmp_path / "encoder", model=MODEL, settings=PRETRAIN, cache=tmp_path, progress=False).path


def tuned(items, tmp_path, name="model", targets="y", **more):
    options = {"model": MODEL, "settings": FINETUNE, "cache": tmp_path, "progress": False} | more
    return finetune(items, targets, tmp_path / name, **options)


def test_saved_model_predicts_structures_like_the_table(items, tmp_path):
    result = tuned(items, tmp_path)
    table = predict(items, result.path, cache=tmp_path, progress=False)
    assert list(table.columns) == ["id", "y"] and table["id"].tolist() == [c.id for c in items]
    opened = load_model(result.path)
    for crystal, value in zip(items[:5], table["y"], strict=False):
        assert float(opened.predict_structure(crystal.to_structure())) == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_only_labelled_crystals_are_trained_on(items, tmp_path):
    assert tuned(items, tmp_path).fitted.n_train == sum("y" in c.labels for c in items)


def test_several_targets_with_missing_labels(items, tmp_path):
    result = tuned(items, tmp_path, targets=["y", "z"])
    table = predict(items, result.path, cache=tmp_path, progress=False)
    assert list(table.columns) == ["id", "y", "z"] and np.isfinite(table[["y", "z"]].to_numpy()).all()


def test_pretrained_weights_are_where_finetuning_starts(items, encoder, tmp_path):
    settings = FINETUNE.model_copy(update={"freeze": ["input", "block0", "block1", "site", "pool"], "ema_decay": 0.0})
    result = tuned(items, tmp_path, init=encoder, settings=settings)
    start, end = load_encoder(encoder).state_dict(), result.fitted.model.state_dict()
    for name, value in start.items():
        if not name.startswith(("head", "target")):
            np.testing.assert_array_equal(value, end[name])


def test_init_brings_its_own_supercell(items, encoder, tmp_path):
    result = tuned(items, tmp_path, init=encoder, model=ModelSettings(supercell_atoms=50))
    assert result.fitted.model.max_atoms == 12


def test_same_seed_same_predictions(items, tmp_path):
    tables = [
        predict(items, tuned(items, tmp_path, name).path, cache=tmp_path, progress=False) for name in ("one", "two")
    ]
    assert tables[0].equals(tables[1])


def test_another_start_in_the_same_folder_is_refused(items, encoder, tmp_path):
    tuned(items, tmp_path)
    with pytest.raises(InputError, match="holds another run: its start"):
        tuned(items, tmp_path, init=encoder)


def test_vectors_are_a_table(items, encoder, tmp_path):
    crystal = embed(items, encoder, cache=tmp_path, progress=False)
    assert crystal.shape == (20, 1 + 128) and crystal["id"].tolist() == [c.id for c in items]
    site = embed(items, load_encoder(encoder), level="site", cache=tmp_path, progress=False)
    assert list(site.columns[:4]) == ["id", "site", "element", "v0"]
    assert len(site) == sum(c.n_sites for c in items)
    untrained = embed(items, new_model(MODEL, 1, 0), cache=tmp_path, progress=False)
    assert not np.allclose(untrained.iloc[:, 1:], crystal.iloc[:, 1:])


def test_nothing_to_learn_gets_a_sentence(items, tmp_path):
    with pytest.raises(InputError, match=r"No crystal has a label for gap\. Labels found: y, z"):
        tuned(items, tmp_path, targets="gap")
    with pytest.raises(InputError, match="no target was named"):
        tuned(items, tmp_path, targets=[])


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_name_is_not_the_working_folder(value, items, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = {
        "out": [
            lambda: pretrain(items, value),
            lambda: finetune(items, "y", value),
            lambda: forcefield(items, LabelColumns(energy="y"), value),
            lambda: learning_curve(items, "y", out=value),
        ],
        "checkpoint": [lambda: predict(items, value), lambda: embed(items, value)],
        "cache": [lambda: pretrain(items, tmp_path / "out", cache=value)],
        "init": [lambda: finetune(items, "y", "out", init=value)] if value is not None else [],
    }
    for option, runs in calls.items():
        for run in runs:
            with pytest.raises(InputError, match=rf"Option {option} (is empty|= None is refused)"):
                run()
    assert list(tmp_path.iterdir()) == []


def test_foreign_folder_gets_a_sentence(items, tmp_path):
    with pytest.raises(InputError, match="no saved model"):
        tuned(items, tmp_path, init=tmp_path / "nowhere")


@pytest.mark.parametrize("function", ["pretrain", "finetune", "forcefield", "predict", "embed"])
def test_an_unknown_keyword_is_named(function, tmp_path):
    """A misspelt option is an error of the caller, before anything is computed, as for any function of Python."""
    import matgl_infomax

    arguments = {"predict": [[], tmp_path], "embed": [[], tmp_path], "pretrain": [[], tmp_path]}
    given = arguments.get(function, [[], [], tmp_path])
    run = getattr(matgl_infomax, function)
    said = rf"^{function}\(\) got an unexpected keyword argument 'cahce'\. Did you mean 'cache'\?$"
    for kind in (TypeError, InputError):
        with pytest.raises(kind, match=said):
            run(*given, cahce=tmp_path)
    assert list(tmp_path.iterdir()) == []
