"""Predictions of a study in one small file, from which others can make every interval again."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from matgl_infomax.errors import InputError
from matgl_infomax.io import LARGEST, atomic_write, check_results, vouch_for
from matgl_infomax.leaderboard.resampled import FoldPairing, best_to_use
from matgl_infomax.leaderboard.statistics import DRAWS
from matgl_infomax.leaderboard.verdict import (
    PRETRAINING,
    Dead,
    Verdict,
    absolute_errors,
    findings,
    judge,
    run_name,
)

if TYPE_CHECKING:
    import pandas as pd

    from matgl_infomax.settings.commands import CompareConfig

KEPT = "kept.parquet"
"""Name of that file in the folder of a study."""
_FACTS = b"matgl_infomax"
_RUN = re.compile(r"(?P<arm>.+)-n(?P<labels>\d+)-s(?P<seed>\d+)(-p(?P<pretraining>\d+))?")


def kept_table(
    predictions: pd.DataFrame,
    *,
    target: str,
    unit: str | None,
    errors_only: bool = False,
    pairing: FoldPairing | None = None,
    dead: Dead | None = None,
) -> bytes:
    """Predictions of a study as parquet: ids and true values once, one single-precision column per run.

    A column holds predictions minus true values, for a prediction near -1e6 would lose its digits in single precision.
    It takes about 4 bytes per run and test crystal, for they are as good as random in their last digits.

    Args:
        predictions: the columns of ``predictions.parquet``; each test crystal with every run.
        target: what was predicted.
        unit: its unit, where known.
        errors_only: keep absolute errors, neither true values nor predictions: enough for every interval.
        pairing: how arms are compared where every crystal is tested.
        dead: networks whose errors are those of failed runs.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = predictions.drop_duplicates("id")
    columns: dict[str, Any] = {"id": first["id"].tolist()}
    if not errors_only:
        columns["target"] = first["target"].to_numpy(dtype=np.float64)
    by = ["arm", "labels", "seed", PRETRAINING]
    for key, part in predictions.assign(**{PRETRAINING: predictions.get(PRETRAINING, 0)}).groupby(by, sort=False):
        arm, labels, seed, which = cast(tuple[str, int, int, int], key)
        part = part.set_index("id").loc[columns["id"]]
        value = part["prediction"] - part["target"]
        value = value.abs() if errors_only else value
        columns[run_name(arm, labels, seed, which)] = value.to_numpy(dtype=np.float32)
    facts: dict[str, Any] = {"format": 1, "task": first["task"].iloc[0], "fold": int(first["fold"].iloc[0])}
    facts |= {"folds": asdict(pairing)} if pairing is not None else {}
    failed = [[arm, labels, rows.tolist()] for (arm, labels), rows in (dead or {}).items() if rows.any()]
    facts |= {"dead": failed} if failed else {}
    content = json.dumps({**facts, "target": target, "unit": unit, "holds": "errors" if errors_only else "predictions"})
    table = pa.table(columns).replace_schema_metadata({_FACTS: content.encode()})
    buffer = io.BytesIO()
    numbers = [name for name in columns if name != "id"]
    pq.write_table(table, buffer, compression="zstd", use_dictionary=["id"], use_byte_stream_split=numbers)
    return buffer.getvalue()


@dataclass(frozen=True)
class Kept:
    """What a file of kept predictions holds."""

    predictions: pd.DataFrame
    """The columns of ``predictions.parquet``; of errors, true values are 0 and predictions are the absolute errors."""
    target: str
    unit: str | None
    pairing: FoldPairing | None = None
    """How arms are compared where every crystal is tested."""
    dead: Dead = field(default_factory=dict)
    """Networks whose errors are those of failed runs."""

    def verdict(self, *, draws: int = DRAWS, seed: int = 0) -> Verdict:
        """The verdict of the study with all its intervals, from nothing but this file.

        Args:
            draws: resamplings per comparison; as in the study when left out.
            seed: seed of the resampling; as in the study when left out.
        """
        errors = absolute_errors(self.predictions)
        found = judge(
            errors, target=self.target, unit=self.unit, dead=self.dead, draws=draws, seed=seed, pairing=self.pairing
        )
        return found if self.pairing is None else best_to_use(found, errors, self.pairing, self.dead)


