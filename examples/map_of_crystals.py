"""
Embed crystals and draw a map
=============================

An encoder turns each crystal into a vector. Two principal components of the vectors make a map.
The encoder is untrained here, so the map shows what the input alone gives.
Give ``embed`` the folder of a pretrained encoder instead of the network to see what was learnt.
"""

import tempfile
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_infomax import SiteNet, embed
from matgl_infomax.data.crystal import Crystal

work = Path(tempfile.mkdtemp())
kinds = {"rocksalt": 5.6, "cesiumchloride": 3.5, "zincblende": 6.0}  # cell edge, angstrom

# %%
# Twenty salts in three structure types.
crystals = []
for (kind, edge), cation, anion in product(kinds.items(), ["Li", "Na", "K", "Rb", "Cs"], ["F", "Cl", "Br", "I"]):
    structure = AseAtomsAdaptor.get_structure(bulk(f"{cation}{anion}", kind, a=edge))
    crystals.append(Crystal.from_structure(structure, id=f"{cation}{anion} {kind}"))

# %%
# One line per crystal: its id, and a column for each dimension.
encoder = SiteNet.from_preset("rich", seed=0, max_atoms=16)
table = embed(crystals, encoder, cache=work / "cache", progress=False)
vectors = table.drop(columns="id").to_numpy()  # (B, C)
print(f"{vectors.shape[0]} crystals, {vectors.shape[1]} numbers each")

# %%
# Principal components by a singular value decomposition of the centred vectors.
left, size, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
place = left[:, :2] * size[:2]  # (B, 2)
print(f"two components hold {(size[:2] ** 2).sum() / (size**2).sum():.0%} of the variance")

for kind in kinds:
    shown = table["id"].str.endswith(kind).to_numpy()
    plt.scatter(place[shown, 0], place[shown, 1], label=kind)
plt.xlabel("first principal component")
plt.ylabel("second principal component")
plt.legend()
plt.show()
