"""Settings of the commands that ask questions of a model: curve, benchmark, overlap, represent, probe, submit, compare.

It imports neither torch nor MatGL: ``--help`` has to be quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from matgl_infomax.settings.arms import ARM_FACTS, ArmName, explained
from matgl_infomax.settings.base import Heading, Settings
from matgl_infomax.settings.training import (
    CommonTarget,
    DataSettings,
    DeviceSettings,
    FinetuneSettings,
    ForceFieldSettings,
    ModelSettings,
    PretrainSettings,
    StoreSettings,
)

BENCHMARK_RATES = [0.0003, 0.001, 0.003]
"""Learning rates among which every arm of a benchmark chooses."""


class TaskDataSettings(Settings):
    """Where the official data of a Matbench task come from."""

    heading: ClassVar[Heading] = "Data"
    data_dir: Path | None = Field(
        default=None,
        json_schema_extra={"decides": False, "common": True, "path": "folder"},
        description="Folder with the official data of the task (json.gz or parquet); the environment variable MATGL_INFOMAX_DATA when left out, and a download into the cache without either.",
    )
    cache: Path = Field(
        default=Path("~/.cache/matgl_infomax"),
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for downloads and for the stores of prepared crystals, each under a hash of its content.",
    )


class StartSettings(Settings):
    """Where the weights of pretrained arms come from, besides the structures of the fold's own training part."""

    heading: ClassVar[Heading] = "Corpus and source"
    corpus: str | None = Field(
        default=None,
        json_schema_extra={"decides": False},
        description="Structures without labels for the arms 'corpus' and 'corpus_frozen': file, folder or glob, also below --data-dir, or a Matbench task.",
    )
    corpus_without: Literal["nothing", "matches", "twins", "formulas"] = Field(
        default="matches",
        description="Corpus crystals left out because they are too close to a crystal of the task: none, the same structure, the same formula and space group, or the same formula.",
    )
    corpus_size: int | None = Field(
        default=None, ge=10, description="Corpus crystals drawn to pretrain on; all when left out."
    )
    source: str | None = Field(
        default=None,
        json_schema_extra={"decides": False},
        description="Crystals with labels of another property for the arm 'transferred': file, folder or glob, also below --data-dir, or a Matbench task.",
    )
    source_target: str | None = Field(
        default=None, description="Column of the other property; that of the task when the source is a Matbench task."
    )


class LaunchSettings(DeviceSettings):
    """How many runs happen at the same time, and where."""

    heading: ClassVar[Heading] = "Machine"
    workers: int = Field(
        default=1,
        json_schema_extra={"decides": False, "common": True},
        ge=1,
        description="Runs at the same time, one process and one thread each.",
    )
    launcher: Literal["local", "slurm"] = Field(
        default="local",
        json_schema_extra={"decides": False},
        description="Where runs happen: processes of this machine, or jobs of a SLURM cluster (through submitit).",
    )