def read_kept(file: Path) -> Kept:
    """Read a file of kept predictions.

    Args:
        file: ``kept.parquet`` of a study, under whatever name.

    Raises:
        InputError: If it cannot be read, or is no such file.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    check_results(file.parent, (file.name,))
    try:
        table = pq.read_table(io.BytesIO(file.read_bytes()))
        facts = json.loads((table.schema.metadata or {})[_FACTS])
        if facts["format"] != 1:
            raise InputError(f"{file} has format {facts['format']}, known is 1. Update the package.")
        ids, held = table["id"].to_pylist(), facts["holds"] == "predictions"
        truth = table["target"].to_numpy() if held else np.zeros(len(ids))
        about = {"task": str(facts["task"]), "fold": int(facts["fold"])}
        if not isinstance(facts["unit"], str | None):
            raise ValueError("the unit is no text")
        runs = {name: _RUN.fullmatch(name) for name in table.column_names if name not in ("id", "target")}
        parts = []
        for name, run in runs.items():
            values = table[name].to_numpy().astype(np.float64)
            numbers = np.abs([values, truth])
            if run is None or len(set(ids)) < len(ids) or not len(ids) or not (numbers <= LARGEST).all():
                raise ValueError(f"column {name}")
            told = {key: int(value or 0) for key, value in run.groupdict().items() if key != "arm"}
            run_facts = {**about, "arm": run["arm"], **told}
            parts.append(pd.DataFrame({**run_facts, "id": ids, "target": truth, "prediction": truth + values}))
        pairing = None
        if folds := facts.get("folds"):
            overlap = {int(n): float(value) for n, value in folds["overlap"].items()}
            pairing = FoldPairing(overlap, [int(group) for group in folds["groups"]])
        dead = {(str(arm), int(n)): np.array(rows, dtype=np.bool_) for arm, n, rows in facts.get("dead", [])}
        kept = Kept(pd.concat(parts, ignore_index=True), str(facts["target"]), facts["unit"], pairing, dead)
        errors = absolute_errors(kept.predictions)  # whether the runs belong together
        if any(len(rows) != errors[key].shape[-2] for key, rows in dead.items()):
            raise ValueError("dead networks of other seeds")
        return kept
    except InputError:
        raise
    except Exception as error:  # damage raises errors of pyarrow, thrift, numpy, pandas and Python
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{file} holds no kept predictions of a study ({said}). Give its {KEPT}.") from error


def kept_files(config: CompareConfig) -> list[Path]:
    """The files of kept predictions of studies among what is compared; with one of them, everything has to be such.

    Raises:
        InputError: If there are benchmarks too, or options that say nothing of a study.
    """
    files = [path for path in config.run if path.suffix == ".parquet"]
    others = [path for path in config.run if path not in files]
    if files and others:
        raise InputError(f"Kept predictions of studies are not compared with benchmarks. Received both: {others[0]}.")
    idle = sorted(config.model_fields_set - {"run", "out", "draws", "seed"})
    if files and idle:
        raise InputError(f"Kept predictions of a study need no --{idle[0].replace('_', '-')}. Leave it out.")
    return files


def compare_kept(files: Sequence[Path], out: Path | None = None, **resampling: int) -> str:
    """Make the intervals of studies again, each from its file of kept predictions and nothing else.

    Args:
        files: ``kept.parquet`` of each study.
        out: folder for ``verdict.json`` and ``summary.md``, for one file; none writes nothing.
        resampling: ``draws`` and ``seed``; those of the studies when left out.

    Returns:
        Answer and intervals of each, as Markdown.

    Raises:
        InputError: If a file is no such file, or a folder is given for several.
    """
    if out is not None and len(files) > 1:
        raise InputError(f"--out holds the verdict of one study. Received {len(files)} files; compare them one by one.")
    texts = []
    for file in files:
        kept = read_kept(file)
        verdict = kept.verdict(**resampling)
        texts.append("\n".join([f"# {kept.target}: intervals made again from {file.name}", "", *findings(verdict)]))
        if out is not None:
            atomic_write(out / "summary.md", texts[0] + "\n")
            atomic_write(out / "verdict.json", verdict.model_dump_json(indent=1) + "\n")
            # It may be the folder of the study, whose other files stay as they are.
            vouch_for(out, ("summary.md", "verdict.json"), keep_others=True)
    return "\n\n".join(texts)
