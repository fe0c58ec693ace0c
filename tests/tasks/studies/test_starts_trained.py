"""The arms that start from a corpus or from another property, trained for real in a small study."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import load_encoder
from matgl_infomax.settings.training import ModelSettings
from matgl_infomax.tasks.studies.arms import open_encoder, state_hash
from matgl_infomax.tasks.studies.curve import CurveRun, learning_curve, plan_curve
from matgl_infomax.tasks.studies.starts import Start
from tests.helpers.build import many
from tests.helpers.small_curve import config
from tests.tasks.studies.test_starts import foreign, write

ARMS = ["scratch", "corpus", "corpus_frozen", "transferred"]


@pytest.fixture
def files(crystals, tmp_path):
    """A corpus with one copy of a crystal of the task, and a source with labels."""
    others = many(foreign(crystals), 22)
    copy = replace(crystals[3], id="copy of MgO")
    corpus = write(tmp_path / "corpus.parquet", [*others, copy])
    return {"corpus": corpus, "source": write(tmp_path / "source.parquet", others, gap=[float(k) for k in range(22)]),
            "source_target": "gap"}  # fmt: skip


def study(items, folder, **changes):
    settings = {"labels": [12], "seeds": 1, "arms": ARMS, **changes}
    return learning_curve(items, "y", config(folder, **settings), progress=False)


def test_new_arms_join_a_study_and_tell_what_they_learnt_from(crystals, tmp_path, files):
    items = many(crystals, 80)
    before = study(items, tmp_path, arms=["scratch"])
    result = study(items, tmp_path, **files)
    cards = {card.arm: card for card in result.cards}
    assert list(cards) == ARMS
    assert cards["scratch"] == before.cards[0], "a corpus decides nothing for an arm from scratch"
    assert {arm: card.initial.name for arm, card in cards.items()} == {
        "scratch": "scratch", "corpus": "corpus", "corpus_frozen": "corpus", "transferred": "transferred"
    }  # fmt: skip
    assert cards["corpus"].initial.facts | {"removed": 1, "crystals": 22} == cards["corpus"].initial.facts
    assert cards["transferred"].initial.facts | {"labels": 22} == cards["transferred"].initial.facts
    assert not cards["scratch"].initial.facts and cards["scratch"].cost.pretraining_seconds is None
    assert cards["corpus"].cost.pretraining_seconds > 0 and cards["transferred"].cost.pretraining_seconds > 0
    folders = {name: tmp_path / "out" / name / "encoder" for name in ("corpus", "transferred")}
    opened = {name: open_encoder(folder, ModelSettings(supercell_atoms=12)) for name, folder in folders.items()}
    assert cards["corpus_frozen"].initial.sha256 == state_hash(opened["corpus"])
    source = load_encoder(folders["transferred"])
    assert float(source.target_mean) == pytest.approx(10.5, abs=4), "it learnt the gaps of the source"
    summary = result.summary()
    assert summary.count("1 of 23 were left out for having the same structure") == 1
    assert "transferred: trained on 22 labels of gap; 0 of 22 were left out" in summary
    assert str(tmp_path) not in (tmp_path / "out" / "cards.jsonl").read_text()
    assert result.verdict.arm == "corpus"

    again = study(items, tmp_path, **files)
    assert again.cards == result.cards
    with pytest.raises(InputError, match="its corpus_without is matches, this one's is formulas"):
        study(items, tmp_path, **files, corpus_without="formulas")


def test_weights_decide_the_hash_of_a_run(crystals, tmp_path, files):
    study_of = plan_curve(Crystals(many(crystals, 80)), "y", config(tmp_path, labels=[12], seeds=1, arms=ARMS, **files))
    other = plan_curve(Crystals(many(crystals, 80)), "y", config(tmp_path, labels=[12], seeds=1, arms=["scratch"]))
    assert study_of.claim() == other.claim(), "arms and their corpus may come later"

    def hashes(weights):
        found = replace(study_of, starts={arm: Start(tmp_path, weights, 1.0, {}) for arm in ARMS[1:]})
        return {arm: found.run_hash(CurveRun(arm, 12, 0)) for arm in ARMS}

    one, two = hashes("1"), hashes("2")
    assert [arm for arm in ARMS if one[arm] == two[arm]] == ["scratch"]


def test_what_an_arm_lacks_is_said_before_anything_is_written(crystals, tmp_path):
    with pytest.raises(InputError, match="arm transferred learns from labels of another property"):
        study(many(crystals, 80), tmp_path, arms=["transferred"])
    with pytest.raises(InputError, match="no such file or folder"):
        study(many(crystals, 80), tmp_path, arms=["corpus"], corpus="nowhere")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_transfer_is_the_same_again(crystals, tmp_path, files):
    items = many(crystals, 80)
    first = study(items, tmp_path, arms=["transferred"], **files)
    second = study(items, tmp_path / "again", arms=["transferred"], **files)
    pd.testing.assert_frame_equal(first.predictions, second.predictions, check_exact=True)
