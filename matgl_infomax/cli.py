"""The command line: one sub-command per job, its options made from the settings classes."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from matgl_infomax import console
from matgl_infomax.console import announce
from matgl_infomax.data.find import check_paths, find_files
from matgl_infomax.data.read import read_data
from matgl_infomax.errors import InputError, exit_code
from matgl_infomax.io import atomic_write
from matgl_infomax.record import spoken_time
from matgl_infomax.settings import base, commands, training
from matgl_infomax.settings.base import build_parser, read_settings


def run_check(settings: training.CheckConfig) -> None:
    """Read the crystals and say what is there: bad files, elements, labels, expected cost."""
    from matgl_infomax.data.preflight import preflight

    crystals = read_data(settings)
    targets = settings.target or crystals.targets
    print(preflight(crystals, targets, supercell_atoms=settings.supercell_atoms).to_text(), flush=True)
    if settings.measure:
        from matgl_infomax.api import expected_cost

        try:
            cost = expected_cost(crystals, targets, supercell_atoms=settings.supercell_atoms)
        except InputError as error:
            print(f"Time            not measured: {error}")
            return
        for what, (steps, seconds) in cost.seconds.items():
            print(f"Time            {what}: about {spoken_time(seconds)} ({steps:,} steps, default settings)")
        print(f"Memory          about {cost.memory_mb or float('nan'):,.0f} MB")
        print(f"                measured on this machine in a few steps with {cost.n_measured} of the crystals")


def run_pretrain(settings: training.PretrainConfig) -> None:
    """Learn an encoder from structures alone, or from the labels that its objective names."""
    from matgl_infomax.api import pretrain as run
    from matgl_infomax.objectives import label_columns

    columns = label_columns(settings.objective, settings.objective_preset, settings.objective_options)
    crystals = read_data(settings, columns)
    result = run(
        crystals,
        settings.out,
        model=settings.model,
        settings=_part(training.PretrainSettings, settings),
        cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )
    first, best = result.history[0], next(e for e in result.history if e["step"] == result.best_step)
    announce(
        f"Pretrained on {len(crystals)} crystals in {spoken_time(result.seconds)}.\n"
        f"Loss on crystals that were held out: {first['validation/loss']:.3g} at the first look, "
        f"{best['validation/loss']:.3g} at the best (step {result.best_step:.0f} of {settings.steps}, kept)."
    )
    if best["validation/collapsed"]:
        announce("The vectors of different crystals are nearly the same: this encoder can hardly tell crystals apart.")
    announce(
        f"Directions in which the vectors differ (effective rank; 1 means along a line only): "
        f"{best['validation/site_rank']:.1f} for sites, {best['validation/crystal_rank']:.1f} for crystals.",
        level=1,
    )
    _announce_history(result.history)
    announce(
        f"Encoder: {result.path} (all losses: pretrain.json). "
        f"Next: matgl-infomax finetune --init {shlex.quote(str(result.path))} ..."
    )


def run_finetune(settings: training.FinetuneConfig) -> None:
    """Learn a property from the labels there are."""
    from matgl_infomax.api import finetune as run
    from matgl_infomax.weights import hint

    if settings.init is None and (said := hint(settings.model.name)):
        announce(said)
    result = run(
        read_data(settings),
        settings.target,
        settings.out,
        init=settings.init,
        extend_elements=settings.extend_elements,
        model=settings.model,
        settings=_part(training.FinetuneSettings, settings),
        ensemble=_part(training.EnsembleSettings, settings),
        cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )
    fitted, members = result.fitted, result.ensemble.members if result.ensemble else (result.fitted,)
    seconds = sum(member.seconds for member in members)
    several = f"{len(members)} models " if len(members) > 1 else ""
    losses = [entry["train/loss"] for entry in fitted.history]
    announce(
        f"Fine-tuned {several}on {fitted.n_train} crystals ({fitted.n_validation} held out) "
        f"in {spoken_time(seconds)}.\n"
        f"Loss on the training labels: {losses[0]:.3g} at the first look, {losses[-1]:.3g} in the end.\n"
        + "\n".join(_validation_lines(result))
    )
    _announce_history(fitted.history)
    announce(f"Model: {result.path}. Next: matgl-infomax predict --checkpoint {shlex.quote(str(result.path))} ...")


METRIC_NAMES = {
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "r2": "R²",
    "rocauc": "area under the ROC curve",
    "log_loss": "log loss",
    "balanced_accuracy": "balanced accuracy",
}
"""Words for the numbers of a validation; the others are words already."""


def _announce_history(history: Sequence[dict[str, float]]) -> None:
    """Every number of every validation, for those who ask for details."""
    for entry in history:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in entry.items() if name != "step")
        announce(f"  step {entry['step']:.0f}: {numbers}", level=1)


def _validation_lines(result: Any) -> list[str]:
    """What the held-out labels say, one line per target, with the uncertainty of an ensemble."""
    if not result.validation:
        return ["No label was held out: no error is known. --validation-fraction holds some out, at least 10."]
    lines = []
    for target, numbers in result.validation.items():
        parts = [f"{METRIC_NAMES.get(name, name)} {value:.4g}" for name, value in numbers.items() if value is not None]
        known = result.ensemble.calibration.get(target) if result.ensemble else None
        if known is not None:
            asked, scaled = f"{known.coverage:.0%} intervals hold {known.observed:.0%}", f"{known.factor:.3g}"
            parts.append(f"{asked} ({known.unscaled:.0%} before the factor {scaled} on the std)")
        lines.append(f"On held-out labels, {target}: {', '.join(parts) or 'no labels'}")
    return lines


def run_forcefield(settings: training.ForceFieldConfig) -> None:
    """Learn a force field for ASE and MatGL's relaxers from energies, forces and stresses."""
    from matgl_infomax.api import forcefield as run

    result = run(
        read_data(settings, settings),
        settings,
        settings.out,
        init=settings.init,
        model=settings.model,
        settings=_part(training.ForceFieldSettings, settings),
        cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )
    last = next((entry for entry in result.history if entry["step"] == result.best_step), {})
    units = {"energy": "eV/atom", "force": "eV/angstrom", "stress": "GPa"}
    there = {name: last[f"validation/{name}"] for name in units if f"validation/{name}" in last}
    found = [f"{name} {value:.4g} {units[name]}" for name, value in there.items()]
    announce(
        f"Trained on {result.n_train} crystals ({result.n_validation} held out) in {result.seconds:.0f} s.\n"
        f"Mean absolute errors held out: {', '.join(found) or 'none held out'}.\nPotential: {result.path}"
    )


