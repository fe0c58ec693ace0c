"""A representation study from crystals to tables: the same terms for every arm, resumed where it stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS, sha256_of
from matgl_infomax.nn.build import load_encoder, new_model, save_model
from matgl_infomax.settings.training import ModelSettings
from matgl_infomax.tasks.studies import descriptors, plots
from matgl_infomax.tasks.studies import represent as module
from matgl_infomax.tasks.studies import represent as represent_study
from matgl_infomax.tasks.studies.arms import state_hash
from matgl_infomax.tasks.studies.represent import Representation, fresh, plan_representation, represent
from matgl_infomax.train import predict
from tests.helpers.build import many
from tests.helpers.small_curve import jdft2d
from tests.helpers.small_represent import config, run, small_encoder
from tests.helpers.vouched import assert_vouched

PLOTS = (module.plot_heads, plots.plot_map)
UNTRAINED = [f"untrained-{seed}" for seed in range(5)]


@dataclass(frozen=True)
class Whole:
    """A finished study and where it lies."""

    result: module.RepresentResult
    study: Representation
    folder: Path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A small encoder; training it would show nothing more here."""
    return small_encoder(tmp_path_factory.mktemp("encoder"))


class Volume:
    """Takes the place of matminer's featurizers, which have tests of their own: orbital fields take a second each."""

    def featurize(self, structure):
        if structure.composition.reduced_formula == "MgO":
            raise ValueError("no neighbours")
        return [structure.volume / len(structure), *[float(len(structure))] * 127]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No matminer, and no pictures: one test draws them."""
    monkeypatch.setattr(descriptors, "_structure_featurizer", lambda name: Volume())
    monkeypatch.setattr(module, "plot_heads", lambda *_, **__: None)
    monkeypatch.setattr(plots, "plot_map", lambda *_, **__: None)


@pytest.fixture(scope="module")
def finished() -> dict[str, Whole]:
    """Holds the one study that several tests look at."""
    return {}


@pytest.fixture
def whole(finished, crystals, tmp_path_factory, encoder, monkeypatch) -> Whole:
    """A study with everything, pictures too, for the tests that only look."""
    if not finished:
        folder = tmp_path_factory.mktemp("whole")
        settings = config(folder, encoder, map="tsne", scaling=["standard", "none"])
        items = Crystals(many(crystals, 60))
        monkeypatch.setattr(module, "plot_heads", PLOTS[0])
        monkeypatch.setattr(plots, "plot_map", PLOTS[1])
        study = plan_representation(items, "y", settings)
        finished["study"] = Whole(represent(items, settings, progress=False), study, folder)
    return finished["study"]


@pytest.fixture
def items(crystals) -> Crystals:
    return Crystals(many(crystals, 60))


def test_whole_study(whole):
    result, out = whole.result, whole.folder / "out"
    arms = ["pretrained", *UNTRAINED, "xrd", "magpie"]
    assert len(result.fits) == len(arms) * 2 * 2 * 2
    assert list(dict.fromkeys(result.fits["arm"])) == arms
    assert np.isfinite(result.fits["mae"]).all()
    written = {path.name for path in out.iterdir() if path.is_file()}
    assert written == {
        SUMS, "run.json", "fits.csv", "comparisons.csv", "failures.csv", "map.csv", "cards.jsonl", "summary.md",
        *(f"{name}.{end}" for name in ("heads", "heads_unscaled", "map_pca", "map_tsne") for end in ("png", "svg")),
    }  # fmt: skip
    tables = {"fits.csv", "comparisons.csv", "failures.csv", "map.csv"}
    assert_vouched(out, {*tables, "cards.jsonl", "summary.md"})
    for name in ("heads", "heads_unscaled", "map_pca", "map_tsne"):
        assert imread(out / f"{name}.png")[..., :3].std() > 0.05
    pd.testing.assert_frame_equal(pd.read_csv(out / "fits.csv"), result.fits)
    text = (out / "summary.md").read_text()
    assert text == result.summary()
    for part in ("What do frozen vectors know about y?", "## ridge\n", "## ridge, vectors not scaled"):
        assert part in text
    assert str(whole.folder) not in text
    assert len(result.points) == 2 * 12 and set(result.points["arm"]) == {"pretrained", "untrained-0"}


def test_every_arm_gets_the_same_crystals(whole):
    masks: dict[tuple[int, int], set[str]] = {}
    for card in whole.result.cards:
        masks.setdefault((card.mask.used, card.seed), set()).add(card.mask.sha256)
    assert [len(hashes) for hashes in masks.values()] == [1] * 4  # one mask for all arms
    assert len(set.union(*masks.values())) == 4  # and another for every draw and number of labels
    study = whole.study
    for seed in (0, 1):
        assert set(study.masks[6, seed]) < set(study.masks[12, seed])
    truth = study.labels[study.parts.test]
    for fit in study.runs:
        table = pd.read_parquet(study.files(fit).predictions)
        np.testing.assert_array_equal(table["target"], truth)
    assert not set(study.parts.test) & set(np.concatenate(list(study.masks.values())))


def test_cards_say_what_the_numbers_are(whole, encoder):
    for card, fit in zip(whole.result.cards, whole.study.runs, strict=True):
        file = whole.study.files(fit).predictions
        assert card.hashes.predictions == sha256_of(file.read_bytes())
        frame = pd.read_parquet(file)
        assert card.metrics.mae == pytest.approx((frame["prediction"] - frame["target"]).abs().mean())
    initial = {card.arm: (card.initial.name, card.initial.sha256) for card in whole.result.cards}
    assert initial["pretrained"] == ("pretrained", state_hash(load_encoder(encoder)))
    assert initial["xrd"] == ("xrd", None)
    hashes = {initial[name][1] for name in ["pretrained", *UNTRAINED]}
    assert len(hashes) == 6  # five random networks, none of them the encoder
    like_encoder = new_model(ModelSettings(preset="compact", supercell_atoms=12), 1, seed=3)
    assert initial["untrained-3"] == ("untrained", state_hash(like_encoder))


def test_crystals_without_descriptor_stay_and_are_told(whole):
    result = whole.result
    assert all(id.startswith("MgO") for id in result.failures["id"])
    assert set(result.failures["arm"]) == {"xrd"}
    assert "no neighbours" in result.failures["reason"].iloc[0]
    in_test = int((result.failures["part"] == "test").sum())
    assert in_test > 0
    by_arm = result.fits.groupby("arm")["imputed_test"].max()
    assert (by_arm["xrd"], by_arm["magpie"], by_arm["pretrained"]) == (in_test, 0, 0)
    assert {card.n_test for card in result.cards} == {12}
    for told in (result.summary(), result.to_text()):
        assert f"{in_test} test crystals have no descriptor" in told
    assert list(pd.read_csv(whole.folder / "out" / "failures.csv").columns) == ["arm", "id", "part", "reason"]


def test_stopped_study_goes_on_and_may_grow(items, tmp_path, encoder, monkeypatch):
    done: list[str] = []
    real = represent_study.fit_head

    def stops(job):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(job.fit.name)
        return real(job)

    monkeypatch.setattr(represent_study, "fit_head", stops)
    small = config(tmp_path, encoder, labels=[6], descriptors=[])
    with pytest.raises(KeyboardInterrupt):
        run(items, small)
    monkeypatch.setattr(represent_study, "fit_head", lambda job: done.append(job.fit.name) or real(job))
    first = run(items, small)
    assert len(done) == len(set(done)) == len(first.cards)
    grown = run(items, config(tmp_path, encoder, repeats=3, heads=["ridge", "linear"], descriptors=["magpie"]))
    assert len(done) == len(set(done)) == len(grown.cards)
    kept = [card for card in grown.cards if card in first.cards]
    assert len(kept) == len(first.cards)
    monkeypatch.setattr(predict, "embed_rows", lambda *_, **__: pytest.fail("vectors are on disk too"))
    assert run(items, small).cards == first.cards


def test_pictures_of_an_earlier_call_do_not_stay(items, tmp_path, encoder):
    small: dict[str, Any] = {"labels": [6], "repeats": 1, "descriptors": []}
    run(items, config(tmp_path, encoder, **small))
    for name in ("heads_unscaled.png", "heads_unscaled.svg", "map_umap.png", "mine.png", "heads.csv"):
        (tmp_path / "out" / name).write_bytes(b"old")
    run(items, config(tmp_path, encoder, **small))
    left = {file.name for file in (tmp_path / "out").iterdir() if file.is_file() and file.read_bytes() == b"old"}
    assert left == {"mine.png", "heads.csv"}


def test_results_repeat_bit_for_bit(items, tmp_path, encoder):
    settings: dict[str, Any] = {"heads": ["mlp", "forest"], "labels": [8], "repeats": 1, "descriptors": []}
    frames = [run(items, config(tmp_path / name, encoder, **settings)).fits for name in ("a", "b")]
    for frame in frames:
        frame.drop(columns="seconds", inplace=True)
    pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_labels_outside_the_masks_change_nothing(crystals, tmp_path, encoder):
    items = many(crystals, 60)
    study = plan_representation(Crystals(items), "y", config(tmp_path, encoder, repeats=1))
    inside = set(np.concatenate([study.parts.test, *study.masks.values()]).tolist())
    outside = [row for row in range(60) if row not in inside]
    assert outside
    changed = [replace(c, labels={"y": 1e6}) if row in outside else c for row, c in enumerate(items)]
    settings: dict[str, Any] = {"descriptors": [], "repeats": 1}
    one = run(Crystals(items), config(tmp_path / "a", encoder, **settings)).fits
    other = run(Crystals(changed), config(tmp_path / "b", encoder, **settings)).fits
    np.testing.assert_array_equal(one["mae"], other["mae"])


def test_folder_of_another_study_is_refused(items, tmp_path, encoder):
    run(items, config(tmp_path, encoder, descriptors=[], heads=["ridge"]))
    with pytest.raises(InputError, match="holds another run: its fold is 0, this one's is 1"):
        run(items, config(tmp_path, encoder, fold=1))
    other = tmp_path / "other"
    save_model(new_model(ModelSettings(supercell_atoms=12), 1, seed=78), other, {})
    with pytest.raises(InputError, match="holds another run: its encoder is"):
        run(items, config(tmp_path, other))


def test_official_folds_and_options_instead_of_a_config(crystals, tmp_path, encoder):
    settings = config(tmp_path, encoder, descriptors=[], heads=["ridge"], labels=[6], repeats=1)
    options = {name: getattr(settings, name) for name in settings.model_fields_set - {"data"}}
    result = represent(jdft2d(crystals), progress=False, task="jdft2d", **options)
    assert result.cards[0].task == "matbench_jdft2d"
    assert result.to_frame().equals(result.fits)
    with pytest.raises(InputError, match=r"not both. Received both: fold"):
        represent(jdft2d(crystals), settings, fold=1)


def test_fresh_networks_have_the_encoders_architecture(encoder):
    loaded = load_encoder(encoder)
    made = fresh(loaded, 5)
    assert made.init_args == loaded.init_args
    assert state_hash(made) == state_hash(fresh(loaded, 5)) != state_hash(fresh(loaded, 6))
    network = new_model(ModelSettings(name="megnet"), 1, 0)
    assert state_hash(fresh(network, 0)) == state_hash(network) != state_hash(fresh(network, 1))


def test_command_line(crystals, tmp_path, encoder, capsys):
    from matgl_infomax.cli import main

    rows = [
        {"id": c.id, "y": c.labels["y"], "lattice": c.lattice.ravel().tolist(), "atomic_numbers": c.numbers.tolist(),
         "frac_coords": c.frac.ravel().tolist()}
        for c in many(crystals, 40)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "data.parquet")
    words = f"--data {tmp_path}/data.parquet --target y --checkpoint {encoder} --labels 5 8 --repeats 2 --heads ridge"
    words += f" --descriptors magpie --map none --cache {tmp_path}/cache --out {tmp_path}/out"
    assert main(["represent", *words.split()]) == 0
    told = capsys.readouterr().out
    assert "pretrained / untrained (95 %)" in told and f"Tables and pictures: {tmp_path}/out" in told
    cards = (tmp_path / "out" / "cards.jsonl").read_text().splitlines()
    assert len(cards) == 7 * 2 * 2 and json.loads(cards[0])["settings"]["head"] == "ridge"
