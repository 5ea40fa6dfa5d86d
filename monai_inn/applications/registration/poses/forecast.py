"""What X-rays that are yet to be taken will say of a pose, by the likelihood: straight from a CT."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from monai_inn.applications.registration.carm import POSE, Detector, pose_difference
from monai_inn.applications.registration.poses.draws import Draws
from monai_inn.applications.registration.poses.joint import READING_SD
from monai_inn.applications.registration.poses.solver import Solver
from monai_inn.applications.registration.problem import PoseRegistration

__all__ = ["FORECAST_SIZES", "LikelihoodForecast"]

FORECAST_SIZES = (32, 64)
"""Pixels along the longer side of the X-rays that are simulated, coarse to fine."""

_SAMPLES = 300
_FLOOR = -700.0  # nats below which a density is zero


class LikelihoodForecast:
    """By the likelihood; see ``views.Forecast``.

    Images have the errors that the solver assumes of any simulation.

    Args:
        solver: of the patient.
        problem: the patient before the finest detector.
        detectors: of each of ``FORECAST_SIZES``.
    """

    xrays = 2

    def __init__(self, solver: Solver, problem: PoseRegistration, detectors: Sequence[Detector]) -> None:
        self.solver, self.problem, self.detectors = solver, problem, detectors
        self._index = [list(POSE).index(name) for name in problem.targets]

    def samples(self, theta: Tensor, generator: torch.Generator, seed: int) -> Tensor:
        """Return samples, see ``views.Forecast``."""
        poses = self.problem.poses(theta).double()
        found = [self._draws(pose, pose[None], True, generator, seed).samples for pose in poses]
        return torch.stack(found, 1)[..., self._index].float()

    def log_density(self, there: Tensor, moved: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return weights, see ``views.Forecast``; a gantry is believed as far as ``READING_SD`` says."""
        first = [int(torch.nonzero(labels == k)[0]) for k in labels.unique()]
        starts, poses = (self.problem.poses(part).double() for part in (moved[first], moved))
        rows = []
        for pose in self.problem.poses(there).double():
            draws = self._draws(pose, torch.cat([pose[None], starts]), False, generator, 0)
            reading = torch.tensor(READING_SD).double()[self._index].square()
            normal = MultivariateNormal(torch.zeros(len(reading)).double(), draws.covariance + reading.diag())
            away = pose_difference(poses[:, None], draws.fit.x[:, :6])[..., self._index]
            rows.append((draws.masses.log() + normal.log_prob(away)).logsumexp(1))
        return torch.stack(rows).clamp_min(_FLOOR)

    def _draws(
        self, pose: Tensor, starts: Tensor, searched: bool, generator: torch.Generator, seed: int
    ) -> Draws:
        return self.solver.rehearsed(self.detectors, pose, starts, searched, _SAMPLES, generator, seed)
