from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch.distributions import Independent, Normal

from monai_inn.applications.photoacoustics.problem import Photoacoustics
from monai_inn.applications.photoacoustics.views import combined_density


class Known:
    """A network whose posterior of the targets is normal: their means the first feature and 0."""

    def __init__(self, sd: float) -> None:
        self.sd = sd

    def posterior(self, features: torch.Tensor) -> Known:
        self.mean = torch.cat([features[:, :1], torch.zeros(len(features), 1)], 1)
        return self

    def leading(self, count: int) -> Independent:
        assert count == 2
        return Independent(Normal(self.mean, torch.tensor([self.sd, 0.5])), 1)


def test_two_views_multiply_and_one_prior_is_divided_out():
    """Normals in the flow's space: precisions add up, less that of the prior."""
    problem, sd = Photoacoustics([750, 850]), 0.3
    fitted = SimpleNamespace(problem=problem, network=Known(sd), device=torch.device("cpu"))
    views = [torch.tensor([[1.2, 0.8], [0.9, 1.1]]), torch.tensor([[1.0, 1.0], [1.1, 0.9]])]
    values, share = combined_density(fitted, views, cells=2000)
    latent = problem.space.subset(("so2",)).to_latent(values.unsqueeze(1)).double().squeeze(1)
    mean = (share.double() * latent.unsqueeze(1)).sum(0)
    precision = 2 / sd**2 - 1
    expected = sum(problem.features(y)[:, 0] for y in views).double() / sd**2 / precision
    torch.testing.assert_close(mean, expected, rtol=0, atol=2e-3)
    spread = (share.double() * (latent.unsqueeze(1) - mean).square()).sum(0).sqrt()
    torch.testing.assert_close(spread, torch.full_like(spread, 1 / math.sqrt(precision)), rtol=0.01, atol=0)
