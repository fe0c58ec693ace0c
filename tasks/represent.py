"""What do frozen vectors know? Simple heads on them, beside untrained encoders and descriptors, on equal terms."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.arguments import read_settings
from matgl_infomax.config_tasks import RepresentConfig
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write, sha256_of, sweep_drafts
from matgl_infomax.record import RunCard, new_card, read_card, write_card, write_cards
from matgl_infomax.tasks import embedding_map
from matgl_infomax.tasks.launch import at_once
from matgl_infomax.tasks.masking import mask_hash
from matgl_infomax.tasks.represent_fit import Answer, Fit, carry_out
from matgl_infomax.tasks.represent_map import map_points
from matgl_infomax.tasks.represent_plot import plot_heads
from matgl_infomax.tasks.represent_study import Representation, Vectors, plan, prepare
from matgl_infomax.tasks.represent_table import (
    Errors,
    comparisons,
    failure_lines,
    fit_frame,
    overview,
    sentences,
    tables,
)
from matgl_infomax.tasks.runs import metrics
from matgl_infomax.train.claim import claim_folder

if TYPE_CHECKING:
    import pandas as pd

IN_MEMORY = "(given in Python)"

NOTES = (
    "Every arm gets the same labels per draw, the same test crystals, the same scaling and the same heads. The "
    "untrained encoders share the architecture and have random weights: what they reach owes nothing to training.",
    "The interval covers other draws of labels and other test crystals, on this fold; the pretrained vectors count as "
    "better (worse) than the untrained ones only if each single untrained encoder has the larger (smaller) error.",
    "Nobody checked which crystals the encoder was pretrained on: `matgl-infomax overlap` compares a corpus with a "
    "task.",
)


@dataclass(frozen=True)
class RepresentResult:
    """The numbers of a representation study."""

    fits: pd.DataFrame
    """One line per fit: task, arm, group, head, scaling, labels, seed, fold, dimensions, imputed_train, imputed_test,
    mae, rmse, r2, seconds."""
    comparisons: pd.DataFrame
    """Pretrained against each baseline: ratio of the errors with its interval, and the answer."""
    failures: pd.DataFrame
    """Crystals on which a descriptor failed: arm, id, part, reason."""
    points: pd.DataFrame
    """Coordinates of the maps: arm, id, target, crystal_system, element, pca_1, pca_2 and those of the other map."""
    cards: tuple[RunCard, ...]
    """One card per fit."""
    out: Path
    """Folder with the tables and pictures."""

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table of fits."""
        return self.fits.copy()

    def to_text(self) -> str:
        """What came out, and where the rest is."""
        card = self.cards[0]
        pages = [tables(self.fits, self.comparisons, card.unit), overview(self.comparisons)]
        pages += failure_lines(self.failures)
        return "\n".join([*pages, f"\nTables and pictures: {self.out}"])

    def summary(self) -> str:
        """Tables and answers as one page of Markdown."""
        card = self.cards[0]
        draws, test = self.fits["seed"].nunique(), card.n_test
        lines = [f"# What do frozen vectors know about {card.target}?", ""]
        lines += [f"{card.task}, fold {card.fold}: {test} test crystals, {draws} draws of labels.", ""]
        lines += [tables(self.fits, self.comparisons, card.unit), "## Pretrained against", ""]
        lines += [f"- {line}" for line in overview(self.comparisons).splitlines()]
        lines += ["", *(f"- {line}" for line in sentences(self.comparisons)), ""]
        lines += [f"{line}\n" for line in failure_lines(self.failures)]
        return "\n".join([*lines, *(f"{note}\n" for note in NOTES)])


