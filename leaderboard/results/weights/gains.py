"""What shipped weights gave: their errors beside the kept errors of scratch and extra trees, paired.

Run on 1 December 2026, beside the code of commit c87d7d9, for each study that ``measure`` in the record names. It needs
numpy, pandas and pyarrow, which each environment of the project has. A study of the weights alone is put beside the
columns ``scratch`` and ``descriptors`` of ``../recipe_standard_cell``: the same test crystals, label masks and seeds.

Written beside this file: ``gains.csv``, and ``PROPERTY.parquet`` with the errors of all three arms, from which
``matgl-infomax compare`` makes each interval again.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pyarrow.parquet as pq

from matgl_infomax.io import write_sums
from matgl_infomax.leaderboard.kept import read_kept

HERE = Path(__file__).parent
PROPERTIES = {
    "e_form": ("formation energy", "eV/atom"),
    "gap": ("band gap", "eV"),
    "log_kvrh": ("bulk modulus", "log10 GPa"),
    "dielectric": ("refractive index", "1"),
    "jdft2d": ("exfoliation energy", "meV/atom"),
}
LABELS = 100


def joined(kept: Path, measured: Path, out: Path) -> None:
    """Write the columns of both files into one, after their ids were found to be the same.

    Args:
        kept: errors of scratch and extra trees.
        measured: errors of the weights.
        out: new file.
    """
    old, new = pq.read_table(kept), pq.read_table(measured)
    if old["id"].to_pylist() != new["id"].to_pylist():
        raise SystemExit(f"{kept} and {measured} were tested on other crystals.")
    ours = [name for name in old.column_names if name.startswith(("id", "scratch-", "descriptors-"))]
    table = old.select(ours)
    for name in new.column_names:
        if name.startswith("pretrained-"):
            table = table.append_column(name, new[name])
    pq.write_table(table.replace_schema_metadata(old.schema.metadata), out, compression="zstd")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="name of the weights that were measured")
    parser.add_argument("measured", type=Path, help="folder with one study for each property")
    given = parser.parse_args()
    rows, files = [], [HERE / "counts.csv", HERE / "gains.csv"]
    for folder, (name, unit) in PROPERTIES.items():
        measured = given.measured / folder / "kept.parquet"
        if not measured.is_file():
            continue
        out = HERE / f"{folder}.parquet"
        joined(HERE.parent / "recipe_standard_cell" / folder / "kept.parquet", measured, out)
        files.append(out)
        (HERE / "SHA256SUMS").unlink(missing_ok=True)  # it vouches for the files as they were
        verdict = read_kept(out).verdict()
        found = {(p.arm, p.against): p for p in [*verdict.points, *verdict.others]}
        point, trees = found["pretrained", "scratch"], found["descriptors", "scratch"]
        rows.append({
            "name": given.name, "property": name, "unit": unit, "labels": LABELS,
            "error": f"{point.mae:.5g}", "scratch": f"{point.against_mae:.5g}", "descriptors": f"{trees.mae:.5g}",
            "ratio": f"{point.ratio:.4f}",
            "low": f"{point.ratio_low:.4f}", "high": f"{point.ratio_high:.4f}", "seeds": verdict.seeds,
            "source": f"leaderboard/results/weights/{folder}.parquet",
        })  # fmt: skip
    with (HERE / "gains.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_sums(HERE, files)


if __name__ == "__main__":
    main()
