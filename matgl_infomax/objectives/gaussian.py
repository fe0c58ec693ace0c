"""A vector as the mean of a Gaussian: noise for the critic, and a KL term that keeps it near the unit Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.objectives.base import LevelLike

LOG_VARIANCE_LIMIT = 10.0


class GaussianLevel(nn.Module):
    """Sample around a level's vectors during pretraining; the encoder itself stays deterministic.

    Shapes:
        hidden (N, H), vector (N, D) -> sample (N, D), KL term ().
    """

    def __init__(self, hidden_width: int, width: int) -> None:
        super().__init__()
        self.log_variance = nn.Linear(hidden_width, width)

    def forward(
        self, level: LevelLike, kl_form: str, generator: torch.Generator, share: Share, rows: slice
    ) -> tuple[Tensor, Tensor]:
        """Noisy vectors of the own rows, (n, D), and their share of the KL term.

        The noise is drawn for all rows, so that it does not depend on which process holds which.

        Args:
            level: hidden vectors and means of the own rows, (n, H) and (n, D).
            kl_form: "textbook", or "published" with twice the weight on the variance.
            generator: source of the noise, in the same state on every process.
            share: which crystals are this process's own.
            rows: its sites or its crystals in the whole batch, whichever have these vectors.
        """
        total = share.whole.n_sites if rows is share.sites else share.whole.n_crystals
        mean = at_least_single(level.vector)  # (n, D)
        log_variance = at_least_single(self.log_variance(level.hidden))  # (n, D)
        log_variance = log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        noise = torch.randn((total, mean.shape[1]), generator=generator, dtype=mean.dtype)[rows].to(mean.device)
        sample = mean + (0.5 * log_variance).exp() * noise
        if not len(mean):  # of no rows the mean would be 0/0; their share of it is zero
            return sample, log_variance.sum()
        return sample, kl_term(mean, log_variance, kl_form) * (len(mean) * share.ranks / total)


def kl_term(mean: Tensor, log_variance: Tensor, form: str) -> Tensor:
    """Distance of a diagonal Gaussian from the unit Gaussian, averaged over all elements.

    Textbook: 0.5 (mu^2 + e^lv - lv - 1). Published: 0.5 mu^2 + e^lv - lv; same optimum, other slope.

    Args:
        mean: (N, D).
        log_variance: (N, D).
        form: "textbook" or "published".
    """
    spread = log_variance.exp() - log_variance
    if form == "published":
        return (0.5 * mean**2 + spread).mean()
    return 0.5 * (mean**2 + spread - 1.0).mean()