def represent(
    crystals: Crystals | Sequence[Crystal],
    config: RepresentConfig | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> RepresentResult:
    """Fit simple heads on the frozen vectors of an encoder, of untrained encoders and on descriptors, and compare.

    A study that was stopped goes on where it was when called again with the same folder. Draws, numbers of labels,
    heads, descriptors and untrained encoders may be added later.

    Args:
        crystals: all crystals, labelled or not.
        config: the study; or give its fields as ``options``, such as
            ``target=["e_form"], checkpoint="encoder", out="study"``.
        progress: show bars.
        options: fields of ``RepresentConfig``, instead of ``config``.

    Raises:
        InputError: If anything asked for is not there, or the folder holds another study or cannot be written.
        KeyboardInterrupt: After Ctrl-C; finished fits are kept.
    """
    if config is None:
        config = read_settings(RepresentConfig, {"data": IN_MEMORY, **options})
    elif options:
        raise InputError(f"Give a config or single options, not both. Received both: {', '.join(options)}.")
    if len(config.target) != 1:
        given = " ".join(config.target) or "(none)"
        raise InputError(f"A representation study is about one property. Received --target {given}.")
    embedding_map.check_method(config.map)
    table = crystals if isinstance(crystals, Crystals) else Crystals(crystals)
    study = plan(table, config.target[0], config)
    claim_folder(config.out, "represent", study.claim())
    sweep_drafts(config.out / "fits")
    vectors = prepare(study, progress=progress)
    _fit_all(study, vectors, progress)
    result = _collect(study, vectors, progress)
    _write(study, result)
    return result


def fit_files(study: Representation, fit: Fit) -> tuple[Path, Path]:
    """Card and predictions of a fit."""
    folder = study.config.out / "fits"
    return folder / f"{fit.name}.json", folder / f"{fit.name}.parquet"


def finished(study: Representation, vectors: dict[str, Vectors], fit: Fit) -> RunCard | None:
    """The card of a fit that was completed earlier, None if it is still to be done.

    Raises:
        InputError: If a card is there that is none.
    """
    card_file, table_file = fit_files(study, fit)
    if not card_file.is_file() or not table_file.is_file():
        return None
    card = read_card(card_file)
    same = card.hashes.run == study.fit_hash(fit, vectors[fit.arm])
    return card if same and card.hashes.predictions == sha256_of(table_file.read_bytes()) else None


def _fit_all(study: Representation, vectors: dict[str, Vectors], progress: bool) -> None:
    """All fits that are not done; each leaves its files."""
    total = len(study.fits)
    jobs = [study.job(fit, vectors[fit.arm]) for fit in study.fits if finished(study, vectors, fit) is None]
    folder, workers = study.config.out / "fits", study.config.workers
    answers = at_once(carry_out, jobs, workers=workers, launcher="local", folder=folder)
    bar = tqdm(total=total, initial=total - len(jobs), desc="Fits", unit="fit", disable=not progress)
    with bar, closing(answers):
        for answer in answers:
            bar.set_postfix_str(answer.fit.name, refresh=False)
            _keep(study, vectors[answer.fit.arm], answer)
            bar.update()


def _keep(study: Representation, vectors: Vectors, answer: Answer) -> None:
    """Score a fit and write its predictions, the card last."""
    import pandas as pd

    fit, test = answer.fit, study.parts.test
    if not np.isfinite(answer.prediction).all():
        raise InputError(f"{fit.name} predicts no finite number for some test crystals. Leave out the head {fit.head}.")
    ids = [study.crystals[int(row)].id for row in test]
    truth = study.labels[test]
    buffer = io.BytesIO()
    columns = {"id": ids, "target": truth, "prediction": answer.prediction}
    pd.DataFrame(columns).to_parquet(buffer, index=False)
    card_file, table_file = fit_files(study, fit)
    atomic_write(table_file, buffer.getvalue())
    write_card(card_file, _card(study, vectors, answer, metrics(truth, answer.prediction), buffer.getvalue()))


def _card(
    study: Representation, vectors: Vectors, answer: Answer, scores: dict[str, float | None], table: bytes
) -> RunCard:
    """The run card of a fit."""
    fit = answer.fit
    mask = study.masks[fit.labels, fit.seed]
    failed = list(vectors.failures)
    return new_card(
        task=study.task,
        target=study.target,
        unit=study.unit,
        arm=fit.arm,
        fold=study.config.fold,
        seed=fit.seed,
        mask={"asked": fit.labels, "used": len(mask), "sha256": mask_hash(study.crystals.ids, mask)},
        n_test=len(study.parts.test),
        initial={"name": vectors.kind, "sha256": vectors.weights},
        settings={
            "head": fit.head,
            "scaling": fit.scaling,
            "dimensions": vectors.width,
            "imputed_train": int(np.isin(mask, failed).sum()),
            "imputed_test": int(np.isin(study.parts.test, failed).sum()),
        },
        tried=[],
        hashes={
            "run": study.fit_hash(fit, vectors),
            "data": study.data_hash,
            "folds": study.fold_hash(),
            "store": vectors.store,
            "predictions": sha256_of(table),
        },
        cost={"seconds": answer.seconds, "pretraining_seconds": None, "peak_memory_mb": answer.peak_memory_mb},
        metrics=scores,
    )


def _collect(study: Representation, vectors: dict[str, Vectors], progress: bool) -> RepresentResult:
    """Put the finished fits of a study together."""
    cards = tuple(read_card(fit_files(study, fit)[0]) for fit in study.fits)
    groups = {arm: vectors[arm].kind for arm in study.arms}
    points = map_points(study, vectors, progress)
    compared = comparisons(_errors(study), groups)
    return RepresentResult(fit_frame(cards), compared, _failures(study, vectors), points, cards, study.config.out)


def _errors(study: Representation) -> Errors:
    """Absolute errors of all fits on the same test crystals."""
    import pandas as pd

    rows: dict[tuple[str, str, int], dict[str, list[NDArray[np.float64]]]] = {}
    for fit in study.fits:  # of each arm in the order of the draws
        table = pd.read_parquet(fit_files(study, fit)[1], columns=["target", "prediction"])
        error = (table["prediction"] - table["target"]).abs().to_numpy(dtype=np.float64)
        rows.setdefault((fit.scaling, fit.head, fit.labels), {}).setdefault(fit.arm, []).append(error)
    return {key: {arm: np.stack(errors) for arm, errors in by_arm.items()} for key, by_arm in rows.items()}


def _failures(study: Representation, vectors: dict[str, Vectors]) -> pd.DataFrame:
    """Every crystal without a descriptor, and why."""
    import pandas as pd

    test = set(study.parts.test.tolist())
    lines = [
        {"arm": arm, "id": study.crystals[row].id, "part": "test" if row in test else "train", "reason": reason}
        for arm, found in vectors.items()
        for row, reason in sorted(found.failures.items())
    ]
    return pd.DataFrame(lines, columns=["arm", "id", "part", "reason"])


def _write(study: Representation, result: RepresentResult) -> None:
    """All files of a finished study, the summary last."""
    out, config = study.config.out, study.config
    for old in [*out.glob("heads*.png"), *out.glob("map_*.png")]:
        old.unlink()  # an earlier call may have drawn what this one does not
    frames = {"fits": result.fits, "comparisons": result.comparisons, "failures": result.failures}
    for name, frame in {**frames, "map": result.points}.items():
        atomic_write(out / f"{name}.csv", frame.to_csv(index=False))
    write_cards(out / "cards.jsonl", result.cards)
    truth = study.labels[study.parts.test]
    guess = float(np.abs(truth - np.median(truth)).mean())
    title = f"{study.task}, fold {config.fold}: {len(truth)} test crystals, {config.repeats} draws of labels"
    for scaling, part in result.fits.groupby("scaling", sort=False):
        name, more = ("heads.png", "") if scaling == "standard" else ("heads_unscaled.png", ", vectors not scaled")
        plot_heads(part, out / name, target=study.target, unit=study.unit, guess=guess, title=title + more)
    shown = result.points["id"].nunique()
    for method in ["pca", *([config.map] if config.map != "none" else [])]:
        heading = f"Frozen vectors of {shown} test crystals of {study.task}, fold {config.fold}"
        embedding_map.plot_map(
            result.points, method, out / f"map_{method}.png", target=study.target, unit=study.unit, title=heading
        )
    atomic_write(out / "summary.md", result.summary())
