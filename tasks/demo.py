"""The main job in a few minutes, without data of your own: does pretraining help when labels are few?

A demonstration on generated crystals. It shows what the tool does and what its answer looks like; the answer itself is
about point charges on made-up crystals, not about your property.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from matgl_infomax.errors import exit_code
from matgl_infomax.settings.commands import CurveConfig
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings, PretrainSettings

if TYPE_CHECKING:
    from matgl_infomax.data.crystal import Crystal
    from matgl_infomax.tasks.curve import CurveResult

N_CRYSTALS = 2000
TITLE = "a demonstration on generated crystals"


def demo_settings(out: Path) -> CurveConfig:
    """A small study: everything goes under ``out``, and two processes finish it within minutes."""
    return CurveConfig(
        data=str(out / "crystals.parquet"),
        target=["ewald_energy_ev_per_atom"],
        cache=out / "cache",
        out=out / "study",
        labels=[25, 50],
        seeds=3,
        workers=2,
        model=ModelSettings(supercell_atoms=30),
        pretrain=PretrainSettings(steps=300, batch_sites=600, validate_every=100),
        finetune=FinetuneSettings(steps=300, validate_every=50),
    )


def run_demo(settings: CurveConfig, n_crystals: int, *, seed: int = 0) -> CurveResult:
    """Make crystals, write them to a file as a user would have it, read that file and run the study.

    Args:
        settings: the study; its ``data`` is where the generated crystals are written.
        n_crystals: how many to make.
        seed: of the generated crystals.
    """
    from matgl_infomax.data.read import read_crystals
    from matgl_infomax.tasks.curve import learning_curve
    from matgl_infomax.tasks.demo_crystals import demo_crystals

    write_crystals(demo_crystals(n_crystals, seed), Path(settings.data))
    crystals = read_crystals(settings.data, targets=settings.target, progress=True)
    return learning_curve(crystals, settings.target[0], settings)


def write_crystals(crystals: Sequence[Crystal], file: Path) -> None:
    """Write crystals as parquet: id, lattice (9 numbers, angstrom), atomic_numbers, frac_coords (3 N numbers), labels.

    Raises:
        InputError: If the folder cannot be written.
    """
    import pandas as pd

    from matgl_infomax.io import atomic_write

    rows = [
        {
            "id": crystal.id,
            "lattice": crystal.lattice.ravel(),
            "atomic_numbers": crystal.numbers,
            "frac_coords": crystal.frac.ravel(),
            **crystal.labels,
        }
        for crystal in crystals
    ]
    atomic_write(file, pd.DataFrame(rows).to_parquet(index=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and print its table, its plot's path and its verdict.

    Returns:
        0 when done; 2 after a mistake that the user can repair; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m matgl_infomax.tasks.demo", description=f"The main job: {TITLE}.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything it writes")
    out = parser.parse_args(arguments).out
    started = perf_counter()
    settings = demo_settings(out)
    low, high = settings.labels[0], settings.labels[-1]
    print(
        f"matgl-infomax, {TITLE}: {N_CRYSTALS} crystals, all but {low} to {high} labels hidden.\n"
        "Target: the electrostatic energy of the ions in eV/atom (an Ewald sum)."
    )

    def job() -> None:
        result = run_demo(settings, N_CRYSTALS)
        print(f"\n{result.to_markdown()}\n\nThis was {TITLE}, made in {perf_counter() - started:.0f} s.")
        print(f"Plot:    {settings.out / 'curve.png'}")
        print("Yours:   matgl-infomax curve --data FILE --target COLUMN --out DIR")
        print(f"Verdict: {result.verdict.text}")

    return exit_code("demo", job)


if __name__ == "__main__":
    sys.exit(main())
