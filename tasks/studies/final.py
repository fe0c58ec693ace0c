"""The model to use after a study: its best arm on all labels, with the error and the interval that its folds gave."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, read_json, sha256_of
from matgl_infomax.record import RunCard, new_card, write_card
from matgl_infomax.settings.arms import ARM_FACTS, STARTS
from matgl_infomax.tasks.matbench.task import Split, mask_hash, split_hash
from matgl_infomax.tasks.studies.arms import DESCRIBED, open_encoder, predict_from, ridge_on
from matgl_infomax.tasks.studies.descriptors import described, read_descriptors
from matgl_infomax.tasks.studies.engine import error_metrics, hash_of, write_table
from matgl_infomax.tasks.studies.starts import Start, StartRequest, start_weights

if TYPE_CHECKING:
    from matgl_infomax.data.store import Store
    from matgl_infomax.leaderboard.verdict import Choice
    from matgl_infomax.nn.build import Encoder
    from matgl_infomax.settings.commands import CurveConfig
    from matgl_infomax.train.ensemble import Calibration

FINAL, TRAINING, CARD, RESIDUALS = "final", "training.npz", "card.json", "out_of_fold.parquet"
RECORD = "final.json"
"""Folder of the final model within a study, and its files."""
COVERAGE = 0.9
"""Share of new crystals whose value the interval is to hold."""


class FinishedStudy(Protocol):
    """What a learning curve gives for its final model; the attributes are described there."""

    @property
    def config(self) -> CurveConfig: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str | None: ...  # noqa: D102
    @property
    def ids(self) -> list[str]: ...  # noqa: D102
    @property
    def labels(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def parts(self) -> Split: ...  # noqa: D102
    @property
    def data_hash(self) -> str: ...  # noqa: D102
    @property
    def store(self) -> Store | None: ...  # noqa: D102
    @property
    def features(self) -> dict[str, Path]: ...  # noqa: D102
    @property
    def asked(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def stored(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def starts(self) -> dict[str, Start]: ...  # noqa: D102
    @property
    def settings(self) -> dict[str, Any]: ...  # noqa: D102
    def claim(self) -> dict[str, Any]: ...  # noqa: D102


def fit_final(
    study: FinishedStudy,
    crystals: Crystals,
    predictions: pd.DataFrame,
    choice: Choice,
    cards: tuple[RunCard, ...],
    *,
    progress: bool,
) -> str:
    """Fit the best arm on all labels, or find that it was done, and say what came out.

    The interval is conformal: half its width is the error that 90 % of the tested crystals stay below, the next larger
    one by the correction for their number, mean over the repeats. Each of these errors comes from a model that had not
    learnt from the crystal. The final model has learnt from more labels, so the interval is rather too wide.

    Args:
        study: the study, all its runs finished.
        crystals: all crystals.
        predictions: of all runs.
        choice: the arm to use.
        cards: of all runs.
        progress: show bars.

    Returns:
        A sentence for the reader.

    Raises:
        InputError: If the folder holds another final model, or cannot be written.
    """
    out, started = study.config.out / FINAL, time.perf_counter()
    rows = np.flatnonzero(~np.isnan(study.labels))
    mine = predictions[(predictions["arm"] == choice.arm) & (predictions["labels"] == choice.labels)]
    run = hash_of(study.claim(), choice.arm, choice.labels, sorted(set(mine["seed"].tolist())), "final")
    known = read_json(out / RECORD) if (out / RECORD).is_file() else None
    if known is not None and known["run"] != run:
        raise InputError(
            f"{out} holds the final model of an earlier state of this study (arm {known['arm']}). "
            "Move or delete that folder; the new one is then fitted there."
        )
    calibration = cross_conformal(mine)
    if known is None:
        record = {"run": run, "arm": choice.arm, "target": study.target, "unit": study.unit, "labels": len(rows),
                  "calibration": asdict(calibration)}  # fmt: skip
        initial, record["model"] = _fit(study, crystals, rows, choice.arm, _rate(choice, cards), progress)
        table = write_table(out / RESIDUALS, mine)
        write_card(out / CARD, _card(study, choice, mine, initial, (run, sha256_of(table)), calibration, started))
        atomic_write(out / RECORD, json.dumps(record, indent=1) + "\n")
    return _in_words(study, choice, len(rows), calibration)


def _in_words(study: FinishedStudy, choice: Choice, n: int, calibration: Calibration) -> str:
    """What came out, for the reader."""
    unit = f" {study.unit}" if study.unit else ""
    return (
        f"Final model: {choice.arm} on all {n} labels, in {study.config.out / FINAL}. Its cross-validated error with "
        f"{choice.labels} labels is {choice.mae:.4g}{unit}; as the lowest of several it is a little too good to be "
        f"true. An interval of ± {_half_width(calibration):.4g}{unit} is made to hold {COVERAGE:.0%} of new crystals "
        "like these."
    )


def cross_conformal(predictions: pd.DataFrame) -> Calibration:
    """How wide the interval of a single model has to be, from errors on crystals that the models had not learnt from.

    Args:
        predictions: of one arm at one number of labels: seed, id, target, prediction; each crystal once per seed.
    """
    from matgl_infomax.train.ensemble import FACTORS, Calibration

    z = _z()
    factors, inside = [], []
    for _, part in predictions.groupby("seed"):
        error = (part["prediction"] - part["target"]).abs().to_numpy(dtype=np.float64)
        factor, without = FACTORS["conformal"](error, COVERAGE)
        factors.append(factor)
        inside.append(float(np.mean(error / z <= without)))
    return Calibration(
        method="conformal",
        factor=1.0,
        floor=float(np.mean(factors)),
        coverage=COVERAGE,
        observed=float(np.mean(inside)),
        unscaled=0.0,
        n=int(predictions["id"].nunique()),
    )


def _z() -> float:
    """Half the width of a Gaussian's interval, in standard deviations: what ``predict`` gives is one of these."""
    from matgl_infomax.train.ensemble import interval_width

    return interval_width(COVERAGE)


