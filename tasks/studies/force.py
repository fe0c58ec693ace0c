"""Does pretraining help force fields? Six elements, few frames to all of them, every arm on equal terms."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import GPA_OF, ForceLabels, force_labels
from matgl_infomax.data.loader import group_by_sites
from matgl_infomax.data.read import Crystals, read_crystals
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.errors import InputError
from matgl_infomax.host import Potential
from matgl_infomax.io import atomic_write, sha256_of, vouch_for
from matgl_infomax.leaderboard.results import CARDS
from matgl_infomax.leaderboard.statistics import Comparison, compare
from matgl_infomax.nn.potential import tell
from matgl_infomax.record import RunCard
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import ForceStudyConfig
from matgl_infomax.settings.training import LabelColumns
from matgl_infomax.tasks.matbench.task import mask_hash, nested_masks
from matgl_infomax.tasks.studies.arms import named_arms
from matgl_infomax.tasks.studies.engine import CardGrid, Outcome, carry_out_all, error_metrics, hash_of, take_folder
from matgl_infomax.train.forcefield import fit_forces, rule_of, start_network

if TYPE_CHECKING:
    import pandas as pd


CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""
FEWEST = 2
"""Frames that a force field needs at least."""


@dataclass(frozen=True)
class ForceRun:
    """One force field: one arm, element, share of the frames and seed."""

    arm: str
    element: str
    frames: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's files."""
        return f"{self.element}-{self.arm}-n{self.frames}-s{self.seed}"


@dataclass(frozen=True)
class Frames:
    """Labelled frames of one element and one part."""

    crystals: Crystals
    labels: ForceLabels


@dataclass(frozen=True)
class ForceStudy(CardGrid[ForceRun]):
    """Everything that the runs of a force study need."""

    kind: ClassVar[str] = "force-study"
    title: ClassVar[str] = "Force fields"

    config: ForceStudyConfig
    train: dict[str, Frames]
    test: dict[str, Frames]
    starts: dict[str, str]
    """Hash of the pretrained weights by arm."""

    @property
    def arms(self) -> dict[str, Path | None]:
        """Folder of weights by arm, none for scratch."""
        return {name: folders[0] if folders else None for name, folders in named_arms(self.config.arms).items()}

    def counts(self, element: str) -> list[int]:
        """Frames for each share, ascending."""
        n = len(self.train[element].crystals)
        return sorted({max(FEWEST, round(share * n)) for share in self.config.shares})

    @property
    def runs(self) -> list[ForceRun]:
        """All runs, seed by seed and the small ones first, so that something is to be seen soon."""
        first = self.config.forcefield.seed
        return [
            ForceRun(arm, element, self.counts(element)[k], seed)
            for seed in range(first, first + self.config.seeds)
            for k in range(len(set(self.config.shares)))
            for element in self.config.elements
            for arm in self.arms
        ]

    def mask(self, run: ForceRun) -> NDArray[np.int64]:
        """Training frames of a run, ascending."""
        ids = self.train[run.element].crystals.ids
        return np.sort(nested_masks(ids, np.arange(len(ids)), self.counts(run.element), run.seed)[run.frames])

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Hash of the training and test frames of each element with their labels."""
        return {e: sha256_of(_content(self.train[e]) + _content(self.test[e])) for e in self.config.elements}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide results, without any path."""
        return deciding(self.config, apart=["forcefield.seed"])

    def run_hash(self, run: ForceRun) -> str:
        """Hash of everything that decides the result of a run."""
        start = self.starts.get(run.arm)
        mask = self.mask(run).tolist()
        return hash_of(CODE_VERSION, self.settings, self.hashes[run.element], mask, run.arm, start, run.seed)

    def claim(self) -> dict[str, Any]:
        """What this study is, for the folder it lives in; shares, seeds and arms may be added later."""
        return {"settings": self.settings, "data": self.hashes}

    def carry_out(self, run: ForceRun) -> Outcome:
        """Train one force field and test it."""
        return run_force_field(self, run)


def _content(frames: Frames) -> bytes:
    """Structures and labels of frames as bytes."""
    pieces = [np.ascontiguousarray(values).tobytes() for values in frames.labels.claim().values()]
    for crystal in frames.crystals:
        pieces += [crystal.id.encode(), crystal.lattice.tobytes(), crystal.numbers.tobytes(), crystal.frac.tobytes()]
    return b"\0".join(pieces)


