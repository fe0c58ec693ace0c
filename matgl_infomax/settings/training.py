"""Every setting of every command, typed, with one sentence each; unknown keys are refused.

The command line and the YAML file are both made from these classes, so the two always agree.
This file imports neither torch nor MatGL: ``--help`` has to be quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from matgl_infomax.errors import InputError
from matgl_infomax.settings.base import Heading, Settings

Target = Annotated[
    list[str], Field(description="Column(s) that hold the measured value(s); missing values are allowed.")
]
CommonTarget = Annotated[Target, Field(json_schema_extra={"common": True})]
"""For commands that do nothing without a target."""


class DataSettings(Settings):
    """Which crystals to read, and what to do with the bad ones."""

    heading: ClassVar[Heading] = "Data"
    data: str = Field(
        json_schema_extra={"decides": False, "common": True, "offer": "file"},
        description="File, folder or glob with crystals: CIF, POSCAR, JSON, extxyz, ASE db, parquet, json.gz.",
    )
    target: Target = []
    labels_file: Path | None = Field(
        default=None,
        json_schema_extra={"decides": False, "path": "file"},
        description="CSV with a column 'id' and one column per target, for formats without labels.",
    )
    id_column: str | None = Field(
        default=None,
        json_schema_extra={"decides": False},
        description="Column that names each crystal; found by itself when left out.",
    )
    on_error: Literal["stop", "skip"] = Field(
        default="stop",
        json_schema_extra={"decides": False},
        description="What a bad file does: stop with the list of all bad files, or skip them and list them at the end.",
    )
    cache: Path = Field(
        default=Path("~/.cache/matgl_infomax"),
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the stores of prepared crystals, each under a hash of its content.",
    )


class DeviceSettings(Settings):
    """On which hardware networks compute."""

    heading: ClassVar[Heading] = "Machine"
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$",
        json_schema_extra={"decides": False, "suggest": ["auto", "cpu", "cuda", "cuda:0", "mps"]},
        description="Hardware that networks compute on: cpu, cuda, one GPU by its number such as cuda:1, or mps (Apple). auto trains on a GPU where there is one.",
    )
    allow_old_weights: bool = Field(
        default=False,
        json_schema_extra={"decides": False},
        description="Open weights of an older version of a network, which MatGL computes differently now, instead of stopping.",
    )


class LoggerSettings(Settings):
    """Who else is told the numbers of a training."""

    heading: ClassVar[Heading] = "Machine"
    logger: list[Literal["csv", "tensorboard", "wandb", "mlflow"]] = Field(
        default=[],
        json_schema_extra={"decides": False},
        description="Loggers of Lightning that get every loss and error: a table in the folder logs of the run, TensorBoard, Weights & Biases or MLflow; all but csv need their package.",
    )


LOGGER_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "mlflow": ("mlflow",)}
"""Packages of which a logger needs one; csv comes with Lightning."""


def check_loggers(names: Iterable[str]) -> None:
    """Look whether the packages of loggers are installed, without importing them.

    Args:
        names: loggers that were asked for.

    Raises:
        InputError: If one is missing.
    """
    for name in names:
        needs = LOGGER_PACKAGES.get(name)
        if needs and not any(find_spec(package) for package in needs):
            raise InputError(
                f"--logger {name} needs a package that is not installed: pip install {needs[0]}. "
                "Or take csv, which needs none."
            )


class StoreSettings(DataSettings, DeviceSettings):
    """Which crystals to read, and how they are prepared."""

    heading: ClassVar[Heading] = "Machine"
    prepare_processes: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"decides": False},
        description="Processes that prepare crystals for the store; 0 means one per core.",
    )


class ModelSettings(Settings):
    """Which encoder, and how a crystal becomes pairs."""

    heading: ClassVar[Heading] = "Model"
    name: Literal["sitenet", "megnet", "m3gnet", "tensornet", "chgnet", "so3net"] = Field(
        default="sitenet",
        json_schema_extra={"common": True, "flag": "model"},
        description="Architecture of the encoder: Site-Net, or one of MatGL's own networks.",
    )
    options: dict[str, Any] = Field(
        default={},
        description="Arguments of the network that differ from its defaults; unknown ones are refused with the list of those it has.",
    )
    preset: Literal["compact", "published", "rich"] = Field(
        default="rich",
        description="Site-Net with richer inputs and read-out (rich, 169,737 weights), of the Deep InfoMax paper (compact, 55,777) or of the 2023 paper (published, 304,085).",
    )
    supercell_atoms: int = Field(
        default=50, ge=1, description="Largest number of atoms in the near-cubic supercell that each site attends to."
    )
    primitive: bool = Field(default=True, description="Reduce each crystal to its primitive cell first, as published.")
    merge_angstrom: float = Field(
        default=1e-4,
        ge=0,
        description="Sites and pairs that differ by no more than this distance are computed once and counted as often as they occur; 0 merges only what is identical.",
    )

    def also_decides(self) -> dict[str, Any]:
        """The vectors that Site-Net's supercells are built on, where they are not the given ones, as they once were.

        A preset means something else since then, so runs from before and after must not be taken for each other.
        """
        standard = self.name == "sitenet" and self.options.get("standard_cell", self.preset != "published")
        return {"supercell vectors": "niggli"} if standard else {}

    @model_validator(mode="after")
    def _only_what_the_network_reads(self) -> ModelSettings:
        """Site-Net's settings mean nothing to MatGL's networks: say so instead of ignoring them."""
        for_sitenet = ("preset", "supercell_atoms", "primitive", "merge_angstrom")
        given = [name for name in for_sitenet if getattr(self, name) != type(self).model_fields[name].default]
        if self.name != "sitenet" and given:
            raise ValueError(f"{', '.join(given)} is for sitenet. With {self.name} leave it out")
        return self


OBJECTIVE_NAMES = ("infomax", "masked", "denoise", "fingerprint", "twins", "dual", "supervised")
"""Keys of ``objectives.OBJECTIVES``, named here because this file imports no torch."""


Steps = Annotated[int, Field(ge=1, json_schema_extra={"common": True}, description="Optimiser steps.")]
BatchSites = Annotated[
    int, Field(ge=1, description="Sites per batch: crystals are added until the next one would exceed it.")
]
LearningRate = Annotated[float, Field(gt=0, description="Peak learning rate of AdamW.")]
GradientClip = Annotated[float, Field(gt=0, description="Largest gradient norm.")]
ValidateEvery = Annotated[int, Field(ge=1, description="Steps between validations, and between checkpoints.")]
EncoderRate = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="Learning rate of pretrained weights as a share of the head's; weights from scratch move at the full rate.",
    ),
]
EmaDecay = Annotated[
    float,
    Field(ge=0, lt=1, description="Decay of the running average of the weights that predicts; 0 switches it off."),
]


class OptimiserSettings(Settings):
    """How the weights of any training move, step by step; each kind of training has defaults of its own where it needs them."""

    heading: ClassVar[Heading] = "Optimiser"
    steps: Steps = 2000
    batch_sites: BatchSites = 400
    learning_rate: LearningRate = 1e-3
    weight_decay: float = Field(default=1e-4, ge=0, description="Weight decay of AdamW.")
    warmup_fraction: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of the steps with a rising learning rate; a cosine to zero follows.",
    )
    gradient_clip: GradientClip = 1.0
    validation_fraction: float | None = Field(
        default=0.1, ge=0, lt=0.5, description="Share of the crystals held out to choose the checkpoint."
    )
    validate_every: ValidateEvery = 100
    seed: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"common": True},
        description="Seed of initial weights, data order and validation part.",
    )


class ProcessSettings(LoggerSettings):
    """How one training is shared among processes, and how exact its numbers are."""

    heading: ClassVar[Heading] = "Machine"
    processes: int = Field(
        default=1,
        ge=1,
        json_schema_extra={"decides": False},
        description="Processes of one training, each with a share of every batch: GPUs, or CPU processes where there is no GPU; under torchrun or SLURM the number that they started.",
    )
    accumulate: int = Field(
        default=1, ge=1, description="Batches per optimiser step; the gradient is that of the mean of their losses."
    )
    precision: Literal["32", "bf16"] = Field(
        default="32",
        description="Matrix products in single precision, or in bfloat16 (faster on a GPU); weights, softmax and losses stay in single precision.",
    )


class PretrainSettings(ProcessSettings, OptimiserSettings):
    """How an encoder learns before the labels of its task: from structures alone, unless the objective names labels."""

    heading: ClassVar[Heading] = "Pretraining"
    objective: str = Field(
        default="denoise",
        json_schema_extra={"common": True, "suggest": list(OBJECTIVE_NAMES)},
        description=f"What is learnt before the labels: {', '.join(OBJECTIVE_NAMES)}, or several joined by plus signs.",
    )
    objective_preset: str = Field(
        default="default",
        description="A set of options of the objective: default with the recommended corrections, published as in its paper.",
    )
    objective_options: dict[str, Any] = Field(
        default={},
        description="Options of the objective that differ from its preset, of a combination by part; unknown ones are refused.",
    )
    objective_weights: dict[str, float] = Field(
        default={}, description="Weights of the parts of a combination; 1 where none is given."
    )
    steps: Steps = 5000
    batch_sites: int = Field(
        default=1200, ge=2, description="Sites per batch: crystals are added until the next one would exceed it."
    )
    validation_fraction: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Share of the crystals held out for the self-supervised validation loss.",
    )
    validate_every: ValidateEvery = 250
    probe_every: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"decides": False},
        description="Validations from one look of linear probes at the held-out crystals' vectors to the next (element, shells, symmetry, density; no label), written into the history; 0 never looks.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"common": True},
        description="Seed of initial weights, data order and noise.",
    )

    @field_validator("objective")
    @classmethod
    def _known_objectives(cls, value: str) -> str:
        """Every part of a combination is an objective that there is."""
        unknown = [name for name in value.split("+") if name not in OBJECTIVE_NAMES]
        if unknown:
            known = ", ".join(OBJECTIVE_NAMES)
            raise ValueError(f"Unknown objective {', '.join(map(repr, unknown))}. Choose from: {known}")
        return value


class FinetuneSettings(ProcessSettings, OptimiserSettings):
    """How a model learns from the few labels."""

    heading: ClassVar[Heading] = "Fine-tuning"
    steps: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"common": True},
        description="Optimiser steps, the same for every arm; 0 takes what the number of labels was found to need: 600 up to 250 labels, 1,800 up to 2,500, 3,000 up to 25,000, 10,000 beyond.",
    )
    learning_rate: float = Field(
        default=0.0,
        ge=0,
        description="Peak learning rate of AdamW; 0 takes what the start was found to need: 0.001 from scratch, 0.002 with pretrained weights.",
    )
    encoder_rate: EncoderRate = 0.3
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Factor on the learning rate of pretrained weights from each layer group to the next deeper one: the head moves at the full rate, the input slowest; 1 switches it off.",
    )
    unfreeze_every: int = Field(
        default=0,
        ge=0,
        description="Gradual unfreezing of pretrained weights: the head trains alone, and after every so many steps one more layer group joins, the deepest first; 0 trains all from the start.",
    )
    task: Literal["regression", "classification"] = Field(
        default="regression",
        description="Learn numbers, or classes labelled 0 and 1 (or false and true); a classifier predicts the probability of 1.",
    )
    loss: Literal["l1", "mse", "huber", "bce"] | None = Field(
        default=None,
        description="Regression: l1 (when left out), mse or huber on normalised labels. Classification: bce, binary cross-entropy on logits.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        default="none",
        description="Classification: all labels count the same, or both classes of a target count the same in total; then probabilities are those of equally frequent classes.",
    )
    freeze: list[str] = Field(default=[], description="Layer groups of the encoder whose weights stay as they are.")
    validation_fraction: float | None = Field(
        default=None,
        ge=0,
        lt=0.5,
        description="Share of the labelled crystals held out to choose the checkpoint; left out: none up to 2,500 labels, where every label is worth more in training, and a tenth beyond, with patience, for several models and in a benchmark, which need labels that none was trained on. Below 10 such crystals none is held out. Where none is, the last weights count.",
    )
    validate_every: int = Field(
        default=0, ge=0, description="Steps between validations, and between checkpoints; 0 is a tenth of all steps."
    )
    patience: int = Field(
        default=0, ge=0, description="Validations without improvement before training stops; 0 never stops early."
    )
    ema_decay: EmaDecay = 0.99
    noisy_nodes: float = Field(
        default=0.0,
        ge=0,
        description="Weight of denoising beside the labels (Noisy Nodes): atoms are moved a little in training, and their sites tell the clean distances; 0 switches it off.",
    )
    noise_angstrom: float | None = Field(
        default=None,
        gt=0,
        description="Noisy Nodes: standard deviation of the displacements along each axis; 0.02 when left out.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"common": True},
        description="Seed of the head, the data order and the validation part.",
    )

    @model_validator(mode="after")
    def _noise_for_somebody(self) -> FinetuneSettings:
        """A strength of noise that nobody adds would do nothing: say so."""
        if self.noise_angstrom is not None and not self.noisy_nodes:
            raise ValueError("noise_angstrom is for Noisy Nodes. Give noisy_nodes a weight, or leave it out")
        return self

    @model_validator(mode="after")
    def _patience_for_something(self) -> FinetuneSettings:
        """Patience waits for held-out labels."""
        if self.patience and self.validation_fraction == 0:
            raise ValueError(
                "patience waits for an error on held-out labels. Give validation_fraction a share, or leave it out"
            )
        return self


class EnsembleSettings(Settings):
    """How many models are fine-tuned, and how their spread becomes an uncertainty."""

    heading: ClassVar[Heading] = "Uncertainty"
    ensemble: int = Field(
        default=1,
        ge=1,
        json_schema_extra={"common": True},
        description="Models with seeds of their own, from seed on, that predict together: mean and standard deviation.",
    )
    calibration: Literal["gaussian", "conformal"] | None = Field(
        default=None,
        description="How the factor on the standard deviation of a regression ensemble is fitted on the validation part: by maximum likelihood (when left out), or so that intervals of the wanted coverage hold it.",
    )
    coverage: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of labels that an interval of a regression ensemble is to hold, for the conformal factor and the report; 0.9 when left out.",
    )


class PretrainConfig(StoreSettings, PretrainSettings):
    """Everything that ``matgl-infomax pretrain`` reads."""

    model: ModelSettings = ModelSettings()
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the encoder; a run that was stopped goes on where it was.",
    )


class FinetuneConfig(StoreSettings, FinetuneSettings, EnsembleSettings):
    """Everything that ``matgl-infomax finetune`` reads."""

    heading: ClassVar[Heading] = "Model"
    target: CommonTarget = []
    model: ModelSettings = ModelSettings()
    init: Path | None = Field(
        default=None,
        json_schema_extra={"decides": False, "common": True, "path": "model"},
        description="Folder of a pretrained encoder; without it the model starts from scratch.",
    )
    extend_elements: bool = Field(
        default=False,
        description="Give the pretrained encoder vectors for elements of the data that it does not know (near the mean of those it has), instead of stopping.",
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the model; a run that was stopped goes on where it was.",
    )


class PredictConfig(StoreSettings):
    """Everything that ``matgl-infomax predict`` reads."""

    checkpoint: Path = Field(
        json_schema_extra={"decides": False, "path": "model"},
        description="Folder of a fine-tuned model, or of an ensemble.",
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "table"}, description="CSV or parquet file for the predictions."
    )


class EmbedConfig(StoreSettings):
    """Everything that ``matgl-infomax embed`` reads."""

    checkpoint: Path = Field(
        json_schema_extra={"decides": False, "path": "model"}, description="Folder of a pretrained or fine-tuned model."
    )
    level: Literal["crystal", "site"] = Field(
        default="crystal", json_schema_extra={"common": True}, description="One vector per crystal, or one per site."
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "table"}, description="CSV or parquet file for the vectors."
    )


class CheckConfig(DataSettings):
    """Everything that ``matgl-infomax check`` reads."""

    heading: ClassVar[Heading] = "Model"
    target: CommonTarget = []
    supercell_atoms: int = Field(default=50, ge=1, description="Limit of the supercell, for the estimate of the cost.")
    measure: bool = Field(
        default=True,
        json_schema_extra={"decides": False},
        description="Train a few steps on some of the crystals, to tell the minutes and the memory of a whole training on this machine.",
    )


# Settings of everything that learns energies, forces and stresses.


class LabelColumns(Settings):
    """Which columns hold energies, forces and stresses, and what is written there."""

    heading: ClassVar[Heading] = "Labels"
    energy: str | None = Field(
        default=None, json_schema_extra={"common": True}, description="Column with the energy of each crystal, eV."
    )
    energy_kind: Literal["total", "per_atom"] = Field(
        default="total",
        description="Energy of the whole cell, of which the part that is linear in the composition is fitted and taken off; or energy per atom, such as a formation energy, learnt as it is.",
    )
    forces: str | None = Field(
        default=None,
        json_schema_extra={"common": True},
        description="Column with the forces on the sites, N x 3 numbers, eV/angstrom.",
    )
    stress: str | None = Field(
        default=None, json_schema_extra={"common": True}, description="Column with the stress, six numbers or 3 x 3."
    )
    stress_unit: Literal["GPa", "kBar", "eV/A3"] = Field(default="GPa", description="Unit of the stress.")
    compression: Literal["negative", "positive"] = Field(
        default="negative",
        description="Sign of the stress of a compressed crystal: negative as in MatGL and ASE, or positive as in the output of VASP.",
    )
    stress_order: Literal["yz_xz_xy", "xy_yz_xz", "xy_xz_yz"] = Field(
        default="yz_xz_xy",
        description="Order of the last three of six numbers, after xx, yy and zz: as in ASE, as in VASP, or the third one.",
    )

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Named columns with one number per crystal, and those with arrays."""
        return [self.energy] if self.energy else [], [name for name in (self.forces, self.stress) if name]