class CurveSettings(Settings):
    """Which questions a learning curve asks: how many labels, how often, against what."""

    heading: ClassVar[Heading] = "Learning curve"
    task: str | None = Field(
        default=None,
        json_schema_extra={"common": True},
        description="Matbench task whose official folds apply (rows are found by their 'mbid'); own data is split into five folds in the same way.",
    )
    fold: int = Field(
        default=0,
        ge=0,
        le=4,
        description="Fold whose part is the test set; only structures of the other four are pretrained on.",
    )
    folds: int | None = Field(
        default=None,
        ge=1,
        json_schema_extra={"decides": False, "common": True},
        description="Folds of own data of which each is tested once, so that every crystal is tested; 1 tests the part of --fold alone. 5 below 500 labels and 1 from there on when left out; always 1 with --task.",
    )
    unit: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra={"decides": False, "common": True},
        description="Unit of the measured values, such as eV/atom, for tables and figures; nothing is converted. That of the task with --task.",
    )
    group: str | None = Field(
        default=None,
        json_schema_extra={"decides": False},
        description="Crystals that no fold parts: those of one formula, one composition-system (the same elements), or one value in a column of --labels-file; none parts all. When left out, formula where formulas occur twice.",
    )
    split: Literal["random", "time", "extrapolate"] = Field(
        default="random",
        json_schema_extra={"decides": False},
        description="What a fold is: crystals drawn at random, a block of the newer half by --time-column that is tested by models of older crystals, or a cluster of compositions that no model has seen.",
    )
    time_column: str | None = Field(
        default=None,
        json_schema_extra={"decides": False},
        description="Column of --labels-file with a number or date (2024-05-31) for each crystal, for --split time.",
    )
    labels: list[int] = Field(
        default=[],
        json_schema_extra={"decides": False, "common": True},
        description="Numbers of labels that are left unmasked. When left out, a quarter, a half and all that a training part has; with one test part 50, 100 and 250 where it has as many.",
    )
    seeds: int | None = Field(
        default=None,
        json_schema_extra={"decides": False, "common": True},
        ge=1,
        description="Repetitions, each with its own nested label masks and initial weights, and its own folds where every crystal is tested. When left out, 5 with one test part, 2 otherwise.",
    )
    test_limit: int | None = Field(
        default=None,
        ge=2,
        json_schema_extra={"common": True},
        description="Most crystals to test on, those of the lowest hash of their id; all of the test part when left out.",
    )
    arms: list[str] = Field(
        default=["scratch", "finetuned", "frozen", "untrained", "descriptors"],
        json_schema_extra={"decides": False, "common": True, "suggest": list(ARM_FACTS)},
        min_length=1,
        description=f"Arms to compare, and NAME=FOLDER for weights of your own, or NAME=FOLDER,FOLDER for several pretrainings of one recipe, each with every seed: then the interval holds the chance of the pretraining too. {explained()}.",
    )
    learning_rates: list[float] = Field(
        default=[],
        description="Learning rates tried by every trained arm on a part held out of the mask; none means the one of the fine-tuning settings.",
    )
    fit_final: bool = Field(
        default=False,
        json_schema_extra={"decides": False, "common": True},
        description="Fit the best arm on all labels into OUT/final, for `predict`, with its cross-validated error and an interval; for studies in which every crystal is tested.",
    )


class CurveConfig(DataSettings, CurveSettings, TaskDataSettings, StartSettings, LaunchSettings):
    """Everything that ``matgl-infomax curve`` reads."""

    heading: ClassVar[Heading] = "Learning curve"
    study: str | None = Field(
        default=None,
        json_schema_extra={"decides": False, "common": True},
        description="Study that comes with the package; its settings hold where none are given. An unknown name lists them all.",
    )
    data: str = Field(
        default="official",
        json_schema_extra={"decides": False, "common": True},
        description="File, folder or glob with crystals, also below --data-dir; 'official' means the official data of --task.",
    )
    target: list[str] = Field(
        default=[],
        json_schema_extra={"common": True},
        description="Column that holds the measured value; that of the task when left out. Missing values are allowed.",
    )
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings = PretrainSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    keep: Literal["predictions", "errors", "nothing"] = Field(
        default="predictions",
        json_schema_extra={"decides": False},
        description="What kept.parquet holds for others, from which 'compare' makes every interval again: predictions with true values; absolute errors alone, where true values may not be passed on; or no such file. It takes about 4 bytes per run and test crystal: 4 MB for 100 runs on 10,000 crystals.",
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the results; a study that was stopped goes on where it was.",
    )


