"""
Compare two arms and read the verdict
=====================================

A learning curve answers the question "does it help?" with an interval.
Each arm gets the same few labels and is tested on the same crystals.
The two arms are the same network from scratch and after pretraining on the structures of the training part.
Two seeds and 60 steps on 72 salts only show the form of the answer. They say nothing about pretraining,
and two seeds make the interval very wide.
"""

import tempfile
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
from ase.build import bulk
from pymatgen.core import Species
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_infomax import learning_curve
from matgl_infomax.data.crystal import Crystal

work = Path(tempfile.mkdtemp())

# %%
# Salts in two structure types, with the energy of point charges in eV/atom.
types = {"rocksalt": (1.7476, 2.0), "cesiumchloride": (1.7627, 2 / 3**0.5)}  # Madelung constant, edge / distance
salts = [*product(["Li", "Na", "K", "Rb", "Cs"], ["F", "Cl", "Br", "I"], [1])]
salts += [*product(["Mg", "Ca", "Sr", "Ba"], ["O", "S", "Se", "Te"], [2])]
crystals = []
for (kind, (constant, edge)), (cation, anion, charge) in product(types.items(), salts):
    distance = float(Species(cation, charge).ionic_radius + Species(anion, -charge).ionic_radius)  # angstrom
    structure = AseAtomsAdaptor.get_structure(bulk(f"{cation}{anion}", kind, a=edge * distance))
    energy = -constant * charge**2 * 14.40 / (2 * distance)
    crystals.append(Crystal.from_structure(structure, id=f"{cation}{anion} {kind}", labels={"energy": energy}))

# %%
# Twenty labels are left unmasked, twice, with masks and initial weights of their own. One fifth of the crystals is the
# test part; without ``folds`` each fifth would be tested in turn, which takes five times as long.
result = learning_curve(
    crystals,
    "energy",
    out=work / "study",
    cache=work / "cache",
    arms=["scratch", "finetuned"],
    labels=[20],
    seeds=2,
    folds=1,
    model={"preset": "compact", "supercell_atoms": 12},
    pretrain={"steps": 30, "validate_every": 15, "batch_sites": 120},
    finetune={"steps": 60, "batch_sites": 60},
    progress=False,
)
print(result.to_markdown())

# %%
# The verdict is yes, no or cannot tell. A ratio below one means less error than from scratch.
print(result.verdict.text)
for point in result.verdict.points:
    print(f"- {point.sentence}")

plt.imshow(plt.imread(work / "study" / "curve.png"))
plt.axis("off")
plt.show()
