"""One posterior from two X-rays of an unmoved patient, between which the C-arm turned.

Each X-ray has its own posterior, a mixture of normals about its best fits. What the gantry showed carries
those of the second X-ray over to the first, as far as its readings are right. The product of two mixtures is
a mixture; its masses tell which poses of the one go with which of the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import POSE, Detector, camera_to_world, pose_difference, pose_of
from monai_inn.applications.registration.pose_draws import Draws, Mixture
from monai_inn.applications.registration.pose_fit import Unknowns

__all__ = ["Joint", "joined"]

_READING_SD = (1.0, 1.0, 0.5, 2.0, 2.0, 2.0)  # degrees and mm, by which a turned gantry is not where it says
_LEAST_MASS = 0.02
_STEP = 1e-3  # degrees and mm


class Joint(NamedTuple):
    """A posterior from two X-rays.

    Attributes:
        draws: poses of the first.
        distance: squared Mahalanobis distance of the two X-rays' poses that agree best; of chi-square with
            six degrees of freedom, if the patient lay still.
        partner: the second X-ray's mode that belongs to each mode, shape ``(K,)``.
    """

    draws: Draws
    distance: float
    partner: Tensor


def joined(
    first: Draws,
    second: Draws,
    motion: Tensor,
    detectors: tuple[Detector, Detector],
    target: Tensor,
    unknowns: Unknowns,
    samples: int,
    seed: int,
) -> Joint:
    """Return the posterior of the first X-ray's pose, given both.

    Args:
        first: posterior from the first X-ray.
        second: posterior from the second.
        motion: from the second camera to the first, shape ``(4, 4)``, see ``carm.gantry_motion``.
        detectors: of the two X-rays.
        target: point that angles turn about.
        unknowns: priors of the pose of the first.
        samples: number of draws.
        seed: their seed.
    """
    free = unknowns.free[:6]
    reading = torch.diag(torch.tensor(_READING_SD, dtype=torch.float64).square())
    back = torch.linalg.inv(motion)

    def carried(pose: Tensor) -> Tensor:
        return pose_of(camera_to_world(pose, detectors[1], target) @ back, detectors[0], target)

    steps = _STEP * torch.eye(len(POSE), dtype=torch.float64)
    means, covariances, masses, distances, pairs = [], [], [], [], []
    for j, pose in enumerate(second.fit.x[:, :6]):
        there = carried(pose)
        slopes = pose_difference(carried(pose + steps), carried(pose - steps)).T / (2 * _STEP)
        spread = slopes @ _whole(second.covariance[j], free) @ slopes.T + reading
        for k, own in enumerate(first.fit.x[:, :6]):
            narrow = _whole(first.covariance[k], free)
            apart, total = pose_difference(there, own), narrow + spread
            gain = narrow @ torch.linalg.inv(total)
            distance = apart @ torch.linalg.solve(total, apart)
            means.append(own + gain @ apart)
            covariances.append((narrow - gain @ narrow)[free][:, free])
            masses.append(
                first.masses[k].log() + second.masses[j].log() - 0.5 * (distance + torch.logdet(total))
            )
            distances.append(distance)
            pairs.append((k, j))
    mass = torch.stack(masses).softmax(0)
    order = mass.argsort(descending=True)
    order = order[mass[order] >= _LEAST_MASS]
    mass = mass[order] / mass[order].sum()
    own = torch.tensor(pairs)[order]
    fit = first.fit.at(own[:, 0])
    fit = fit._replace(x=torch.cat([torch.stack(means)[order], fit.x[:, 6:]], 1))
    found = Mixture(fit, mass, torch.linalg.cholesky(torch.stack(covariances)[order]))
    poses, log_density, labels = found.draw(unknowns, samples, torch.Generator().manual_seed(seed))
    draws = first._replace(
        samples=poses,
        log_density=log_density,
        labels=labels,
        fit=fit,
        masses=mass,
        covariance=found.covariance,
    )
    return Joint(draws, float(min(distances)), own[:, 1])


def _whole(covariance: Tensor, free: Tensor) -> Tensor:
    """A covariance of what is free as one of all six."""
    whole = covariance.new_zeros(len(POSE), len(POSE))
    index = torch.nonzero(free).flatten()
    whole[index[:, None], index] = covariance
    return whole