class BenchmarkSettings(Settings):
    """Which Matbench task is answered, by which arm."""

    heading: ClassVar[Heading] = "Benchmark"
    task: str = Field(description="Matbench task, with or without 'matbench_'.")
    folds: list[int] = Field(
        default=[0, 1, 2, 3, 4],
        min_length=1,
        json_schema_extra={"decides": False},
        description="Official folds to answer; a submission needs all five.",
    )
    arm: ArmName | None = Field(
        default=None,
        json_schema_extra={"common": True},
        description="How the answer is made; scratch when left out, or finetuned with --init. Without --init, finetuned and frozen pretrain on the structures of each fold's training part.",
    )
    init: Path | None = Field(
        default=None,
        json_schema_extra={"decides": False, "common": True, "path": "model"},
        description="Folder of a pretrained encoder, or name of weights that come with the package, for the arms finetuned and frozen.",
    )
    allow_seen: bool = Field(
        default=False,
        json_schema_extra={"decides": False},
        description="Take weights of --init whose corpus holds test crystals; the result says how many.",
    )
    labels: int | None = Field(
        default=None,
        json_schema_extra={"common": True},
        ge=2,
        description="Number of labels left unmasked in each training part; all when left out.",
    )
    seeds: int = Field(
        default=1,
        json_schema_extra={"decides": False, "common": True},
        ge=1,
        description="Models per fold, with seeds of their own; their mean is the prediction, their calibrated spread the uncertainty.",
    )
    learning_rates: list[float] = Field(
        default=BENCHMARK_RATES,
        description="Learning rates among which each fold chooses on a part held out of its training labels; an empty list means the one of the fine-tuning settings.",
    )


class BenchmarkConfig(BenchmarkSettings, TaskDataSettings, StartSettings, LaunchSettings):
    """Everything that ``matgl-infomax benchmark`` reads."""

    heading: ClassVar[Heading] = "Benchmark"
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings = PretrainSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the answer; a benchmark that was stopped goes on where it was.",
    )


class ForceStudyConfig(LaunchSettings):
    """Everything that ``matgl-infomax force-study`` reads."""

    heading: ClassVar[Heading] = "Force study"
    data: Path = Field(
        json_schema_extra={"decides": False, "path": "file"}, description="Parquet file of the mlearn force-field data."
    )
    elements: list[str] = Field(
        default=["Ni", "Cu", "Li", "Mo", "Si", "Ge"],
        json_schema_extra={"decides": False, "common": True},
        min_length=1,
        description="Elements, each with force fields of its own.",
    )
    shares: list[float] = Field(
        default=[0.1, 0.25, 1.0],
        json_schema_extra={"decides": False, "common": True},
        min_length=1,
        description="Shares of the training frames that are used, each smaller set within the larger.",
    )
    seeds: int = Field(
        default=5,
        json_schema_extra={"decides": False, "common": True},
        ge=1,
        description="Repetitions, each with its own frames and initial weights.",
    )
    arms: list[str] = Field(
        default=["scratch"],
        json_schema_extra={"decides": False, "common": True},
        min_length=1,
        description="Arms to compare: scratch, or NAME=FOLDER for a pretrained encoder.",
    )
    cache: Path = Field(
        default=Path("~/.cache/matgl_infomax"),
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the stores of prepared crystals, each under a hash of its content.",
    )
    model: ModelSettings = ModelSettings(name="m3gnet")
    forcefield: ForceFieldSettings = Field(
        default=ForceFieldSettings(), description="How every force field is trained, the same for all arms."
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for the results; a study that was stopped goes on where it was.",
    )


class OverlapConfig(DataSettings, TaskDataSettings):
    """Everything that ``matgl-infomax overlap`` reads."""

    heading: ClassVar[Heading] = "Comparison"
    task: str = Field(description="Matbench task whose test folds are compared with the crystals of --data.")
    scores: list[Path] = Field(
        default=[],
        json_schema_extra={"decides": False, "common": True, "path": "folder"},
        description="Folders of benchmarks of this task whose errors are split into seen formula, twin, match and novel.",
    )
    workers: int = Field(
        default=1,
        json_schema_extra={"decides": False, "common": True},
        ge=1,
        description="Processes that compare structures at the same time.",
    )
    out: Path = Field(json_schema_extra={"decides": False, "path": "new folder"}, description="Folder for the report.")


