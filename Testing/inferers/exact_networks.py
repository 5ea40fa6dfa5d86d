"""Exact posteriors in the place of trained networks, for problems that are linear in the flow's space."""

from __future__ import annotations

import torch
from torch import nn

from monai_inn.fitted import FittedPosterior
from monai_inn.problems import InverseProblem, Observation, Parameter
from monai_inn.problems.known import WhiteNoise


class Exact(nn.Module):
    """Posterior of latents ``z ~ N(0, 1)`` given ``y = A z + n``; ``problem.design(y)`` returns ``A``."""

    base = explanation = classifier = test = preview = level_scores = None

    def __init__(self, problem: InverseProblem) -> None:
        super().__init__()
        self.problem = problem
        self.register_buffer("ood_scores", torch.linspace(0, 1, 400))

    def condition(self, features):
        return features

    def posterior(self, features):
        return self.given(self.condition(features))

    def given(self, features):
        values = self.problem.observation.num_values
        y, design = features[..., :values].double(), self.problem.design(features).double()
        design = torch.where(y.isnan().unsqueeze(-1), 0.0, design)
        precision = design.mT @ design / self.problem.noise_sd**2 + torch.eye(design.shape[-1])
        covariance = torch.linalg.inv(precision)
        pull = (design.mT @ y.nan_to_num(0.0).unsqueeze(-1)) / self.problem.noise_sd**2
        return ExactPosterior((covariance @ pull).squeeze(-1), torch.linalg.cholesky(covariance))

    def observation_log_prob(self, features):
        return torch.zeros(3, len(features))


class ExactPosterior:
    """Normal, of means ``(n, D)`` and lower triangular roots of covariances ``(n, D, D)``."""

    def __init__(self, mean, root):
        self.mean, self.root = mean, root

    def leading(self, channels):
        return ExactPosterior(self.mean[:, :channels], self.root[:, :channels, :channels])

    def push(self, latent):
        moved = (self.root @ latent.double().unsqueeze(-1)).squeeze(-1)
        return (self.mean + moved).float()

    @property
    def sd(self):
        return self.root.square().sum(-1).sqrt()


def exact_fit(problem: InverseProblem) -> FittedPosterior:
    """A fitted posterior that is exact."""
    return FittedPosterior(problem, Exact(problem), {})


class Linear(WhiteNoise):
    """Normal numbers, or log-normal ones, whose latents are seen through a matrix."""

    name = "exact_linear"

    def __init__(self, scale: str = "linear", channels: int = 3, targets: int = 3, noise_sd: float = 0.3):
        self.scale, self.channels, self.noise_sd = scale, channels, noise_sd
        bounds = (-torch.inf, torch.inf) if scale == "linear" else (1e-6, 1e6)
        self.parameters = tuple(
            Parameter(name, "mm", *bounds, f"part {name}", scale, mean=0.5, sd=0.8) for name in "abc"
        )
        self.targets = tuple("abc"[:targets])
        self.observation = Observation.pixel(*(f"y{i}" for i in range(channels)))
        generator = torch.Generator().manual_seed(5)
        self.matrix = torch.randn(channels, 3, generator=generator) / 3**0.5

    def design(self, y):
        return self.matrix.expand(*y.shape[:-1], -1, -1)

    def forward(self, theta):
        return self.space.to_latent(theta) @ self.matrix.T


class Trend(WhiteNoise):
    """Level and slope of a straight line, seen at up to ``most`` known times."""

    name = "exact_trend"
    most, noise_sd = 30, 0.2
    parameters = (
        Parameter("slope", "mm/s", -torch.inf, torch.inf, "slope"),
        Parameter("level", "mm", -torch.inf, torch.inf, "level"),
    )
    targets = ("slope",)
    observation = Observation.series(most, "signal", context=("time",))

    def draw_context(self, n, generator):
        times = torch.rand(n, self.most, generator=generator)
        number = torch.randint(20, self.most + 1, (n, 1), generator=generator)
        return torch.where(torch.arange(self.most) < number, times, torch.nan).sort(1).values

    def design(self, y):
        times = y[..., self.most :].nan_to_num(0.0)
        return torch.stack([times, torch.ones_like(times)], -1)

    def forward(self, theta):
        return self.forward_with_context(theta, torch.linspace(0, 1, self.most).expand(*theta.shape[:-1], -1))

    def forward_with_context(self, theta, context):
        return theta[..., 1:] + theta[..., :1] * context

    def noise(self, y, generator=None):
        values = super().noise(y, generator)[..., : self.most]
        return torch.cat([values, y[..., self.most :]], -1)
