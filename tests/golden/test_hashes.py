"""Hashes in run cards and claims of folders, as the code of commit 0200d86 made them on both stacks.

Finished studies are found by them: a hash that moves makes every user repeat his runs, and a claim that moves refuses
his folders. They move on purpose only, together with a ``CODE_VERSION``. Those of Site-Net moved once since: its
supercells are built on Niggli-reduced vectors, so a run from before is not the same run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matgl_infomax.data.store import build_store
from matgl_infomax.io import sha256_of
from matgl_infomax.record import versions
from matgl_infomax.settings.commands import (
    BenchmarkConfig,
    CurveConfig,
    ForceStudyConfig,
    RepresentConfig,
    StartSettings,
)
from matgl_infomax.settings.training import (
    EnsembleSettings,
    FinetuneSettings,
    ForceFieldSettings,
    ModelSettings,
    PretrainSettings,
)
from matgl_infomax.tasks.matbench.task import Card, Split, kfolds, load_card
from matgl_infomax.tasks.studies.arms import HeadFit
from matgl_infomax.tasks.studies.benchmark_grid import Bench, BenchmarkRun, plan_benchmark, settle_benchmark
from matgl_infomax.tasks.studies.curve import CurveRun, CurveStudy, plan_curve
from matgl_infomax.tasks.studies.engine import take_folder
from matgl_infomax.tasks.studies.force import ForceRun, plan_force_study
from matgl_infomax.tasks.studies.probe import probe
from matgl_infomax.tasks.studies.represent import Vectors, plan_representation
from matgl_infomax.tasks.studies.starts import Start, StartRequest, claim_start
from matgl_infomax.train.ensemble import InitialNetwork, train_ensemble
from matgl_infomax.train.finetune import Labelled, fit
from matgl_infomax.train.forcefield import fit_forces, rule_of, start_network
from matgl_infomax.train.pretrain import pretrain_encoder
from tests.golden import exact

KNOWN = {
    "data": "da802c57b0bb62e555df3b5dab9a1c6128b36b159b030cbb4b906beeef745061",
    "curve claim": "fe74ba9ea78de6c7",
    "curve scratch": "10f9be7d17957eb24e4accec53b82c603513686da83bcbdcc8b64ef1ec47ee41",
    "curve descriptors": "926f9a72448664722f652fbacb2966df989a7691e87237912527dd7a2e3bd7a3",
    "curve finetuned": "964c73c5728780c7bc80fd79746ac4bc18a6b50ee72f5b7ff3421e5057bc8019",
    "curve folds": "c1d5b8b9f0c2ec3d083d45d09cbf68bbfe17a83b10dced6c01a77a3f4261b772",
    "curve two processes": "d9f3695a855df440484a04eeb3b7eea2d3f4e2f7269efcc3dc0f6c46fca4f88e",
    "curve two processes claim": "33a7e43d40818698",
    "benchmark claim": "cc9c468ed6c2ce46",
    "benchmark run": "25606842c21224bc1b29bec927d311f2f3dab8814869cb7697616ea9d1be765d",
    "benchmark rate": "b3cc877099109ebd6e9ce0711de41525cc0f8a247c944b9c260c29eb4bb1b2e7",
    "benchmark corpus": "1c2ef780a94c58a7eb0cdf0a42df8b8208c1b87130cae5217fe1fa3e0c252b62",
    "benchmark folds": "ffbeb3d88eb73b3db53fe037702f409acc2313f98bd6f1c7a8787e4b56b82c75",
    "benchmark init": "d51fe0c53b74578a07bc2590f1371362983d1b5c785a07b10f582a65bf9c5f44",
    "force claim": "0c6f3fd64e9da59d",
    "force scratch": "c9aee2438d16e001a518c4e6ea9e1015d24b5e8568c5e724f98a5011851eb2d0",
    "force masked": "36a728b8519ca906f9ea84530f7d0148d8274dc5b29796e193ce196b0aac628e",
    "represent claim": "68acfc9dc337c025",
    "represent fit": "25c5993ad053d7e479351064270fc3ee859fb93d81eee9e0cbc86272feb7c300",
    "represent folds": "c1d5b8b9f0c2ec3d083d45d09cbf68bbfe17a83b10dced6c01a77a3f4261b772",
    "encoder": "980e9a3d8e7a689067ffdfe2f4ea128ed852955aabd8e965e4c7c3e1c6a8a49e",
    "probe claim": "0a76637ff86a9e18",
    "store": "98639d3726f1e18f25ee1f62",
    "pretrain claim": "e130178f754f2c9f",
    "finetune claim": "cf1d7396ba95b9b7",
    "finetune scratch claim": "d3ac7a33ec702ef1",
    "ensemble claim": "ed690a0a14e93945",
    "ensemble member claim": "833fa3b8722897d3",
    "start claim": "f826f57b8c0d7bdd",
}
FORCEFIELD = {"DGL": "652ad00895f51502", "PYG": "bbf2186b362dbe89"}
"""MatGL's networks differ between its versions, and so do the weights that a force field starts from."""
LABELS = np.arange(exact.N)[:, None] / 8