def plan_force_study(config: ForceStudyConfig) -> ForceStudy:
    """Read the data and check the study before anything is computed.

    Raises:
        InputError: For unknown elements, arms or shares, or weights of another architecture than the scratch arm's.
    """
    check_known(config.elements)
    arms = named_arms(config.arms)
    wrong = [name for name, folders in arms.items() if len(folders) != 1 and name != "scratch"]
    if wrong:
        raise InputError(f"A force study knows the arm scratch and NAME=FOLDER. Received: {', '.join(wrong)}.")
    if not all(0 < share <= 1 for share in config.shares):
        raise InputError(f"Shares of the frames are above 0 and at most 1. Received: {config.shares}.")
    table = load_table(config.data)
    train, test = ({e: load_frames(table, e, split) for e in config.elements} for split in ("train", "test"))
    return ForceStudy(config, train, test, _starts(config, arms, train))


def _starts(config: ForceStudyConfig, arms: dict[str, tuple[Path, ...]], train: dict[str, Frames]) -> dict[str, str]:
    """Hash of the weights of each pretrained arm, which has the architecture of the scratch arm."""
    from matgl_infomax.nn.build import load_encoder
    from matgl_infomax.tasks.studies.arms import state_hash
    from matgl_infomax.train.forcefield import start_network

    elements = sorted({int(z) for frames in train.values() for crystal in frames.crystals for z in crystal.numbers})
    scratch = _shape(start_network(None, config.model, 0, elements)[0])
    found = {}
    for name, folder in [(name, folder) for name, folders in arms.items() for folder in folders]:
        shape = _shape(start_network(folder, config.model, 0, elements)[0])
        different = [key for key in sorted(scratch | shape) if scratch.get(key) != shape.get(key)]
        if different:
            key = different[0]
            raise InputError(
                f"The arm {name} has {key}={shape.get(key)}, scratch has {scratch.get(key)}: that would compare "
                "networks. Give --model and --model.options of the pretrained encoder."
            )
        found[name] = state_hash(load_encoder(folder))
    return found


def _shape(network: Any) -> dict[str, Any]:
    """Constructor arguments that say what a network is, elements aside."""
    arguments = {key: str(value) for key, value in network._init_args.items() if key != "element_types"}
    return {"network": type(network).__name__, **arguments}


@dataclass(frozen=True)
class ForceLine:
    """One arm against scratch, or scratch itself, with a 95 % interval."""

    element: str
    share: float
    arm: str
    kind: str
    mae: float | None
    """eV/atom or eV/angstrom; none for all elements together."""
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    seeds: int
    frames: int


@dataclass(frozen=True)
class ForceTable:
    """All lines of a study."""

    lines: tuple[ForceLine, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"lines": [asdict(line) for line in self.lines]}

    def to_markdown(self) -> str:
        """One row per element, share and arm."""
        rows = ["| element | frames used | arm | energy, meV/atom | ratio (95 %) | force, eV/Å | ratio (95 %) |"]
        rows.append("|---|---|---|---|---|---|---|")
        groups = dict.fromkeys((line.element, line.share, line.arm) for line in self.lines)
        for element, share, arm in groups:
            cells = []
            for kind, (_, factor) in KINDS.items():
                line = next(x for x in self.lines if (x.element, x.share, x.arm, x.kind) == (element, share, arm, kind))
                cells += ["" if line.mae is None else f"{line.mae * factor:.3g}", _ratio(line)]
            rows.append(f"| {element} | {share:.0%} | {arm} | {' | '.join(cells)} |")
        return "\n".join(rows)


@dataclass(frozen=True)
class ForceStudyResult:
    """The numbers of a study."""

    table: ForceTable
    cards: tuple[RunCard, ...]
    out: Path

    def to_text(self) -> str:
        """The table to read, and where it lies."""
        return f"{self.table.to_markdown()}\n\n{len(self.cards)} run cards: {self.out / CARDS}"


def force_study(config: ForceStudyConfig, *, progress: bool = True) -> ForceStudyResult:
    """Train every force field, test it, and compare every arm with scratch; finished runs are never repeated.

    Args:
        config: data, arms, shares, seeds, training.
        progress: show a bar.

    Raises:
        InputError: If settings or data are wrong, the folder holds another study, or a run fails.
    """
    study = plan_force_study(config)
    take_folder(study)
    carry_out_all(study, progress=progress)
    cards = study.collect_cards()
    found = force_table(_lines(study))
    atomic_write(config.out / "table.json", json.dumps(found.to_dict(), indent=1))
    atomic_write(config.out / "summary.md", f"# Force fields: pretrained against scratch\n\n{found.to_markdown()}\n")
    vouch_for(config.out, (CARDS, "table.json", "summary.md"))
    return ForceStudyResult(found, cards, config.out)


