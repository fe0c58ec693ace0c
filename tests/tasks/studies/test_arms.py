"""The real arms: strict masks, equal budgets, and a learning rate chosen within the mask."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings
from matgl_infomax.tasks.studies.arms import ARMS, ArmTask, open_encoder, state_hash
from matgl_infomax.tasks.studies.curve import learning_curve
from tests.helpers.small_curve import config, jdft2d

REAL = ["scratch", "finetuned", "frozen", "untrained", "descriptors", "descriptors_forest", "descriptors_gaussian"]


def run(items, folder, **changes):
    settings = {"task": "jdft2d", "labels": [12], "seeds": 1, "arms": REAL, **changes}
    return learning_curve(items, "y", config(folder, **settings), progress=False)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("arms")


def hidden_rows(result, items):
    """Training crystals outside the mask: not tested on, and not in the mask of the only run."""
    from matgl_infomax.data.read import Crystals
    from matgl_infomax.tasks.studies.curve import plan_curve

    study = plan_curve(Crystals(items), "y", config(result, task="jdft2d", labels=[12], seeds=1))
    (mask,) = study.masks.values()
    return np.setdiff1d(study.parts.train, mask)


@pytest.mark.parametrize("poison", [1e9, None], ids=["huge", "missing"])
def test_labels_outside_the_mask_change_no_bit(crystals, shared_folder, tmp_path, poison):
    items = jdft2d(crystals)
    clean = run(items, shared_folder)
    poisoned = list(items)
    hidden = hidden_rows(tmp_path, items)
    assert len(hidden) > 40
    for row in hidden:
        poisoned[row] = replace(items[row], labels={} if poison is None else {"y": poison})
    dirty = run(poisoned, tmp_path)
    assert clean.cards[0].hashes.data != dirty.cards[0].hashes.data
    pd.testing.assert_frame_equal(clean.predictions, dirty.predictions, check_exact=True)
    columns = ["arm", "seed", "labels_used", "mae", "rmse", "r2"]
    pd.testing.assert_frame_equal(clean.frame[columns], dirty.frame[columns], check_exact=True)
    assert [c.initial for c in clean.cards] == [c.initial for c in dirty.cards]


def test_a_rate_that_diverges_loses(crystals, tmp_path):
    result = run(jdft2d(crystals), tmp_path, arms=["scratch"], learning_rates=[1e30, 1e-3])
    (card,) = result.cards
    assert [(tried.learning_rate, tried.mae is None) for tried in card.tried] == [(1e30, True), (1e-3, False)]
    assert np.isfinite(result.predictions["prediction"]).all()
    with pytest.raises(InputError, match=r"diverged with every learning rate\. Give lower --learning-rates"):
        run(jdft2d(crystals), tmp_path / "all", arms=["scratch"], learning_rates=[1e30, 1e29])


def test_cards_tell_where_weights_started(crystals, shared_folder):
    cards = {card.arm: card for card in run(jdft2d(crystals), shared_folder).cards}
    assert {arm: card.initial.name for arm, card in cards.items()} == {
        "scratch": "scratch", "finetuned": "pretrained", "frozen": "pretrained",
        "untrained": "scratch", **{arm: arm for arm in REAL if arm.startswith("descriptors")},
    }  # fmt: skip
    assert cards["descriptors"].initial.sha256 is None and cards["descriptors"].hashes.store is None
    assert cards["scratch"].initial.sha256 == cards["untrained"].initial.sha256, "one seed, one initialisation"
    assert cards["scratch"].initial.sha256 != cards["finetuned"].initial.sha256
    assert {arm for arm, card in cards.items() if card.cost.pretraining_seconds is not None} == {"finetuned", "frozen"}
    encoder = open_encoder(shared_folder / "out" / "pretrained", ModelSettings(supercell_atoms=12))
    assert cards["frozen"].initial.sha256 == state_hash(encoder)


def test_no_test_structure_is_pretrained_on(crystals, tmp_path, monkeypatch):
    seen = {}

    def spy(store, rows, out, settings, model, *, progress):
        seen["ids"] = [store.ids[row] for row in rows]
        raise KeyboardInterrupt

    monkeypatch.setattr("matgl_infomax.train.pretrain.pretrain_encoder", spy)
    with pytest.raises(KeyboardInterrupt):
        run(jdft2d(crystals), tmp_path, arms=["frozen"])
    from matgl_infomax.tasks.matbench.task import official_fold

    assert {int(id[-3:]) - 1 for id in seen["ids"]} == set(official_fold(636, 0).train) & set(range(80))


def test_own_weights_start_as_the_finetuned_arm_does(crystals, shared_folder, tmp_path):
    items = jdft2d(crystals)
    wanted = run(items, shared_folder).predictions.query("arm == 'finetuned'")["prediction"]
    result = run(items, tmp_path, arms=["scratch", f"mine={shared_folder / 'out' / 'pretrained'}"])
    found = result.predictions.query("arm == 'mine'")["prediction"]
    np.testing.assert_array_equal(found, wanted)
    assert not (tmp_path / "out" / "pretrained").exists(), "no arm needs this study's own pretraining"
    assert result.verdict.arm == "mine"
    assert "have seen test crystals" in result.summary()
    assert str(shared_folder) not in (tmp_path / "out" / "cards.jsonl").read_text()


def test_encoders_for_other_supercells_are_refused(shared_folder, crystals, tmp_path):
    run(jdft2d(crystals), shared_folder)
    arms = ["scratch", f"mine={shared_folder / 'out' / 'pretrained'}"]
    with pytest.raises(InputError, match=r"supercells of 12 atoms .* Give --model.supercell-atoms 12"):
        run(jdft2d(crystals), tmp_path, arms=arms, model={"supercell_atoms": 10})
    assert not (tmp_path / "out").exists()


class Recorder:
    """Stands in for training: writes down what each training was given."""

    def __init__(self, monkeypatch, errors, dead=()):
        self.fits, self.errors, self.dead = [], errors, dead
        for name in ("fit", "fit_once"):
            monkeypatch.setattr(f"matgl_infomax.train.finetune.{name}", self.fit)
        monkeypatch.setattr("matgl_infomax.train.predict.predict_rows", self.predict)
        monkeypatch.setattr("matgl_infomax.tasks.studies.arms.open_encoder", lambda *_: None)
        monkeypatch.setattr("matgl_infomax.tasks.studies.arms.state_hash", lambda _: "0" * 64)
        monkeypatch.setattr("matgl_infomax.nn.build.new_model", lambda *_: None)
        monkeypatch.setattr("matgl_infomax.nn.build.with_new_head", lambda *_: None)

    def fit(self, model, data, settings, *, pretrained, split_seed):
        assert data.labels.shape == (len(data.rows), 1)
        self.fits.append((settings, data.rows, pretrained))
        dead = ("y",) if settings.learning_rate in self.dead else ()
        return SimpleNamespace(model=settings.learning_rate, dead=dead, how=lambda: {"dead": bool(dead)})

    def predict(self, rate, store, rows):
        return np.asarray(rows, dtype=float)[:, None] + self.errors.get(rate, 0.0)


@pytest.mark.parametrize(("arm", "pretrained"), [("scratch", False), ("finetuned", True)])
def test_learning_rate_is_chosen_within_the_mask(monkeypatch, tmp_path, arm, pretrained):
    recorder = Recorder(monkeypatch, {0.1: 3.0, 0.01: 1.0, 0.001: 2.0})
    mask = np.array([7, 3, 9, 1, 30, 22, 15, 4, 8, 2])
    task = ArmTask(
        mask, mask.astype(float), np.array([100, 101]), 5, ModelSettings(), FinetuneSettings(steps=9),
        (0.1, 0.01, 0.001), tmp_path, store=SimpleNamespace(), weights=tmp_path,
    )  # fmt: skip
    answer = ARMS[arm](task)
    assert answer.tried == ((0.1, 3.0), (0.01, 1.0), (0.001, 2.0))
    *trials, final = recorder.fits
    assert [settings.learning_rate for settings, _, _ in trials] == [0.1, 0.01, 0.001]
    assert all(rows.tolist() == mask[:8].tolist() for _, rows, _ in trials)
    assert final[0].learning_rate == 0.01 and final[1].tolist() == mask.tolist()
    assert {(settings.steps, settings.seed, given) for settings, _, given in recorder.fits} == {(9, 5, pretrained)}
    np.testing.assert_array_equal(answer.prediction, [101.0, 102.0])


@pytest.mark.parametrize(
    ("dead", "used", "errors"),
    [((0.01,), 0.001, (3.0, np.inf, 2.0)), ((0.1, 0.01, 0.001), 0.001, (np.inf, np.inf, np.inf))],
    ids=["one", "all"],
)
def test_a_rate_at_which_the_network_is_dead_loses(monkeypatch, tmp_path, dead, used, errors):
    """Its error on the held-out labels would be the lowest. Dead at all: the lowest is tried on all labels."""
    recorder = Recorder(monkeypatch, {0.1: 3.0, 0.01: 1.0, 0.001: 2.0}, dead)
    mask = np.arange(10)
    task = ArmTask(
        mask, mask.astype(float), mask, 0, ModelSettings(), FinetuneSettings(), (0.1, 0.01, 0.001), tmp_path,
        SimpleNamespace(),
    )  # fmt: skip
    answer = ARMS["scratch"](task)
    assert tuple(error for _, error in answer.tried) == errors
    assert recorder.fits[-1][0].learning_rate == used and answer.training == {"dead": used in dead}


@pytest.mark.parametrize(("rates", "used"), [((), 0.0), ((0.5,), 0.5)])  # 0: the fit takes the one of its start
def test_without_a_choice_nothing_is_searched(monkeypatch, tmp_path, rates, used):
    recorder = Recorder(monkeypatch, {})
    mask = np.arange(6)
    task = ArmTask(
        mask, mask.astype(float), mask, 0, ModelSettings(), FinetuneSettings(), rates, tmp_path, SimpleNamespace()
    )
    assert ARMS["scratch"](task).tried == ()
    ((settings, rows, _),) = recorder.fits
    assert settings.learning_rate == used and len(rows) == 6


def test_vectors_of_the_same_encoder_and_crystals_are_computed_once(crystals, shared_folder, monkeypatch):
    items = jdft2d(crystals)
    run(items, shared_folder)
    monkeypatch.setattr("matgl_infomax.train.predict.embed_rows", None)  # would fail if it were called
    for file in (shared_folder / "out" / "runs").glob("frozen*"):
        file.unlink()
    run(items, shared_folder)


def test_an_arm_without_what_it_needs_says_so(tmp_path):
    rows = np.arange(3)
    task = ArmTask(rows, rows.astype(float), rows, 0, ModelSettings(), FinetuneSettings(), (), tmp_path)
    for arm in ("finetuned", "frozen", "descriptors"):
        with pytest.raises(ValueError, match="this arm needs"):
            ARMS[arm](task)
