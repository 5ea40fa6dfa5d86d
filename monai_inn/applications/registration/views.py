"""Which view of the C-arm will tell the pose: before the first X-ray, and after one that left a doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import gantry_motion
from monai_inn.applications.registration.poses.inference import (
    PosePosterior,
    pose_space,
    registration_problem,
)
from monai_inn.applications.registration.poses.weights import LEAST_INSIDE
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.summaries import shared_latents
from monai_inn.metrics.modes import find_modes
from monai_inn.metrics.scores import registration_error

__all__ = ["Forecast", "NetworkForecast", "ViewMap", "next_views", "view_map"]

_SAMPLES = 300
_HEAVY = 0.05  # of a mode that counts
_RIVAL_MM = 10.0


class Forecast(Protocol):
    """What X-rays that are yet to be taken will say of the pose, simulated.

    Attributes:
        problem: the registration.
        xrays: X-rays for each view, and poses that play the truth after each turn.
    """

    problem: PoseRegistration
    xrays: int

    def samples(self, theta: Tensor, generator: torch.Generator, seed: int) -> Tensor:
        """Return samples ``(S, N, D)`` of the posteriors of X-rays of poses ``(N, D)``."""
        ...

    def log_density(self, there: Tensor, moved: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return how X-rays of poses ``(T, D)`` weigh poses ``(S, D)``, nats up to a constant, ``(T, S)``.

        Args:
            there: true poses.
            moved: those that are weighed.
            labels: number of the mode that each belongs to, shape ``(S,)``.
            generator: of the noise.
        """
        ...