def _lines(study: ForceStudy) -> pd.DataFrame:
    """The predictions of all runs, one line per run and test frame, with the share that a run was asked for."""
    import pandas as pd

    shares = sorted(set(study.config.shares))
    parts = []
    for run, table in zip(study.runs, study.tables(), strict=True):
        parts.append(table.assign(share=shares[study.counts(run.element).index(run.frames)]))
    return pd.concat(parts, ignore_index=True)


# One run of a force study: train on some frames, test on others, leave predictions and a card.

Reals = NDArray[np.float64]


def run_force_field(study: ForceStudy, run: ForceRun) -> Outcome:
    """Train one force field on the frames of its mask, and test it.

    Raises:
        InputError: If a prediction is no finite number.
    """
    started = time.perf_counter()
    config = study.config
    frames = study.train[run.element]
    test = study.test[run.element]
    elements = sorted({int(z) for crystal in frames.crystals for z in crystal.numbers})
    start = start_network(study.arms[run.arm], config.model, run.seed, elements)
    rule, mask = rule_of(start[0]), study.mask(run)
    store, tested = (
        build_store(part.crystals, rule, config.cache, progress=False, workers=1) for part in (frames, test)
    )
    settings = config.forcefield.model_copy(update={"seed": run.seed})
    out = config.out / "potentials" / run.name
    fitted = fit_forces(start, store, mask, frames.labels.pick(mask), out, settings, progress=False)
    predicted = predict_forces(fitted.potential, tested)
    if not all(np.isfinite(values).all() for values in (predicted[0], *predicted[1], predicted[2])):
        raise InputError(f"{run.name} predicts no finite number: it diverged. Lower --forcefield.learning-rate.")
    scores, table = _scored(study, run, predicted)
    cost = {"seconds": time.perf_counter() - started, "pretraining_seconds": None}
    return Outcome(table, _card(study, run, store) | {"cost": cost, "metrics": scores})


def _card(study: ForceStudy, run: ForceRun, store: Store) -> dict[str, Any]:
    """What the run card says beside errors and cost."""
    frames = study.train[run.element]
    test = study.test[run.element]
    mask = study.mask(run)
    return {
        "task": f"mlearn_{run.element}",
        "target": "energy, forces and stress",
        "unit": None,
        "arm": run.arm,
        "fold": 0,
        "seed": run.seed,
        "mask": {"asked": run.frames, "used": len(mask), "sha256": mask_hash(frames.crystals.ids, mask)},
        "n_test": len(test.crystals),
        "initial": {
            "name": "scratch" if study.arms[run.arm] is None else run.arm,
            "sha256": study.starts.get(run.arm),
        },
        "settings": study.settings,
        "tried": [],
        "hashes": {
            "data": study.hashes[run.element],
            "folds": sha256_of("\n".join([*sorted(frames.crystals.ids), "", *sorted(test.crystals.ids)])),
            "store": store.key,
        },
    }


def predict_forces(potential: Potential, store: Store, batch_sites: int = 400) -> tuple[Reals, list[Reals], Reals]:
    """What a potential says of all crystals of a store: eV/atom (n,), eV/angstrom (N, 3) each, GPa (n, 3, 3).

    Args:
        potential: MatGL's.
        store: prepared crystals.
        batch_sites: sites per batch.
    """
    energy, stress = np.zeros(len(store)), np.zeros((len(store), 3, 3))
    forces: list[Reals] = [np.zeros((0, 3))] * len(store)
    for rows in group_by_sites(store.n_sites, np.arange(len(store)), batch_sites):
        batch = store.batch(rows)
        predicted = tell(potential.eval(), batch)
        sizes = store.n_sites[rows]
        energy[rows] = predicted.energy.detach().numpy() / sizes
        lattice: Any = batch.lattice
        volume = np.abs(np.linalg.det(lattice.numpy())) / sizes  # (b,)
        stress[rows] = predicted.stress.detach().numpy() * (GPA_OF["eV/A3"] / volume)[:, None, None]
        pieces = np.split(predicted.forces.detach().numpy().astype(np.float64), np.cumsum(sizes)[:-1])
        for row, piece in zip(rows, pieces, strict=True):
            forces[row] = piece
    return energy, forces, stress


