"""Deformable registration: which smooth displacements explain an image, and where the image cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from monai_inn.applications.deformable import displacements, moving_images
from monai_inn.problems import Observation, Parameter
from monai_inn.problems.exact.tempering import tempered_posterior
from monai_inn.problems.known import KnownPosterior, WhiteNoise, check_positive

__all__ = ["DeformableRegistration"]

# Prior sd over the distance of control points up to which no deformation folds: none of 100,000 draws with
# 2 to 6 control points an axis, smallest determinant 0.1 (see Testing/problems/test_deformable.py).
_MOST_SD = 0.4
_ROWS = 1024
_EVIDENCE_PARTICLES = 4000
_DENSITY_CELLS = 4


class DeformableRegistration(WhiteNoise, KnownPosterior):
    """Smooth displacement field that carries a known moving image or volume to an observed one.

    The displacement is the exponential of a stationary B-spline velocity field. Its parameters are the
    velocities of a coarse grid of control points, one per point and axis, in mm (per unit time), with
    independent Gaussian priors. The observation is the warped image, or its line integral along one array
    axis (2D/3D registration of a volume with a parallel projection), with white Gaussian noise.

    The answer is ambiguous wherever the image is: in a uniform region nothing is known, along a straight
    edge the shift across it is known and the shift along it is not (the aperture problem). There the
    posterior is as wide as the prior, up to second order: tissue that moves along an edge takes part in the
    velocity across it elsewhere, which tells a little where that velocity differs from place to place.

    Args:
        moving: known image ``(H, W)`` or volume ``(D, H, W)``, also as nested lists, in any unit of
            brightness; a vertebra beside a straight rod if not given.
        spacing_mm: distance of its voxels along each axis; 2 mm for the default image, else needed.
        control_points: number of control points along each axis, at least 2; one number for all axes or one
            for each. The outermost lie on the outermost voxels.
        prior_sd_mm: prior standard deviation of each velocity; at most 0.4 of the smallest distance between
            control points, beyond which deformations may fold.
        noise_share: standard deviation of the noise over the brightest pixel of the observation that there
            would be without a deformation.
        projection_axis: array axis along which the warped image is integrated, in brightness times mm;
            ``None`` to observe the warped image itself.

    Raises:
        ValueError: if the image, the spacing, the control points or the projection axis do not belong
            together, or if the prior is so wide that deformations may fold.

    Source: Arsigny et al., A log-Euclidean framework for statistics on diffeomorphisms, 2006.
    """

    name: ClassVar[str] = "deformable_registration"

    def __init__(
        self,
        moving: Tensor | Sequence[Any] | None = None,
        spacing_mm: Sequence[float] | None = None,
        control_points: int | Sequence[int] = 3,
        prior_sd_mm: float = 3.0,
        noise_share: float = 0.05,
        projection_axis: int | None = None,
    ) -> None:
        if moving is None:
            moving, spacing_mm = (
                moving_images.vertebra_and_rod(),
                spacing_mm or (moving_images.PHANTOM_SPACING_MM,) * 2,
            )
        self.moving = moving_images.check_image(moving)
        dims = self.moving.ndim
        self.spacing_mm = moving_images.check_spacing(spacing_mm, dims)
        self.control_points = moving_images.check_control_points(control_points, dims)
        self.projection_axis = moving_images.check_projection_axis(projection_axis, dims)
        self.prior_sd_mm = check_positive("prior_sd_mm", prior_sd_mm)
        self.noise_share = check_positive("noise_share", noise_share)
        self._check_folding()
        self.parameters = tuple(self._parameters())
        self.targets = self.space.names
        still = self._projected(self.moving)
        self.observation_shape = tuple(still.shape)
        self.observation = Observation.pixel(*(f"pixel_{_index(i)}" for i in _indices(still.shape)))
        self.noise_sd = self.noise_share * float(still.max())

    def _check_folding(self) -> None:
        sizes = zip(self.moving.shape, self.spacing_mm, self.control_points, strict=True)
        most = _MOST_SD * min((size - 1) * step / (points - 1) for size, step, points in sizes)
        # The limit itself, as the message prints it, is allowed.
        if self.prior_sd_mm > most * (1 + 1e-5):
            raise ValueError(
                f"prior_sd_mm = {self.prior_sd_mm:g} would let tissue fold; give at most {most:g} mm, "
                f"{_MOST_SD} of the smallest distance of control points, or take fewer of them."
            )

    def _parameters(self) -> list[Parameter]:
        return [
            Parameter(
                f"velocity_{axis}_{_index(point)}",
                "mm",
                -math.inf,
                math.inf,
                f"shift along axis {axis} at control point {point}",
                sd=self.prior_sd_mm,
            )
            for axis in range(self.moving.ndim)
            for point in _indices(self.control_points)
        ]

    def displacement(self, theta: Tensor) -> Tensor:
        """Return the displacement fields of parameters ``(…, D)``, shape ``(…, dims, *spatial)``, in mm.

        A point ``x`` of the observed (fixed) image shows what the moving image shows at ``x + u(x)``.
        """
        if theta.ndim == 0 or theta.shape[-1] != len(self.parameters):
            raise ValueError(f"theta has shape {tuple(theta.shape)}, expected (…, {len(self.parameters)}).")
        coefficients = theta.unflatten(-1, (self.moving.ndim, *self.control_points))
        return displacements.displacement_of_velocity(
            displacements.spline_velocity(coefficients, self.moving.shape), self.spacing_mm
        )

    def jacobian_determinant(self, theta: Tensor) -> Tensor:
        """Return the local change of volume of parameters ``(…, D)``, a pure number, ``(…, *spatial)``."""
        return displacements.jacobian_determinant(self.displacement(theta), self.spacing_mm)

    def displacement_maps(self, samples: Tensor) -> dict[str, Tensor]:
        """Return maps of where tissue went and how well that is known.

        Args:
            samples: posterior samples ``(S, …, D)``, at least 2.

        Returns:
            ``mean`` and ``sd`` of the displacement along each axis in mm, ``(…, dims, *spatial)``;
            ``sd_total``, the root of the sum of the variances of all axes in mm, and
            ``jacobian_determinant_minimum``, the smallest of all samples, a pure number, ``(…, *spatial)``.

        Raises:
            ValueError: if there are fewer than two samples.
        """
        if samples.ndim < 2 or len(samples) < 2:
            raise ValueError(f"samples have shape {tuple(samples.shape)}, expected (S, …, D) with S ≥ 2.")
        fields = self.displacement(samples)
        variance, mean = torch.var_mean(fields, 0)
        axes = self.moving.ndim + 1
        return {
            "mean": mean,
            "sd": variance.sqrt(),
            "sd_total": variance.sum(-axes).sqrt(),
            "jacobian_determinant_minimum": displacements.jacobian_determinant(fields, self.spacing_mm).amin(
                0
            ),
        }

    def forward(self, theta: Tensor) -> Tensor:
        """Return the warped image or its projection, flattened, ``(…, C)``, of parameters ``(…, D)``."""
        parts = theta.reshape(-1, theta.shape[-1]).split(_ROWS)
        warped = [
            self._projected(displacements.warp(self.moving, self.displacement(p), self.spacing_mm))
            for p in parts
        ]
        return torch.cat(warped).reshape(*theta.shape[:-1], -1)

    def _projected(self, image: Tensor) -> Tensor:
        """Line integral of images ``(…, *spatial)`` along the projection axis, or the images themselves."""
        if self.projection_axis is None:
            return image
        return image.sum(self.projection_axis - self.moving.ndim) * self.spacing_mm[self.projection_axis]

    def density_features(self, y: Tensor) -> Tensor:
        """Return the means of the observation ``(…, C)`` over at most 4 cells along each axis, ``(…, K)``."""
        cells = [min(_DENSITY_CELLS, size) for size in self.observation_shape]
        image = y.reshape(-1, 1, *self.observation_shape)
        return functional.interpolate(image, cells, mode="area").reshape(*y.shape[:-1], -1)

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, D)`` given one observation ``(C,)``, by tempered sequential Monte Carlo.

        Asymptotically exact: means of ``n`` samples have an error of about 1 / √n standard deviations, and
        samples are independent only nearly. Draw all at once, as each call runs anew: 4,000 samples of the
        default image take 15 to 40 seconds. Densities are exact but for the evidence, 0.1 nats or less.
        """
        return self.space.inverse(tempered_posterior(self, y, n).samples)

    def log_evidence(self, y: Tensor) -> float:
        """Return the log of the prior predictive density of one observation ``(C,)``, nats."""
        return tempered_posterior(self, y, _EVIDENCE_PARTICLES).log_evidence


def _indices(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Every index of an array, last axis fastest."""
    return list(product(*(range(size) for size in shape)))


def _index(position: tuple[int, ...]) -> str:
    return "_".join(map(str, position))