class RepresentConfig(DataSettings, DeviceSettings):
    """Everything that ``matgl-infomax represent`` reads."""

    heading: ClassVar[Heading] = "Frozen vectors"
    target: CommonTarget = []
    checkpoint: Path = Field(
        json_schema_extra={"decides": False, "path": "model"}, description="Folder of a pretrained encoder."
    )
    task: str | None = Field(
        default=None,
        json_schema_extra={"common": True},
        description="Matbench task whose official folds apply; own data is split into five folds in the same way.",
    )
    fold: int = Field(default=0, ge=0, le=4, description="Fold whose part is the test set.")
    labels: list[int] = Field(
        default=[50, 100, 250, 1000],
        json_schema_extra={"decides": False, "common": True},
        min_length=1,
        description="Numbers of labels that are left unmasked.",
    )
    repeats: int = Field(default=10, ge=1, json_schema_extra={"decides": False}, description="Nested draws of labels.")
    untrained: int = Field(
        default=5,
        ge=5,
        json_schema_extra={"decides": False},
        description="Untrained encoders of the same architecture, each with its own random weights: the floor. One alone may be a lucky one, so at least 5.",
    )
    heads: list[Literal["linear", "ridge", "mlp", "forest"]] = Field(
        default=["linear", "ridge", "mlp", "forest"],
        min_length=1,
        json_schema_extra={"decides": False},
        description="Models fitted on frozen vectors: least squares, ridge, one hidden layer of 64, random forest.",
    )
    scaling: list[Literal["standard", "none"]] = Field(
        default=["standard"],
        min_length=1,
        json_schema_extra={"decides": False},
        description="What happens to the vectors before every head, the same for all arms: zero mean and unit spread over the unmasked crystals (cut off at 10), or nothing.",
    )
    descriptors: list[Literal["orbital_field", "xrd", "magpie"]] = Field(
        default=["orbital_field", "xrd", "magpie"],
        json_schema_extra={"decides": False},
        description="Descriptors without any network that get the same heads: orbital-field matrix, powder diffraction pattern, element statistics.",
    )
    map: Literal["tsne", "umap", "none"] = Field(
        default="tsne",
        json_schema_extra={"decides": False},
        description="Second picture of the vectors of the test part besides principal components.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the draws, the untrained encoders and the heads.")
    workers: int = Field(
        default=1,
        json_schema_extra={"decides": False, "common": True},
        ge=1,
        description="Processes that compute descriptors and fit heads at the same time, one thread each.",
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"},
        description="Folder for tables and pictures; finished parts are not repeated.",
    )


class ProbeConfig(StoreSettings):
    """Everything that ``matgl-infomax probe`` reads."""

    heading: ClassVar[Heading] = "Probes"
    checkpoint: Path = Field(
        json_schema_extra={"decides": False, "path": "model"},
        description="Folder of a pretrained or fine-tuned encoder.",
    )
    target: list[str] = Field(
        default=[],
        json_schema_extra={"common": True},
        description="Column(s) with measured values that are asked too, besides what the structures say; missing values are allowed, and a column of 0 and 1 holds classes.",
    )
    probes: list[Literal["linear", "knn"]] = Field(
        default=["linear", "knn"],
        min_length=1,
        description="What reads the vectors: ridge for numbers and logistic regression for classes, or the five nearest vectors.",
    )
    untrained: int = Field(
        default=3,
        ge=1,
        description="Untrained encoders of the same architecture, each with its own random weights: the floor.",
    )
    sites: int = Field(
        default=2000, ge=5, description="Sites that are asked at most, drawn at random from those of all crystals."
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the folds, of the choice of sites and of the untrained encoders."
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"}, description="Folder for table, card and picture."
    )