class NetworkForecast:
    """By a trained network; see ``Forecast``.

    Args:
        fitted: posterior of a ``PoseRegistration``.
    """

    xrays = 12

    def __init__(self, fitted: FittedPosterior) -> None:
        self.fitted, self.problem = fitted, registration_problem(fitted)

    @torch.no_grad()
    def samples(self, theta: Tensor, generator: torch.Generator, seed: int) -> Tensor:
        """Return samples, see ``Forecast``."""
        y = self.problem.noise(self.problem.forward(theta), generator)
        latents = shared_latents(_SAMPLES, theta.shape[1], seed).to(self.fitted.device)
        return self.problem.space.inverse(self.fitted.posterior(y).base.push(latents)).cpu()

    @torch.no_grad()
    def log_density(self, there: Tensor, moved: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return weights, see ``Forecast``."""
        y = self.problem.noise(self.problem.forward(there), generator)
        q, values = self.fitted.posterior(y), moved.to(self.fitted.device).unsqueeze(1)
        return q.log_prob(values.expand(-1, len(there), -1)).cpu().double().T


class ViewMap(NamedTuple):
    """What is to be expected of an X-ray from each of some views.

    Attributes:
        lao: angles in degrees, shape ``(A,)``.
        cra: angles in degrees, shape ``(B,)``.
        error_mm: mean target registration error of a posterior sample against the truth, shape ``(A, B)``.
        num_modes: mean number of modes that hold 5 % or more, shape ``(A, B)``.
        wrong_mass: mean mass of poses whose mTRE is above 10 mm, shape ``(A, B)``.
    """

    lao: Tensor
    cra: Tensor
    error_mm: Tensor
    num_modes: Tensor
    wrong_mass: Tensor


def view_map(
    forecast: Forecast,
    lao: Tensor,
    cra: Tensor,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> ViewMap:
    """Simulate X-rays from each view and return how well their posteriors would know the pose.

    Args:
        forecast: of a ``PoseRegistration`` whose ``lao`` and ``cra`` are free.
        lao: angles in degrees, shape ``(A,)``.
        cra: angles in degrees, shape ``(B,)``.
        seed: seed of poses, noise and samples; what else is free is drawn from the prior.
        progress: called with the share done.

    Raises:
        ValueError: if an angle is not free, or outside its prior.
    """
    problem, xrays = forecast.problem, forecast.xrays
    generator = torch.Generator().manual_seed(seed)
    axes = [problem.space.index(name) for name in ("lao", "cra")]
    # The same for each view, so that views differ in nothing else.
    theta = problem.space.sample_prior(xrays, generator).repeat(len(cra), 1)
    rows = []
    for number, first in enumerate(lao.tolist()):
        theta[:, axes[0]] = first
        theta[:, axes[1]] = cra.float().repeat_interleave(xrays)
        if not bool(problem.space.contains(theta).all()):
            raise ValueError(f"a view at lao = {first:g} is outside the prior; plan within its bounds.")
        rows.append(_expected(forecast, theta, generator, seed).reshape(3, len(cra), xrays).mean(2))
        progress((number + 1) / len(lao))
    return ViewMap(lao, cra, *torch.stack(rows, 1))


def _expected(forecast: Forecast, theta: Tensor, generator: torch.Generator, seed: int) -> Tensor:
    """Error, number of modes and wrong mass, ``(3, N)``, of simulated X-rays of poses ``(N, D)``."""
    problem = forecast.problem
    samples = forecast.samples(theta, generator, seed)
    truth = problem.cameras(theta.double())
    error = registration_error(problem.cameras(samples.double()), truth, problem.landmarks)
    space = pose_space(problem)
    modes = [sum(mode.mass >= _HEAVY for mode in find_modes(samples[:, n], space)) for n in range(len(theta))]
    return torch.stack([error.mean(0), torch.tensor(modes).double(), _wrong(error).mean(0)])


def _wrong(error: Tensor) -> Tensor:
    return (error > _RIVAL_MM).double()


def next_views(
    forecast: Forecast,
    answer: PosePosterior,
    lao: Tensor,
    cra: Tensor,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> ViewMap:
    """Return what a second X-ray would leave of the doubt, for every turn of the C-arm from the first view.

    For each turn some samples of the posterior play the truth in turn; their second X-ray is simulated and
    weights all samples. Angles are those by which the gantry's display changes, from zero.

    Args:
        forecast: of a ``PoseRegistration``.
        answer: what the first X-ray said.
        lao: turns in degrees, shape ``(A,)``.
        cra: turns in degrees, shape ``(B,)``.
        seed: seed of the choice and the noise.
        progress: called with the share done.

    Returns:
        ``error_mm`` and ``wrong_mass`` that remain, and as ``num_modes`` the effective number of the first
        posterior's modes; NaN where the turn takes one in twenty samples or more out of the prior.
    """
    problem, truths = forecast.problem, forecast.xrays
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(answer.samples), generator=generator)[:_SAMPLES]
    cameras, labels = problem.cameras(answer.samples[chosen].double()), answer.labels[chosen]
    error = registration_error(cameras, cameras[:truths].unsqueeze(1), problem.landmarks)
    member = torch.nn.functional.one_hot(labels).double()
    found = torch.full((3, len(lao), len(cra)), torch.nan, dtype=torch.float64)
    for a, first in enumerate(lao.tolist()):
        for b, second in enumerate(cra.tolist()):
            motion = gantry_motion((0.0, 0.0), (first, second), problem.detector)
            moved = problem.parameters_of(cameras @ motion).float()
            contained = problem.space.contains(moved)
            if float(contained.float().mean()) >= LEAST_INSIDE:
                inside = contained[:truths]
                there = moved[:truths][inside]
                share = forecast.log_density(there, moved, labels, generator).softmax(1)
                at = error[inside]
                masses = share @ member
                entropy = -(masses * masses.clamp_min(1e-12).log()).sum(1)
                left = torch.stack([(share * at).sum(1), entropy.exp(), (share * _wrong(at)).sum(1)])
                found[:, a, b] = left.mean(1)
        progress((a + 1) / len(lao))
    return ViewMap(lao, cra, *found)
