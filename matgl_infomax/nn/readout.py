"""From site vectors to the crystal's vector: layers, mean over the unique sites, layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.nn.layers import segment_mean, stack


class GlobalEncoder(nn.Module):
    """Mean pooling between two stacks of layers.

    The mean over unique sites equals the mean over the supercell, so the vector does not depend on the cell chosen.

    Shapes:
        sites (N, D) -> crystals (B, width).
    """

    def __init__(
        self, site_width: int, before_widths: Sequence[int], after_widths: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        pooled = before_widths[-1] if before_widths else site_width
        self.before = stack(site_width, before_widths, activation)
        self.after = stack(pooled, after_widths, activation)
        self.width = after_widths[-1] if after_widths else pooled

    def forward(self, site: Tensor, batch: SiteBatch) -> Tensor:
        """Crystal vectors, (B, width).

        Args:
            site: site vectors, (N, D).
            batch: the crystals they belong to.
        """
        before = self.before(site)  # (N, pooled)
        return self.after(segment_mean(before, batch.owner, batch.atoms, batch.weight))  # (B, width)
