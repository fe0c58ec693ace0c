"""
Write an objective of your own
==============================

An objective is a loss that reads no labels. It gets an encoder, a batch of crystals and a source of randomness.
This one asks each site how many neighbours it has within 3.5 angstrom.
That is easy to see for a network that reads distances, so do not expect good vectors from it.
``CONTRIBUTING.md`` says how an objective becomes a name for the command line.
"""

import tempfile
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_infomax import SiteNet
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.store import build_store
from matgl_infomax.objectives import Objective


class Neighbours(Objective):
    """Mean squared error of the logarithm of the number of neighbours of each site."""

    def __init__(self, width):
        """Make a linear head on site vectors of this width."""
        super().__init__()
        self.guess = torch.nn.Linear(width, 1)

    @classmethod
    def for_encoder(cls, encoder, preset="default", options=None):
        """Make the objective for an encoder; it has no presets and no options."""
        return cls(encoder.site_vector_width)

    def loss(self, encoder, batch, generator, share=None):
        """Compute the loss of a batch; nothing is drawn, so the generator stays untouched."""
        near = (batch.distance < 3.5).float()  # (E,)
        count = torch.zeros(batch.n_sites).index_add(0, batch.src, near)  # (N,)
        guess = self.guess(encoder.encode_sites(batch).vector).squeeze(1)  # (N,)
        loss = (guess - torch.log1p(count)).square().mean()
        return loss, {"neighbours": loss.detach()}


# %%
# A store of prepared crystals: NaCl as rock salt and as CsCl, from compressed to stretched.
crystals = []
for (kind, edge), scale in product([("rocksalt", 5.6), ("cesiumchloride", 3.5)], np.linspace(0.8, 1.2, 20)):
    structure = AseAtomsAdaptor.get_structure(bulk("NaCl", kind, a=edge * scale))  # angstrom
    crystals.append(Crystal.from_structure(structure, id=f"{kind} {scale:.3f}"))
encoder = SiteNet.from_preset("compact", seed=0, max_atoms=16)
store = build_store(crystals, encoder.edges, Path(tempfile.mkdtemp()), progress=False)

# %%
# Ten crystals a step. ``encoder.save(folder)`` would write what ``finetune`` takes as ``init``.
torch.manual_seed(0)
objective = Neighbours.for_encoder(encoder)
optimiser = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=3e-3)
random, losses = np.random.default_rng(0), []
for step in range(60):
    batch = store.batch(random.choice(len(store), 10, replace=False))
    total, parts = objective.loss(encoder, batch, torch.Generator().manual_seed(step))
    optimiser.zero_grad()
    total.backward()
    optimiser.step()
    losses.append(float(parts["neighbours"]))
print(f"loss {losses[0]:.3f} at the first step, {np.mean(losses[-10:]):.3f} in the last ten")

plt.plot(losses)
plt.xlabel("step")
plt.ylabel("mean squared error of log(1 + neighbours)")
plt.show()
