"""One posterior from several X-rays of an unmoved patient, between which the C-arm turned.

Each X-ray has its own posterior, a mixture of normals about its best fits. What the gantry showed carries
those of the others over to the first, as far as its readings are right. The product of mixtures is a mixture;
its masses tell which poses go with which. An X-ray that was taken of another patient, or after the patient
moved, is the one without which all others agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor

from monai_inn.applications.registration.carm import (
    POSE,
    Detector,
    camera_to_world,
    gantry_motion,
    pose_difference,
    pose_of,
)
from monai_inn.applications.registration.poses.draws import Draws
from monai_inn.applications.registration.poses.fit import Unknowns
from monai_inn.applications.registration.poses.mixture import Mixture

__all__ = ["READING_SD", "Joint", "View", "agreeing", "joined", "most_apart"]

READING_SD = (1.0, 1.0, 0.5, 2.0, 2.0, 2.0)
"""Degrees and mm by which a turned gantry is not where it says."""

_LEAST_MASS = 0.02
_NATS = 50.0  # that a combination of modes may be worse than the best and still be multiplied further
_STEP = 1e-3  # degrees and mm
_AGREE = 0.999  # share of X-rays of an unmoved patient that are taken to agree


class View(NamedTuple):
    """One of several X-rays.

    Attributes:
        draws: its posterior.
        detector: what took it.
        shown: ``lao`` and ``cra`` that the gantry showed, degrees.
    """

    draws: Draws
    detector: Detector
    shown: tuple[float, float]


class Joint(NamedTuple):
    """A posterior from several X-rays.

    Attributes:
        draws: poses of the first.
        distance: squared Mahalanobis distance of the poses that agree best, one of each X-ray, from what they
            have in common; if the patient lay still, of chi-square with six degrees of freedom for each X-ray
            but the first.
    """

    draws: Draws
    distance: float


class _Product(NamedTuple):
    """A mixture of normals over poses of the first X-ray, not normalised.

    Attributes:
        mean: shape ``(M, 6)``.
        covariance: shape ``(M, 6, 6)``; fixed parameters have none.
        log_mass: shape ``(M,)``.
        distance: as of ``Joint``, shape ``(M,)``.
        own: number of the first X-ray's mode, shape ``(M,)``.
    """

    mean: Tensor
    covariance: Tensor
    log_mass: Tensor
    distance: Tensor
    own: Tensor

    def times(self, mean: Tensor, covariance: Tensor, masses: Tensor) -> _Product:
        """Return the product with another mixture of ``K`` normals; each of this goes with each of that."""
        apart = pose_difference(mean, self.mean[:, None])
        narrow = self.covariance[:, None]
        total = narrow + covariance
        gain = narrow @ torch.linalg.inv(total)
        distance = (apart * torch.linalg.solve(total, apart)).sum(-1)
        found = _Product(
            self.mean[:, None] + (gain @ apart.unsqueeze(-1)).squeeze(-1),
            narrow - gain @ narrow,
            self.log_mass[:, None] + masses.log() - 0.5 * (distance + torch.logdet(total)),
            self.distance[:, None] + distance,
            self.own[:, None].expand_as(distance),
        )
        found = _Product(*(part.flatten(0, 1) for part in found))
        likely = found.log_mass > found.log_mass.max() - _NATS
        return _Product(*(part[likely] for part in found))


def joined(views: Sequence[View], target: Tensor, unknowns: Unknowns, samples: int, seed: int) -> Joint:
    """Return the posterior of the first X-ray's pose, given all.

    Args:
        views: the X-rays.
        target: point that angles turn about.
        unknowns: priors of the pose of the first.
        samples: number of draws.
        seed: their seed.
    """
    first, free = views[0].draws, unknowns.free[:6]
    product = _product(views, target, free)
    mass = product.log_mass.softmax(0)
    order = mass.argsort(descending=True)
    order = order[mass[order] >= _LEAST_MASS]
    mass = mass[order] / mass[order].sum()
    fit = first.fit.at(product.own[order])
    fit = fit._replace(x=torch.cat([product.mean[order], fit.x[:, 6:]], 1))
    covariance = product.covariance[order][:, free][:, :, free]
    found = Mixture(fit, mass, torch.linalg.cholesky(covariance))
    poses, log_density, labels = found.draw(unknowns, samples, torch.Generator().manual_seed(seed))
    draws = first._replace(
        samples=poses,
        log_density=log_density,
        labels=labels,
        fit=fit,
        masses=mass,
        covariance=found.covariance,
        independent=float(samples),
    )
    return Joint(draws, float(product.distance.min()))


def agreeing(views: Sequence[View], target: Tensor, unknowns: Unknowns) -> tuple[int, ...]:
    """Return the numbers, from 0, of the most X-rays that agree; none where no clear majority does.

    A clear majority is more than half of the X-rays, two or more, and the only set of its size that agrees.

    Args:
        views: the X-rays.
        target: point that angles turn about.
        unknowns: priors of a pose.
    """
    count = len(views)
    for size in range(count, max(1, count // 2), -1):
        sets = [
            chosen
            for chosen in combinations(range(count), size)
            if float(_product([views[k] for k in chosen], target, unknowns.free[:6]).distance.min())
            <= most_apart(size)
        ]
        if sets:
            return sets[0] if len(sets) == 1 else ()
    return ()


def most_apart(count: int) -> float:
    """Return the distance, see ``Joint``, up to which some X-rays are taken to agree."""
    return float(chi2.ppf(_AGREE, len(POSE) * (count - 1)))


def _product(views: Sequence[View], target: Tensor, free: Tensor) -> _Product:
    """The product of all posteriors, as poses of the first X-ray."""
    first, *others = views
    count = len(first.draws.masses)
    product = _Product(
        first.draws.fit.x[:, :6],
        _whole(first.draws.covariance, free),
        first.draws.masses.log(),
        torch.zeros(count, dtype=torch.float64),
        torch.arange(count),
    )
    for view in others:
        product = product.times(*_carried(view, first, target, free), view.draws.masses)
    return product


def _carried(view: View, first: View, target: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Means ``(K, 6)`` and covariances of a posterior as poses of the first X-ray."""
    back = torch.linalg.inv(gantry_motion(first.shown, view.shown, first.detector))

    def there(pose: Tensor) -> Tensor:
        return pose_of(camera_to_world(pose, view.detector, target) @ back, first.detector, target)

    poses, steps = view.draws.fit.x[:, :6], _STEP * torch.eye(len(POSE), dtype=torch.float64)
    ahead, behind = there(poses[:, None] + steps), there(poses[:, None] - steps)
    slopes = pose_difference(ahead, behind).transpose(1, 2) / (2 * _STEP)
    reading = torch.tensor(READING_SD, dtype=torch.float64).square()
    spread = slopes @ _whole(view.draws.covariance, free) @ slopes.transpose(1, 2)
    return there(poses), spread + torch.diag(reading)


def _whole(covariance: Tensor, free: Tensor) -> Tensor:
    """Covariances ``(K, F, F)`` of what is free as those of all six."""
    whole = covariance.new_zeros(len(covariance), len(POSE), len(POSE))
    index = torch.nonzero(free).flatten()
    whole[:, index[:, None], index] = covariance
    return whole
