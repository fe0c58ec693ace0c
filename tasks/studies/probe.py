"""What do site and crystal vectors know? Simple probes on them, beside untrained encoders and composition alone."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, csv_text, read_json, sha256_of, vouch_for
from matgl_infomax.record import peak_memory_mb, versions
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import ProbeConfig
from matgl_infomax.tasks.matbench.task import data_hash
from matgl_infomax.tasks.studies.engine import (
    IN_MEMORY,
    Grid,
    carry_out_all,
    hash_of,
    settings_of,
    take_folder,
    write_table,
)
from matgl_infomax.tasks.studies.plots import plot_probes
from matgl_infomax.tasks.studies.represent import PRETRAINED, UNTRAINED, Errors, comparisons, fresh, unique
from matgl_infomax.train.probe import (
    FOLDS,
    SHELL,
    Folds,
    Score,
    Target,
    chosen_sites,
    composition_of_crystals,
    composition_of_sites,
    cross_validate,
    crystal_targets,
    make_folds,
    site_targets,
)

if TYPE_CHECKING:
    import pandas as pd

    from matgl_infomax.data.store import Store
    from matgl_infomax.nn.build import Encoder


COMPOSITION = "composition"

CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""


@dataclass(frozen=True)
class ProbeResult:
    """The numbers of a study with probes."""

    scores: pd.DataFrame
    """One line per level, target, probe and arm: arm, group, level, target, kind, unit, probe, n, crystals, classes,
    dropped, chance, score, sd, mae, balanced_accuracy."""
    comparisons: pd.DataFrame
    """Pretrained against each baseline: ratio of the errors with its interval, and the answer."""
    vectors: pd.DataFrame
    """Of each arm and level: dimensions, effective rank, spread."""
    left_out: tuple[str, ...]
    """Targets that could not be asked, each with its reason."""
    facts: dict[str, Any]
    """The run card: settings, hashes, versions, cost."""
    out: Path
    """Folder with table, card and picture."""

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table of scores."""
        return self.scores.copy()

    def to_text(self) -> str:
        """The tables, and where they are."""
        return f"{self.summary()}\nTable, card and picture: {self.out}"

    def summary(self) -> str:
        """One page of Markdown."""
        facts = self.facts
        lines = ["# What do the vectors know?", ""]
        lines += [f"{facts['crystals']} crystals, {facts['sites']} of {facts['all_sites']} sites, {FOLDS} folds.", ""]
        lines += [probe_table(self.scores, self.comparisons), vector_table(self.vectors), ""]
        lines += [f"- left out: {line}" for line in self.left_out]
        return "\n".join([*lines, *([""] if self.left_out else []), *(f"{note}\n" for note in NOTES)])


@dataclass(frozen=True)
class _ProbeArm:
    """The frozen vectors of one arm."""

    name: str
    group: str
    vectors: dict[str, NDArray[np.float64]]
    """Of the chosen sites, (N, D), and of the crystals, (B, C), by level."""


