"""One vessel in several images: what is known of its saturation together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.fitted import FittedPosterior

__all__ = ["combined_density"]

_ROWS = 20  # vessels at a time


@torch.no_grad()
def combined_density(
    fitted: FittedPosterior, observations: Sequence[Tensor], cells: int = 200, depths: int = 50
) -> tuple[Tensor, Tensor]:
    """Posterior of the saturation given several observations of a vessel, from the posteriors of each.

    By Bayes' rule the densities multiply, and all priors but one are divided out. That is exact if the
    observations share nothing else that is unknown. Views through the same tissue do share it: for them train
    the problem with ``views``, which learns the joint posterior.

    Args:
        fitted: trained posterior of single observations, of the targets saturation and depth.
        observations: each of shape ``(N, C)``, of the same ``N`` vessels.
        cells: cells of saturation, of equal prior probability.
        depths: cells of depth, over which the posterior of each observation is summed.

    Returns:
        Centres of the cells of saturation ``(cells,)``, and probabilities that add up to one, ``(cells, N)``.
    """
    grids = [torch.special.ndtri((torch.arange(n) + 0.5) / n).to(fitted.device) for n in (cells, depths)]
    places = torch.cartesian_prod(*grids).unsqueeze(1)
    total = torch.zeros(cells, len(observations[0]))
    for y in observations:
        features = fitted.problem.features(y.to(fitted.device, torch.float32))
        for part, rows in zip(features.split(_ROWS), total.split(_ROWS, 1), strict=True):
            q = fitted.network.posterior(part).leading(2)
            # Over the normal prior of the flow, so that cells of equal prior probability count alike.
            ratio = q.log_prob(places.expand(-1, len(part), 2)) + 0.5 * places.square().sum(-1)
            rows += ratio.unflatten(0, (cells, depths)).logsumexp(1).cpu()
    space = fitted.problem.space.subset(fitted.problem.targets[:1])
    return space.inverse(grids[0].cpu().unsqueeze(-1)).squeeze(-1), total.softmax(0)
