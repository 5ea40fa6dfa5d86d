"""Our own: the cINN that ``fit`` trains, with splines and with affine couplings, and the INN of 2018."""

from __future__ import annotations

from typing import ClassVar

from methods_base import Method, train_stage
from methods_mmd_inn import MmdInn, mmd_inn_stage
from torch import Tensor, nn

from monai_inn.networks.posterior import assemble
from monai_inn.training import Recipe
from monai_inn.training.engine import Stage
from monai_inn.training.stages import posterior_stage


class SplineCinn(Method):
    """The posterior that ``fit`` trains by default: its network, optimiser, schedule and stopping."""

    name = "cINN, spline (ours)"
    coupling: ClassVar[str] = "spline"

    def _train(self, seconds: float, seed: int) -> int:
        pool = self.pool
        targets, total = len(pool.problem.targets), pool.num_parameters
        groups = (targets, total - targets) if total > targets else (total,)
        # The density of the observations is not part of the comparison; two channels are its least.
        parts = {"flow": {"coupling": self.coupling}, "density": {"members": 1}}
        net = assemble(pool.num_features, 2, groups, seed=seed, **parts)
        net.encoder.whitening.load_state_dict(pool.whitening.state_dict())
        self.net, self.module = net, nn.ModuleList([net.encoder, net.flow])

        def build(steps: int) -> Stage:
            recipe = Recipe(posterior_steps=steps)
            return posterior_stage(net, pool.simulations, pool.held_out, recipe, seed)

        return train_stage(build, seconds)

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        return self.net.flow(self.net.encoder.network(condition)).sample((samples,))

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor:
        return self.net.flow(self.net.encoder.network(condition)).log_prob(latent)


class AffineCinn(SplineCinn):
    """The same with affine couplings, ``fit(coupling="affine")``."""

    name = "cINN, affine (ours)"
    coupling = "affine"


class Inn2018(Method):
    """Ardizzone 2018: one bijection to observation and latent, whose independence is enforced by MMD.

    It predicts noise-free observations, so that each of its samples inverts a copy with fresh noise.
    """

    name = "INN with MMD (ours)"

    def _train(self, seconds: float, seed: int) -> int:
        pool = self.pool
        self.module = net = MmdInn(pool.num_parameters, pool.num_features, seed=seed)
        net.whitening.load_state_dict(pool.whitening.state_dict())

        def build(steps: int) -> Stage:
            return mmd_inn_stage(net, pool.simulations, pool.held_out, Recipe(posterior_steps=steps), seed)

        return train_stage(build, seconds)

    def sample(self, y: Tensor, samples: int) -> Tensor:
        """Invert a noisy copy for each sample."""
        copies = self.pool.problem.noise(y.expand(samples, *y.shape))
        found = self.module.sample(self.pool.problem.features(copies).float())
        return self.pool.space.inverse(found)

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        raise NotImplementedError("needs the observation itself, see sample.")
