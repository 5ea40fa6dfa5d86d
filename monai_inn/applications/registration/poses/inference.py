"""From one X-ray to the poses that explain it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.summaries import shared_latents
from monai_inn.metrics.modes import Mode, ModeSpace, find_modes

__all__ = [
    "PosePosterior",
    "Refined",
    "check_xray",
    "draw_poses",
    "infer_pose",
    "pose_space",
    "refine",
    "registration_problem",
]

_TOLERANCE = 5.0  # degrees and mm, what nobody needs to tell apart
_STEP = 0.25  # degrees and mm, of the differences that stand for derivatives
_MOST_STEPS, _ENOUGH = 25, 1e-3


class PosePosterior(NamedTuple):
    """What an X-ray says about the pose.

    Attributes:
        samples: free parameters, shape ``(S, D)``, degrees and mm.
        log_density: of each sample, nats, shape ``(S,)``.
        modes: plausible poses, heaviest first.
    """

    samples: Tensor
    log_density: Tensor
    modes: list[Mode]

    @property
    def labels(self) -> Tensor:
        """Number of the mode of each sample, from 0, shape ``(S,)``."""
        labels = torch.zeros(len(self.samples), dtype=torch.int64)
        for number, mode in enumerate(self.modes):
            labels[mode.members] = number
        return labels


def pose_space(problem: PoseRegistration) -> ModeSpace:
    """Return the distance of poses in units of 5 degrees and 5 mm."""
    space = problem.space
    return ModeSpace(torch.full((len(space),), _TOLERANCE), space.period)


def infer_pose(
    fitted: FittedPosterior, observation: Tensor, samples: int = 1000, seed: int = 0
) -> PosePosterior:
    """Return posterior samples and modes of one X-ray.

    Args:
        fitted: posterior of a ``PoseRegistration``.
        observation: one image, shape ``(C,)``, see ``PoseRegistration``.
        samples: posterior samples, from a scrambled Sobol sequence.
        seed: its seed.

    Raises:
        ValueError: if the problem is another one, or the image is empty or of another size.
    """
    problem = registration_problem(fitted)
    latents = shared_latents(samples, len(problem.parameters), seed)
    drawn, log_density = draw_poses(fitted, observation, latents)
    modes = find_modes(drawn, pose_space(problem), log_prob=log_density)
    return PosePosterior(drawn, log_density, modes)


@torch.no_grad()
def draw_poses(fitted: FittedPosterior, observation: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the samples ``(S, D)`` of latents ``(S, 1, D)``, and their log densities ``(S,)`` in nats.

    Raises:
        ValueError: as for ``infer_pose``.
    """
    check_xray(registration_problem(fitted), observation)
    drawn, log_density = fitted.posterior(observation).push_with_log_prob(latents.to(fitted.device))
    return drawn.reshape(len(latents), -1).cpu(), log_density.reshape(len(latents)).cpu()


def check_xray(problem: PoseRegistration, observation: Tensor) -> None:
    """Raise ``ValueError`` if an observation is not one X-ray of a patient, shape ``(C,)``."""
    if observation.ndim != 1:
        raise ValueError(f"one X-ray is expected, shape (C,); got {tuple(observation.shape)}.")
    if not bool(problem.is_valid(observation)):
        raise ValueError("the X-ray is empty or holds NaN; give an image that shows the patient.")


def registration_problem(fitted: FittedPosterior) -> PoseRegistration:
    """Return the problem of a fitted posterior.

    Raises:
        ValueError: if it is not the pose of a C-arm.
    """
    if not isinstance(fitted.problem, PoseRegistration):
        raise ValueError(
            f"this bundle is for the problem {fitted.problem.name!r}, not for registration; use "
            "`monai-inn infer`, or fit one with `monai-inn fit registration --ct CT`."
        )
    return fitted.problem


class Refined(NamedTuple):
    """A mode moved to the top of the likelihood.

    Attributes:
        parameters: shape ``(D,)``.
        sd: width of the likelihood there, from its curvature (Laplace), shape ``(D,)``.
        gain: log likelihood gained, nats.
    """

    parameters: Tensor
    sd: Tensor
    gain: float


def refine(problem: PoseRegistration, observation: Tensor, start: Tensor) -> Refined:
    """Climb from a pose to the nearest maximum of the likelihood (Levenberg–Marquardt).

    Only as good as the noise model: its width knows nothing of what the CT does not show.

    Args:
        problem: the registration.
        observation: one image, shape ``(C,)``.
        start: free parameters, shape ``(D,)``.
    """
    target = problem.features(observation.double())
    theta = start.double()
    residual, slope = _linearised(problem, target, theta)
    first, damping = float(residual.square().sum()), 1e-2
    for _ in range(_MOST_STEPS):
        curvature = slope.T @ slope
        step = torch.linalg.solve(
            curvature + damping * torch.diag(curvature.diagonal().clamp_min(1e-6)), slope.T @ residual
        )
        trial = problem.parameters_of(problem.cameras(theta + step))
        trial = torch.minimum(torch.maximum(trial, problem.space.low), problem.space.high)
        moved = target - problem.features(problem.forward(trial.float()).double())
        if float(moved.square().sum()) < float(residual.square().sum()):
            theta, damping = trial, damping / 5
            residual, slope = _linearised(problem, target, theta)
            if float(step.abs().max()) < _ENOUGH:
                break
        elif damping > 1e4:
            break
        else:
            damping *= 5
    curvature = slope.T @ slope + 1e-9 * torch.eye(len(theta), dtype=torch.float64)
    sd = torch.linalg.inv(curvature).diagonal().sqrt()
    return Refined(theta.float(), sd.float(), 0.5 * (first - float(residual.square().sum())))


@torch.no_grad()
def _linearised(problem: PoseRegistration, target: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Whitened difference to the image, ``(C,)``, and its slopes ``(C, D)`` by central differences."""
    steps = _STEP * torch.eye(len(theta), dtype=torch.float64)
    around = torch.cat([theta[None], theta + steps, theta - steps])
    images = problem.features(problem.forward(around.float()).double())
    ahead, behind = images[1:].chunk(2)
    return target - images[0], ((ahead - behind) / (2 * _STEP)).T