def _gpa(crystals: list[Crystal], stress: Reals) -> Reals:
    """Labels of stress times volume per atom, eV, as GPa, (n, 3, 3)."""
    volume = np.array([abs(np.linalg.det(c.lattice)) / c.n_sites for c in crystals])
    return stress * (GPA_OF["eV/A3"] / volume)[:, None, None]


def _scored(
    study: ForceStudy, run: ForceRun, predicted: tuple[Reals, list[Reals], Reals]
) -> tuple[dict[str, Any], Any]:
    """Scores over all test frames, and a line for each."""
    import pandas as pd

    frames = study.test[run.element]
    crystals, labels = list(frames.crystals), frames.labels
    stress = _gpa(crystals, labels.stress)
    truths = {"energy": labels.energy, "forces": np.concatenate(labels.forces).ravel(), "stress": stress.ravel()}
    guesses = {"energy": predicted[0], "forces": np.concatenate(predicted[1]).ravel(), "stress": predicted[2].ravel()}
    scores = {}
    for name, truth in truths.items():
        known = ~np.isnan(truth)
        scores[name] = error_metrics(truth[known], guesses[name][known])
    lines = {
        "task": f"mlearn_{run.element}",
        "element": run.element,
        "arm": run.arm,
        "frames": run.frames,
        "seed": run.seed,
        "id": frames.crystals.ids,
        "n_sites": [crystal.n_sites for crystal in crystals],
        "target": labels.energy,
        "prediction": predicted[0],
        "force_error": [float(np.abs(a - b).mean()) for a, b in zip(predicted[1], labels.forces, strict=True)],
        "stress_error": np.abs(predicted[2] - stress).mean((1, 2)),
    }
    return scores, pd.DataFrame(lines)


# Errors of force fields in one table: each arm by element and share of the frames, and its ratio to scratch.

BASELINE = "scratch"
ALL = "all"
"""All elements together, each with the same weight: the mean of their ratios."""
KINDS = {"energy": ("meV/atom", 1000.0), "force": ("eV/Å", 1.0)}
"""Kinds of error, their unit in the table, and the factor to it from eV and angstrom."""


def _ratio(line: ForceLine) -> str:
    """The ratio to scratch with its interval; nothing for scratch itself."""
    return "" if line.ratio is None else f"{line.ratio:.3f} ({line.ratio_low:.3f}–{line.ratio_high:.3f})"


def force_table(predictions: pd.DataFrame) -> ForceTable:
    """The table from one line per run and test frame.

    Forces are averaged over components: a frame counts as often as it has sites.

    Args:
        predictions: columns element, share, arm, seed, id, n_sites, target, prediction, force_error.

    Raises:
        ValueError: If arms were run with different seeds or tested on different frames.
    """
    errors = _errors(predictions)
    elements = list(dict.fromkeys(predictions["element"]))
    lines: list[ForceLine] = []
    for share in sorted(set(predictions["share"])):
        for element in elements:
            for arm in dict.fromkeys(predictions["arm"]):
                lines += [_line(errors, element, share, arm, kind) for kind in KINDS]
        if len(elements) > 1:
            arms = [arm for arm in dict.fromkeys(predictions["arm"]) if arm != BASELINE]
            lines += [x for arm in arms for kind in KINDS for x in _together(errors, elements, share, arm, kind)]
    return ForceTable(tuple(lines))


Errors = dict[tuple[str, float, str, str], NDArray[np.float64]]
"""By element, share, arm and kind: absolute errors, seeds in rows and frames in columns, (S, M)."""


def _errors(predictions: pd.DataFrame) -> Errors:
    """Absolute errors of energies and forces; frames in the same order for all arms of an element."""
    found: Errors = {}
    for group, part in predictions.groupby(["element", "share", "arm"], sort=False):
        element, share, arm = cast(tuple[str, float, str], group)
        tables = {"energy": (part["prediction"] - part["target"]).abs(), "force": part["force_error"] * part["n_sites"]}
        for kind, error in tables.items():
            table = error.groupby([part["seed"], part["id"]]).mean().unstack()
            values = table.to_numpy()
            if np.isnan(values).any():
                raise ValueError(f"{arm} of {element} at {share} was not tested on the same frames for all seeds")
            if kind == "force":
                sites = part.groupby("id")["n_sites"].first()[table.columns].to_numpy()
                values = values / sites.mean()
            found[element, share, arm, kind] = values
    return found


