"""
Train a force field and use it with ASE
=======================================

TensorNet learns energies and forces of copper and then gives them to ASE.
The "quantum mechanics" is ASE's own effective-medium potential, so everything runs in seconds.
A handful of frames and 60 steps make a poor force field, and its error is printed.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from matgl.ext.ase import PESCalculator

from matgl_infomax import forcefield, read_crystals
from matgl_infomax.settings.training import ForceFieldSettings, LabelColumns, ModelSettings

work = Path(tempfile.mkdtemp())

# %%
# Frames: a cell of four atoms, strained and shaken, with energy (eV) and forces (eV/angstrom) from ASE.
frames = []
for seed in range(24):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * (0.96 + 0.004 * seed), scale_atoms=True)
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()  # also computes the energy; both are written with the frame
    frames.append(atoms)
write(work / "frames.extxyz", frames[:20])

# %%
# You name the columns that are labels.
columns = LabelColumns(energy="energy", forces="forces")
crystals = read_crystals(work / "frames.extxyz", targets=["energy"], arrays=["forces"])
fitted = forcefield(
    crystals,
    columns,
    work / "potential",
    model=ModelSettings(name="tensornet", options={"units": 16}),
    settings=ForceFieldSettings(steps=60, validate_every=20, batch_sites=40, learning_rate=5e-3),
    cache=work / "cache",
    progress=False,
)

# %%
# The potential works in ASE's calculators and relaxers, here on four frames it never saw.
calculator = PESCalculator(fitted.potential)
true, found = [], []
for atoms in frames[20:]:
    true.append(atoms.get_forces())
    atoms.calc = calculator
    found.append(atoms.get_forces())
true, found = np.concatenate(true), np.concatenate(found)  # (N, 3), eV/angstrom
print(f"force error {np.abs(true - found).mean():.3f} eV/angstrom, mean size of a component {np.abs(true).mean():.3f}")

plt.scatter(true, found)
plt.axline((0, 0), slope=1, color="grey")
plt.xlabel("force component by ASE, eV/angstrom")
plt.ylabel("by the force field, eV/angstrom")
plt.show()
