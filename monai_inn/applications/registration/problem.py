"""Pose of a patient in front of a C-arm, from one X-ray and the patient's own CT."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.applications.registration.application import XrayApplication
from monai_inn.applications.registration.carm import POSE, RANGES, Detector, camera_to_world, pose_of
from monai_inn.applications.registration.ct import bone_centre, landmarks
from monai_inn.applications.registration.image_noise import ImageNoise
from monai_inn.applications.registration.patient import (
    add_options,
    settings_of_ct,
    settings_of_options,
)
from monai_inn.applications.registration.poses.grid import PoseGrid
from monai_inn.applications.registration.projection import AttenuationVolume, Projector, spine_phantom
from monai_inn.problems import InverseProblem, Observation, Parameter
from monai_inn.problems.exact.references import ReferencePosterior
from monai_inn.problems.exact.tempering import TemperedSamples, tempered_posterior

__all__ = ["PoseRegistration"]

_SCALING_POSES = 1024
_ANGLES = ("lao", "cra", "roll")
_MOST_OF_GRID = 3
_MOST = dict.fromkeys(POSE, 500.0) | {"lao": 360.0, "cra": 89.0, "roll": 360.0}  # degrees and mm


class PoseRegistration(InverseProblem):
    """Pose of a patient in front of a C-arm, from one X-ray and the patient's own CT.

    The parameters are some of ``lao``, ``cra``, ``roll`` in degrees and ``right``, ``down``, ``away`` in mm,
    see ``carm.POSE``; an angle that may take a full turn is periodic. An observation is an image of
    line integrals of attenuation, relative to the brightest that the prior makes, its rows one after another.
    There is no scatter in it.

    Args:
        volume: attenuation in 1/mm, shape ``(I, J, K)``, see ``ct.attenuation_volume``; a schematic
            spine by default.
        affine: from its voxels to RAS in mm, 4 × 4 nested lists.
        free: range of every parameter that is to be found, flat prior; ``lao`` and ``cra`` by default.
        fixed: value of the others; 0 where not given.
        target: point that the angles turn about, RAS in mm; the centre of the bone by default.
        landmarks: points on which poses are compared, RAS in mm; bone voxels far apart by default.
        detector: image size, distances, beam and view, or arguments of ``Detector``.
        noise: what the image is disturbed by, or arguments of ``ImageNoise``.
        brightest: line integral that counts as 1; the largest of 1,024 poses of the prior by default.

    Raises:
        ValueError: if a parameter is unknown, free and fixed, or its range is empty, in radians or more than
            a turn; or if volume and affine do not belong together.

    Rendering needs nanodrr and raises an ``ImportError`` that says so.

    Source: Trofimova et al., Representing ambiguity in registration problems with conditional invertible
    neural networks, 2020.
    """

    name: ClassVar[str] = "registration"
    storage_dtype = torch.float16

    def __init__(
        self,
        volume: Tensor | None = None,
        affine: Sequence[Sequence[float]] | None = None,
        free: Mapping[str, Sequence[float]] | None = None,
        fixed: Mapping[str, float] | None = None,
        target: Sequence[float] | None = None,
        landmarks: Sequence[Sequence[float]] | None = None,
        detector: Detector | Mapping[str, Any] | None = None,
        noise: ImageNoise | Mapping[str, Any] | None = None,
        brightest: float | None = None,
    ) -> None:
        if (volume is None) != (affine is None):
            raise ValueError("a volume and its affine come together; give both or none.")
        self.volume = spine_phantom() if volume is None or affine is None else _volume(volume, affine)
        self.detector = detector if isinstance(detector, Detector) else Detector(**(detector or _SMALL))
        self.parameters = tuple(_parameter(n, r) for n, r in (_ANGLES_ONLY if free is None else free).items())
        self.targets = self.space.names
        self.fixed = _fixed(fixed or {}, self.targets)
        self._target = None if target is None else torch.tensor(target, dtype=torch.float64)
        self._landmarks = None if landmarks is None else torch.tensor(landmarks, dtype=torch.float64)
        self.observation = Observation.image((self.detector.rows, self.detector.columns), "line integral")
        self._noise = noise if isinstance(noise, ImageNoise) else ImageNoise(**(noise or {}))
        self._brightest = brightest

    @cached_property
    def projector(self) -> Projector:
        """Renderer of the volume."""
        return Projector(self.volume, self.detector)

    @cached_property
    def brightest(self) -> float:
        """Line integral that counts as 1 in an observation."""
        return float(self._brightest) if self._brightest else self._largest()

    @cached_property
    def noise_model(self) -> ImageNoise:
        """The noise, made ready for images of this size."""
        size, spacing = (self.detector.rows, self.detector.columns), self.detector.spacing_at_isocentre_mm
        return self._noise.fitted(size, spacing, self.brightest)

    @cached_property
    def target(self) -> Tensor:
        """Point that the angles turn about, RAS in mm, shape ``(3,)``."""
        return bone_centre(self.volume) if self._target is None else self._target

    @cached_property
    def landmarks(self) -> Tensor:
        """Points on which poses are compared, RAS in mm, shape ``(K, 3)``."""
        return landmarks(self.volume) if self._landmarks is None else self._landmarks

    def poses(self, theta: Tensor) -> Tensor:
        """Return all six pose parameters ``(…, 6)`` of the free ones ``(…, D)``, see ``POSE``."""
        columns = dict(zip(self.targets, theta.unbind(-1), strict=True))
        rest = theta.new_zeros(theta.shape[:-1])
        return torch.stack([columns.get(n, rest + self.fixed.get(n, 0.0)) for n in POSE], -1)

    def cameras(self, theta: Tensor) -> Tensor:
        """Return the rigid matrices from camera to world, ``(…, 4, 4)``, of parameters ``(…, D)``."""
        return camera_to_world(self.poses(theta), self.detector, self.target)

    def parameters_of(self, camera: Tensor) -> Tensor:
        """Return the free parameters ``(…, D)`` of matrices ``(…, 4, 4)``, periodic angles in their range.

        What is not free is left out, whatever its value.
        """
        pose = pose_of(camera, self.detector, self.target)
        theta = torch.stack([pose[..., list(POSE).index(name)] for name in self.targets], -1)
        low, turn = self.space.low.to(theta), self.space.period.to(theta)
        return torch.where(torch.isfinite(turn), low + torch.remainder(theta - low, turn), theta)

    def render(self, theta: Tensor) -> Tensor:
        """Return the images ``(…, rows, columns)`` of parameters ``(…, D)``, brightest about 1; float32."""
        return self.projector(self.cameras(theta)) / self.brightest

    def forward(self, theta: Tensor) -> Tensor:
        """Return the images of parameters ``(…, D)`` as rows of pixels, ``(…, C)``."""
        return self.render(theta).flatten(-2).to(theta)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy copies of images ``(…, C)``."""
        return self.noise_model.add(y, generator)

    def features(self, y: Tensor) -> Tensor:
        """Return images ``(…, C)`` in which the noise is white and of unit variance."""
        return self.noise_model.whitened(y)

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether images ``(…, C)`` are finite and show anything at all, shape ``(…)``."""
        return torch.isfinite(y).all(-1) & (y.amax(-1) > y.amin(-1))

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Log density in nats of one image ``(C,)`` given parameters ``(n, D)``, shape ``(n,)``.

        Differentiable in the parameters. Up to a constant of the noise alone.
        """
        return self.noise_model.log_likelihood(self.forward(theta), y)

    def grid(self, steps: Sequence[float] | None = None) -> PoseGrid:
        """Return images on a grid over the prior, from which posteriors of many X-rays come in milliseconds.

        Args:
            steps: distance of neighbouring poses in each parameter, degrees or mm; about 2 by default.

        Raises:
            ValueError: if there are more than three free parameters.
        """
        if len(self.parameters) > _MOST_OF_GRID:
            raise ValueError(
                f"a grid of {len(self.parameters)} parameters is too large to render; it works up to "
                f"{_MOST_OF_GRID}."
            )
        return PoseGrid(self, steps)

    def reference_posterior(self, y: Tensor) -> ReferencePosterior:
        """Return the posterior of images ``(…, C)`` by brute force.

        Up to three free parameters by a grid that is refined where the mass is; beyond by sequential Monte
        Carlo along a tempered likelihood, whose density is not known.
        """
        if len(self.parameters) <= _MOST_OF_GRID:
            grid = self._grid
            return ReferencePosterior(
                y, len(self.parameters), grid.sample, self._log_joint, lambda row: grid.refined(row).evidence
            )
        return ReferencePosterior(y, len(self.parameters), lambda row, n: self.tempered(row, n).samples)

    def tempered(self, y: Tensor, n: int, seed: int | None = None) -> TemperedSamples:
        """Return samples of the posterior of one image ``(C,)`` by sequential Monte Carlo, and its evidence.

        Works for any number of free parameters, at the cost of some hundred thousand simulated X-rays.

        Args:
            y: one image, shape ``(C,)``.
            n: number of samples.
            seed: seed of all random numbers; drawn from torch's global generator if not given.

        Returns:
            Samples as parameters, shape ``(n, D)``, float64.
        """
        found = tempered_posterior(self, y, n, seed)
        return found._replace(samples=self.space.inverse(found.samples))

    @cached_property
    def _grid(self) -> PoseGrid:
        return self.grid()

    def _log_joint(self, theta: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.prior.log_prob(theta) + self.log_likelihood(theta, y)

    def _largest(self) -> float:
        theta = self.space.sample_prior(_SCALING_POSES, torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = float(self.projector(self.cameras(theta)).max())
        if not found > 0:
            raise ValueError(
                "no ray of any pose of the prior meets the volume; check its affine and the target's place."
            )
        return found

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add the options of one patient's CT and of the C-arm."""
        add_options(parser)

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> PoseRegistration:
        """Return the registration of the patient whose CT the options name."""
        return cls(**settings_of_options(options))

    @classmethod
    def of_ct(cls, ct: str | PathLike[str], **options: Any) -> PoseRegistration:
        """Return the registration of X-rays to a patient's CT.

        Args:
            ct: CT in Hounsfield units, any axes and spacing; NIfTI, NRRD or MetaImage.
            options: which structures, which C-arm and what to find, see ``patient.settings_of_ct``.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file or an option is not usable.
        """
        return cls(**settings_of_ct(ct, **options))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The volume, which a bundle stores beside the weights."""
        return {"volume": self.volume.values}

    @property
    def application(self) -> XrayApplication:
        """X-rays of one patient."""
        return XrayApplication(self)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments but the volume."""
        return {
            "affine": self.volume.affine.tolist(),
            "free": {p.name: [p.low, p.high] for p in self.parameters},
            "fixed": dict(self.fixed),
            "target": self.target.tolist(),
            "landmarks": self.landmarks.tolist(),
            "detector": self.detector.to_config(),
            "noise": self._noise.to_config(),
            "brightest": self.brightest,
        }


_SMALL = {"rows": 32, "columns": 32, "spacing_mm": 6.4}
_ANGLES_ONLY = {name: RANGES[name] for name in ("lao", "cra")}


def _volume(values: Tensor, affine: Sequence[Sequence[float]]) -> AttenuationVolume:
    matrix = torch.as_tensor(affine, dtype=torch.float64)
    if values.ndim != 3 or matrix.shape != (4, 4):
        raise ValueError(
            f"volume has shape {tuple(values.shape)}, affine {tuple(matrix.shape)}; expected (I, J, K) and "
            "(4, 4)."
        )
    return AttenuationVolume(values.float(), matrix)


def _parameter(name: str, bounds: Sequence[float]) -> Parameter:
    """A free parameter, periodic if it may take a full turn."""
    _check_name(name)
    if len(bounds) != 2 or not all(math.isfinite(edge) for edge in bounds):
        raise ValueError(f"{name}: its range is {tuple(bounds)}; give two finite numbers.")
    low, high = bounds
    unit, description = POSE[name]
    if name in _ANGLES:
        _check_degrees(name, low, high)
    turn = name in ("lao", "roll") and high - low == 360.0
    return Parameter(name, unit, float(low), float(high), description, is_periodic=turn)


def _check_name(name: str) -> None:
    if name not in POSE:
        raise ValueError(f"unknown pose parameter {name!r}; choose from {', '.join(POSE)}.")


def _check_degrees(name: str, low: float, high: float) -> None:
    limit = _MOST[name]
    if high - low > 360.0 or max(abs(low), abs(high)) > limit:
        raise ValueError(
            f"{name}: the range {low:g} to {high:g} is more than a C-arm turns; give degrees within "
            f"±{limit:g}, a full turn at most."
        )
    eighths = [abs(edge) / (math.pi / 4) for edge in (low, high) if edge]
    if eighths and all(abs(share - round(share)) < 2e-3 and 1 <= round(share) <= 8 for share in eighths):
        raise ValueError(
            f"{name}: the range {low:g} to {high:g} looks like radians; give degrees, "
            f"{math.degrees(low):g} to {math.degrees(high):g}."
        )


def _fixed(fixed: Mapping[str, float], free: Sequence[str]) -> dict[str, float]:
    for name, value in fixed.items():
        _check_name(name)
        if name in free:
            raise ValueError(f"{name} is free and fixed at {value:g}; leave it out of one of them.")
        if not abs(value) <= _MOST[name]:
            raise ValueError(f"{name} is fixed at {value:g}; give {POSE[name][0]} within ±{_MOST[name]:g}.")
    return {name: float(value) for name, value in fixed.items()}
