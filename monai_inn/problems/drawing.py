"""Where parameters are drawn from: a prior over them, in blocks that have a random stream each."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from monai_inn.problems.parameters import ParameterSpace
from monai_inn.seeding import seeded

__all__ = ["BLOCK", "FlatPrior", "Prior", "SampleShape", "drawn"]

# Rows that share one random stream. simulate() draws whole blocks, so that row i is the same number
# whatever the chunk size, the number of workers or the total asked for.
BLOCK = 1024

SampleShape = torch.Size | list[int] | tuple[int, ...]


class Prior(Distribution):
    """Prior that draws from a generator of its own, as distributions of torch do not."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def sample(self, sample_shape: SampleShape = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw parameters in physical units, ``(*sample_shape, D)``; torch's own generator by default."""
        raise NotImplementedError


class FlatPrior(Prior):
    """Independent prior that is flat on each parameter's own scale; event shape ``(D,)``."""

    def __init__(self, space: ParameterSpace) -> None:
        self.space = space
        super().__init__(torch.Size(), torch.Size([len(space)]), validate_args=False)

    def sample(self, sample_shape: SampleShape = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw parameters in physical units, shape ``(*sample_shape, D)``."""
        shape = torch.Size(sample_shape)
        return self.space.sample_prior(shape.numel(), generator).reshape(*shape, len(self.space))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats in physical units, ``-inf`` outside the bounds, shape ``(…)``."""
        latent, log_det = self.space.forward(value)
        normal = -0.5 * latent.square().sum(-1) - 0.5 * len(self.space) * math.log(2 * math.pi)
        return torch.where(self.space.contains(value), normal + log_det, -torch.inf)


def drawn(prior: Distribution, generator: torch.Generator) -> Tensor:
    """One block of prior draws, shape ``(BLOCK, D)``, float32."""
    if isinstance(prior, Prior):
        return prior.sample((BLOCK,), generator).float()
    with seeded(int(torch.randint(2**62, (), generator=generator))):
        return prior.sample(torch.Size((BLOCK,))).float()