def _line(errors: Errors, element: str, share: float, arm: str, kind: str) -> ForceLine:
    """One arm of one element."""
    mine = errors[element, share, arm, kind]
    base = errors.get((element, share, BASELINE, kind))
    found = compare(mine, base) if base is not None and arm != BASELINE else None
    return _made(element, share, arm, kind, float(mine.mean()), found, mine.shape)


def _together(errors: Errors, elements: list[str], share: float, arm: str, kind: str) -> list[ForceLine]:
    """One arm over all elements, errors in units of the mean error of scratch on the same element."""
    if any(not errors.get((e, share, BASELINE, kind), np.zeros(1)).any() for e in elements):
        return []  # without scratch, or errors of it, there is no ratio
    pairs = [(errors[e, share, arm, kind], errors[e, share, BASELINE, kind]) for e in elements]
    # Each element counts the same, however many test frames it has.
    units = [base.mean() * base.shape[1] for _, base in pairs]
    mine, base = (np.concatenate([p[k] / u for p, u in zip(pairs, units, strict=True)], axis=1) for k in (0, 1))
    return [_made(ALL, share, arm, kind, None, compare(mine, base), mine.shape)]


def _made(
    element: str, share: float, arm: str, kind: str, mae: float | None, c: Comparison | None, shape: tuple[int, ...]
) -> ForceLine:
    """A line from a comparison."""
    ratio, low, high = (None, None, None) if c is None else (c.ratio, c.ratio_low, c.ratio_high)
    return ForceLine(element, share, arm, kind, mae, ratio, low, high, shape[0], shape[1])


# The mlearn force-field data: six elements, energies, forces and stresses of DFT (Zuo et al., J. Phys. Chem. A 2020).
#
# Stresses are in kBar, positive under compression. Their six numbers do not stand in the same order for all elements:
# in the sheared cells of the group Elastic the third shear of Cu, Mo and Ni answers to yz and the second to xz, while
# Li, Si and Ge have xx, yy, zz, xy, yz, zx as documented.

ELEMENTS = ("Ni", "Cu", "Li", "Mo", "Si", "Ge")
STRESS_ORDER: dict[str, Any] = {
    "Ni": "xy_xz_yz",
    "Cu": "xy_xz_yz",
    "Mo": "xy_xz_yz",
    "Li": "xy_yz_xz",
    "Si": "xy_yz_xz",
    "Ge": "xy_yz_xz",
}
"""Order of the shears, judged by what the cells of the group Elastic say."""
NEEDED = ("id", "element", "split", "energy", "forces", "virial_stress", "lattice", "atomic_numbers", "frac_coords")


def columns_of(element: str) -> LabelColumns:
    """What stands in the columns of an element.

    Args:
        element: symbol.
    """
    return LabelColumns(
        energy="energy",
        forces="forces",
        stress="virial_stress",
        stress_unit="kBar",
        compression="positive",
        stress_order=STRESS_ORDER[element],
    )


def load_table(path: Path) -> pd.DataFrame:
    """The whole table, one line per frame.

    Raises:
        InputError: If the file is missing or has other columns.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read the mlearn table {path}: {error}. Give a parquet file with --data.") from error
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}. It needs: {', '.join(NEEDED)}.")
    return table


def load_frames(table: pd.DataFrame, element: str, split: str) -> Frames:
    """The frames of one element.

    Args:
        table: from ``load_table``.
        element: symbol, one of ``ELEMENTS``.
        split: "train" or "test".

    Raises:
        InputError: For an unknown element, or one without frames.
    """
    check_known([element])
    part = table[(table["element"] == element) & (table["split"] == split)]
    if part.empty:
        raise InputError(f"The table holds no {split} frames of {element}. Leave the element out.")
    columns = columns_of(element)
    numbers, arrays = columns.names
    crystals = read_crystals(part, targets=numbers, arrays=arrays)
    return Frames(crystals, force_labels(crystals, columns))


def check_known(elements: Sequence[str]) -> None:
    """Refuse elements whose order of stresses is not known.

    Raises:
        InputError: For any element but the six.
    """
    unknown = [symbol for symbol in elements if symbol not in ELEMENTS]
    if unknown:
        raise InputError(f"mlearn has no {', '.join(unknown)}. Its elements: {', '.join(ELEMENTS)}.")
