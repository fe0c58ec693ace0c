"""A vector as the mean of a Gaussian: noise for the critic, and a KL term that keeps it near the unit Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        self, level: LevelLike, sampling: bool, kl_form: str, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Sampled vectors and the KL term; the vectors themselves and zero without sampling.

        Args:
            level: hidden vectors and the means made of them.
            sampling: whether noise is added at all.
            kl_form: "textbook", or "published" with twice the weight on the variance.
            generator: source of the noise.
        """
        mean = level.vector  # (N, D)
        if not sampling:
            return mean, mean.new_zeros(())
        log_variance = self.log_variance(level.hidden).clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)  # (N, D)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
        return mean + (0.5 * log_variance).exp() * noise, kl_term(mean, log_variance, kl_form)


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