class SubmitConfig(Settings):
    """Everything that ``matgl-infomax submit`` reads."""

    run: list[Path] = Field(
        min_length=1,
        json_schema_extra={"positional": "DIR", "path": "folder"},
        description="Folders of finished benchmarks, one per task.",
    )
    info: Path = Field(
        json_schema_extra={"path": "file"},
        description="YAML file with authors, algorithm, algorithm_long, bibtex_refs, notes, requirements.",
    )
    out: Path = Field(
        json_schema_extra={"path": "new folder"}, description="Folder for the submission, matbench_v0.1_NAME."
    )


class CompareConfig(TaskDataSettings):
    """Everything that ``matgl-infomax compare`` reads."""

    heading: ClassVar[Heading] = "Comparison"
    run: list[Path] = Field(
        min_length=1,
        json_schema_extra={"positional": "DIR", "path": "any"},
        description="Folders of finished benchmarks, or submissions with results.json.gz; or kept.parquet of learning curves, whose intervals are made again.",
    )
    published: Path | None = Field(
        default=None,
        json_schema_extra={"common": True, "path": "folder"},
        description="Folder with published predictions: a checkout of materialsproject/matbench, or tables in predictions/ and targets/. Without it only the published scores of the folds are compared, which is weaker.",
    )
    entries: list[str] = Field(
        default=[],
        description="Published entries to compare with, by algorithm or folder, such as alignn; all ranked ones when left out.",
    )
    ranked: Literal["merged", "comparable", "all"] = Field(
        default="merged",
        description="Published entries that count for places: accepted submissions, also open ones, or also those flagged as not comparable.",
    )
    attributes: str | None = Field(
        default=None,
        description="Table (csv, parquet) with a column id and facts about the materials by which errors are split; 'structures' makes it from the official data of each task.",
    )
    overlap: list[Path] = Field(
        default=[],
        json_schema_extra={"path": "folder"},
        description="Folders of overlap reports of the task; errors are split by what the corpus shares with each material.",
    )
    draws: int = Field(
        default=10000,
        ge=100,
        description="Resamplings behind every interval; as many as the study when left out for kept.parquet.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the resampling.")
    out: Path | None = Field(
        default=None,
        json_schema_extra={"common": True, "path": "new folder"},
        description="Folder for comparison.json, comparison.md and tables; printed only when left out.",
    )


class ReportConfig(Settings):
    """Everything that ``matgl-infomax report`` reads."""

    heading: ClassVar[Heading] = "Page"
    run: list[Path] = Field(
        min_length=1,
        json_schema_extra={"positional": "DIR", "path": "folder"},
        description="Folders written by curve, benchmark, compare, overlap or represent, or folders of such folders.",
    )
    truth: list[Path] = Field(
        default=[],
        json_schema_extra={"path": "file"},
        description="CSV or parquet files with true values (columns id and target), for predictions that were kept without them.",
    )
    title: str | None = Field(default=None, description="Heading of the page; the names of the folders when left out.")
    format: Literal["html", "markdown"] | None = Field(
        default=None, description="Form of the page; by the ending of --out when left out."
    )
    out: Path = Field(json_schema_extra={"path": "new file"}, description="File for the page, .html or .md.")


class WeightsConfig(Settings):
    """Everything that ``matgl-infomax weights`` reads."""

    heading: ClassVar[Heading] = "Model"
    what: list[str] = Field(
        default=["list"],
        min_length=1,
        json_schema_extra={"decides": False, "positional": "WHAT"},
        description="list: a table of the weights that come with the package; show NAME: the card of one of them; verify [NAME]: whether its files are whole and compute what they did.",
    )


class PublishConfig(Settings):
    """Everything that ``matgl-infomax publish`` reads."""

    heading: ClassVar[Heading] = "Model"
    name: str = Field(
        json_schema_extra={"decides": False, "positional": "NAME"},
        description="Name of weights that come with the package.",
    )
    out: Path = Field(
        json_schema_extra={"decides": False, "path": "new folder"}, description="New folder for a model hub."
    )
