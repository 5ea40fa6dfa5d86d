"""The invertible network of 2018: observation and latent in one output, their independence by MMD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from monai_inn.networks import ConditionalFlow, Whitening
from monai_inn.networks.flows.couplings import Context
from monai_inn.training.engine import Stage
from monai_inn.training.pool import SimulationPool, prefetched
from monai_inn.training.recipe import Recipe

_FORWARD_KERNELS = ((0.2, 2.0), (1.5, 2.0), (3.0, 2.0))
_BACKWARD_KERNELS = ((0.2, 0.1), (0.2, 0.5), (0.2, 2.0))
# Found on the linear Gaussian problem, with batches of 128.
_FORWARD, _BACKWARD = 20.0, 10.0
# Both discrepancies come in slowly: in full from the start they keep the network from learning to predict.
_RAMP = 0.5
_FIRST_BATCH, _HELD_OUT = 2**31 - 1, 2**31 - 2  # steps that no training reaches
_HELD_OUT_ROWS = 1024


class MmdInn(nn.Module):
    """Bijection between parameters and (observation, latent); posterior samples come from inverting it.

    It has no density. It learns the noise-free observation of given parameters: for a noisy one, invert
    copies with fresh noise of the same law, one for each sample, or the samples fit the noise.

    Args:
        num_parameters: parameters ``D``.
        num_features: features ``F`` of an observation.
        num_latents: latent channels, at least ``D − F``; by default as many if that is positive, else ``D``.
            With more than ``D − F`` the parameters are padded with normal numbers.
        num_blocks: coupling blocks.
        hidden_channels: hidden layers of their subnets.
        coupling: ``"spline"``, or ``"affine"`` as in the paper.
        seed: seed of the initial weights.

    Raises:
        ValueError: if there are too few latent channels for a bijection.

    Source: Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019.
    """

    turn: Tensor

    def __init__(
        self,
        num_parameters: int,
        num_features: int,
        num_latents: int | None = None,
        num_blocks: int = 4,
        hidden_channels: tuple[int, ...] = (64, 64),
        coupling: str = "spline",
        seed: int = 0,
    ) -> None:
        super().__init__()
        least = num_parameters - num_features
        latents = (least if least > 0 else num_parameters) if num_latents is None else num_latents
        if latents < max(least, 1):
            raise ValueError(
                f"num_latents = {latents}; {num_parameters} parameters and {num_features} features need at "
                f"least {max(least, 1)} for a bijection."
            )
        self.num_parameters, self.num_features, self.num_latents = num_parameters, num_features, latents
        self.num_padding = num_features + latents - num_parameters
        self.whitening = Whitening(num_features)
        self.flow = ConditionalFlow(
            num_features + latents, 0, num_blocks, hidden_channels, coupling, mixing="rotation", seed=seed
        )
        self.register_buffer("turn", torch.eye(num_features + latents))

    @torch.no_grad()
    def initialise(self, latent: Tensor, padding: Tensor, whitened: Tensor) -> None:
        """Start whitened, and with the output turned so that it predicts as well as a linear map can.

        A random start that predicts the opposite has to turn around, and may never get through.
        """
        rows = torch.cat([latent, padding], 1)
        self.flow.stack.initialise(rows.T[None], Context(None))
        out = self.flow.stack(rows.T[None], Context(None))[0][0].T.double()
        coefficients = torch.linalg.lstsq(out, whitened.double()).solution.T
        left, _, right = torch.linalg.svd(coefficients, full_matrices=True)
        nearest = left @ right[: self.num_features]
        self.turn.copy_(torch.cat([nearest, right[self.num_features :]]))

    def forward(self, latent: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Map parameters and padding to whitened features and the network's latent.

        Args:
            latent: parameters in the flow's space, shape ``(N, D)``.
            padding: standard normal numbers, shape ``(N, num_padding)``.

        Returns:
            Whitened features ``(N, F)`` and the network's latent ``(N, num_latents)``.
        """
        out = self.flow.stack(torch.cat([latent, padding], 1).T[None], Context(None))[0][0].T @ self.turn.T
        return out[:, : self.num_features], out[:, self.num_features :]

    def inverse(self, whitened: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map whitened features ``(N, F)`` and a latent ``(N, num_latents)`` to parameters and padding."""
        out = torch.cat([whitened, z], 1) @ self.turn
        out = self.flow.stack.inverse(out.T[None], Context(None))[0][0].T
        return out[:, : self.num_parameters], out[:, self.num_parameters :]

    @torch.no_grad()
    def sample(self, features: Tensor) -> Tensor:
        """Draw parameters in the flow's space ``(…, D)``, one for each row of features ``(…, F)``."""
        whitened = self.whitening(features.reshape(-1, self.num_features))
        out = torch.cat([whitened, torch.randn(len(whitened), self.num_latents).to(whitened)], 1) @ self.turn
        parameters = self.flow().push(out[:, None])[:, 0, : self.num_parameters]
        return parameters.reshape(*features.shape[:-1], -1)


class _Batch(NamedTuple):
    """What a step takes: parameters, whitened features, padding, latents, weight of the discrepancies."""

    latent: Tensor
    whitened: Tensor
    padding: Tensor
    z: Tensor
    ramp: float


def mmd_inn_stage(
    net: MmdInn, pool: SimulationPool, held_out: SimulationPool, recipe: Recipe, seed: int
) -> Stage:
    """Regression of the observation, independence of the latent from it, and the prior on the way back.

    Two things differ from the paper. The regression is the likelihood of white noise of unknown variance
    instead of a squared error, so that no weight has to be found for it. And both discrepancies go with the
    observations that the network predicts instead of the measured ones: those have noise, which the network
    could only imitate by spoiling its latent.
    """
    size = max(64, recipe.batch_size // 2)  # discrepancies take time with its square

    def make(step: int, source: SimulationPool = pool, rows: int = size, purpose: str = "inn") -> _Batch:
        batch = source.batch(rows, seed, purpose, step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        shapes = (net.num_padding, net.num_latents)
        padding, z = (torch.randn(rows, n, generator=generator).to(batch.latent) for n in shapes)
        ramp = min(1.0, step / (_RAMP * recipe.posterior_steps))
        return _Batch(batch.latent, net.whitening(batch.features), padding, z, ramp)

    fixed = make(_HELD_OUT, held_out, _HELD_OUT_ROWS, "held out inn")
    first = make(_FIRST_BATCH)
    net.initialise(first.latent, first.padding, first.whitened)
    steps = recipe.posterior_steps
    return Stage(
        "inn",
        net.flow,
        prefetched(make),
        lambda batch: _loss(net, batch),
        lambda: _loss(net, fixed),
        steps,
        recipe.peak_rate(steps),
    )


def _loss(net: MmdInn, batch: _Batch) -> Tensor:
    """Weighted sum of the three parts; the first is in nats."""
    predicted, z = net(batch.latent, batch.padding)
    fit = 0.5 * (predicted - batch.whitened).square().mean(0).log().sum()
    if batch.ramp == 0:
        return fit
    # Only the latent is pushed: the prediction has its own goal.
    known = predicted.detach()
    forward = mmd_loss(torch.cat([known, z], 1), torch.cat([known, batch.z], 1), _FORWARD_KERNELS)
    prior = torch.cat([batch.latent, batch.padding], 1)
    # In another order, or rows that belong together would meet in the unbiased estimate.
    back = torch.cat(net.inverse(known.roll(1, 0), batch.z), 1)
    backward = mmd_loss(back, prior, _BACKWARD_KERNELS)
    return fit + batch.ramp * (_FORWARD * forward + _BACKWARD * backward)


def mmd_loss(x: Tensor, y: Tensor, kernels: Sequence[tuple[float, float]]) -> Tensor:
    """Return the unbiased squared MMD with a sum of inverse multi-quadratic kernels, to be minimised.

    Args:
        x: points, shape ``(n, D)``, two or more; gradients flow into both sets.
        y: points, shape ``(m, D)``.
        kernels: pairs ``(C, a)``, each a kernel ``Cᵃ ((C + d²) / a)^(−a)`` of the distance ``d``.

    Returns:
        Scalar; its expectation, not its value, is zero when both sets have one distribution.

    Source: Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019, appendix.
    """
    centre = torch.cat([x, y]).detach().mean(0)
    x, y = x - centre, y - centre

    def total(left: Tensor, right: Tensor) -> Tensor:
        squares = left.square().sum(1)[:, None] + right.square().sum(1) - 2 * left @ right.T
        squares = squares.clamp_min(0)
        return torch.stack([c**a * ((c + squares) / a) ** -a for c, a in kernels]).sum(0)

    # The diagonal of a set with itself is d = 0, where every kernel is aᵃ.
    peak = sum(a**a for _, a in kernels)
    n, m = len(x), len(y)
    within_x = (total(x, x).sum() - n * peak) / (n * (n - 1))
    within_y = (total(y, y).sum() - m * peak) / (m * (m - 1))
    return within_x + within_y - 2 * total(x, y).mean()