def probe(
    crystals: Crystals | Sequence[Crystal],
    config: ProbeConfig | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> ProbeResult:
    """Read facts about structure off the vectors of an encoder, of untrained encoders and off composition alone.

    Args:
        crystals: all crystals, labelled or not.
        config: the study; or give its fields as ``options``, such as ``checkpoint="encoder", out="probed"``.
        progress: show bars.
        options: fields of ``ProbeConfig``, instead of ``config``.

    Raises:
        InputError: If there are fewer crystals than folds, nothing can be asked, a target is unknown, the encoder does
            not know an element or diverged, or the folder holds another study or cannot be written.
    """
    from matgl_infomax.data.elements import check_elements
    from matgl_infomax.data.store import build_store
    from matgl_infomax.nn.build import load_encoder
    from matgl_infomax.tasks.studies.arms import state_hash

    config = settings_of(ProbeConfig, config, {"data": IN_MEMORY, **options} if config is None else options)
    started = time.perf_counter()
    table = crystals if isinstance(crystals, Crystals) else Crystals(crystals)
    if len(table) < FOLDS:
        raise InputError(f"{FOLDS} folds need at least {FOLDS} crystals. Received: {len(table)}.")
    labels = table.labels(unique(config.target))  # (B, T)
    encoder = load_encoder(config.checkpoint)
    elements = {int(z) for crystal in table for z in np.unique(crystal.numbers)}
    check_elements(elements, encoder.element_types, str(config.checkpoint))
    decides: dict[str, Any] = {
        "encoder": state_hash(encoder),
        "data": sha256_of(" ".join([data_hash(table, np.zeros(len(table))), sha256_of(labels.tobytes())])),
        **deciding(config),
        "code version": CODE_VERSION,
    }
    study = ProbeStudy(config, decides)
    take_folder(study)
    workers = config.prepare_processes or None
    store = build_store(table, encoder.edges, config.cache, progress=progress, workers=workers)
    study = _prepare_probes(study, store, labels, encoder, progress)
    carry_out_all(study, progress=progress)
    result = _collect_probes(study, store)
    cost = {"seconds": time.perf_counter() - started, "peak_memory_mb": peak_memory_mb(), "versions": versions()}
    result.facts.update(decides | {"store": store.key} | cost)
    _write(result)
    return result


@dataclass(frozen=True)
class ProbeRun:
    """One question, and what reads the answer off the vectors of every arm."""

    number: int
    """Of the target among those that can be asked."""
    level: str
    target: str
    probe: str

    @property
    def name(self) -> str:
        """Name of its files; a column may have a name that no file can have."""
        return f"{self.number:03d}-{self.level}-{self.probe}"


@dataclass(frozen=True)
class ProbeStudy(Grid[ProbeRun]):
    """Every question about the vectors, with every probe; a run leaves the scores of all arms."""

    kind: ClassVar[str] = "probe"
    folder: ClassVar[str] = "probes"
    title: ClassVar[str] = "Probes"

    config: ProbeConfig
    decides: dict[str, Any]
    """Settings, encoder and data."""
    parts: tuple[tuple[Target, Folds], ...] = ()
    """What is asked, and in which folds."""
    left_out: tuple[str, ...] = ()
    """Targets that could not be asked, each with its reason."""
    owner: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Crystal of each chosen site, (N,)."""
    arms: tuple[_ProbeArm, ...] = ()

    @property
    def runs(self) -> list[ProbeRun]:
        """Target by target, every probe."""
        probes, targets = unique(self.config.probes), [target for target, _ in self.parts]
        return [ProbeRun(k, target.level, target.name, name) for k, target in enumerate(targets) for name in probes]

    def claim(self) -> dict[str, Any]:
        """What this study is."""
        return self.decides

    def files(self, run: ProbeRun) -> tuple[Path, Path]:
        """Scores of a run, and the errors behind them."""
        folder = self.config.out / self.folder
        return folder / f"{run.name}.json", folder / f"{run.name}.parquet"

    def is_finished(self, run: ProbeRun) -> bool:
        """Whether scores and errors are there, of this very run and as they were written."""
        record_file, table_file = self.files(run)
        if not record_file.is_file() or not table_file.is_file():
            return False
        return read_json(record_file).get("hashes") == self._hashes(run, table_file.read_bytes())

    def complete(self, run: ProbeRun) -> None:
        """Ask every arm, and write errors and scores."""
        import pandas as pd

        target, folds = self.parts[run.number]
        found = {arm.name: cross_validate(arm.vectors[target.level], target, folds, run.probe) for arm in self.arms}
        record_file, table_file = self.files(run)
        table = write_table(table_file, pd.DataFrame({name: score.errors for name, score in found.items()}))
        numbers = {
            name: {key: getattr(score, key) for key in ("value", "sd", "mae", "balanced")}
            for name, score in found.items()
        }
        record = {"hashes": self._hashes(run, table), "scores": numbers}
        atomic_write(record_file, json.dumps(record, indent=1) + "\n")

    def scores(self, run: ProbeRun) -> dict[str, Score]:
        """Scores of a finished run by arm."""
        import pandas as pd

        record_file, table_file = self.files(run)
        numbers, errors = read_json(record_file)["scores"], pd.read_parquet(table_file)
        return {arm.name: Score(**numbers[arm.name], errors=errors[arm.name].to_numpy()) for arm in self.arms}

    def _hashes(self, run: ProbeRun, table: bytes) -> dict[str, str]:
        """Hash of everything that decides a run, and of its errors."""
        return {"run": hash_of(self.claim(), run.level, run.target, run.probe), "errors": sha256_of(table)}


def _prepare_probes(
    study: ProbeStudy, store: Store, labels: NDArray[np.float64], encoder: Encoder, progress: bool
) -> ProbeStudy:
    """What is asked, in which folds, and the vectors of all arms."""
    config = study.config
    prepared = [store.crystal(row) for row in range(len(store))]
    sites, owner = chosen_sites(store.n_sites, config.sites, config.seed)
    targets = _targets(prepared, sites, owner)
    targets += [_labelled(name, labels[:, k]) for k, name in enumerate(unique(config.target))]
    parts, left_out = _parts(targets, owner, config.seed)
    if not parts:
        raise InputError(f"Nothing can be asked of these crystals: {' '.join(left_out)}")
    arms = [_embedded(PRETRAINED, PRETRAINED, encoder, store, sites, progress)]
    for seed in range(config.seed, config.seed + config.untrained):
        arms.append(_embedded(f"{UNTRAINED}-{seed}", UNTRAINED, fresh(encoder, seed), store, sites, progress))
    features = {"site": composition_of_sites(prepared)[sites], "crystal": composition_of_crystals(prepared)}
    arms.append(_ProbeArm(COMPOSITION, COMPOSITION, features))
    return replace(study, parts=tuple(parts), left_out=tuple(left_out), owner=owner, arms=tuple(arms))


def _collect_probes(study: ProbeStudy, store: Store) -> ProbeResult:
    """The tables of a study all of whose probes are finished."""
    found = [(*study.parts[run.number], run.probe, study.scores(run)) for run in study.runs]
    groups = {arm.name: arm.group for arm in study.arms}
    facts = {"crystals": len(store), "sites": len(study.owner), "all_sites": int(store.n_sites.sum())}
    return ProbeResult(
        scores=score_frame(found, groups, study.owner),
        comparisons=compared(found, groups, study.owner),
        vectors=_shapes(study.arms),
        left_out=study.left_out,
        facts=facts,
        out=study.config.out,
    )


def _targets(prepared: Sequence[Crystal], sites: NDArray[np.int64], owner: NDArray[np.int64]) -> list[Target]:
    """What the structures say, shells only of crystals that hold a chosen site."""
    used = np.unique(owner)
    first = np.concatenate([[0], np.cumsum([crystal.n_sites for crystal in prepared])])
    kept = np.concatenate([np.arange(first[row], first[row + 1]) for row in used])
    of_sites = [target.of(np.searchsorted(kept, sites)) for target in site_targets([prepared[row] for row in used])]
    return [*of_sites, *crystal_targets(prepared)]


def _labelled(name: str, values: NDArray[np.float64]) -> Target:
    """A measured column; 0 and 1 alone are classes."""
    known = values[np.isfinite(values)]
    return Target(name, "crystal", "class" if np.isin(known, (0, 1)).all() else "number", values)


def _parts(
    targets: Sequence[Target], owner: NDArray[np.int64], seed: int
) -> tuple[list[tuple[Target, Folds]], list[str]]:
    """Folds of every target, and why some have none."""
    parts, left_out = [], []
    for target in targets:
        try:
            of = owner if target.level == "site" else np.arange(len(target.values))
            parts.append((target, make_folds(target, of, seed)))
        except InputError as error:
            left_out.append(str(error))
    return parts, left_out


def _embedded(
    name: str, group: str, encoder: Encoder, store: Store, sites: NDArray[np.int64], progress: bool
) -> _ProbeArm:
    """Site and crystal vectors of an encoder."""
    from matgl_infomax.train.predict import embed_rows

    rows = np.arange(len(store))
    site = np.concatenate(embed_rows(encoder, store, rows, level="site", progress=progress))[sites]
    return _ProbeArm(name, group, {"site": site, "crystal": embed_rows(encoder, store, rows, progress=progress)})


def _shapes(arms: Sequence[_ProbeArm]) -> pd.DataFrame:
    """How many directions the vectors of every arm use."""
    import pandas as pd
    import torch

    from matgl_infomax.objectives.base import effective_rank, spread

    lines = []
    for arm in arms:
        for level, vectors in arm.vectors.items():
            v = torch.from_numpy(np.ascontiguousarray(vectors))
            lines.append(
                {"arm": arm.name, "group": arm.group, "level": level, "dimensions": vectors.shape[1],
                 "effective_rank": effective_rank(v), "spread": spread(v)}
            )  # fmt: skip
    return pd.DataFrame(lines)


def _write(result: ProbeResult) -> None:
    """All files of a study, the summary last."""
    out = result.out
    frames = {"scores": result.scores, "comparisons": result.comparisons, "vectors": result.vectors}
    for name, frame in frames.items():
        atomic_write(out / f"{name}.csv", csv_text(frame))
    lines = {name: json.loads(frame.to_json(orient="records")) for name, frame in frames.items()}
    card = {**result.facts, "left_out": list(result.left_out), **lines}
    atomic_write(out / "probe.json", json.dumps(card, indent=1) + "\n")
    title = f"What the vectors of {result.facts['crystals']} crystals know, {FOLDS}-fold cross-validation"
    plot_probes(result.scores, out / "probes", title=title)
    atomic_write(out / "summary.md", result.summary())
    vouch_for(out, [*(f"{name}.csv" for name in frames), "probe.json", "summary.md"])


# The numbers of a study with probes: one line per score, paired comparisons, and tables to read.

Found = Sequence[tuple[Target, Folds, str, dict[str, Score]]]
"""Target, its folds, probe, and the score of every arm."""

NOTES = (
    "Scores are those of crystals that the probe has not seen: R² for numbers (0 is the mean, below 0 is worse), the "
    "share that is right for classes (chance is the most frequent class). All sites of a crystal are in one fold. "
    "Every arm gets the same sites, crystals, folds and probes.",
    f"Coordination number: neighbours within {SHELL:g} times the nearest distance of a site; second shell: the next "
    "distance. Space groups are those of spglib within 0.1 Å. Classes in fewer than five crystals are not asked.",
    "Untrained encoders share the architecture and have random weights, and every encoder is told the elements: what "
    "the trained one adds is its lead over them. Composition: elemental properties of the site and their mean over the "
    "crystal, or mean and spread over the crystal, without any structure.",
    "The interval of the ratio of errors (95 %) covers other crystals, not another training of the encoder; better "
    "(worse) needs the whole interval and a smaller (larger) error than each single untrained encoder. Whether the "
    "encoder was pretrained on these very crystals is not checked.",
)


def score_frame(found: Found, groups: dict[str, str], owner: NDArray[np.int64]) -> pd.DataFrame:
    """One line per target, probe and arm, in the columns of ``scores.csv``.

    Args:
        found: all scores.
        groups: ``pretrained``, ``untrained`` or ``composition``, by arm.
        owner: crystal of each site that was asked, (N,).
    """
    import pandas as pd

    lines = []
    for target, folds, name, scores in found:
        crystals = len(np.unique(owner[folds.rows])) if target.level == "site" else len(folds.rows)
        classes = len(np.unique(target.values[folds.rows])) if target.kind == "class" else None
        shared = {"level": target.level, "target": target.name, "kind": target.kind, "unit": target.unit,
                  "probe": name, "n": len(folds.rows), "crystals": crystals, "classes": classes,
                  "dropped": folds.dropped, "chance": folds.chance}  # fmt: skip
        for arm, score in scores.items():
            numbers = {"score": score.value, "sd": score.sd, "mae": score.mae, "balanced_accuracy": score.balanced}
            lines.append({"arm": arm, "group": groups[arm], **shared, **numbers})
    kinds = {"classes": "Int64", "sd": "float64", "mae": "float64", "balanced_accuracy": "float64"}
    return pd.DataFrame(lines).astype(kinds)


def compared(found: Found, groups: dict[str, str], owner: NDArray[np.int64]) -> pd.DataFrame:
    """The pretrained vectors against every baseline: errors of the same crystals, averaged over the sites of each.

    Args:
        found: all scores.
        groups: group of each arm.
        owner: crystal of each site that was asked, (N,).

    Returns:
        One line per target, probe and baseline, as in ``represent``; errors are absolute ones, or shares of wrong
        classes.
    """
    errors: Errors = {}
    for target, folds, name, scores in found:
        of = owner[folds.rows] if target.level == "site" else folds.rows
        crystals = np.unique(of, return_inverse=True)[1]  # (n,)
        share = 1 / np.bincount(crystals)  # (B,)
        key = (f"{target.level}:{target.name}", name, len(share))
        errors[key] = {
            arm: (np.bincount(crystals, weights=score.errors) * share)[None] for arm, score in scores.items()
        }
    table = comparisons(errors, groups).rename(columns={"head": "probe", "labels": "crystals"})
    targets = [str(key).split(":", 1) for key in table["scaling"]]
    table = table.drop(columns="scaling").rename(columns={"mae": "error", "baseline_mae": "baseline_error"})
    table.insert(0, "target", [name for _, name in targets])
    table.insert(0, "level", [level for level, _ in targets])
    return table


def probe_table(scores: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Scores as Markdown, one line per target and probe.

    Args:
        scores: the columns of ``scores.csv``.
        comparison: what ``compared`` gives.
    """
    head = ["target", "probe", "score", "pretrained", "untrained (lowest to highest)", "composition", "chance",
            "error, pretrained / untrained (95 %)"]  # fmt: skip
    parts = []
    for level, of_level in scores.groupby("level", sort=False):
        lines = [head, ["---", "---", "---", *["---:"] * (len(head) - 3)]]
        for key, part in of_level.groupby(["target", "probe"], sort=False):
            target, probe = cast(tuple[str, str], key)
            by_group = {name: values["score"] for name, values in part.groupby("group", sort=False)}
            floor = by_group["untrained"]
            span = f" ({floor.min():.3f} to {floor.max():.3f})" if len(floor) > 1 else ""
            here = comparison[(comparison["level"] == level) & (comparison["target"] == target)]
            line = here[(here["probe"] == probe) & (here["baseline"] == "untrained")].to_dict("records")[0]
            first = part.iloc[0]
            lines.append(
                [target.replace("_", " "), probe, "R²" if first["kind"] == "number" else "accuracy",
                 f"{by_group['pretrained'].iloc[0]:.3f}", f"{floor.mean():.3f}{span}",
                 f"{by_group['composition'].iloc[0]:.3f}", f"{first['chance']:.3f}", _ratio(line)]
            )  # fmt: skip
        parts += [f"## {level} vectors", "", *("| " + " | ".join(line) + " |" for line in lines), ""]
    return "\n".join(parts)


def vector_table(vectors: pd.DataFrame) -> str:
    """Effective rank and spread as Markdown.

    Args:
        vectors: the columns of ``vectors.csv``.
    """
    lines = [["vectors", "arm", "dimensions", "effective rank", "spread"], ["---", "---", "---:", "---:", "---:"]]
    for line in vectors.sort_values("level", kind="stable", ascending=False).to_dict("records"):
        numbers = [f"{line['dimensions']}", f"{line['effective_rank']:.1f}", f"{line['spread']:.3f}"]
        lines.append([line["level"], line["arm"], *numbers])
    return "\n".join(["## Do they collapse?", "", *("| " + " | ".join(line) + " |" for line in lines)])


def _ratio(line: dict[Any, Any]) -> str:
    """'0.913 (0.871–0.958), better'."""
    if max(line["error"], line["baseline_error"]) == 0:
        return "both without error"
    return f"{line['ratio']:.3g} ({line['ratio_low']:.3g}–{line['ratio_high']:.3g}), {line['answer']}"
