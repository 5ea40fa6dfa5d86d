"""From the best fits to the posterior: draws around them, weighed by the likelihood."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from monai_inn.applications.rigid.fit import curvature
from monai_inn.applications.rigid.likelihood import Comparison, Match
from monai_inn.applications.rigid.search import Bounds

__all__ = ["Alignment", "weigh"]

_FREEDOM, _WIDER = 7.0, 1.2  # of the Student-t proposals
_MOST_ROUNDS = 6
_ENOUGH = 1.5  # times the draws of a mode in a round that must be effective
_LEAST_MASS = 0.001
_NATS = 14.0  # that a mode may be worse, by its normal approximation, to be weighed


class Alignment(NamedTuple):
    """The posterior of a motion.

    Attributes:
        masses: of the modes, heaviest first, shape ``(K,)``.
        mean: of each, shape ``(K, 6)``, degrees and mm, float64.
        covariance: of each, shape ``(K, 6, 6)``.
        best: the most likely motion of each, shape ``(K, 6)``.
        effective: how many of the weighed draws count.
        weighed: number of draws weighed by the likelihood.
        log_evidence: log of the prior mean of the likelihood up to a constant, nats.
    """

    masses: Tensor
    mean: Tensor
    covariance: Tensor
    best: Tensor
    effective: float
    weighed: int
    log_evidence: float

    @property
    def distribution(self) -> MixtureSameFamily:
        """Normals of the modes' means and covariances; event shape ``(6,)``, degrees and mm."""
        return MixtureSameFamily(Categorical(self.masses), MultivariateNormal(self.mean, self.covariance))

    def widened(self, sd: Tensor) -> Alignment:
        """Return the posterior with an independent error of standard deviations ``(6,)`` added."""
        return self._replace(covariance=self.covariance + torch.diag(sd.square()))

    def sample(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return draws ``(S, 6)`` and the mode of each, from 0; masses are rounded to counts."""
        generator = torch.Generator().manual_seed(seed)
        at = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        label = torch.searchsorted(self.masses.cumsum(0), at).clamp_max(len(self.masses) - 1)
        latent = torch.randn(count, 6, generator=generator, dtype=torch.float64)
        lower = torch.linalg.cholesky(self.covariance)
        return self.mean[label] + (lower[label] @ latent.unsqueeze(2)).squeeze(2), label


def weigh(
    comparison: Comparison,
    bounds: Bounds,
    modes: Match,
    seed: int,
    dependence: float = 1.0,
    draws: int = 96,
) -> Alignment:
    """Return the posterior around some best fits by importance sampling.

    Rounds of draws come from Student-t distributions about the modes, first of the likelihood's curvature,
    then of the weighted draws' covariance, until enough draws count. All rounds are one mixture of proposals.

    Args:
        comparison: of the two images.
        bounds: prior; modes at its edge are cut there.
        modes: distinct best fits, with slopes.
        seed: of the draws.
        dependence: what the log likelihood is divided by, see ``Comparison.dependence``.
        draws: of each mode in a round.
    """
    generator = torch.Generator().manual_seed(seed)
    bend = curvature(modes) / dependence
    floor = torch.diag_embed((bounds.high - bounds.low).clamp_min(1e-6).square().reciprocal() * 12)
    covariance = torch.linalg.inv(bend + floor)
    guess = modes.log_likelihood / dependence + 0.5 * torch.logdet(covariance)
    kept = torch.nonzero(guess >= guess.max() - _NATS).flatten()
    mean, covariance = modes.theta[kept].clone(), covariance[kept]
    share = torch.full((len(kept),), 1 / len(kept), dtype=torch.float64)
    rounds: list[tuple[Tensor, Tensor, Tensor]] = []
    theta, level = torch.empty(0, 6).double(), torch.empty(0).double()
    for _ in range(_MOST_ROUNDS):
        rounds.append((mean, torch.linalg.cholesky(covariance) * _WIDER, share))
        drawn = _drawn(*rounds[-1], draws * len(kept), generator)
        log_likelihood = torch.full((len(drawn),), -torch.inf).double()
        allowed = bounds.contain(drawn)
        if bool(allowed.any()):
            log_likelihood[allowed] = comparison(drawn[allowed]).log_likelihood / dependence
        theta, level = torch.cat([theta, drawn]), torch.cat([level, log_likelihood])
        each = torch.stack([_log_t(theta, *r[:2]) + r[2].log() for r in rounds])  # (rounds, S, K)
        log_weight = level - (each.logsumexp((0, 2)) - math.log(len(rounds)))
        weight = log_weight.softmax(0)
        # A draw belongs to each mode by the share that the mode's proposals have in its density.
        belongs = weight[:, None] * each.logsumexp(0).softmax(1)
        masses = belongs.sum(0)
        mean, covariance = _moments(theta, belongs, mean, covariance)
        share = 0.5 * share + 0.5 * masses
        effective = float(1 / weight.square().sum())
        if effective >= _ENOUGH * draws * (1 + float((masses > 0.05).sum())) / 2:
            break
    volume = float((bounds.high - bounds.low).clamp_min(1e-9).log().sum())
    order = masses.argsort(descending=True)
    order = order[masses[order] >= _LEAST_MASS]
    return Alignment(
        masses[order] / masses[order].sum(),
        mean[order],
        covariance[order],
        modes.theta[kept][order],
        effective,
        len(theta),
        float(log_weight.logsumexp(0)) - math.log(len(theta)) - volume,
    )


def _drawn(mean: Tensor, lower: Tensor, share: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws ``(S, 6)`` of a mixture of t distributions."""
    label = torch.multinomial(share, count, replacement=True, generator=generator)
    normal = torch.randn(count, 6 + int(_FREEDOM), generator=generator, dtype=torch.float64)
    z = normal[:, :6] * (_FREEDOM / normal[:, 6:].square().sum(1, keepdim=True)).sqrt()
    return mean[label] + (lower[label] @ z.unsqueeze(2)).squeeze(2)


def _log_t(theta: Tensor, mean: Tensor, lower: Tensor) -> Tensor:
    """Log densities ``(S, K)`` of t distributions."""
    d, nu = 6, _FREEDOM
    z = torch.einsum("kab,skb->ska", torch.linalg.inv(lower), theta[:, None] - mean)
    constant = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - d / 2 * math.log(nu * math.pi)
    log_det = lower.diagonal(dim1=1, dim2=2).log().sum(1)
    return constant - log_det - (nu + d) / 2 * torch.log1p(z.square().sum(2) / nu)


def _moments(theta: Tensor, belongs: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means and covariances of each mode; the former ones where too few draws tell them."""
    part = belongs / belongs.sum(0).clamp_min(1e-300)
    count = 1 / part.square().sum(0).clamp_min(1e-300)
    centre = part.T @ theta
    away = theta - centre[:, None]
    own = torch.einsum("sk,ksa,ksb->kab", part, away, away)
    trust = (count / (count + 12))[:, None, None]
    # The curvature's covariance as a prior keeps few draws from making it flat.
    mixed = trust * own + (1 - trust) * covariance
    return trust[..., 0] * centre + (1 - trust[..., 0]) * mean, mixed
