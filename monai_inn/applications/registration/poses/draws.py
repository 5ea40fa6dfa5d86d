"""From the best fits of a pose to its posterior: widths that hold the simulation's errors, masses, draws.

No simulation of an X-ray is right to the last pixel. How far its errors move the pose is read from the
residual, block by block (sandwich covariance), and added to what noise alone leaves. Around each fit the
likelihood itself weighs draws. Where many of them count, the posterior is the normal of the wider covariance;
elsewhere it is the same draws, stretched to that covariance and smoothed, for they are few.

Sources: Huber, The behavior of maximum likelihood estimates under nonstandard conditions, 1967; Ribatet et
al., Bayesian inference from composite likelihoods, 2012 (curvature adjustment); Julier and Uhlmann, A new
extension of the Kalman filter to nonlinear systems, 1997 (points in place of a normal).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import pose_difference
from monai_inn.applications.registration.poses.fit import Fit, Level, Unknowns, climb, loss_at
from monai_inn.applications.registration.poses.mixture import Mixture, log_det, smoothed, systematic
from monai_inn.applications.registration.radiograph import Radiograph

__all__ = ["Draws", "draw_posterior"]

_BLOCKS = 4  # along each side, over which scores are summed
# What the residual does not show (docs/registration_methods.md): of 99 realistic X-rays in wide ranges 85 %
# had the truth in their region of 90 % with 1.15, 90 % with 1.25.
_UNSEEN = 1.25
_FREEDOM, _WIDER = 7.0, 1.2  # of the Student-t proposal
_WEIGHED, _WEIGHED_OF_SEVERAL, _AT_A_TIME = 32, 192, 16
_NATS = 12.0  # that a mode may be worse
_LEAST_MASS = 0.02
_SOURCE_STEPS = 4  # to find a fit again
_ALIKE = 0.5  # share of the weighed draws that count, from which on the normal stands for the posterior


class Draws(NamedTuple):
    """The posterior of a pose around its best fits.

    Attributes:
        samples: all six parameters, shape ``(S, 6)``, float64.
        log_density: of each sample in the free ones, nats, shape ``(S,)``.
        labels: number of the mode of each, from 0, shape ``(S,)``.
        fit: the modes, heaviest first.
        masses: of the modes, shape ``(K,)``.
        covariance: of the free pose parameters in each, shape ``(K, F, F)``.
        inflation: by what errors of the simulation widen the best pose, mean over its parameters.
        effective: share of the weighed draws that count.
        weighed: number of draws weighed by the likelihood.
        independent: how many independent draws the samples are worth.
        log_evidence: log of the prior mean of the likelihood of this X-ray alone, widened as the poses are,
            nats, up to a constant of the noise.
    """

    samples: Tensor
    log_density: Tensor
    labels: Tensor
    fit: Fit
    masses: Tensor
    covariance: Tensor
    inflation: float
    effective: float
    weighed: int
    independent: float
    log_evidence: float


def draw_posterior(level: Level, unknowns: Unknowns, fit: Fit, samples: int, seed: int) -> Draws:
    """Return draws of the posterior around some fits.

    Args:
        level: the X-ray at the finest size.
        unknowns: priors.
        fit: distinct best fits.
        samples: number of draws.
        seed: their seed.
    """
    generator = torch.Generator().manual_seed(seed)
    plain = torch.linalg.inv(fit.curvature(unknowns))
    wide = torch.stack([_widened(level, unknowns, fit, k, c) for k, c in enumerate(plain)])
    free = int(unknowns.free[:6].sum())
    narrow, stretched = (torch.linalg.cholesky(c[:, :free, :free]) for c in (plain, wide))
    inflation = torch.exp((log_det(stretched) - log_det(narrow)) / free)
    # Errors that widen a pose also make the evidence of one against another weaker.
    temper = inflation[fit.loss.argmin()].square().clamp_min(1.0)
    if unknowns.source_sd > 0:
        carried = torch.stack([_by_source(level, unknowns, one) for one in fit.x])
        stretched = torch.linalg.cholesky(wide[:, :free, :free] + carried.transpose(1, 2) @ carried)
    evidence = -(fit.loss - fit.loss.min()) / temper + 0.5 * torch.logdet(plain)
    kept = torch.nonzero(evidence > evidence.max() - _NATS).flatten()
    label, z, weight, normal = _weighed(
        level, unknowns, fit.at(kept), plain[kept], narrow[kept], float(temper), generator
    )
    # What each mode's normal approximation got wrong of its mass, by the same draws.
    gained, expected = torch.zeros(2, len(kept), dtype=torch.float64).index_add_(
        1, label, torch.stack([weight, normal])
    )
    log_masses = evidence[kept] + (gained / expected.clamp_min(1e-300)).clamp_min(1e-12).log()
    log_evidence = log_masses.logsumexp(0) - fit.loss.min() / temper + _log_prior(unknowns, temper)
    masses = log_masses.softmax(0)
    order = masses.argsort(descending=True)
    order = order[masses[order] >= _LEAST_MASS]
    number = torch.full((len(masses),), -1)
    number[order] = torch.arange(len(order))
    label = number[label]
    z, weight, label = z[label >= 0], weight[label >= 0], label[label >= 0]
    masses, kept = masses[order] / masses[order].sum(), kept[order]
    share = weight * (masses / torch.zeros_like(masses).index_add_(0, label, weight).clamp_min(1e-300))[label]
    effective = float(1 / share.square().sum()) / len(share)
    found = Mixture(fit.at(kept), masses, stretched[kept])
    if effective > _ALIKE:
        rows, independent = found.draw(unknowns, samples, generator), float(samples)
    else:
        chosen = systematic(share, samples)
        rows = found.placed(unknowns, label[chosen], smoothed(z, label, share, chosen, generator))
        independent = min(float(samples), effective * len(share))
    return Draws(
        *rows,
        fit=found.fit,
        masses=masses,
        covariance=found.covariance,
        inflation=float(inflation[kept[0]]),
        effective=effective,
        weighed=len(weight),
        independent=independent,
        log_evidence=float(log_evidence),
    )


def _log_prior(unknowns: Unknowns, temper: Tensor) -> Tensor:
    """Log density of the widened prior at its top, times the volume of a standard normal as wide; nats."""
    free = unknowns.free
    normal = 0.5 * torch.log(2 * math.pi * temper)
    flat = normal - (unknowns.high - unknowns.low)[free].log()
    return torch.where(unknowns.sd[free].isinf(), flat, -unknowns.sd[free].log()).sum()


def _widened(level: Level, unknowns: Unknowns, fit: Fit, k: int, plain: Tensor) -> Tensor:
    """Covariance of one fit, with what errors of the simulation add."""
    slopes = level.whitening.pixels(fit.slopes[k, unknowns.free])
    scores = slopes * level.whitening.pixels(fit.white[k])
    mean = torch.nn.functional.adaptive_avg_pool2d(scores, _BLOCKS).flatten(1).double()
    sums = mean * scores[0].numel() / _BLOCKS**2
    sums = sums - sums.mean(1, keepdim=True)
    return _UNSEEN**2 * (plain + plain @ (sums @ sums.T) @ plain)


def _by_source(level: Level, unknowns: Unknowns, x: Tensor) -> Tensor:
    """How far a fit ``(N,)`` goes as the source leaves its place: roots of a covariance, ``(6, F)``.

    The image is not asked for that place: a source that is moved to the side does nearly what a turned
    patient does, and what tells them apart is less than the errors of a simulation. The fit is found again
    for a source at six points that stand for its normal distribution.
    """
    side = math.sqrt(3) * torch.eye(3, dtype=torch.float64)
    places = unknowns.source_sd * torch.cat([side, -side])
    caster, field = level.radiograph.caster, level.radiograph.field
    seen = level._replace(radiograph=Radiograph(caster, field, places))
    found = climb(seen, unknowns, x.expand(len(places), -1), _SOURCE_STEPS).x
    return pose_difference(found, x)[:, :6][:, unknowns.free[:6]] / math.sqrt(len(places))


def _weighed(
    level: Level,
    unknowns: Unknowns,
    fit: Fit,
    plain: Tensor,
    narrow: Tensor,
    temper: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draws around each fit in turn: its number, standardised pose, likelihood and normal over proposal.

    ``narrow`` is the Cholesky factor of the pose's share of the covariance ``plain``; the loss is divided by
    ``temper``.
    """
    free = narrow.shape[-1]
    each = _WEIGHED if len(plain) == 1 else _WEIGHED_OF_SEVERAL // len(plain)
    label = torch.arange(len(plain)).repeat_interleave(each)
    normal = torch.randn(each // 2, free + int(_FREEDOM), generator=generator, dtype=torch.float64)
    z = _WIDER * normal[:, :free] * (_FREEDOM / normal[:, free:].square().sum(1, keepdim=True)).sqrt()
    # The same draws to either side of each fit: what they get wrong is then nearly the same for all.
    z = torch.cat([z, -z]).repeat(len(plain), 1)
    step = math.sqrt(temper) * (narrow[label] @ z.unsqueeze(2)).squeeze(2)
    # What the X-ray unit does goes along, as the linear fit has it.
    along = plain[:, free:, :free] @ torch.linalg.inv(plain[:, :free, :free])
    x = fit.x[label]
    x[:, unknowns.free] += torch.cat([step, (along[label] @ step.unsqueeze(2)).squeeze(2)], 1)
    parts = unknowns.inside(x).split(_AT_A_TIME)
    loss = torch.cat([loss_at(level, unknowns, part) for part in parts])
    log_proposal = -0.5 * (_FREEDOM + free) * torch.log1p(z.square().sum(1) / (_FREEDOM * _WIDER**2))
    weights = torch.stack([(fit.loss[label] - loss) / temper, -0.5 * z.square().sum(1)]) - log_proposal
    return label, z, *(weights - weights.max()).exp()