def _half_width(calibration: Calibration) -> float:
    """Half the width of the interval, in units of the target."""
    return calibration.floor * _z()


def _rate(choice: Choice, cards: tuple[RunCard, ...]) -> float | None:
    """The learning rate with the lowest mean error on held-out parts of the masks; None where none was chosen."""
    tried: dict[float, list[float]] = {}
    for card in cards:
        if card.arm == choice.arm and card.mask.asked == choice.labels:
            for one in card.tried:
                tried.setdefault(one.learning_rate, []).append(np.inf if one.mae is None else one.mae)
    return min(tried, key=lambda rate: float(np.mean(tried[rate]))) if tried else None


def _fit(
    study: FinishedStudy, crystals: Crystals, rows: NDArray[np.int64], arm: str, rate: float | None, progress: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit an arm and write what predicts: what its weights started from, and how the model is opened again."""
    out, labels, seed = study.config.out / FINAL, study.labels[rows], study.config.finetune.seed
    if arm in DESCRIBED:
        kind, head = DESCRIBED[arm]
        features = read_descriptors(study.features[kind])[np.searchsorted(study.asked, rows)]
        sha256 = _write_training(out, features, labels)
        return {"name": arm, "sha256": None}, {"descriptors": kind, "head": head, "seed": seed, "training": sha256}
    from matgl_infomax.nn.build import new_model, save_model, with_new_head
    from matgl_infomax.tasks.studies.arms import state_hash
    from matgl_infomax.train.ensemble import InitialNetwork, train_one
    from matgl_infomax.train.finetune import Labelled
    from matgl_infomax.train.predict import embed_rows

    assert study.store is not None
    rows = np.searchsorted(study.stored, rows)  # of the prepared crystals from here on
    start = _start(study, crystals.subset(study.stored), arm, progress)

    def network(seed: int) -> Encoder:
        if start is None:
            return new_model(study.config.model, 1, seed)
        return with_new_head(open_encoder(start.folder, study.config.model), 1, seed)

    name = "scratch" if start is None else STARTS.get(arm, arm)
    initial = {"name": name, "sha256": state_hash(network(seed)), "facts": start.facts if start else {}}
    if arm in ARM_FACTS and ARM_FACTS[arm].kind == "vectors":
        encoder = network(seed) if start is None else open_encoder(start.folder, study.config.model)
        save_model(encoder, out / "encoder", {"matgl_infomax": "encoder of the final model"})
        sha256 = _write_training(out, embed_rows(encoder, study.store, rows, progress=progress), labels)
        return initial, {"encoder": "encoder", "training": sha256}
    settings = study.config.finetune if rate is None else study.config.finetune.model_copy(
        update={"learning_rate": rate}
    )  # fmt: skip
    data = Labelled(study.store, rows, labels[:, None], (study.target,))
    train_one(InitialNetwork(network, start is not None), data, settings, out, progress=progress)
    return initial, {"network": "."}


def _start(study: FinishedStudy, crystals: Crystals, arm: str, progress: bool) -> Start | None:
    """Weights that the final model starts from: nothing is tested any more, so all structures may be learnt from."""
    config, kind = study.config, STARTS.get(arm)
    if kind is None or kind == "corpus":  # nothing, weights of one's own, or a corpus that no test part decides
        return study.starts.get(arm)
    assert study.store is not None
    rows = np.arange(len(crystals))
    request = StartRequest.of(
        config, crystals, Split(rows, rows[:0]), study.store, folder=config.out / "final_start", progress=progress
    )
    return start_weights(arm, request)


def _write_training(out: Path, features: NDArray[Any], labels: NDArray[np.float64]) -> str:
    """Keep what a model without a network learns from; it is fitted again whenever it predicts. Returns a hash."""
    import io

    buffer = io.BytesIO()
    np.savez(buffer, features=features, labels=labels)
    atomic_write(out / TRAINING, buffer.getvalue())
    return sha256_of(buffer.getvalue())


def _card(
    study: FinishedStudy,
    choice: Choice,
    mine: pd.DataFrame,
    initial: dict[str, Any],
    hashes: tuple[str, str],
    calibration: Calibration,
    started: float,
) -> RunCard:
    """The run card of the final model; its errors are those of the folds."""
    rows = np.flatnonzero(~np.isnan(study.labels))
    run, predictions = hashes
    truth, prediction = (mine[name].to_numpy(dtype=np.float64) for name in ("target", "prediction"))
    return new_card(
        task=study.task,
        target=study.target,
        unit=study.unit,
        arm=choice.arm,
        fold=0,
        seed=study.config.finetune.seed,
        mask={"asked": len(rows), "used": len(rows), "sha256": mask_hash(study.ids, rows)},
        n_test=mine["id"].nunique(),
        initial=initial,
        settings=study.settings,
        tried=[],
        hashes={
            "run": run,
            "data": study.data_hash,
            "folds": split_hash(study.ids, study.parts),
            "store": study.store.key if study.store is not None and choice.arm not in DESCRIBED else None,
            "predictions": predictions,
        },
        cost={"seconds": time.perf_counter() - started, "pretraining_seconds": None, "peak_memory_mb": None},
        metrics=error_metrics(truth, prediction),
        interval={"coverage": COVERAGE, "half_width": _half_width(calibration), "n": calibration.n},
    )


# A final model, opened to predict.


@dataclass(frozen=True)
class FinalModel:
    """The folder of a final model, opened."""

    folder: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> FinalModel | None:
        """Open a folder; None where it holds no final model of a study.

        Raises:
            InputError: If its record is damaged, or its training data are not those it was made with.
        """
        if not (folder / RECORD).is_file():
            return None
        record = read_json(folder / RECORD)
        wanted = record["model"].get("training")
        if wanted is not None and sha256_of((folder / TRAINING).read_bytes()) != wanted:
            raise InputError(f"{folder / TRAINING} is not the file it was written as. Fit the final model again.")
        return cls(folder, record)

    def predict(
        self, crystals: Sequence[Crystal], cache: Path, *, workers: int = 1, progress: bool = True
    ) -> pd.DataFrame:
        """A table with ``id``, the target, and its uncertainty in a column ``..._std``.

        The value plus and minus 1.645 times the uncertainty is the interval that is to hold 90 %.

        Args:
            crystals: what to predict.
            cache: folder for prepared crystals and descriptors.
            workers: processes that prepare crystals; 0 means one per core.
            progress: show bars.

        Raises:
            InputError: If a crystal has an element that the network does not know.
        """
        from matgl_infomax.train.ensemble import Calibration

        values, name = self._values(crystals, cache, workers, progress), self.record["target"]
        std = Calibration(**self.record["calibration"]).std(np.zeros(len(values)))
        return pd.DataFrame({"id": [crystal.id for crystal in crystals], name: values, f"{name}_std": std})

    def _values(self, crystals: Sequence[Crystal], cache: Path, workers: int, progress: bool) -> NDArray[np.float64]:
        """Predictions, (n,)."""
        model = self.record["model"]
        if "descriptors" in model:
            from matgl_infomax.workers import workers_here

            count = workers or workers_here(1, "local")
            file = described(model["descriptors"], crystals, cache, workers=count, progress=progress)
            known, labels = self._training()
            return predict_from(model["head"], known, labels, read_descriptors(file), model["seed"])
        from matgl_infomax.data.elements import check_elements
        from matgl_infomax.data.store import build_store
        from matgl_infomax.nn.build import load_encoder
        from matgl_infomax.train.predict import embed_rows, predict_rows

        encoder = load_encoder(self.folder / model.get("encoder", model.get("network")))
        store = build_store(crystals, encoder.edges, cache, progress=progress, workers=workers or None)
        check_elements(store.elements(), encoder.element_types, str(self.folder))
        rows = np.arange(len(store))
        if "network" in model:
            return predict_rows(encoder, store, rows, progress=progress)[:, 0]
        known, labels = self._training()
        return ridge_on(known, labels, embed_rows(encoder, store, rows, progress=progress))

    def _training(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """What a model without a network of its own learns from: features (n, K) and labels (n,)."""
        with np.load(self.folder / TRAINING, allow_pickle=False) as kept:
            return kept["features"], kept["labels"]
