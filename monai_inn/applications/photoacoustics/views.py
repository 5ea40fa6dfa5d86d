"""One vessel in several images: what is known of its saturation together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.inferers import FittedPosterior

__all__ = ["combined_density"]


@torch.no_grad()
def combined_density(
    fitted: FittedPosterior, observations: Sequence[Tensor], cells: int = 400
) -> tuple[Tensor, Tensor]:
    """Posterior of the first target given several observations of it, from the posteriors of each.

    By Bayes' rule the densities multiply, and all priors but one are divided out. That is exact if the
    observations share nothing else that is unknown. Views through the same tissue do share it: for them train
    the problem with ``views``, which learns the joint posterior.

    Args:
        fitted: trained posterior of single observations.
        observations: each of shape ``(N, C)``, of the same ``N`` places.
        cells: cells of equal prior probability.

    Returns:
        Centres of the cells in physical units, ``(cells,)``, and probabilities that add up to one,
        ``(cells, N)``.
    """
    space = fitted.problem.space.subset(fitted.problem.targets[:1])
    latent = torch.special.ndtri((torch.arange(cells, dtype=torch.float32) + 0.5) / cells).unsqueeze(-1)
    total = torch.zeros(cells, len(observations[0]))
    for y in observations:
        features = fitted.problem.features(y.to(fitted.device, torch.float32))
        q = fitted.network.posterior(features).leading(1)
        places = latent.to(fitted.device).unsqueeze(1).expand(cells, len(y), 1)
        # Over the normal prior of the flow's space, so that cells of equal prior probability count alike.
        total += (q.log_prob(places) + 0.5 * places.square().squeeze(-1)).cpu()
    return space.inverse(latent).squeeze(-1), total.softmax(0)
