"""What pretrained arms learn from: no crystal of the test part, none too close to the task, and the counts of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.settings.commands import StartSettings
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings, PretrainSettings
from matgl_infomax.tasks.studies import starts as source
from matgl_infomax.tasks.studies.arms import ARMS, open_encoder, state_hash
from matgl_infomax.tasks.studies.starts import (
    PER_FOLD,
    StartRequest,
    check_starts,
    in_words,
    start_weights,
    training_settings,
)
from tests.helpers.build import store_of
from tests.helpers.small_curve import FAST

MODEL = ModelSettings(supercell_atoms=12)
TRAIN, TEST = np.arange(8), np.arange(8, 12)


def foreign(crystals: list[Crystal]) -> list[Crystal]:
    """Crystals of other formulas: each element is replaced by the next one."""
    return [replace(c, id=f"f-{c.id}", numbers=c.numbers + 1) for c in crystals if c.id != "Po"]


def write(path: Path, items: list[Crystal], **columns: list[float]) -> str:
    """A table of crystals."""
    table = {
        "material_id": [c.id for c in items],
        "lattice": [c.lattice.ravel().tolist() for c in items],
        "atomic_numbers": [c.numbers.tolist() for c in items],
        "frac_coords": [c.frac.ravel().tolist() for c in items],
        **columns,
    }
    pd.DataFrame(table).to_parquet(path)
    return str(path)


def start(arm, crystals, folder, out="out", test=TEST, pretrain=FAST, **starts):
    items = Crystals(crystals)
    request = StartRequest(
        crystals=items,
        train=np.setdiff1d(np.arange(len(items)), test),
        test=test,
        store=store_of(items, folder / "cache", 12),
        folder=folder / out,
        model=MODEL,
        pretrain=PretrainSettings(**pretrain),
        finetune=FinetuneSettings(**FAST),
        starts=StartSettings(**starts),
        cache=folder / "cache",
        progress=False,
    )
    return start_weights(arm, request)


@pytest.fixture
def learnt(monkeypatch):
    """Names of the crystals that a training would see; nothing is trained."""
    seen = []

    def pretrain(store, rows, out, settings, model, *, progress):
        seen.append([store.ids[int(row)] for row in rows])
        return SimpleNamespace(path=out, seconds=1.5)

    def train(request, store, rows, labels, target):
        seen.append({store.ids[int(row)]: label for row, label in zip(rows, labels, strict=True)})
        return 2.5, 0, float("nan")

    monkeypatch.setattr("matgl_infomax.train.pretrain.pretrain_encoder", pretrain)
    monkeypatch.setattr("matgl_infomax.tasks.studies.starts._train", train)
    monkeypatch.setattr(
        "matgl_infomax.tasks.studies.starts._weights", lambda folder, model: f"weights in {folder.name}"
    )
    return seen


def test_each_arm_knows_where_its_weights_come_from(crystals, tmp_path, learnt):
    assert [arm for arm in ARMS if arm in PER_FOLD] == ["finetuned", "frozen", "transferred"]
    for arm in ("scratch", "untrained", "descriptors", "mine"):
        assert start(arm, crystals, tmp_path) is None
    assert not learnt and not (tmp_path / "out").exists()


def test_in_distribution_means_the_training_part(crystals, tmp_path):
    found = start("finetuned", crystals, tmp_path)
    assert found.folder == tmp_path / "out" / "pretrained" and found.facts == {"crystals": 8}
    assert found.weights == state_hash(open_encoder(found.folder, MODEL))
    assert found.seconds > 0
    assert start("frozen", crystals, tmp_path) == found
    assert start("frozen", crystals, tmp_path, out="other").weights == found.weights
    assert start("frozen", crystals, tmp_path, out="fold", test=TRAIN).weights != found.weights


def corpus_file(crystals, folder):
    """Foreign crystals, a strained copy of a training crystal, a copy of a test crystal, and MgO as CsCl."""
    copy = replace(crystals[10], id="copy of GaN")
    strained = replace(crystals[2], id="strained NaCl", lattice=crystals[2].lattice * 1.02)
    other_form = replace(crystals[5], id="MgO like CsCl", numbers=crystals[3].numbers)
    return write(folder / "corpus.parquet", [*foreign(crystals), copy, strained, other_form])


@pytest.mark.parametrize(
    ("without", "removed"),
    [
        ("nothing", set()),
        ("matches", {"copy of GaN", "strained NaCl"}),
        ("twins", {"copy of GaN", "strained NaCl"}),
        ("formulas", {"copy of GaN", "strained NaCl", "MgO like CsCl"}),
    ],
)
def test_what_is_too_close_to_the_task_is_not_learnt_from(crystals, tmp_path, learnt, without, removed):
    found = start("corpus", crystals, tmp_path, corpus=corpus_file(crystals, tmp_path), corpus_without=without)
    everything = {c.id for c in foreign(crystals)} | {"copy of GaN", "strained NaCl", "MgO like CsCl"}
    assert set(learnt[0]) == everything - removed and len(learnt[0]) == len(set(learnt[0]))
    facts = {"corpus": 14, "unreadable": 0, "compared": 14, "without": without}
    assert found.facts | facts == found.facts
    assert (found.facts["removed"], found.facts["crystals"]) == (len(removed), 14 - len(removed))
    said = in_words("corpus", found.facts)
    assert "may hold test crystals" in said if without == "nothing" else f"; {len(removed)} of 14 were left out" in said


def test_a_finished_corpus_is_not_read_again(crystals, tmp_path, learnt, monkeypatch):
    file = corpus_file(crystals, tmp_path)
    first = start("corpus", crystals, tmp_path, corpus=file)
    monkeypatch.setattr("matgl_infomax.tasks.studies.starts.read_source", None)  # would fail if it were called
    assert start("corpus_frozen", crystals, tmp_path, corpus=file) == first
    moved = tmp_path / "elsewhere.parquet"
    Path(file).rename(moved)
    assert start("corpus", crystals, tmp_path, corpus=str(moved), test=TRAIN) == first, "one for all folds"
    assert len(learnt) == 1


def test_another_corpus_in_the_same_folder_is_refused(crystals, tmp_path, learnt):
    file = corpus_file(crystals, tmp_path)
    start("corpus", crystals, tmp_path, corpus=file)
    with pytest.raises(InputError, match="its corpus_without is matches, this one's is nothing"):
        start("corpus", crystals, tmp_path, corpus=file, corpus_without="nothing")
    with pytest.raises(InputError, match="its crystals of the task differ"):
        start("corpus", crystals[1:], tmp_path, corpus=file, test=np.arange(3))
    write(Path(file), foreign(crystals))
    with pytest.raises(InputError, match="its crystals of the corpus differ from this one's"):
        start("corpus", crystals, tmp_path, corpus=file)
    assert len(learnt) == 1


def test_a_draw_has_the_size_asked_for(crystals, tmp_path, learnt):
    file = corpus_file(crystals, tmp_path)
    for out, without in (("a", "nothing"), ("b", "formulas")):
        start("corpus", crystals, tmp_path, out, corpus=file, corpus_size=10, corpus_without=without)
    everything, kept = (set(ids) for ids in learnt)
    assert len(everything) == len(kept) == 10
    gone = everything - kept
    assert gone <= {"copy of GaN", "strained NaCl", "MgO like CsCl"}, "the rest of the draw stays"
    start("corpus", crystals, tmp_path, "c", pretrain={**FAST, "seed": 1}, corpus=file, corpus_size=10)
    assert set(learnt[2]) != kept
    with pytest.raises(InputError, match=r"Only 12 of 14 crystals of the corpus may be learnt from. Received: 13"):
        start("corpus", crystals, tmp_path, "d", corpus=file, corpus_size=13)
    assert not (tmp_path / "d").exists()


def source_file(crystals, folder):
    """Labelled: foreign crystals, copies of a training and of a test crystal, one with the id of a test crystal."""
    copies = [replace(crystals[k], id=f"copy of {crystals[k].id}") for k in (0, 10)]
    same_id = replace(foreign(crystals)[0], id=crystals[9].id, lattice=crystals[0].lattice * 0.9)
    items = [*foreign(crystals), *copies, same_id]
    return write(folder / "source.parquet", items, gap=[float(k) if k != 1 else np.nan for k in range(len(items))])


def test_crystals_of_the_test_part_are_not_transferred_from(crystals, tmp_path, learnt):
    file = source_file(crystals, tmp_path)
    found = start("transferred", crystals, tmp_path, source=file, source_target="gap")
    expected = {c.id: float(k) for k, c in enumerate(foreign(crystals)) if k != 1} | {"copy of Cu": 11.0}
    assert learnt == [expected]
    facts = {"source_target": "gap", "labels": 13, "removed_same_id": 1, "removed_same_structure": 1, "crystals": 11}
    assert found.facts | facts == found.facts and found.seconds == 2.5
    assert "trained on 11 labels of gap; 2 of 13 were left out" in in_words("transferred", found.facts)
    assert start("transferred", crystals, tmp_path, source=file, source_target="gap") == found and len(learnt) == 1
    start("transferred", crystals, tmp_path, "fold", test=np.array([0]), source=file, source_target="gap")
    assert "copy of GaN" in learnt[1] and "copy of Cu" not in learnt[1], "another fold, another source"
    with pytest.raises(InputError, match="its test part differ"):
        start("transferred", crystals, tmp_path, test=np.array([0]), source=file, source_target="gap")


def test_too_few_labels_are_said_and_leave_nothing(crystals, tmp_path, learnt):
    file = write(tmp_path / "few.parquet", foreign(crystals)[:6], gap=[1.0] * 6)
    with pytest.raises(InputError, match=r"at least 10 labels .* Received: 6 labels of gap .* of which 6 are left"):
        start("transferred", crystals, tmp_path, source=file, source_target="gap")
    assert not (tmp_path / "out").exists()


def test_a_transfer_costs_what_the_pretraining_costs():
    pretrain = PretrainSettings(steps=77, batch_sites=99, learning_rate=0.5, seed=3)
    finetune = FinetuneSettings(steps=5, loss="huber", ema_decay=0.5, freeze=["head"], unfreeze_every=2)
    found = training_settings(pretrain, finetune, np.array([0.0, 1.0, 2.0]))
    for name, value in pretrain.model_dump().items():
        assert getattr(found, name, value) == value
    assert (found.loss, found.ema_decay, found.freeze, found.task) == ("huber", 0.5, [], "regression")
    classes = training_settings(pretrain, finetune, np.array([0.0, 1.0]))
    assert (classes.task, classes.loss) == ("classification", None)
    for_classes = FinetuneSettings(task="classification", loss="bce")
    assert training_settings(pretrain, for_classes, np.array([0.5, 2.0])).loss is None


@pytest.mark.parametrize(
    ("arm", "starts", "text"),
    [
        ("corpus", {}, "The arm corpus learns from structures of your own: give --corpus"),
        ("corpus_frozen", {"corpus": "nowhere.parquet"}, r"no such file or folder. Received: nowhere\.parquet"),
        ("transferred", {}, "The arm transferred learns from labels of another property: give --source"),
        ("transferred", {"source": "matbench_mp_gaps"}, "no such Matbench task. Received: matbench_mp_gaps"),
    ],
)
def test_missing_sources_are_said_at_once(arm, starts, text):
    with pytest.raises(InputError, match=text):
        check_starts(["scratch", arm], StartSettings(**starts))


def test_a_file_needs_the_name_of_its_column(crystals, tmp_path):
    file = write(tmp_path / "s.parquet", crystals)
    with pytest.raises(InputError, match=r"Which labels of .*s\.parquet\? Give --source-target COLUMN"):
        check_starts(["transferred"], StartSettings(source=file))
    check_starts(["transferred"], StartSettings(source="matbench_mp_gap"))
    assert source.target_of("matbench_mp_gap", None) == "gap pbe"
    assert source.target_of("matbench_mp_gap", "other") == "other"


def test_paths_are_found_below_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.parquet").write_text("x")
    assert source.located("a/b.parquet", None) == "a/b.parquet"
    for name in ("a/b.parquet", "a/*.parquet", "a"):
        assert source.located(name, tmp_path) == str(tmp_path / name)
    assert source.located("a/c.parquet", tmp_path) == "a/c.parquet"
    monkeypatch.setenv(source.DATA_VARIABLE, str(tmp_path))
    assert source.located("a/b.parquet", None) == str(tmp_path / "a" / "b.parquet")
    monkeypatch.chdir(tmp_path / "a")
    (tmp_path / "a" / "a").mkdir()
    assert source.located("a", None) == "a", "what is here comes first"


def test_content_counts_and_not_where_it_lies(crystals, tmp_path):
    first = write(tmp_path / "a.parquet", crystals)
    (tmp_path / "far").mkdir()
    second = Path(first).rename(tmp_path / "far" / "b.parquet")
    third = write(tmp_path / "c.parquet", crystals[1:])
    known = source.content_hash(str(second), None)
    assert source.content_hash("far/b.parquet", tmp_path) == known
    second.rename(tmp_path / "far" / "d.parquet")
    assert source.content_hash(str(tmp_path / "far" / "d.parquet"), None) == known
    official = [source.content_hash(name, None) for name in ("matbench_mp_gap", "matbench_mp_e_form")]
    assert len({known, source.content_hash(third, None), *official}) == 4


def test_official_data_can_be_a_source(monkeypatch, tmp_path):
    asked = []

    def task_crystals(task, data_dir, cache, *, progress):
        asked.append((task.card.name, data_dir, cache))
        return "crystals"

    monkeypatch.setattr(source, "task_crystals", task_crystals)
    assert source.read_source("matbench_mp_gap", "gap pbe", tmp_path, tmp_path / "c", progress=False) == "crystals"
    assert asked == [("matbench_mp_gap", tmp_path, tmp_path / "c")]
    assert not source.is_official("matbench_mp_gap.parquet") and not source.is_official("mp_gap")
