"""The command line: one sub-command per job, its options made from the settings classes."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matgl_infomax import cli_tasks, config, config_forces, config_tasks
from matgl_infomax.arguments import build_parser, read_settings
from matgl_infomax.errors import InputError


def check(settings: config.CheckConfig) -> None:
    """Read the crystals and say what is there: bad files, elements, labels, expected cost."""
    from matgl_infomax.preflight import preflight

    crystals = read_data(settings)
    print(preflight(crystals, settings.target or crystals.targets, supercell_atoms=settings.supercell_atoms).to_text())


def pretrain(settings: config.PretrainConfig) -> None:
    """Learn an encoder from structures alone, or from the labels that its objective names."""
    from matgl_infomax.api import pretrain as run
    from matgl_infomax.objectives import label_columns

    columns = label_columns(settings.objective, settings.objective_preset, settings.objective_options)
    result = run(
        read_data(settings, columns),
        settings.out,
        model=settings.model,
        settings=_part(config.PretrainSettings, settings),
        cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )
    last = result.history[-1]
    site, crystal = last["validation/site_rank"], last["validation/crystal_rank"]
    print(
        f"Pretrained in {result.seconds:.0f} s, best at step {result.best_step:.0f}; "
        f"effective rank {site:.1f} (sites), {crystal:.1f} (crystals).\nEncoder: {result.path}"
    )


def finetune(settings: config.FinetuneConfig) -> None:
    """Learn a property from the labels there are."""
    from matgl_infomax.api import finetune as run

    result = run(
        read_data(settings),
        settings.target,
        settings.out,
        init=settings.init,
        extend_elements=settings.extend_elements,
        model=settings.model,
        settings=_part(config.FinetuneSettings, settings),
        ensemble=_part(config.EnsembleSettings, settings),
        cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )
    fitted, members = result.fitted, result.ensemble.members if result.ensemble else (result.fitted,)
    seconds = sum(member.seconds for member in members)
    several = f"{len(members)} models " if len(members) > 1 else ""
    print(
        f"Fine-tuned {several}on {fitted.n_train} crystals ({fitted.n_validation} held out) in {seconds:.0f} s.\n"
        + "".join(f"{line}\n" for line in _validation_lines(result))
        + f"Model: {result.path}"
    )


def _validation_lines(result: Any) -> list[str]:
    """What the held-out labels say, one line per target, with the uncertainty of an ensemble."""
    if not result.validation:
        return ["No label was held out: no error is known. --validation-fraction holds some out, at least 10."]
    lines = []
    for target, numbers in result.validation.items():
        parts = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in numbers.items() if value is not None]
        known = result.ensemble.calibration.get(target) if result.ensemble else None
        if known is not None:
            asked, scaled = f"{known.coverage:.0%} intervals hold {known.observed:.0%}", f"{known.factor:.3g}"
            parts.append(f"{asked} ({known.unscaled:.0%} before the factor {scaled} on the std)")
        lines.append(f"Held out, {target}: {', '.join(parts) or 'no labels'}")
    return lines


def forcefield(settings: config_forces.ForceFieldConfig) -> None:
    """Learn a force field for ASE and MatGL's relaxers from energies, forces and stresses."""
    from matgl_infomax.api_forces import forcefield as run

    result = run(
        read_data(settings, settings),
        settings,
        settings.out,
        init=settings.init,
        model=settings.model,
        settings=_part(config_forces.ForceFieldSettings, settings),
        cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )
    last = next((entry for entry in result.history if entry["step"] == result.best_step), {})
    units = {"energy": "eV/atom", "force": "eV/angstrom", "stress": "GPa"}
    there = {name: last[f"validation/{name}"] for name in units if f"validation/{name}" in last}
    found = [f"{name} {value:.4g} {units[name]}" for name, value in there.items()]
    print(
        f"Trained on {result.n_train} crystals ({result.n_validation} held out) in {result.seconds:.0f} s.\n"
        f"Mean absolute errors held out: {', '.join(found) or 'none held out'}.\nPotential: {result.path}"
    )


def predict(settings: config.PredictConfig) -> None:
    """Predict crystals with a fine-tuned model."""
    from matgl_infomax.api import predict as run

    table = run(
        read_data(settings), settings.checkpoint, cache=settings.cache, prepare_processes=settings.prepare_processes
    )
    _write_table(table, settings.out)


