"""Screen ways to pretrain on the training part of fold 0: the loop behind ``screening_*.csv`` and ``denoise/``.

Run once, on 28 November 2026, beside the code of commit a94613d, with the DGL stack, 16 cores and one GPU. It needs
nothing but the environment of this package. Defaults of the package have changed since: those of that day are written
out below (``FINETUNE``, ``GENTLE``). The file was first kept as text; names and functions are new since then, and the
rewritten file was tried on a few generated crystals only, not on the data of the screening.

The data are ``joined.parquet``: rows of matbench_mp_e_form with mbid, index (row of the official task), e_form,
``gap pbe`` where known, lattice, atomic_numbers and frac_coords. They are not part of the repository.

    screen.py OUT campaign joined.parquet screen_plan.json
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.loader import StepOrder, StoreBatches, step_generator
from matgl_infomax.data.read import read_crystals
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.nn.build import with_new_head
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import new_objective
from matgl_infomax.settings.training import FinetuneSettings
from matgl_infomax.tasks.matbench.task import kfolds, nested_masks
from matgl_infomax.train.finetune import Labelled, fit
from matgl_infomax.train.module import warmup_cosine
from matgl_infomax.train.predict import embed_rows, predict_rows

N_ROWS = 132752
"""Rows of the official task; they alone decide its folds."""
COLUMN = {"e": "e_form", "g": "gap pbe"}
FINETUNE: dict[str, Any] = {
    "steps": 600,
    "validate_every": 100,
    "learning_rate": 0.001,
    "encoder_rate": 1.0,
    "validation_fraction": 0.1,
}
"""How models were fine-tuned, the defaults of that day included."""
GENTLE = {"most_angstrom": 0.3, "strain": 0.02}
"""Noise of denoising that was the default of that day."""
FROZEN_LABELS = (50, 100, 250, 1000)
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Lab:
    """Data and folder of a campaign."""

    out: Path
    data: Path

    def frame(self) -> pd.DataFrame:
        """All rows with labels."""
        return pd.read_parquet(self.data)

    def store(self) -> Store:
        """The prepared crystals, built at the first call."""
        crystals = read_crystals(str(self.data), targets=[], on_error="stop")
        return build_store(crystals, SupercellRule(50, True, 1e-4), self.out / "store", progress=False)

    def parts(self) -> tuple[Rows, Rows]:
        """Rows to learn from, and at most 2,500 rows of fold 1's test part to compare on; fold 0's is in neither."""
        folds = kfolds(N_ROWS)
        index = self.frame()["index"].to_numpy()
        held, val = np.isin(index, folds[0].test), np.isin(index, folds[1].test)
        drawn = np.random.default_rng(0).permutation(np.flatnonzero(val & ~held))[:2500]
        return np.flatnonzero(~held & ~val), np.sort(drawn)

    def network(self, name: str, seed: int, spec: dict[str, Any]) -> SiteNet:
        """A network from scratch, or one that this campaign pretrained."""
        if name.startswith("scratch"):
            return SiteNet.from_preset(spec.get("preset", "rich"), seed=seed, **spec.get("model", {}))
        stored = torch.load(self.out / f"{name}.pt", weights_only=True)
        model = SiteNet.from_preset("compact", **stored["args"])
        model.load_state_dict(stored["state"])
        return model


def ahead(data: StoreBatches, order: Iterable[list[int]], ready: int = 3) -> Iterator[SiteBatch]:
    """Batches in their order, the next ones prepared in a thread."""
    waiting: queue.Queue[Any] = queue.Queue(ready)

    def fill() -> None:
        for rows in order:
            waiting.put(data[rows])
        waiting.put(None)

    threading.Thread(target=fill, daemon=True).start()
    while (batch := waiting.get()) is not None:
        yield batch


def options_of(spec: dict[str, Any]) -> dict[str, Any]:
    """Options of an objective or of the parts of a combination, with the noise of that day."""
    names, given = spec["objective"].split("+"), dict(spec.get("options", {}))
    if names == ["denoise"]:
        return {**GENTLE, **given}
    return {**given, "denoise": {**GENTLE, **given.get("denoise", {})}} if "denoise" in names else given


def pretrain(lab: Lab, name: str, spec: dict[str, Any]) -> None:
    """Pretrain one network for a number of seconds; the schedule ends with the time."""
    torch.manual_seed(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    store, (train, _) = lab.store(), lab.parts()
    model = SiteNet.from_preset(spec.get("preset", "rich"), seed=spec.get("seed", 0), **spec.get("model", {}))
    model = model.to(device)
    objective = new_objective(model, spec["objective"], "default", options_of(spec), spec.get("weights", {})).to(device)
    view = "full" if device == "cuda" else objective.view
    data = StoreBatches(store, train, view=view, geometry=objective.geometry)
    weights = [p for group, found in model.layer_groups().items() if group != "head" for p in found]
    weights += list(objective.parameters())
    rate, steps = spec.get("lr", 1e-3), spec["steps"]
    optimiser, factor = torch.optim.AdamW(weights, lr=rate, weight_decay=1e-4), warmup_cosine(steps, 0.05)
    order = StepOrder(data.sizes, steps, steps, spec["batch_sites"], 0, least=2)
    log: list[dict[str, float]] = []
    done, started = 0, time.time()
    for batch in ahead(data, order):
        share = max(done / steps, (time.time() - started) / spec["seconds"])
        if share >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * factor(min(steps - 1, int(share * steps)))
        optimiser.zero_grad(set_to_none=True)
        loss, parts = objective.loss(model, batch.to(device), step_generator(0, done))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        done += 1
        if done % 50 == 0:
            log.append({"step": done, "loss": float(loss.detach()), **{k: float(v) for k, v in parts.items()}})
    torch.save({"state": model.cpu().eval().state_dict(), "args": model.init_args}, lab.out / f"{name}.pt")
    passes = done / max(1, int(store.n_sites[train].sum() / spec["batch_sites"]))
    record = {"steps": done, "epochs": passes, "seconds": time.time() - started, "log": log[-1:] + log[::20]}
    (lab.out / f"{name}.log.json").write_text(json.dumps(record))
    print(f"{name}: {done} steps, {passes:.1f} passes, {time.time() - started:.0f} s", flush=True)


def finetune(lab: Lab, job: dict[str, Any]) -> None:
    """Fine-tune one network on one mask, and write its mean absolute error on the screening set."""
    out = lab.out / f"ft-{job['id']}.json"
    if out.exists():
        return
    store, frame, (train, val) = lab.store(), lab.frame(), lab.parts()
    label = frame[COLUMN[job["prop"]]].to_numpy()
    rows = nested_masks(frame["mbid"].tolist(), train[~np.isnan(label[train])], [job["n"]], job["seed"])[job["n"]]
    val = val[~np.isnan(label[val])]
    started = time.time()
    model = with_new_head(lab.network(job["name"], job["seed"], job.get("spec", {})), 1, job["seed"])
    settings = FinetuneSettings(**{**FINETUNE, "seed": job["seed"], **job["ft"]})
    data = Labelled(store, rows, label[rows][:, None])
    fitted = fit(model, data, settings, pretrained=not job["name"].startswith("scratch"))
    seconds = time.time() - started
    mae = float(np.abs(predict_rows(fitted.model, store, val)[:, 0] - label[val]).mean())
    out.write_text(json.dumps({**job, "mae": mae, "train_s": seconds, "s": time.time() - started}))


def frozen(lab: Lab, name: str, spec: dict[str, Any], seeds: int = 8) -> None:
    """Ridge regression and a Gaussian process on mean and spread of the site vectors, on several masks."""
    store, frame, (train, val) = lab.store(), lab.frame(), lab.parts()
    encoder = lab.network(name, 0, spec).eval()
    vectors = {int(row): vector for row, vector in zip(val, site_statistics(encoder, store, val), strict=True)}
    found = []
    for prop in "eg":
        label = frame[COLUMN[prop]].to_numpy()
        tested, known = val[~np.isnan(label[val])], train[~np.isnan(label[train])]
        counts = [n for n in FROZEN_LABELS if n <= len(known)]
        for seed in range(seeds):
            for n, rows in nested_masks(frame["mbid"].tolist(), known, counts, seed).items():
                new = np.array([row for row in rows if int(row) not in vectors], dtype=np.int64)
                vectors |= dict(zip(new.tolist(), site_statistics(encoder, store, new), strict=True))
                mine, others = (np.stack([vectors[int(row)] for row in chosen]) for chosen in (rows, tested))
                scores = {k: float(np.abs(p - label[tested]).mean()) for k, p in heads(mine, label[rows], others)}
                found.append({"name": name, "prop": prop, "n": n, "seed": seed, **scores})
    (lab.out / f"frozen-{name}.json").write_text(json.dumps(found))


def site_statistics(encoder: SiteNet, store: Store, rows: Rows) -> list[NDArray[np.float64]]:
    """Mean and standard deviation of the site vectors of each crystal, (2 D,) each."""
    sites = embed_rows(encoder, store, rows, level="site") if len(rows) else []
    return [np.concatenate([vectors.mean(0), vectors.std(0)]) for vectors in sites]


def heads(
    vectors: NDArray[np.float64], label: NDArray[np.float64], others: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Predictions for other crystals by ridge regression, and up to 250 labels by a Gaussian process."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 15))).fit(vectors, label)
    yield "ridge", ridge.predict(others)
    if len(label) > 250:
        return
    scaler, mean, spread = StandardScaler().fit(vectors), label.mean(), label.std()
    kernel = ConstantKernel(1.0) * Matern(10.0, (1, 1e3), nu=2.5) + WhiteKernel(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimiser of the kernel often ends at a bound
        process = GaussianProcessRegressor(kernel, normalize_y=False, random_state=0)
        process.fit(scaler.transform(vectors), (label - mean) / spread)
    yield "gp", process.predict(scaler.transform(others)) * spread + mean


def campaign(lab: Lab, plan: dict[str, Any]) -> None:
    """Pretrain all at once, fine-tune from scratch beside them, then everything that needs pretrained weights."""
    end = time.time() + plan["seconds"]
    me = [sys.executable, str(Path(__file__).resolve()), str(lab.out)]
    on_cpu = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    lab.store()
    data, workers = str(lab.data), plan["workers"]
    pretrainings = [subprocess.Popen([*me, "pretrain", data, n, json.dumps(s)]) for n, s in plan["pretrain"].items()]
    jobs = [{**job, "id": number} for number, job in enumerate(plan["jobs"])]
    scratch = [job for job in jobs if job["name"].startswith("scratch")]
    (lab.out / "early.json").write_text(json.dumps(scratch))
    (lab.out / "late.json").write_text(json.dumps([job for job in jobs if job not in scratch]))

    def finetunings(file: str, width: int) -> list[subprocess.Popen[bytes]]:
        strides = [[str(k), str(width)] for k in range(width)]
        return [subprocess.Popen([*me, "finetune", data, str(lab.out / file), *s], env=on_cpu) for s in strides]

    first = finetunings("early.json", max(1, workers - len(pretrainings)))
    until(pretrainings, None)
    names = [*plan["pretrain"], *plan.get("frozen_scratch", [])]
    specs = {name: json.dumps(plan["pretrain"].get(name, {})) for name in names}
    until([subprocess.Popen([*me, "frozen", data, name, spec], env=on_cpu) for name, spec in specs.items()], end)
    until(first, end)
    until(finetunings("late.json", workers), end)
    for what in ("ft", "frozen"):
        results = [json.loads(path.read_text()) for path in sorted(lab.out.glob(f"{what}-*.json"))]
        (lab.out / f"{what}_all.json").write_text(json.dumps(results))
        print(f"{what}: {len(results)} results", flush=True)


def until(running: Sequence[subprocess.Popen[bytes]], end: float | None) -> None:
    """Wait for processes, and stop those that are not done at the end of the time."""
    for process in running:
        try:
            process.wait(None if end is None else max(0.1, end - time.time()))
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    """Run a campaign, or one part of it in a process of its own."""
    parser = argparse.ArgumentParser(description="Screen ways to pretrain on the training part of fold 0.")
    parser.add_argument("out", type=Path, help="folder for everything that is written")
    parser.add_argument("mode", choices=["campaign", "pretrain", "frozen", "finetune"])
    parser.add_argument("data", type=Path, help="joined.parquet")
    parser.add_argument(
        "more", nargs="+", help="campaign: PLAN; pretrain, frozen: NAME SPEC; finetune: JOBS FIRST STEP"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    lab, more = Lab(given.out, given.data), given.more
    if given.mode == "campaign":
        campaign(lab, json.loads(Path(more[0]).read_text()))
    elif given.mode == "pretrain":
        pretrain(lab, more[0], json.loads(more[1]))
    elif given.mode == "frozen":
        frozen(lab, more[0], json.loads(more[1]))
    else:
        for job in json.loads(Path(more[0]).read_text())[int(more[1]) :: int(more[2])]:
            finetune(lab, job)


if __name__ == "__main__":
    main()