def claimed(folder: Path) -> str:
    """Hash of what a folder says it holds, whatever the order."""
    return sha256_of(json.dumps(json.loads((folder / "run.json").read_text()), sort_keys=True))[:16]


def curve(folder: Path, **processes: int) -> CurveStudy:
    config = CurveConfig(
        data="none", target=["y"], labels=[4, 8], seeds=2, folds=1, arms=["scratch", "finetuned", "descriptors"],
        learning_rates=[0.001, 0.01], model=exact.MODEL, pretrain={**exact.SHORT, **processes},
        finetune={**exact.SHORT, "seed": 3, **processes}, out=folder / "out", cache=folder / "cache",
    )  # fmt: skip
    return plan_curve(exact.crystals(), "y", config)


@pytest.mark.parametrize("processes", [{}, {"processes": 2}], ids=["one process", "two processes"])
def test_curve(tmp_path, processes):
    study = curve(tmp_path, **processes)
    take_folder(study)
    assert (study.data_hash, study.fold_hash) == (KNOWN["data"], KNOWN["curve folds"])
    assert claimed(tmp_path / "out") == KNOWN["curve claim"]
    assert study.run_hash(CurveRun("scratch", 4, 3)) == KNOWN["curve scratch"]
    assert study.run_hash(CurveRun("descriptors", 8, 4)) == KNOWN["curve descriptors"]
    learnt = replace(study, starts={"finetuned": Start(tmp_path, "ab" * 32, 1.0, {})})
    assert learnt.run_hash(CurveRun("finetuned", 8, 3)) == KNOWN["curve finetuned"]


def test_curve_whose_hash_held_two_processes(tmp_path):
    """Until 0200d86 the number of processes was hashed as it was given; such folders and cards still count."""
    study = curve(tmp_path)
    settings = {name: dict(v) if isinstance(v, dict) else v for name, v in study.settings.items()}
    settings["pretrain"]["processes"] = settings["finetune"]["processes"] = 2
    assert study.run_hash(CurveRun("scratch", 4, 3), settings) == KNOWN["curve two processes"]
    take_folder(study)
    file = tmp_path / "out" / "run.json"
    old = json.loads(file.read_text())
    old["pretrain"]["processes"] = old["finetune"]["processes"] = 2
    file.write_text(json.dumps(old))
    assert claimed(tmp_path / "out") == KNOWN["curve two processes claim"]
    take_folder(study)


class SmallTask:
    """A task of the benchmark with forty rows."""

    card: Card = load_card("matbench_jdft2d").model_copy(update={"n_rows": exact.N, "target": "y"})

    def fold(self, k: int) -> Split:
        return kfolds(exact.N)[k]


def bench(folder: Path, **changes: Any) -> Bench:
    settings: dict[str, Any] = {
        "task": "jdft2d", "arm": "scratch", "folds": [0, 2], "seeds": 2, "learning_rates": [0.001, 0.01],
        "model": exact.MODEL, "pretrain": exact.SHORT, "out": folder / "out", "cache": folder / "cache",
        "finetune": {**exact.SHORT, "seed": 3, "validation_fraction": 0.4},
    }  # fmt: skip
    config = settle_benchmark(BenchmarkConfig(**{**settings, **changes}), SmallTask.card)
    return plan_benchmark(SmallTask(), exact.crystals(), config)  # type: ignore[arg-type]


def test_benchmark(tmp_path):
    study = bench(tmp_path)
    take_folder(study)
    assert claimed(tmp_path / "out") == KNOWN["benchmark claim"]
    assert study.run_hash(BenchmarkRun(2, 4)) == KNOWN["benchmark run"]
    assert study.rate_hash(0, 0.01) == KNOWN["benchmark rate"]
    assert study.fold_hash(2) == KNOWN["benchmark folds"]
    config = study.config.model_copy(update={"arm": "corpus", "corpus": "c"})
    learnt = replace(study, config=config, starts={0: Start(tmp_path, "cd" * 32, 1.0, {})})
    assert learnt.run_hash(BenchmarkRun(0, 3)) == KNOWN["benchmark corpus"]
    given = bench(tmp_path, arm="frozen", init=exact.encoder(tmp_path / "encoder"), seeds=1, labels=20)
    assert given.run_hash(BenchmarkRun(0, 3)) == KNOWN["benchmark init"]


def test_force_study(tmp_path):
    config = ForceStudyConfig(
        data=exact.frames(tmp_path / "frames.parquet"), elements=["Cu", "Si"], shares=[0.5, 1.0], seeds=2,
        arms=["scratch"], model=exact.TENSORNET, forcefield={**exact.FORCES, "seed": 5}, out=tmp_path / "out",
        cache=tmp_path / "cache",
    )  # fmt: skip
    study = plan_force_study(config)
    take_folder(study)
    assert claimed(tmp_path / "out") == KNOWN["force claim"]
    assert study.run_hash(ForceRun("scratch", "Si", 3, 6)) == KNOWN["force scratch"]
    study.starts["masked"] = "ef" * 32
    assert study.run_hash(ForceRun("masked", "Cu", 6, 5)) == KNOWN["force masked"]


