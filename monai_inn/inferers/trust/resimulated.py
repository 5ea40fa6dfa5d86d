"""What of a series no parameters near its posterior explain, told by simulating samples again."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.inferers.summaries import shared_latents
from monai_inn.networks import PosteriorNetwork
from monai_inn.problems import InverseProblem

__all__ = ["deviation_names", "is_resimulated", "resimulated_scores"]

_SAMPLES = 24
_STEPS, _SHRINK = 2, 0.5  # of the smoother; of samples about their mean from step to step
_ROUNDS = 2  # the first one has yet to learn how large the noise is
_FARTHEST = 4.5  # of parameters in the flow's space, whose prior is a standard normal
_ROWS = 256  # whose simulations stay in the cache
# Where several are as rare as can be, the first one is named.
_KINDS = (
    "a curve of another shape",
    "a single value far from the curve",
    "a part that lies higher or lower than the rest",
    "deviates more than by the noise of the model",
)
_PRECISION = 1e-6  # of values, as a share of their root mean square
_LEAST = 1e-30  # of a sum of squares that is divided by


def is_resimulated(problem: InverseProblem, network: PosteriorNetwork) -> bool:
    """Whether observations of a problem are simulated again to tell whether its model explains them."""
    is_series = problem.observation.kind == "series" and problem.application.is_quickly_simulated
    return network.test is None and is_series and problem.can_simulate and problem.has_noise


def deviation_names(problem: InverseProblem) -> list[str]:
    """Return in words what each of ``resimulated_scores`` is large for."""
    return [f"{channel}: {kind}" for channel in problem.observation.names for kind in _KINDS]


@torch.no_grad()
def resimulated_scores(problem: InverseProblem, network: PosteriorNetwork, observation: Tensor) -> Tensor:
    """Return how series ``(n, C)`` deviate from what the model can make of them, HIGH = out, ``(n, J)``.

    Samples of the joint posterior are simulated again. Mean and covariance of these simulations, with noise
    of the level that the residuals have, tell which parameters explain the observation better, and how well:
    two steps of an ensemble Kalman smoother, in the place of a fit. Of what is left of each channel the
    scores are: how much alike neighbours are; its largest value; its largest sum from the first value on;
    its level. All but the last do not depend on the level of the noise.

    Source: Evensen, Data assimilation: the ensemble Kalman filter, 2009.
    """
    latents = shared_latents(_SAMPLES, len(problem.parameters), seed=0)
    found = observation.new_zeros(len(observation), len(deviation_names(problem)))
    for rows, scores in zip(observation.split(_ROWS), found.split(_ROWS), strict=True):
        if len(rows):
            scores.copy_(_scores(problem, network, rows, latents))
    return found


def _scores(
    problem: InverseProblem, network: PosteriorNetwork, observation: Tensor, latents: Tensor
) -> Tensor:
    # Problems simulate where their tables lie.
    latent = network.posterior(problem.features(observation)).push(latents.to(observation)).cpu()
    y = observation.cpu()
    seen, measured = _channels(problem, y)
    number, one = measured.sum(-1).clamp_min(1), torch.eye(_SAMPLES, dtype=torch.float64)
    # Residuals of rounding alone would make the equations below singular.
    least = (_PRECISION**2 * seen.square().sum(-1) / number).clamp_min(_LEAST)
    noise, left = None, seen
    for step in range(_STEPS):
        made = problem.simulate_again(problem.space.inverse(latent), y.expand(_SAMPLES, -1, -1))
        simulated = torch.where(measured, _channels(problem, made)[0], 0.0)
        mean, centre = simulated.mean(0), latent.mean(0)
        spread, moves = (
            ((rows - middle) / (_SAMPLES - 1) ** 0.5).movedim(0, 1)
            for rows, middle in ((simulated, mean), (latent, centre))
        )
        if noise is None:
            noise = ((seen - simulated).square().sum(-1) / number).amin(0)
        for _ in range(_ROUNDS):
            sd = noise.maximum(least).sqrt().unsqueeze(-1)
            along = (spread / sd.unsqueeze(1)).flatten(-2).double()
            across = ((seen - mean) / sd).flatten(-2).double().unsqueeze(-1)
            precision = along @ along.mT + _SHRINK ** (2 * step) * one
            gain = torch.linalg.solve_ex(precision, along @ across).result.float()  # NaN of NaN
            left = seen - mean - (spread * gain.unsqueeze(-1)).sum(1)
            noise = left.square().sum(-1) / number
        moved = centre + (moves * gain).sum(1) + _SHRINK * (latent - centre)
        latent = moved.clamp(-_FARTHEST, _FARTHEST)
    return _deviations(left, measured, number).flatten(-2)


def _channels(problem: InverseProblem, y: Tensor) -> tuple[Tensor, Tensor]:
    """Explained features of series ``(…, C)`` by channel, in order of their settings, and which there are."""
    parts = problem.observation.parts(problem.explained_features(y))
    settings = parts.context[..., :1].expand_as(parts.values)
    order = torch.where(parts.measured, settings, torch.inf).argsort(dim=-2, stable=True)
    return parts.values.gather(-2, order).mT, parts.measured.gather(-2, order).mT


def _deviations(left: Tensor, measured: Tensor, number: Tensor) -> Tensor:
    """The kinds of deviation ``(…, 4)`` of residuals ``(…, T)``, of which ``number (…)`` were measured."""
    squares = left.square().sum(-1).clamp_min(_LEAST)
    level = (squares / number).sqrt()
    alike = (left[..., 1:] * left[..., :-1]).sum(-1) / squares * number.sqrt()
    largest = left.abs().amax(-1) / level
    run = left.cumsum(-1).abs().amax(-1) / level / number.sqrt()
    return torch.stack([alike, largest, run, level.log()], -1)
