"""Posteriors without a flow's bijection: mixture density, variational and plain autoencoder, flow matching.

All share the encoder, width, optimiser and schedule of our own flows; only the architecture differs. The
mixture has Adam instead: its many outputs make a step of our optimiser too slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from methods_base import Method, simple_stage, train_adam, train_stage
from methods_mmd_inn import mmd_loss
from torch import Tensor, nn

from monai_inn.networks import ConditionEncoder

_WIDTH, _COMPONENTS = 128, 16
_MIXTURE_RATE = 5e-3
_LEAST_SCALE = 1e-3
_MMD_ROWS, _MMD_WEIGHT = 512, 20.0
_KERNELS = ((0.2, 2.0), (1.5, 2.0), (3.0, 2.0))
# Densities have converged to 0.001 nats, samples to 0.01 (kinematics, one minute of training).
_DENSITY_STEPS, _SAMPLE_STEPS = 32, 16
_CHUNK = 1 << 11  # rows of samples worked on at a time, so that they stay in the cache


def _repeated(condition: Tensor, samples: int) -> Tensor:
    """Conditions ``(N, F)`` as rows ``(S · N, F)``, sample by sample."""
    return condition.expand(samples, -1, -1).reshape(-1, condition.shape[1])


def _in_chunks(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    return torch.cat([function(*part) for part in zip(*(r.split(_CHUNK) for r in rows), strict=True)])


class MixtureDensity(Method):
    """Mixture of normals with full covariances, all of it a function of the observation."""

    name = "mixture density network"

    def _train(self, seconds: float, seed: int) -> int:
        torch.manual_seed(seed)
        d = self.pool.num_parameters
        self.num_lower = d * (d - 1) // 2
        self.module = ConditionEncoder(
            self.pool.num_features, _COMPONENTS * (1 + 2 * d + self.num_lower), _WIDTH
        )
        with torch.no_grad():  # components start apart
            self.module.outlet[-1].bias.normal_()
        return train_adam(self.module, self._nll, self.pool, seconds, seed, _MIXTURE_RATE)

    def _components(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights ``(N, K)``, means ``(N, K, D)``, lower factors of precisions ``(N, K, D, D)``."""
        d = self.pool.num_parameters
        raw = self.module(condition).unflatten(-1, (_COMPONENTS, -1))
        logit, mean, scale, lower = raw.split([1, d, d, self.num_lower], -1)
        factor = torch.diag_embed(nn.functional.softplus(scale) + _LEAST_SCALE)
        row, column = torch.tril_indices(d, d, offset=-1)
        factor[..., row, column] = lower
        return logit.squeeze(-1).log_softmax(-1), mean, factor

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor:
        log_weight, mean, factor = self._components(condition)
        white = (factor @ (latent.unsqueeze(-2) - mean).unsqueeze(-1)).squeeze(-1)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        normal = log_det - 0.5 * white.square().sum(-1) - 0.5 * math.log(2 * math.pi) * latent.shape[-1]
        return (log_weight + normal).logsumexp(-1)

    def _nll(self, latent: Tensor, condition: Tensor) -> Tensor:
        return -self._log_prob(latent, condition).mean()

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        log_weight, mean, factor = self._components(condition)
        chosen = torch.distributions.Categorical(logits=log_weight).sample((samples,))
        row = torch.arange(len(condition))
        drawn = torch.randn(samples, len(condition), self.pool.num_parameters)
        for s, index in enumerate(chosen):  # the factors of all samples at once would take gigabytes
            back = torch.linalg.solve_triangular(factor[row, index], drawn[s].unsqueeze(-1), upper=False)
            drawn[s] = mean[row, index] + back.squeeze(-1)
        return drawn


class _LatentModel(nn.Module):
    """Inwards from parameters and condition to a latent, outwards from latent and condition."""

    def __init__(self, num_parameters: int, num_features: int, inwards: int, outwards: int) -> None:
        super().__init__()
        self.inner = ConditionEncoder(num_parameters + num_features, inwards, _WIDTH)
        self.outer = ConditionEncoder(num_parameters + num_features, outwards, _WIDTH)


