"""
Pretrain, then fine-tune
========================

An encoder studies structures without labels, and a few labels then train a model that starts from it.
This shows the two calls, not a gain: a real corpus has thousands of crystals and the training has 5,000 steps.
To learn whether pretraining helps your property, compare arms with a learning curve.
"""

import tempfile
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
from ase.build import bulk
from pymatgen.core import Species
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_infomax import finetune, pretrain
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings, PretrainSettings

work = Path(tempfile.mkdtemp())

# %%
# Two structure types of 36 salts. The label is the energy of point charges, in eV/atom.
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
# Pretraining is denoising by default: atoms are moved, and the network tells where they were. It reads no label.
encoder = pretrain(
    crystals,
    work / "encoder",
    model=ModelSettings(supercell_atoms=16),
    settings=PretrainSettings(steps=60, validate_every=10, batch_sites=200),
    cache=work / "cache",
    progress=False,
)
print(f"weights of step {encoder.best_step} are kept, chosen by the loss on held-out structures")

# %%
# Fine-tuning starts from the folder. Every fourth crystal keeps its label here.
tuned = finetune(
    crystals[::4],
    "energy",
    work / "model",
    init=work / "encoder",
    settings=FinetuneSettings(steps=200, batch_sites=100),
    cache=work / "cache",
    progress=False,
)
value = float(tuned.fitted.model.predict_structure(crystals[1].to_structure()))
print(f"{crystals[1].id}: predicted {value:.2f}, true {crystals[1].labels['energy']:.2f} eV/atom")

# %%
# The loss on held-out structures is the only thing that chose the weights of the encoder.
steps = [entry["step"] for entry in encoder.history]
plt.plot(steps, [entry["validation/loss"] for entry in encoder.history], "o-")
plt.xlabel("pretraining step")
plt.ylabel("denoising loss on held-out structures")
plt.show()
