"""Methods that train nothing: the exact posterior and the prior as bounds, and rejection (ABC)."""

from __future__ import annotations

import torch
from methods_base import Method
from torch import Tensor

_QUERIES = 16  # observations whose distances to all simulations are held at a time


class Exact(Method):
    """The reference posterior itself: what every figure of a perfect method looks like."""

    name = "exact posterior"

    def _train(self, seconds: float, seed: int) -> int:
        return 0

    def sample(self, y: Tensor, samples: int) -> Tensor:
        """Draw exact samples."""
        return self.pool.problem.reference_posterior(y).sample((samples,))

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        raise NotImplementedError("needs the observation itself, see sample.")

    def log_prob(self, theta: Tensor, y: Tensor) -> Tensor:
        """Exact log density."""
        return self.pool.problem.reference_posterior(y).log_prob(theta)


class Prior(Method):
    """The prior, perfectly calibrated and useless."""

    name = "prior"

    def _train(self, seconds: float, seed: int) -> int:
        return 0

    def sample(self, y: Tensor, samples: int) -> Tensor:
        """Draw from the prior, whatever was observed."""
        return self.pool.problem.prior.sample((samples, len(y)))

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        raise NotImplementedError("no condition is used, see sample.")

    def log_prob(self, theta: Tensor, y: Tensor) -> Tensor:
        """Log density of the prior."""
        return self.pool.problem.prior.log_prob(theta)


class Rejection(Method):
    """ABC: the parameters of those simulations whose whitened features are nearest to the observation."""

    name = "rejection (ABC)"

    def _train(self, seconds: float, seed: int) -> int:
        self.latent, self.condition = self.pool.pairs(seed)
        return 0

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        nearest = [
            torch.cdist(part, self.condition).topk(samples, largest=False).indices
            for part in condition.split(_QUERIES)
        ]
        return self.latent[torch.cat(nearest).T]