def test_representation(tmp_path):
    encoder = exact.encoder(tmp_path / "encoder")
    config = RepresentConfig(
        data="none", target=["y"], checkpoint=encoder, labels=[4, 8], repeats=2, seed=1, out=tmp_path / "out"
    )
    study = plan_representation(exact.crystals(), "y", config)
    take_folder(study)
    assert (study.weights, study.fold_hash()) == (KNOWN["encoder"], KNOWN["represent folds"])
    assert claimed(tmp_path / "out") == KNOWN["represent claim"]
    study = replace(study, vectors={"xrd": Vectors("xrd", tmp_path, np.arange(exact.N), 5, "12" * 32, {})})
    assert study.run_hash(HeadFit("xrd", "ridge", "none", 8, 2)) == KNOWN["represent fit"]


def test_probe(tmp_path):
    probe(
        exact.crystals(), checkpoint=exact.encoder(tmp_path / "encoder"), untrained=1, sites=20, seed=2,
        probes=["linear"], target=["y"], out=tmp_path / "out", cache=tmp_path / "cache", progress=False,
    )  # fmt: skip
    assert claimed(tmp_path / "out") == KNOWN["probe claim"]


class Stopped(Exception):
    """Raised where training would begin."""


@pytest.fixture
def untrained(monkeypatch):
    """Folders are claimed, and nothing is trained."""

    def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    for module in ("pretrain", "finetune", "forcefield"):
        monkeypatch.setattr(f"matgl_infomax.train.{module}.run_steps", stop)


@pytest.mark.usefixtures("untrained")
def test_trainings(tmp_path):
    store, rows = exact.store(tmp_path / "cache"), np.arange(exact.N)
    data = Labelled(store, rows, LABELS)
    assert store.key == KNOWN["store"]
    settings = PretrainSettings(**exact.SHORT, objective="masked", processes=2)
    with pytest.raises(Stopped):
        pretrain_encoder(store, rows, tmp_path / "pretrain", settings, ModelSettings(**exact.MODEL), progress=False)
    tuned = FinetuneSettings(**exact.SHORT, validation_fraction=0.25, processes=2)
    with pytest.raises(Stopped):
        fit(exact.network(), data, tuned, pretrained=True, split_seed=7, out=tmp_path / "finetune")
    with pytest.raises(Stopped):
        fit(exact.network(), data, FinetuneSettings(**exact.SHORT), out=tmp_path / "finetune scratch")
    for name in ("pretrain", "finetune", "finetune scratch"):
        assert claimed(tmp_path / name) == KNOWN[f"{name} claim"]


def test_ensemble(tmp_path):
    data = Labelled(exact.store(tmp_path / "cache"), np.arange(exact.N), LABELS, ("y",))
    settings = FinetuneSettings(**exact.SHORT, validation_fraction=0.3)
    start = InitialNetwork(exact.network, True)
    train_ensemble(start, data, settings, EnsembleSettings(ensemble=2), tmp_path / "out", progress=False)
    assert claimed(tmp_path / "out") == KNOWN["ensemble claim"]
    assert claimed(tmp_path / "out" / "member_1") == KNOWN["ensemble member claim"]


@pytest.mark.usefixtures("untrained")
def test_forcefield(tmp_path):
    network, _ = start_network(None, ModelSettings(**exact.TENSORNET), 0, [29])
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(0.5)
    config = ForceStudyConfig(data=exact.frames(tmp_path / "frames.parquet"), elements=["Cu"], model=exact.TENSORNET,
                              out=tmp_path / "out")  # fmt: skip
    frames = plan_force_study(config).train["Cu"]
    store = build_store(frames.crystals, rule_of(network), tmp_path / "cache", progress=False, workers=1)
    settings = ForceFieldSettings(**exact.FORCES)
    with pytest.raises(Stopped):
        fit_forces((network, []), store, np.arange(6), frames.labels, tmp_path / "field", settings, progress=False)
    assert claimed(tmp_path / "field") == FORCEFIELD[versions()["backend"]]


def test_start(tmp_path):
    request = StartRequest(
        crystals=exact.crystals(),
        train=np.arange(30),
        test=np.arange(30, exact.N),
        store=exact.store(tmp_path / "cache"),
        folder=tmp_path / "corpus",
        model=ModelSettings(**exact.MODEL),
        pretrain=PretrainSettings(**exact.SHORT, processes=2),
        finetune=FinetuneSettings(**exact.SHORT),
        starts=StartSettings(corpus="c"),
        cache=tmp_path / "cache",
    )
    claim_start(request, {"corpus_without": "matches", "crystals of the corpus": "sha256:00"})
    assert claimed(tmp_path / "corpus") == KNOWN["start claim"]
