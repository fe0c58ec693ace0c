"""Noisy Nodes: fine-tune on crystals whose atoms are moved a little, and have the sites tell by how much.

Godwin et al., ICLR 2022 (arXiv 2106.07971): one pass over the noisy crystal gives the property, which is still that of
the clean one, and the site vectors from which the noise is told. What it predicts in the end, it predicts from clean
crystals.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share
from matgl_infomax.nn.build import Encoder
from matgl_infomax.objectives.denoise import Denoise
from matgl_infomax.objectives.perturb import within
from matgl_infomax.settings.training import FinetuneSettings

NOISE_ANGSTROM = 0.02
"""Small enough that a relaxed crystal keeps its properties; as an auxiliary loss 0.005 to 0.04 has been published."""


class NoisyNodes(nn.Module):
    """The noise of a fine-tuning and the head that tells clean distances; thrown away afterwards.

    Args:
        model: the network that is fine-tuned; only its width is read here.
        settings: weight and strength of the noise, and the seed of the head.
    """

    def __init__(self, model: Encoder, settings: FinetuneSettings) -> None:
        super().__init__()
        self.weight = settings.noisy_nodes
        size = NOISE_ANGSTROM if settings.noise_angstrom is None else settings.noise_angstrom
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + 2)
            options = {"least_angstrom": size, "most_angstrom": size, "strain": 0.0}
            self.denoise = Denoise.for_encoder(model, "default", options)

    def forward(
        self, model: Encoder, share: Share, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Vectors of the own noisy crystals, (b, C), and the weighted loss of the noise.

        Args:
            model: the network.
            share: which crystals are this process's own.
            generator: source of the noise, the same on every process.
        """
        noise = self.denoise.noise(share.whole, generator)
        shown: SiteBatch = share.cut(within(noise.noisy, model.reach_angstrom))
        encoding = model.encode(shown)
        loss, _ = self.denoise.told(encoding.site, noise, share)
        return encoding.crystal, self.weight * loss
