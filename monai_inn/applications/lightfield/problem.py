"""Disparities of two layers that are seen through one another."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from monai_inn.applications.lightfield.application import LightFieldApplication
from monai_inn.applications.lightfield.grid import Forms, Grid, Setting, TwoLayers, forms_of, refinement
from monai_inn.applications.lightfield.textures import beams, covariance, draw_layers
from monai_inn.problems.derived import Derived
from monai_inn.problems.known import KnownPosterior, WhiteNoise, check_positive, split_parameters
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["MOST_PX", "LightField"]

MOST_PX = 2.0
"""Largest disparity, px from one view to the next."""

CELLS = 256
"""Cells of the disparity, in each of which the density of the network is constant."""

_COARSE = Grid(nodes=41, cells=128, shares=4, contrasts=1, negligible=1.0)  # .7 ms a pixel
_LEAST_MASS = 1e-5  # of a cell, beyond which the coarse posterior is not to be believed
_NO_MASS = 1e-35  # the least that single precision holds
_OPAQUE = 1 / 3  # prior probability of one layer
_CONTRAST_SD = 0.25
_ROWS = 256


class LightField(WhiteNoise, KnownPosterior):
    """Disparity of the layer that light of a pixel comes from, of one or two layers, from a light field.

    An observation is the epipolar plane image (EPI) of a pixel: a few columns around it, in views at equal
    distances along a line: ``c (b f(u + d s) + (1 − b) g(u + d' s)) + noise`` at column ``u`` of view ``s``.
    The textures ``f`` and ``g`` are Gaussian and band-limited, ``b`` is the layer's share of the light, and
    ``c`` the contrast. The question is which layer a photon of the pixel comes from; with probability ``b``
    it is the one of disparity ``d``. So the posterior of ``d`` has a mode for each layer, whose mass is its
    share of the light, and it does not matter which layer is called the first.

    One pixel in three is opaque, ``b = 1``; in the others the share of the front layer is uniform.

    The exact posterior is a grid, see ``grid.TwoLayers``: textures are integrated out in closed form.

    Args:
        views: number of views, odd, at least 3; the middle one is that of the image.
        columns: columns of an EPI, odd.
        texture_px: correlation length of the textures, px.
        noise_sd: standard deviation of the noise over the usual contrast.
        calibration: focal length in px, distance of neighbouring views in mm, and distance in mm of what
            has no disparity, from the lens. With it depths in mm are derived from disparities.

    Raises:
        ValueError: if views or columns are even or too few, or a number is not positive.

    Source: the task is that of multimodal depth from light fields; the model is a benchmark of this package.
    """

    name: ClassVar[str] = "lightfield"
    has_noise = False  # textures are drawn with the noise-free EPI
    parameters = (
        Parameter("disparity", "px", -MOST_PX, MOST_PX, "disparity of the layer that the light comes from"),
        Parameter("other", "px", -MOST_PX, MOST_PX, "disparity of the other layer"),
        Parameter("weight", "1", 0.0, 1 / (1 - _OPAQUE), "squared share of the light; opaque from 1 on"),
        Parameter("contrast", "1", 0.3, 3.4, "contrast of the textures", "lognormal", sd=_CONTRAST_SD),
    )
    targets = ("disparity",)
    encoder = {"kind": "vector", "kept": CELLS, "out_channels": 64}  # noqa: RUF012
    flow = {"categories": [(0, CELLS)], "is_guessed": True}  # noqa: RUF012

    def __init__(
        self,
        views: int = 9,
        columns: int = 13,
        texture_px: float = 1.0,
        noise_sd: float = 0.3,
        calibration: Sequence[float] | None = None,
    ) -> None:
        for what, number, least in (("views", views, 3), ("columns", columns, 1)):
            if number != int(number) or number < least or number % 2 == 0:
                raise ValueError(f"{what} = {number}; give an odd number of at least {least}.")
        self.views, self.columns = int(views), int(columns)
        self.texture_px = check_positive("texture_px", texture_px)
        self.noise_sd = check_positive("noise_sd", noise_sd)
        self.observation = Observation.neighbourhood(
            (1, self.columns), *(f"view {i + 1}" for i in range(self.views))
        )
        self.calibration = None if calibration is None else tuple(map(float, calibration))
        if self.calibration is not None:
            self.derived = (_depth(self.calibration),)

    @property
    def setting(self) -> Setting:
        """What the exact posterior is told."""
        return Setting(
            self.views, self.columns, self.texture_px, self.noise_sd, MOST_PX, _OPAQUE, _CONTRAST_SD
        )

    def draw(self, theta: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return EPIs ``(n, C)`` without noise of parameters ``(n, 4)``, of new textures."""
        first, other, weight, contrast = theta.float().unbind(-1)
        share = weight.clamp(0, 1).sqrt()
        layers = [
            draw_layers(d, self.views, self.columns, self.texture_px, generator) for d in (first, other)
        ]
        mixed = share.unsqueeze(-1) * layers[0] + (1 - share).unsqueeze(-1) * layers[1]
        return contrast.unsqueeze(-1) * mixed

    def forward(self, theta: Tensor) -> Tensor:
        """Return EPIs ``(…, C)`` without noise of parameters ``(…, 4)``; textures follow torch's seed."""
        split_parameters(theta, self.space)
        made = self.draw(theta.reshape(-1, theta.shape[-1]).cpu(), None)
        return made.reshape(*theta.shape[:-1], -1).to(theta)

    def features(self, y: Tensor) -> Tensor:
        """Return what a coarse grid says, and the density features, ``(…, F)``.

        The grid's are the log masses of the disparity's cells, those of each four together, and that of one
        layer.
        """
        rows = y.reshape(-1, y.shape[-1]).float()
        forms = _coarse(self.setting, rows.device)
        mixed, alone = TwoLayers.of(rows, self.setting, _COARSE, forms).masses().unbind(1)
        level = (mixed + alone).clamp_min(_NO_MASS).log() @ refinement(_COARSE.cells, CELLS).T.to(rows)
        fine = level.softmax(-1)
        mass = torch.cat([fine, fine.unflatten(-1, (-1, 4)).sum(-1), alone.sum(-1, keepdim=True)], -1)
        level = (mass + _LEAST_MASS).log().reshape(*y.shape[:-1], -1).to(y)
        return torch.cat([level, self.density_features(y)], -1)

    def density_features(self, y: Tensor) -> Tensor:
        """Return the log power of waves along lines of many disparities, ``(…, K)``."""
        waves = y @ beams(self.views, self.columns, MOST_PX).to(y)
        return waves.unflatten(-1, (2, -1)).square().sum(-2).add(self.noise_sd**2).log()

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an EPI ``(C,)`` given parameters ``(n, 4)``, nats, ``(n,)``."""
        return torch.cat([self._log_density(rows, y.double()) for rows in theta.split(_ROWS)])

    def _log_density(self, theta: Tensor, y: Tensor) -> Tensor:
        first, other, weight, contrast = split_parameters(theta, self.space)
        share = weight.clamp(0, 1).sqrt()
        each = [covariance(d, self.views, self.columns, self.texture_px) for d in (first, other)]
        factors = ((contrast * b).square()[:, None, None] for b in (share, 1 - share))
        total = sum(f * k for f, k in zip(factors, each, strict=True))
        root = torch.linalg.cholesky(total + self.noise_sd**2 * torch.eye(len(y), dtype=y.dtype))
        white = torch.linalg.solve_triangular(root, y.expand(len(theta), -1).unsqueeze(-1), upper=False)
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * white.square().sum((-2, -1)) - log_det - 0.5 * len(y) * math.log(2 * math.pi)

    def layers(self, y: Tensor, grid: Grid | None = None) -> TwoLayers:
        """Return the exact posterior of EPIs ``(N, C)`` on a grid: some seconds, and .1 s for each EPI.

        Raises:
            ValueError: if an EPI holds NaN.
        """
        if not bool(self.is_valid(y).all()):
            raise ValueError("an EPI holds NaN or infinite values; leave it out.")
        grid = grid or Grid()
        y = y.double()
        return TwoLayers.of(y, self.setting, grid, forms_of(self.setting, grid, y.dtype))

    def log_evidence(self, y: Tensor) -> float:
        """Return the log density of an EPI ``(C,)`` under the prior predictive law, nats."""
        return float(self.layers(y[None]).log_cells(0).flatten().logsumexp(0))

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 4)`` given one EPI ``(C,)``; the density is constant on the grid's cells."""
        return self.layers(y[None]).sample(0, n)

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add ``--views`` and ``--calibration``."""
        parser.add_argument("--views", type=int, default=9, help="views of a light field along a line (9)")
        parser.add_argument(
            "--calibration",
            type=float,
            nargs=3,
            metavar=("FOCAL_PX", "BASELINE_MM", "FOCUS_MM"),
            help="focal length, distance of neighbouring views and distance in focus, for depths in mm",
        )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> LightField:
        """Return the problem of a light-field camera.

        Raises:
            ValueError: if an option is not usable.
        """
        return cls(options.views, calibration=options.calibration)

    @property
    def application(self) -> LightFieldApplication:
        """Words, and how light fields are matched."""
        return LightFieldApplication(self)


@lru_cache(maxsize=2)
def _coarse(setting: Setting, device: torch.device) -> tuple[Forms, ...]:
    """What the coarse grid is computed from, single precision."""
    made = forms_of(setting, _COARSE, torch.float32)
    return tuple(Forms(*(part.to(device) for part in form)) for form in made)


def _depth(calibration: tuple[float, ...]) -> Derived:
    """Depth of a disparity: ``1 / Z = 1 / focus + d / (focal length · baseline)``.

    Raises:
        ValueError: if it is not positive for all disparities.
    """
    if len(calibration) != 3 or not all(value > 0 for value in calibration):
        raise ValueError(
            f"calibration = {list(calibration)}; give three positive numbers: focal length in px, distance "
            "of neighbouring views in mm and distance in focus in mm."
        )
    focal_px, baseline_mm, focus_mm = calibration
    per_px, middle = 1 / (focal_px * baseline_mm), 1 / focus_mm
    if middle <= MOST_PX * per_px:
        raise ValueError(
            f"calibration = {list(calibration)}: a disparity of −{MOST_PX:g} px would lie beyond infinity; "
            f"a distance in focus below {focal_px * baseline_mm / MOST_PX:g} mm belongs to these cameras."
        )
    return Derived(
        "depth",
        "mm",
        1 / (middle + MOST_PX * per_px),
        1 / (middle - MOST_PX * per_px),
        "depth of the layer that the light comes from",
        of=lambda theta: 1 / (middle + per_px * theta[..., 0]),
    )