def embed(settings: config.EmbedConfig) -> None:
    """Write the learnt vectors of crystals or sites."""
    from matgl_infomax.api import embed as run

    table = run(
        read_data(settings), settings.checkpoint, level=settings.level, cache=settings.cache,
        prepare_processes=settings.prepare_processes,
    )  # fmt: skip
    _write_table(table, settings.out)


Command = tuple[type[config.Settings], Callable[[Any], None]]

COMMANDS: dict[str, Command] = {
    "curve": (config_tasks.CurveConfig, cli_tasks.curve),
    "benchmark": (config_tasks.BenchmarkConfig, cli_tasks.benchmark),
    "force-study": (config_tasks.ForceStudyConfig, cli_tasks.force_study),
    "submit": (config_tasks.SubmitConfig, cli_tasks.submit),
    "compare": (config_tasks.CompareConfig, cli_tasks.compare),
    "report": (config_tasks.ReportConfig, cli_tasks.report),
    "overlap": (config_tasks.OverlapConfig, cli_tasks.overlap),
    "represent": (config_tasks.RepresentConfig, cli_tasks.represent),
    "probe": (config_tasks.ProbeConfig, cli_tasks.probe),
    "pretrain": (config.PretrainConfig, pretrain),
    "finetune": (config.FinetuneConfig, finetune),
    "forcefield": (config_forces.ForceFieldConfig, forcefield),
    "predict": (config.PredictConfig, predict),
    "embed": (config.EmbedConfig, embed),
    "check": (config.CheckConfig, check),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words after the program's name; those of this process when left out.

    Returns:
        0 when done; 2 after a mistake that the user can repair, told in one sentence; 130 after Ctrl-C.
    """

    def job() -> None:
        parser = build_parser({name: (cls, run.__doc__ or "") for name, (cls, run) in COMMANDS.items()})
        words = vars(parser.parse_args(arguments))
        settings_class, run = COMMANDS[words.pop("command")]
        run(read_settings(settings_class, words))

    return exit_code("matgl-infomax", job)


def exit_code(program: str, job: Callable[[], None]) -> int:
    """Do a job and tell what went wrong in one sentence, without a traceback, where the user can repair it.

    Args:
        program: name in front of the sentence.
        job: what to do.

    Returns:
        0 when done; 2 after a mistake that the user can repair; 130 after Ctrl-C.
    """
    try:
        job()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{program}: stopped. The same command goes on where it was.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        print(f"{program}: cannot write {error.filename or 'a file'}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0


def read_data(settings: config.DataSettings, columns: config_forces.LabelColumns | None = None) -> Any:
    """The crystals a command works on, with columns of energies, forces and stresses; what was skipped is listed."""
    from matgl_infomax.data.read import read_crystals

    energy, arrays = ([], []) if columns is None else columns.names
    crystals = read_crystals(
        settings.data,
        targets=list(dict.fromkeys([*settings.target, *energy])),
        arrays=arrays,
        labels_file=settings.labels_file,
        id_column=settings.id_column,
        on_error=settings.on_error,
        progress=True,
    )
    if crystals.bad:
        print(crystals.bad_report(), file=sys.stderr)
    return crystals


def _part(settings_class: type[Any], whole: config.Settings) -> Any:
    """The fields of one settings class out of a command's settings."""
    return settings_class(**{name: getattr(whole, name) for name in settings_class.model_fields})


def _write_table(table: Any, out: Path) -> None:
    """Write CSV or parquet, by the ending, whole or not at all."""
    from io import BytesIO

    from matgl_infomax.files import atomic_write

    writers = {".csv": lambda b: table.to_csv(b, index=False), ".parquet": lambda b: table.to_parquet(b, index=False)}
    if out.suffix not in writers:
        known = ", ".join(writers)
        raise InputError(f"Cannot tell the format of {out.name}. End the file's name with one of: {known}.")
    buffer = BytesIO()
    writers[out.suffix](buffer)
    atomic_write(out, buffer.getvalue())
    print(f"{len(table)} rows: {out}")


if __name__ == "__main__":
    sys.exit(main())