def run_predict(settings: training.PredictConfig) -> None:
    """Predict crystals with a fine-tuned model."""
    from matgl_infomax.api import predict as run
    from matgl_infomax.tasks.studies.final import FinalModel

    final, machine = FinalModel.open(settings.checkpoint), settings.prepare_processes
    if final is not None:  # of a learning curve: it may be no network at all
        table = final.predict(read_data(settings), settings.cache, workers=machine)
    else:
        table = run(read_data(settings), settings.checkpoint, cache=settings.cache, prepare_processes=machine)
    _write_table(table, settings.out)


def run_embed(settings: training.EmbedConfig) -> None:
    """Write the learnt vectors of crystals or sites."""
    from matgl_infomax.api import embed as run

    table = run(
        read_data(settings), settings.checkpoint, level=settings.level, cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )  # fmt: skip
    _write_table(table, settings.out)


Command = tuple[type[base.Settings], Callable[[Any], None]]


def run_curve(settings: commands.CurveConfig) -> None:
    """Ask whether pretraining helps: a learning curve with a verdict."""
    from matgl_infomax.leaderboard.kept import KEPT
    from matgl_infomax.tasks.matbench.data import task_crystals
    from matgl_infomax.tasks.matbench.task import load_task
    from matgl_infomax.tasks.studies.curve import learning_curve
    from matgl_infomax.tasks.studies.named_studies import OFFICIAL, resolved_study, with_study
    from matgl_infomax.weights import hint

    settings = resolved_study(with_study(settings))
    if settings.data == OFFICIAL:
        crystals = task_crystals(load_task(str(settings.task)), settings.data_dir, settings.cache)
    else:
        crystals = read_data(settings)
    if not any("=" in arm for arm in settings.arms) and (said := hint(settings.model.name)):
        announce(said.replace("--init ", "--arms scratch descriptors pretrained="))
    result = learning_curve(crystals, settings.target[0], settings)
    kept = settings.out / KEPT
    size = f"Kept for others: {kept} ({kept.stat().st_size / 1e6:.2f} MB)\n" if settings.keep != "nothing" else ""
    print(f"{result.to_markdown()}\n\n{size}Plot: {settings.out / 'curve.png'}\nVerdict: {result.verdict.text}")
    if settings.fit_final:
        print(result.notes[-1])


