"""
Give MatGL's MEGNet a head start
================================

MEGNet is pretrained here and opened again with plain ``matgl.load_model``.
The folder holds MatGL's model and nothing of ours, so MatGL's own trainer can go on from it.
Forty steps on 40 crystals teach nothing useful. The point is how the folder is made and opened.
"""

import tempfile
from itertools import product
from pathlib import Path

import matgl
import matplotlib.pyplot as plt
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_infomax import pretrain
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.settings.training import ModelSettings, PretrainSettings

work = Path(tempfile.mkdtemp())

# %%
# Structures without labels: twenty salts as rock salt and as CsCl, with cell edges in angstrom.
crystals = []
for (kind, edge), cation, anion in product(
    [("rocksalt", 5.6), ("cesiumchloride", 3.5)], ["Li", "Na", "K", "Rb", "Cs"], ["F", "Cl", "Br", "I"]
):
    structure = AseAtomsAdaptor.get_structure(bulk(f"{cation}{anion}", kind, a=edge))
    crystals.append(Crystal.from_structure(structure, id=f"{cation}{anion} {kind}"))

# %%
# The network is named in the model's settings. Its own arguments go into ``options``.
made = pretrain(
    crystals,
    work / "megnet",
    model=ModelSettings(name="megnet", options={"cutoff": 4.0}),
    settings=PretrainSettings(steps=40, validate_every=10, batch_sites=150),
    cache=work / "cache",
    progress=False,
)

# %%
# From here on this package is not needed. The head still has random weights, so the number means nothing yet.
model = matgl.load_model(work / "megnet")
value = float(model.predict_structure(crystals[0].to_structure()))
print(f"MatGL opened a {type(model).__module__.split('.')[0]} {type(model).__name__}, untrained head says {value:.3f}")

plt.plot([entry["step"] for entry in made.history], [entry["validation/loss"] for entry in made.history], "o-")
plt.xlabel("pretraining step")
plt.ylabel("denoising loss on held-out structures")
plt.show()