class ForceFieldSettings(LoggerSettings, OptimiserSettings):
    """How a force field learns."""

    heading: ClassVar[Heading] = "Force field"
    energy_weight: float = Field(
        default=1.0, ge=0, description="Weight of the mean absolute error of the energy, eV/atom."
    )
    force_weight: float = Field(
        default=1.0, ge=0, description="Weight of the mean absolute error of the force components, eV/angstrom."
    )
    stress_weight: float = Field(
        default=0.1, ge=0, description="Weight of the mean absolute error of the stress components, GPa."
    )
    encoder_rate: EncoderRate = 1.0
    gradient_clip: GradientClip = 10.0
    validation_fraction: float = Field(
        default=0.1,
        ge=0,
        lt=0.5,
        description="Share of the crystals held out to choose the checkpoint; below 10 such crystals none is held out and the last weights count.",
    )
    ema_decay: EmaDecay = 0.99
    processes: ClassVar[int] = 1
    accumulate: ClassVar[int] = 1
    precision: ClassVar[Literal["32", "bf16"]] = "32"


class ForceFieldConfig(StoreSettings, LabelColumns, ForceFieldSettings):
    """Everything that ``matgl-infomax forcefield`` reads."""

    heading: ClassVar[Heading] = "Model"
    model: ModelSettings = ModelSettings(name="m3gnet")
    init: Path | None = Field(
        default=None,
        json_schema_extra={"decides": False, "common": True, "path": "model"},
        description="Folder of a pretrained encoder or of a potential; without it the network starts from scratch.",
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the potential; a run that was stopped goes on where it was.",
    )
