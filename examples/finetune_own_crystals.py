"""
Fine-tune on your own crystals
==============================

A folder of CIF files, a table of measurements for some of them, and a prediction for the rest.
The crystals here are alkali halides made on the spot. Their "measured" energy is that of point charges.
The training is far too short for real work. Leave out ``steps`` and ``supercell_atoms`` for your own data.
"""

import tempfile
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from ase.build import bulk
from ase.io import write
from pymatgen.core import Species

from matgl_infomax import finetune, predict, read_crystals
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings

TYPES = {"rocksalt": (1.7476, 2.0), "cesiumchloride": (1.7627, 2 / 3**0.5), "zincblende": (1.6381, 4 / 3**0.5)}
"""Madelung constant of each structure type, and its cell edge in units of the distance between ions."""
work = Path(tempfile.mkdtemp())

# %%
# Write what you would have: one CIF file per crystal, and a table with one line per crystal.
# The energy per atom of point charges is -M 14.40 eV angstrom / (2 d), with the distance d between ions.
rows = []
for kind, cation, anion in product(TYPES, ("Li", "Na", "K", "Rb", "Cs"), ("F", "Cl", "Br", "I")):
    constant, edge = TYPES[kind]
    distance = float(Species(cation, 1).ionic_radius + Species(anion, -1).ionic_radius)  # angstrom
    write(work / f"{cation}{anion}_{kind}.cif", bulk(f"{cation}{anion}", kind, a=edge * distance))
    rows.append({"id": f"{cation}{anion}_{kind}", "energy": -constant * 14.40 / (2 * distance)})
table = pd.DataFrame(rows)
measured = table.sample(40, random_state=0)
measured.to_csv(work / "measured.csv", index=False)

# %%
# Read the folder. Bad files and labels without a crystal would stop the run with a list of reasons.
crystals = read_crystals(work, labels_file=work / "measured.csv", targets=["energy"])
print(f"{len(crystals)} crystals, {len(measured)} with a measured energy")

# %%
# Train on the crystals that have a label. With a pretrained folder you would add ``init="encoder"``.
quick = FinetuneSettings(steps=150, batch_sites=100)
small = ModelSettings(supercell_atoms=16)
finetune(crystals, "energy", work / "model", model=small, settings=quick, cache=work / "cache", progress=False)

# %%
# Predict all crystals, and look at those whose energy the model never saw.
predicted = predict(crystals, work / "model", cache=work / "cache", progress=False)
both = table.merge(predicted, on="id", suffixes=("_true", "_predicted"))
new = both[~both["id"].isin(measured["id"])]
error = (new["energy_true"] - new["energy_predicted"]).abs().mean()
print(f"mean absolute error on {len(new)} new crystals: {error:.2f} eV/atom")

plt.scatter(new["energy_true"], new["energy_predicted"])
plt.axline((-4, -4), slope=1, color="grey")
plt.xlabel("energy of point charges, eV/atom")
plt.ylabel("predicted, eV/atom")
plt.show()
