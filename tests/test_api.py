"""The job in Python: what a user of scikit-learn would expect of pretrain, finetune, predict and embed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_infomax
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
    arguments = {"predict": [[], tmp_path], "embed": [[], tmp_path], "pretrain": [[], tmp_path]}
    given = arguments.get(function, [[], [], tmp_path])
    run = getattr(matgl_infomax, function)
    said = rf"^{function}\(\) got an unexpected keyword argument 'cahce'\. Did you mean 'cache'\?$"
    for kind in (TypeError, InputError):
        with pytest.raises(kind, match=said):
            run(*given, cahce=tmp_path)
    assert list(tmp_path.iterdir()) == []


# As users write it: what they have in memory, settings as keywords, results that tell of themselves.

SMALL = {"model": {"supercell_atoms": 12}, "progress": False}
QUICK = {"steps": 2, "validate_every": 2, "batch_sites": 40}


def held(kind, items):
    """The same crystals under the same names in another kind of container."""
    structures, names = [item.to_structure() for item in items], [item.id for item in items]
    kinds = {
        "series": lambda: pd.Series(structures, index=names),
        "mapping": lambda: dict(zip(names, structures, strict=True)),
        "table": lambda: pd.DataFrame({"material_id": names, "structure": structures}),
        "table of atoms": lambda: pd.DataFrame(
            {"material_id": names, "relaxed": [AseAtomsAdaptor.get_atoms(s, msonable=False) for s in structures]}
        ),
    }
    return kinds[kind]()


def labels_of(items):
    return np.array([item.labels.get("y", np.nan) for item in items])


@pytest.mark.parametrize("kind", ["series", "mapping", "table", "table of atoms"])
def test_every_function_takes_what_users_hold(kind, items, tmp_path):
    """The same crystals and labels from another container give the same numbers, to the last digit."""
    more = {**SMALL, "cache": tmp_path}
    source, values = held(kind, items), labels_of(items)
    told = [pretrain(one, tmp_path / name, **QUICK, **more) for one, name in ((items, "a"), (source, "b"))]
    assert told[0].history == told[1].history
    learnt = [
        finetune(one, targets, tmp_path / name, init=told[0], **QUICK, cache=tmp_path, progress=False)
        for one, targets, name in ((items, "y", "c"), (source, {"y": values}, "d"))
    ]
    assert learnt[0].fitted.n_train == learnt[1].fitted.n_train == np.isfinite(values).sum()
    tables = [predict(one, learnt[0], cache=tmp_path, progress=False) for one in (items, source)]
    np.testing.assert_array_equal(tables[0].to_numpy(), tables[1].to_numpy())
    vectors = [embed(one, told[0], cache=tmp_path, progress=False) for one in (items, source)]
    np.testing.assert_array_equal(vectors[0].to_numpy(), vectors[1].to_numpy())
    if hasattr(source, "index"):
        assert tables[1].index.equals(source.index) and vectors[1].index.equals(source.index)


def test_one_structure_a_folder_and_an_array_of_labels(items, tmp_path):
    more = {**SMALL, **QUICK, "cache": tmp_path}
    made = finetune([item.to_structure() for item in items], labels_of(items), tmp_path / "model", **more)
    assert made.targets == ("y",)
    alone = predict(items[0].to_structure(), str(made.path), cache=tmp_path, progress=False)
    assert alone["id"].tolist() == ["0"] and np.isfinite(alone["y"]).all()
    for item in items[:3]:
        item.to_structure().to(str(tmp_path / f"{item.id}.cif"))
    assert sorted(predict(str(tmp_path), made, cache=tmp_path, progress=False)["id"]) == sorted(
        item.id for item in items[:3]
    )


def test_settings_may_be_keywords_dictionaries_or_any_mapping(items, tmp_path):
    """The same settings in every form claim the same folder: another one would be refused."""
    forms = [
        {"settings": FINETUNE},
        {"settings": FINETUNE.model_dump()},
        {"settings": MappingProxyType(FINETUNE.model_dump(exclude_unset=True))},
        {"steps": 6, "validate_every": 3, "batch_sites": 40},
        {"settings": FINETUNE.model_copy(update={"steps": 99}), "steps": 6},
        {"settings": FINETUNE, "ensemble": 1},
    ]
    found = [tuned(items, tmp_path, **{"settings": None, **form}).fitted for form in forms]
    assert all(one.history == found[0].history for one in found)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stepz": 5}, r"unexpected keyword argument 'stepz'\. Did you mean 'steps'"),
        ({"settings": {"stepz": 5}}, r"Unknown option 'stepz'.*Did you mean 'steps'"),
        ({"steps": -1}, "steps = -1 is refused"),
        ({"steps": "many"}, "steps = 'many' is refused"),
        ({"settings": 5}, r"settings takes FinetuneSettings or a dictionary of its fields\. Received: int"),
        ({"settings": PRETRAIN}, "settings takes FinetuneSettings .*Received: PretrainSettings"),
        ({"model": "meganet"}, "name = 'meganet' is refused"),
        ({"model": 5}, "model takes ModelSettings"),
        ({"ensemble": 0}, "ensemble = 0 is refused"),
        ({"init": 5}, r"init is the path of a folder\. Received: 5"),
        ({"cache": 5}, "cache is the path of a folder"),
        ({"prepare_processes": "two"}, "prepare_processes is a number of processes"),
    ],
    ids=str,
)
def test_wrong_settings_get_a_sentence(wrong, said, items, tmp_path):
    with pytest.raises(InputError, match=said):
        tuned(items, tmp_path, **wrong)


def test_wrong_kinds_get_a_sentence(items, tmp_path):
    for call in (
        lambda: predict(5, tmp_path),
        lambda: embed(5, new_model(MODEL, 1, 0)),
        lambda: pretrain(None, tmp_path / "a"),
        lambda: finetune(5, "y", tmp_path / "a"),
        lambda: finetune(items, 5, tmp_path / "a"),
        lambda: finetune(items, "y", None),
        lambda: predict(items, None),
        lambda: embed(items, 5),
        lambda: embed(items, new_model(MODEL, 1, 0), level="atoms"),
        lambda: matgl_infomax.learning_curve(5, "y", out=tmp_path / "a"),
        lambda: matgl_infomax.learning_curve(items, {"y": [1.0]}, out=tmp_path / "a"),
        lambda: matgl_infomax.learning_curve(items, ["y", "z"], out=tmp_path / "a"),
        lambda: matgl_infomax.learning_curve(items, "y"),
        lambda: matgl_infomax.learning_curve(items, "y", 5),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "pydantic" not in str(caught.value) and "\n  " not in str(caught.value)


def test_results_tell_what_was_done_and_what_comes_next(items, encoder, tmp_path):
    made = pretrain(items, encoder, model=MODEL, settings=PRETRAIN, cache=tmp_path, progress=False)
    text = repr(made)
    assert text.startswith("Pretrained encoder\n") and "denoise, by sitenet, from 20 crystals" in text
    best = next(entry["validation/loss"] for entry in made.history if entry["step"] == made.best_step)
    assert f"{best:.4g} at step {made.best_step}" in text and f'init="{made.path}"' in text
    tuned_text = repr(tuned(items, tmp_path, init=made))
    for part in ("Fine-tuned model of y", f"pretrained weights in {made.path}", "13 labelled crystals, 0 held out",
                 "unknown: no label was held out", f'predict(crystals, "{tmp_path / "model"}")'):  # fmt: skip
        assert part in tuned_text
    page = made._repr_html_()
    assert "<table>" in page and "&quot;" in page and 'init="' not in page


def test_held_out_errors_are_told(items, tmp_path):
    many_items = [replace(item, id=f"{item.id}-{k}") for k in range(3) for item in items]
    made = tuned(many_items, tmp_path, settings=FINETUNE.model_copy(update={"validation_fraction": 0.3}))
    assert f"y: mean absolute error {made.validation['y']['mae']:.4g}" in repr(made)
    assert "from scratch" in repr(made)


def test_the_package_shows_its_names_without_torch():
    code = "import sys, matgl_infomax; print([n for n in dir(matgl_infomax) if n[0] != '_'], 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == f"{sorted(matgl_infomax.__all__)} False\n"
    for name in matgl_infomax.__all__:
        assert getattr(matgl_infomax, name).__name__ == name
    with pytest.raises(AttributeError, match=r"no attribute 'pretran'\. Did you mean 'pretrain'"):
        matgl_infomax.pretran  # noqa: B018
