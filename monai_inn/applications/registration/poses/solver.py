"""The posterior of a pose straight from a CT and an X-ray: no training, six unknowns.

Simulated radiographs at low resolution say where to look (``search``). Least squares climb from there,
at finer and finer resolution (``fit``), with the X-ray unit's numbers (``radiograph``), the spectrum of
what stays unexplained (``whitening``) and without what covers the patient (``occlusion``). Around the best
fits ``draws`` makes the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector, mirrored
from monai_inn.applications.registration.ct import materials
from monai_inn.applications.registration.occlusion import by_residual, collimated
from monai_inn.applications.registration.poses.draws import Draws, draw_posterior
from monai_inn.applications.registration.poses.fit import Fit, Level, Unknowns, climb
from monai_inn.applications.registration.poses.search import Bank, candidates, distinct, make_bank
from monai_inn.applications.registration.poses.shot import Shot, enlarged, lead_of, opened, shrunk
from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.applications.registration.radiograph import Radiograph
from monai_inn.applications.registration.raycasting import RayCaster
from monai_inn.applications.registration.whitening import (
    Whitening,
    estimated_density,
    photon_variance,
)

__all__ = ["SIZES", "Solution", "Solver"]

SIZES = (32, 64, 128)
"""Pixels along the longer side of an X-ray, coarse to fine."""

_STARTS, _KEPT = 40, (20, 8, 3)  # candidates, and how many of them go on to each size
# Of 100 realistic X-rays none had a lead below .27. A lead as small as this calls for a wider search, unless
# next to nothing is explained: where a first search had missed the pose, .29 to .56 was.
_DOUBTFUL, _HOPELESS, _MORE_STARTS = 0.25, 0.2, 160
_FIRST_STEPS, _STEPS, _REFINING_STEPS = 4, 10, 4
_REHEARSED = 8  # candidates of an X-ray whose pose is known
_CENTRES, _AWAY = 4, (6.0, 6.0, 4.0, 5.0, 5.0, 15.0)  # fits to look around, degrees and mm
_MARGIN = 100.0  # nats that a pose may be worse than the best to go on to the finest size
_ROUNDS = 2  # of finding what covers the patient
_SAME = 1.5, 3.0  # degrees and mm
_LEAST_WITHIN = 0.3  # of the pixels, that rays which stay in the CT must see
_BEYOND_MM = 150.0
_LEAST_COUNTED = 0.05


class Solution(NamedTuple):
    """The posterior of a pose, and what it rests on.

    Attributes:
        draws: samples, modes, masses, widths.
        explained: share of the X-ray's structure that the best pose explains at the middle size.
        lead: share of what the best pose away from all modes leaves unexplained that the best explains.
        models: images in the modes, shape ``(K, rows, columns)``.
        level: the X-ray at the finest size, and what it was compared with.
    """

    draws: Draws
    explained: float
    lead: float
    models: Tensor
    level: Level

    @property
    def image(self) -> Tensor:
        """The X-ray, minus log intensity, shape ``(rows, columns)``."""
        return self.level.image

    @property
    def window(self) -> Tensor:
        """Which of its pixels counted, shape ``(rows, columns)``."""
        return self.level.whitening.window

    @property
    def detector(self) -> Detector:
        """That of the images."""
        return self.level.radiograph.detector


class _Located(NamedTuple):
    """Fits at the middle size, best first, and whether the patient goes on beyond the CT."""

    goes_on: bool
    level: Level
    fit: Fit


class Solver:
    """Finds the poses from which X-rays of a CT were taken.

    Args:
        ct: voxels in HU, see ``ct.read_ct``.
        target: point that angles turn about, RAS in mm.
        unknowns: priors.
        keep: voxels of the CT to keep; all by default.

    Attributes:
        casters: line integrals that were asked for, by detector.
        banks: simulated radiographs that were, by detector and by whether the patient goes on.
    """

    def __init__(
        self, ct: AttenuationVolume, target: Tensor, unknowns: Unknowns, keep: Tensor | None = None
    ) -> None:
        self.ct, self.target, self.unknowns, self.keep = ct, target.double(), unknowns, keep
        self.casters: dict[Detector, RayCaster] = {}
        self.banks: dict[tuple[Detector, bool], Bank] = {}

    def knowing(self, unknowns: Unknowns) -> Solver:
        """Return a solver with other priors in the same ranges; what was computed is shared."""
        other = copy(self)
        other.unknowns = unknowns
        return other

    def caster(self, detector: Detector, goes_on: bool = False) -> RayCaster:
        """Return the line integrals that a detector sees.

        Args:
            detector: image size and distances.
            goes_on: whether the patient goes on where the scan ended in tissue, or is cut off there.
        """
        if detector not in self.casters:
            parts = materials(self.ct, detector.spacing_at_isocentre_mm, self.keep)
            self.casters[detector] = RayCaster(parts, detector, self.target)
        caster = self.casters[detector]
        return caster.going_on(_BEYOND_MM) if goes_on else caster

    @torch.no_grad()
    def bank(self, detector: Detector, goes_on: bool = False) -> Bank:
        """Return the simulated radiographs that an X-ray of the smallest size is compared with."""
        if (detector, goes_on) not in self.banks:
            self.banks[detector, goes_on] = make_bank(self.caster(detector, goes_on), self.unknowns)
        return self.banks[detector, goes_on]

    def endings(self, detector: Detector) -> tuple[bool, ...]:
        """Return whether the patient may go on beyond the CT: not if that ends in air, else either way."""
        return (False, True) if self.caster(detector).is_cut else (False,)

    def prepare(self, detectors: Sequence[Detector], progress: Callable[[float], None]) -> None:
        """Compute what X-rays of each size need, coarse to fine."""
        for number, detector in enumerate(detectors, start=1):
            self.caster(detector)
            progress(0.5 * number / len(detectors))
        for goes_on in self.endings(detectors[0]):
            self.bank(detectors[0], goes_on)
        progress(1.0)

    @torch.no_grad()
    def solve(
        self,
        images: Sequence[tuple[Detector, Tensor]],
        samples: int = 1000,
        seed: int = 0,
        progress: Callable[[float], None] = lambda share: None,
        left_out: Tensor | None = None,
    ) -> Solution:
        """Return the posterior of one X-ray.

        Args:
            images: the X-ray as minus log intensity at each of ``SIZES``, with its detector.
            samples: posterior samples.
            seed: of the draws.
            progress: called with the share done.
            left_out: share of each pixel of the finest size that is not to be compared.

        Raises:
            ValueError: if hardly anything is left.
        """
        finest = images[-1][1]
        field = collimated(finest)
        counted = field if left_out is None else field * (1 - left_out)
        if float(counted.mean()) < _LEAST_COUNTED:
            raise ValueError(
                f"collimator blades and mask leave {float(counted.mean()):.0%} of the X-ray; at least "
                f"{_LEAST_COUNTED:.0%} are needed."
            )
        shot = Shot(images, field, counted, photon_variance(finest, counted))
        place = self._located(shot, seed, _STARTS)
        progress(0.4)
        # Its mirror image may explain as much and is no sign of a pose that was missed.
        best = place.fit.x[:1, :6]
        known = torch.cat([best, mirrored(best, place.level.radiograph.detector)])
        explained, lead = lead_of(place.level, place.fit, known)
        if lead < _DOUBTFUL and explained > _HOPELESS:
            place = self._located(shot, seed, _MORE_STARTS)
        progress(0.7)
        detector, image = images[-1]
        fit = self._distinct(place.fit, detector, _KEPT[2], _MARGIN)
        window = self._within(enlarged(place.level.whitening.window, image), detector, fit)
        level, draws = self._drawn(self._level(shot, 2, window, place.goes_on), counted, fit, samples, seed)
        poses = draws.fit.x[:, :6]
        models = level.radiograph(poses, draws.fit.x[:, 6:])
        told = lead_of(place.level, place.fit, poses)
        return Solution(draws, *told, models, level)

    @torch.no_grad()
    def rehearsed(
        self,
        detectors: Sequence[Detector],
        pose: Tensor,
        starts: Tensor,
        searched: bool,
        samples: int,
        generator: torch.Generator,
        seed: int,
    ) -> Draws:
        """Return the posterior of a simulated X-ray, with the errors that any simulation is assumed to have.

        Args:
            detectors: of each size, coarse to fine.
            pose: where it is taken, shape ``(6,)``.
            starts: poses to climb from, shape ``(B, 6)``.
            searched: whether to climb from what a search finds as well.
            samples: number of draws.
            generator: of the errors.
            seed: of the draws.
        """
        goes_on = self.endings(detectors[0])[-1]
        clean = Radiograph(self.caster(detectors[-1], goes_on))(pose[None], self.unknowns.mean[None, 6:])[0]
        everywhere = torch.ones_like(clean)
        flat = torch.zeros_like(clean)
        shot = Shot([(d, clean) for d in detectors], everywhere, everywhere, flat)
        last = len(detectors) - 1
        image = clean + self._level(shot, last, everywhere, goes_on).whitening.drawn(generator)
        images = [(d, -shrunk(torch.exp(-image), torch.empty(d.rows, d.columns)).log()) for d in detectors]
        shot = Shot(images, everywhere, everywhere, photon_variance(image, everywhere))
        x = torch.cat([starts, self.unknowns.mean[6:].expand(len(starts), -1)], 1)
        if searched:
            window = opened(everywhere, images[0][1])
            x = torch.cat([x, self._started(shot, window, goes_on, _REHEARSED)[1].x])
        level = self._level(shot, last, everywhere, goes_on)
        fit = self._distinct(climb(level, self.unknowns, x, _FIRST_STEPS), detectors[-1], _KEPT[2], math.inf)
        return self._drawn(level, everywhere, fit, samples, seed)[1]

    def _drawn(self, level: Level, counted: Tensor, fit: Fit, samples: int, seed: int) -> tuple[Level, Draws]:
        """The posterior around fits at the finest size, and the X-ray with what stays unexplained there."""
        level, fit = self._refined(level, counted, fit)
        fit = self._distinct(self._with_mirror(level, fit), level.radiograph.detector, _KEPT[2], _MARGIN)
        return level, draw_posterior(level, self.unknowns, fit, samples, seed)

    def _located(self, shot: Shot, seed: int, starts: int) -> _Located:
        """Fits at the two smaller sizes, from so many candidates."""
        (coarse, _), (detector, image) = shot.images[:2]
        window = opened(shot.counted, shot.images[0][1])
        # The image says by itself whether the patient goes on where the CT ends.
        found = [(goes_on, *self._started(shot, window, goes_on, starts)) for goes_on in self.endings(coarse)]
        goes_on, level, fit = min(found, key=lambda one: float(one[2].loss.min()))
        climbing, kept = (count * starts // _STARTS for count in _KEPT[:2])
        fit = self._distinct(self._searched(level, fit, seed, climbing), detector, kept, math.inf)
        window = self._within(enlarged(window, image), detector, fit)
        level, fit = self._refined(self._level(shot, 1, window, goes_on), shot.counted, fit)
        return _Located(goes_on, level, fit.at(fit.loss.argsort()))

    def _with_mirror(self, level: Level, fit: Fit) -> Fit:
        """Fits, and that to which the best one leads if the patient is taken for his mirror image."""
        best = fit.x[fit.loss.argmin()][None]
        other = torch.cat([mirrored(best[:, :6], level.radiograph.detector), best[:, 6:]], 1)
        more = climb(level, self.unknowns, self.unknowns.inside(other), _STEPS)
        return Fit(*(torch.cat(pair) for pair in zip(fit, more, strict=True)))

    def _level(self, shot: Shot, number: int, window: Tensor, goes_on: bool) -> Level:
        """The X-ray at a size."""
        return shot.level(number, window, self.caster(shot.images[number][0], goes_on))

    def _started(self, shot: Shot, window: Tensor, goes_on: bool, starts: int) -> tuple[Level, Fit]:
        """First steps from the candidates at the coarsest size."""
        detector, image = shot.images[0]
        start = candidates(self.bank(detector, goes_on), self.unknowns, image, window, starts)
        start = torch.cat([start, self.unknowns.mean[6:].expand(len(start), -1)], 1)
        level = self._level(shot, 0, window, goes_on)
        return level, climb(level, self.unknowns, start, _FIRST_STEPS)

    def _searched(self, level: Level, fit: Fit, seed: int, kept: int) -> Fit:
        """Best fits at the coarsest size: from the candidates, then from around the best of those."""
        first = self._climbed(level, fit, kept)
        detector = level.radiograph.detector
        around = self._around(self._distinct(first, detector, _CENTRES, math.inf).x, seed)
        second = self._climbed(level, climb(level, self.unknowns, around, _FIRST_STEPS), kept)
        return Fit(*(torch.cat(pair) for pair in zip(first, second, strict=True)))

    def _within(self, window: Tensor, detector: Detector, fit: Fit) -> Tensor:
        """A window without what the CT does not show from the best pose, unless hardly anything were left."""
        best = fit.x[fit.loss.argmin(), :6]
        within = window * self.caster(detector).within(best)
        return within if float(within.mean()) > _LEAST_WITHIN * float(window.mean()) else window

    def _climbed(self, level: Level, fit: Fit, kept: int) -> Fit:
        """The better ones of some fits, on to the end."""
        better = self._distinct(fit, level.radiograph.detector, kept, math.inf)
        return climb(level, self.unknowns, better.x, _STEPS)

    def _around(self, centres: Tensor, seed: int) -> Tensor:
        """Rows near some others: least squares end in small valleys beside the right one."""
        generator = torch.Generator().manual_seed(seed)
        x = centres.repeat_interleave(_STARTS // len(centres), 0)
        moved = torch.randn(len(x), 6, generator=generator, dtype=torch.float64) * torch.tensor(_AWAY)
        x[:, :6] += moved * self.unknowns.free[:6]
        return self.unknowns.inside(x)

    def _refined(self, level: Level, counted: Tensor, fit: Fit) -> tuple[Level, Fit]:
        """Fits at one size, without what covers the patient and with the noise that is there."""
        pixel_mm = level.radiograph.detector.spacing_at_isocentre_mm
        fit = climb(level, self.unknowns, fit.x, _STEPS)
        for _ in range(_ROUNDS):
            best = fit.at(fit.loss.argmin()[None])
            residual = level.image - level.radiograph(best.x[:, :6], best.x[:, 6:])[0]
            noise = level.whitening.noise
            seen = self._within(opened(counted, residual), level.radiograph.detector, best)
            whole = Whitening(seen, level.whitening.density, noise)
            window = by_residual(whole.pixels(whole(residual)), whole.window)
            density = estimated_density(residual, level.whitening, pixel_mm)
            level = level._replace(whitening=Whitening(window, density, noise))
            fit = climb(level, self.unknowns, fit.x, _REFINING_STEPS)
        return level, fit

    def _distinct(self, fit: Fit, detector: Detector, count: int, margin: float) -> Fit:
        """The best fits, each pose once."""
        near = torch.nonzero(fit.loss - fit.loss.min() <= margin).flatten()
        return fit.at(near[distinct(fit.x[near, :6], -fit.loss[near], detector, _SAME, count)])