def run_benchmark(settings: commands.BenchmarkConfig) -> None:
    """Answer a Matbench task on its official folds."""
    from matgl_infomax.tasks.studies.benchmark import benchmark as run

    print(run(settings).to_text())


def run_force_study(settings: commands.ForceStudyConfig) -> None:
    """Ask whether pretraining helps force fields: six elements, few frames to all, pretrained against scratch."""
    from matgl_infomax.tasks.studies.force import force_study as run

    print(run(settings).to_text())


def run_overlap(settings: commands.OverlapConfig) -> None:
    """Compare a corpus with the test folds of a task: same formula, twin, same structure."""
    from matgl_infomax.tasks.studies.overlap_report import overlap_report

    print(overlap_report(settings).to_text())


def run_represent(settings: commands.RepresentConfig) -> None:
    """Ask what frozen vectors know: simple heads on them, beside untrained encoders and descriptors."""
    from matgl_infomax.tasks.studies.represent import represent as run

    print(run(read_data(settings), settings).to_text())


def run_probe(settings: commands.ProbeConfig) -> None:
    """Ask what site and crystal vectors know of structure, beside untrained encoders and composition alone."""
    from matgl_infomax.tasks.studies.probe import probe as run

    print(run(read_data(settings), settings).to_text())


def run_submit(settings: commands.SubmitConfig) -> None:
    """Turn finished benchmarks into a folder that Matbench accepts."""
    from matgl_infomax.leaderboard.submit import submit as run

    print(run(settings).to_text())


def run_report(settings: commands.ReportConfig) -> None:
    """Turn finished results into one page to read: verdict, figures, tables, run cards."""
    from matgl_infomax.leaderboard.report.page import write_report

    made = write_report(settings)
    announce(f"{len(made.cards)} folders, {sum(len(cards) for _, cards in made.cards)} run cards. Page: {settings.out}")


def run_compare(settings: commands.CompareConfig) -> None:
    """Compare finished benchmarks or submissions with the published leaderboard, material by material."""
    from matgl_infomax.leaderboard.compare_published import compare_with_published
    from matgl_infomax.leaderboard.kept import compare_kept, kept_files

    if kept := kept_files(settings):
        given = {name: getattr(settings, name) for name in ("draws", "seed") if name in settings.model_fields_set}
        print(compare_kept(kept, settings.out, **given))
        return
    result = compare_with_published(settings)
    print(result.to_markdown(details=False))
    if settings.out is not None:
        announce(f"\nWith strata, largest errors and uncertainty: {settings.out / 'comparison.md'}")