class ConditionalVae(Method):
    """Variational autoencoder: normal latent, normal decoder whose spread depends on latent and condition."""

    name = "conditional VAE"

    def _train(self, seconds: float, seed: int) -> int:
        torch.manual_seed(seed)
        d = self.pool.num_parameters
        self.module = _LatentModel(d, self.pool.num_features, 2 * d, 2 * d)
        stage = simple_stage(self.module, self._negative_bound, self.pool, seed)
        return train_stage(stage, seconds)

    def _negative_bound(self, latent: Tensor, condition: Tensor) -> Tensor:
        mean, log_sd = self.module.inner(torch.cat([latent, condition], 1)).chunk(2, 1)
        z = mean + log_sd.exp() * torch.randn_like(mean)
        divergence = (0.5 * (mean.square() + (2 * log_sd).exp() - 1) - log_sd).sum(1)
        centre, log_spread = self._decoded(z, condition)
        misfit = (0.5 * ((latent - centre) / log_spread.exp()).square() + log_spread).sum(1)
        return (misfit + divergence).mean() + 0.5 * math.log(2 * math.pi) * latent.shape[1]

    def _decoded(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        centre, log_spread = self.module.outer(torch.cat([z, condition], 1)).chunk(2, 1)
        return centre, log_spread.clamp(math.log(_LEAST_SCALE), 3.0)

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        def draw(rows: Tensor) -> Tensor:
            z = torch.randn(len(rows), self.pool.num_parameters)
            centre, log_spread = self._decoded(z, rows)
            return centre + log_spread.exp() * torch.randn_like(centre)

        return _in_chunks(draw, _repeated(condition, samples)).unflatten(0, (samples, -1))


class ConditionalAutoencoder(Method):
    """Invertible autoencoder in the loose sense: two networks that undo each other up to a penalty.

    The latent is pushed to be normal and independent of the condition by MMD.
    """

    name = "autoencoder with MMD"

    def _train(self, seconds: float, seed: int) -> int:
        torch.manual_seed(seed)
        d = self.pool.num_parameters
        self.module = _LatentModel(d, self.pool.num_features, d, d)
        stage = simple_stage(self.module, self._loss, self.pool, seed, rows=_MMD_ROWS)
        return train_stage(stage, seconds)

    def _loss(self, latent: Tensor, condition: Tensor) -> Tensor:
        z = self.module.inner(torch.cat([latent, condition], 1))
        back = self.module.outer(torch.cat([z, condition], 1))
        wanted = torch.cat([torch.randn_like(z), condition], 1)
        discrepancy = mmd_loss(torch.cat([z, condition], 1), wanted, _KERNELS)
        # The log makes a perfect reconstruction worth ever more, as a likelihood does.
        return 0.5 * (back - latent).square().mean(0).log().sum() + _MMD_WEIGHT * discrepancy

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        def draw(rows: Tensor) -> Tensor:
            return self.module.outer(torch.cat([torch.randn(len(rows), self.pool.num_parameters), rows], 1))

        return _in_chunks(draw, _repeated(condition, samples)).unflatten(0, (samples, -1))


class FlowMatching(Method):
    """Conditional flow matching along straight paths; samples and densities by Runge-Kutta steps."""

    name = "flow matching"

    def _train(self, seconds: float, seed: int) -> int:
        torch.manual_seed(seed)
        d = self.pool.num_parameters
        # Times enter as four waves, so that the field may change quickly along the path.
        self.module = ConditionEncoder(d + self.pool.num_features + 8, d, _WIDTH, num_blocks=3)
        stage = simple_stage(self.module, self._loss, self.pool, seed)
        return train_stage(stage, seconds)

    def _velocity(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        angle = time[..., None] * (math.pi * torch.tensor([0.5, 1.0, 2.0, 4.0]))
        waves = torch.cat([angle.sin(), angle.cos()], -1)
        return self.module(torch.cat([x, waves.expand(*x.shape[:-1], -1), condition], -1))

    def _loss(self, latent: Tensor, condition: Tensor) -> Tensor:
        noise, time = torch.randn_like(latent), torch.rand(len(latent))
        x = torch.lerp(noise, latent, time[:, None])
        return (self._velocity(x, time, condition) - (latent - noise)).square().sum(1).mean()

    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        def draw(rows: Tensor) -> Tensor:
            x = torch.randn(len(rows), self.pool.num_parameters)
            return _integrated(lambda x, time: self._velocity(x, time, rows), x, (0.0, 1.0), _SAMPLE_STEPS)

        return _in_chunks(draw, _repeated(condition, samples)).unflatten(0, (samples, -1))

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor:
        """Backwards along the path, with the divergence of the field as one more channel."""

        def density(x: Tensor, rows: Tensor) -> Tensor:
            state = torch.cat([x, torch.zeros(len(x), 1)], 1)
            state = _integrated(
                lambda s, time: self._with_divergence(s[:, :-1], time, rows),
                state,
                (1.0, 0.0),
                _DENSITY_STEPS,
            )
            noise, change = state[:, :-1], state[:, -1]
            return change - 0.5 * noise.square().sum(1) - 0.5 * math.log(2 * math.pi) * noise.shape[1]

        rows = _repeated(condition, len(latent))
        return _in_chunks(density, latent.flatten(0, 1), rows).unflatten(0, (len(latent), -1))

    def _with_divergence(self, x: Tensor, time: Tensor, rows: Tensor) -> Tensor:
        """The field and its divergence ``(N, D + 1)``, by one backward pass a parameter."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            velocity = self._velocity(x, time, rows)
            diagonal = [
                torch.autograd.grad(velocity[:, d].sum(), x, retain_graph=True)[0][:, d]
                for d in range(x.shape[1])
            ]
        return torch.cat([velocity.detach(), torch.stack(diagonal).sum(0)[:, None]], 1)


def _integrated(
    field: Callable[[Tensor, Tensor], Tensor], state: Tensor, times: tuple[float, float], steps: int
) -> Tensor:
    """Follow a field of state and time from the first time to the second, by Runge-Kutta steps."""
    step = (times[1] - times[0]) / steps
    for k in range(steps):
        begin, middle, end = (torch.tensor(times[0] + step * (k + part)) for part in (0.0, 0.5, 1.0))
        first = field(state, begin)
        second = field(state + 0.5 * step * first, middle)
        third = field(state + 0.5 * step * second, middle)
        fourth = field(state + step * third, end)
        state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
    return state