def run_weights(settings: commands.WeightsConfig) -> None:
    """Show or check the pretrained weights that come with the package."""
    from matgl_infomax import weights

    what, *names = settings.what
    if what == "list" and not names:
        table = weights.available()
        print(table.reset_index().to_string(index=False) if len(table) else "This installation holds no weights.")
    elif what == "show" and len(names) == 1:
        from matgl_infomax.publish import model_page

        print(model_page(weights.card(names[0])))
    elif what == "verify":
        from matgl_infomax.publish import ANSWER_TOLERANCE, verify

        for name in names or weights.names():
            off = verify(name)
            print(f"{name}: whole; its vectors differ by {off:.1g} from its card ({ANSWER_TOLERANCE:.0e} is allowed)")
    else:
        raise InputError(f"Say list, show NAME or verify [NAME]. Received: {' '.join(settings.what)}.")


def run_publish(settings: commands.PublishConfig) -> None:
    """Write pretrained weights as a folder for a model hub, which plain MatGL opens."""
    from matgl_infomax.publish import publish

    print(f"{publish(settings.name, settings.out)}: the model, its card as README.md, and the hashes of both.")


COMMANDS: dict[str, Command] = {
    "curve": (commands.CurveConfig, run_curve),
    "benchmark": (commands.BenchmarkConfig, run_benchmark),
    "force-study": (commands.ForceStudyConfig, run_force_study),
    "submit": (commands.SubmitConfig, run_submit),
    "compare": (commands.CompareConfig, run_compare),
    "report": (commands.ReportConfig, run_report),
    "overlap": (commands.OverlapConfig, run_overlap),
    "represent": (commands.RepresentConfig, run_represent),
    "probe": (commands.ProbeConfig, run_probe),
    "pretrain": (training.PretrainConfig, run_pretrain),
    "finetune": (training.FinetuneConfig, run_finetune),
    "forcefield": (training.ForceFieldConfig, run_forcefield),
    "predict": (training.PredictConfig, run_predict),
    "embed": (training.EmbedConfig, run_embed),
    "check": (training.CheckConfig, run_check),
    "weights": (commands.WeightsConfig, run_weights),
    "publish": (commands.PublishConfig, run_publish),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words after the program's name; those of this process when left out.

    Returns:
        0 when done; 2 after a mistake that the user can repair, told in one sentence; 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    known: list[base.Settings] = []

    def job() -> None:
        parser = build_parser({name: (cls, run.__doc__ or "") for name, (cls, run) in COMMANDS.items()})
        words = vars(parser.parse_args(given))
        name = words.pop("command")
        settings_class, run = COMMANDS[name]
        stack.enter_context(
            console.opened(
                verbose=words.pop("verbose", False),
                quiet=words.pop("quiet", False),
                progress=not words.pop("no_progress", False),
                log=words.pop("log_file", None),
            )
        )
        settings = read_settings(settings_class, words)
        check_paths(settings)
        _check_data(settings)
        for part in (settings, getattr(settings, "pretrain", None), getattr(settings, "finetune", None)):
            training.check_loggers(getattr(part, "logger", ()))
        known.append(settings)
        with _settings_kept(name, settings), _device(settings), _old_weights(settings):
            run(settings)

    with contextlib.ExitStack() as stack:
        return exit_code("matgl-infomax", job, lambda: _kept(known, given))


def _check_data(settings: base.Settings) -> None:
    """Look whether there are crystals where the settings say, before anything heavy is imported.

    Raises:
        InputError: If there is no such file, folder or glob, or nothing in it could be a crystal.
    """
    if not isinstance(settings, training.DataSettings):
        return
    if isinstance(settings, commands.CurveConfig):
        # Official data are downloaded, studies name their own, and a data folder may hold what is named.
        elsewhere = settings.study or settings.data_dir or os.environ.get("MATGL_INFOMAX_DATA")
        if elsewhere or settings.data == "official":
            return
    find_files(settings.data, settings.labels_file)


@contextlib.contextmanager
def _device(settings: base.Settings) -> Iterator[None]:
    """Within the block, networks compute on the hardware that the settings name."""
    name = getattr(settings, "device", "auto")
    if name == "auto":
        yield
        return
    from matgl_infomax.train.ranks import DEVICE, chosen_device

    before = os.environ.get(DEVICE)
    os.environ[DEVICE] = name
    try:
        chosen_device()
        yield
    finally:
        if before is None:
            del os.environ[DEVICE]
        else:
            os.environ[DEVICE] = before


@contextlib.contextmanager
def _old_weights(settings: base.Settings) -> Iterator[None]:
    """Within the block, old weights are opened if the settings allow it."""
    if not (isinstance(settings, training.DeviceSettings) and settings.allow_old_weights):
        yield
        return
    from matgl_infomax.host import old_weights_allowed

    with old_weights_allowed():
        yield


RUN_MARK, SETTINGS_FILE = "run.json", "settings.yaml"


@contextlib.contextmanager
def _settings_kept(command: str, settings: base.Settings) -> Iterator[None]:
    """Leave all settings in the folder of a run, once the run has taken the folder, however it ends."""
    out: Path | None = getattr(settings, "out", None)
    before = out is None or (out / RUN_MARK).is_file()
    done = False
    try:
        yield
        done = True
    finally:
        # A folder that was taken before may be another run's: only a run that ends well is known to be the same.
        if out is not None and (out / RUN_MARK).is_file() and (done or not before):
            if isinstance(settings, commands.CurveConfig) and settings.study is not None:
                from matgl_infomax.tasks.studies.curve import with_study

                settings = with_study(settings).model_copy(update={"study": None})
            _write_settings(out / SETTINGS_FILE, command, settings)


def _write_settings(path: Path, command: str, settings: base.Settings) -> None:
    """Write all settings of a command as a YAML file that its ``--config`` reads back.

    Args:
        path: file to write.
        command: what they are of, such as "pretrain".
        settings: as they hold, defaults included.

    Raises:
        InputError: If the file cannot be written.
    """
    head = f"# All settings of this run. Read them back with: matgl-infomax {command} --config {path.name}\n"
    values = settings.model_dump(mode="json")
    atomic_write(path, head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))


def _kept(known: Sequence[base.Settings], given: Sequence[str]) -> str:
    """What a command that was stopped has left, and how to go on."""
    again = f"The same command goes on where it was: {shlex.join(['matgl-infomax', *given])}"
    out: Path | None = getattr(known[0], "out", None) if known else None
    if out is None or not (out / RUN_MARK).is_file():
        return again
    checkpoints = sorted(out.rglob("last.ckpt"))
    runs = len(list((out / "runs").glob("[!.]*.json")))
    there = [str(file) for file in checkpoints[:1]] + ([f"{runs} finished runs in {out / 'runs'}"] if runs else [])
    return f"Kept: {' and '.join(there) or out}. {again}"


def _part(settings_class: type[Any], whole: base.Settings) -> Any:
    """The fields of one settings class out of a command's settings."""
    return settings_class(**{name: getattr(whole, name) for name in settings_class.model_fields})


def _write_table(table: Any, out: Path) -> None:
    """Write CSV or parquet, by the ending, whole or not at all."""
    from io import BytesIO

    from matgl_infomax.io import atomic_write, csv_text

    writers = {
        ".csv": lambda b: b.write(csv_text(table).encode()),
        ".parquet": lambda b: table.to_parquet(b, index=False),
    }
    if out.suffix not in writers:
        known = ", ".join(writers)
        raise InputError(f"Cannot tell the format of {out.name}. End the file's name with one of: {known}.")
    buffer = BytesIO()
    writers[out.suffix](buffer)
    atomic_write(out, buffer.getvalue())
    announce(f"{len(table)} rows: {out}")


if __name__ == "__main__":
    sys.exit(main())
