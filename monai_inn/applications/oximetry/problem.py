"""Oxygen saturation and blood volume of tissue from a multispectral image."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.oximetry.application import CameraApplication
from monai_inn.applications.oximetry.bands import band_groups, smooth_deviations
from monai_inn.applications.oximetry.layers import three_layers
from monai_inn.applications.oximetry.priors import PARAMETERS
from monai_inn.applications.oximetry.priors import nuisances as nuisances_of
from monai_inn.applications.spectral import are_spectra
from monai_inn.physics import tissue
from monai_inn.physics.camera_noise import under_light
from monai_inn.physics.cameras import Camera, load, names
from monai_inn.physics.discrepancy import Discrepancy
from monai_inn.physics.discrepancy import load as load_discrepancy
from monai_inn.physics.dyes import Dye, read_dyes
from monai_inn.physics.log_ratio import isometric_log_ratio
from monai_inn.physics.rows import by_rows
from monai_inn.physics.transport.layers import simulate_layers
from monai_inn.physics.transport.layers_kernel import diffuse_reflectance
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.devices import settings_of
from monai_inn.problems.drawing import BLOCK
from monai_inn.problems.known import split_parameters
from monai_inn.problems.observation import Observation

__all__ = ["Oximetry"]

Tissue = Literal["organ", "skin"]

# Coefficients held at a time by one thread. Memory stays at some megabytes however many spectra are asked
# for, and tensors of this size stay below the 32 768 elements from which torch starts threads of its own
# inside ours.
_COEFFICIENTS = 32_000
_ROWS_WITH_GRADIENT = 32

# Smooth deviations that three layers cannot describe, and what is left of them once the rest was learned.
_MODEL_ERROR, _MODEL_ERROR_LEFT, _MODEL_ERROR_LENGTH_NM = 0.03, 0.01, 40.0
_MAX_GROUPS, _MAX_EXPLAINED = 20, 25
_SMOOTH_BANDS = 50  # from so many equal steps on a spectrum of tissue is smooth from band to band
_DARKEST = 1e-4  # reflectance; darker bands are as unexplained as those

_NUM_TARGETS = 4


class Oximetry(InverseProblem):
    """Tissue of three layers, the last one semi-infinite, under white light, seen by a multispectral camera.

    The forward model is radiative transfer (adding-doubling), not diffusion, and is differentiable.
    Observations are diffuse reflectances relative to a white reference; the features that networks see are
    isometric log-ratios, from which exposure and distance have dropped out.

    Oxygen saturation, scattering power, water, fat and bilirubin are the same in all layers that hold them.
    In ``"skin"`` the first layer is an epidermis with melanin and without blood, and ``vhb`` is the mean over
    the top millimetre of the dermis.

    Args:
        camera: name of a shipped camera, path of a CSV file of band responses or of a camera file (JSON), or
            a ``Camera``.
        tissue: ``"organ"`` or ``"skin"``, the layered model and its prior.
        num_directions: directions per hemisphere of the transport solver. 5 is accurate to 1e-3 in
            reflectance; 8 to 4e-4 at four times the cost.
        nuisances: whether the radius of vessels, the error of the wavelength axis and stray light are
            inferred as well. Otherwise blood is spread out evenly, and the camera's noise holds the others.
        dyes: table of dyes that are named beside the shipped ones if they are in a spectrum, see
            ``physics.dyes``.
        discrepancy: how measured tissue deviates from the best simulation, rows as ``Discrepancy.to_tensor``
            gives them; what is shipped for the tissue, if anything is, or ``None`` for none.

    Raises:
        ValueError: if the camera or the tissue is unknown.

    Example:
        >>> theta, y = Oximetry("imec_ssm4x4_470_620").simulate(4)
        >>> theta.shape, y.shape
        (torch.Size([4, 16]), torch.Size([4, 16]))

    Source: Wirkert et al., Int. J. Comput. Assist. Radiol. Surg. 11, 909 (2016), for the layered model; the
    parameters and ranges are our own, chosen to cover measured organ spectra (benchmarks/optics.py).
    """

    name: ClassVar[str] = "oximetry"
    is_relative = True

    def __init__(
        self,
        camera: str | PathLike[str] | Camera | dict[str, Any] = "tivita",
        tissue: Tissue = "organ",
        num_directions: int = 5,
        *,
        nuisances: bool = True,
        dyes: str | PathLike[str] | Sequence[Any] = (),
        discrepancy: Tensor | Literal["shipped"] | None = "shipped",
    ) -> None:
        if tissue not in PARAMETERS:
            raise ValueError(f"tissue is {tissue!r}, expected one of {', '.join(PARAMETERS)}.")
        if isinstance(camera, dict):
            camera = Camera.from_config(camera)
        self.camera = camera if isinstance(camera, Camera) else load(camera)
        self.tissue: Tissue = tissue
        self.num_directions, self.nuisances = num_directions, nuisances
        if isinstance(dyes, str | PathLike):
            self.own_dyes = read_dyes(dyes)
        else:
            self.own_dyes = tuple(Dye.from_config(dye) for dye in dyes)
        self.dyes = (*read_dyes(), *self.own_dyes)
        self.parameters = PARAMETERS[tissue]
        # What is inferred is not noise.
        self._noisy = self.camera
        if nuisances:
            self.parameters += nuisances_of(self.camera.glare_max)
            self._noisy = replace(self.camera, glare_max=0.0, wavelength_jitter_nm=0.0)
        self.targets = tuple(p.name for p in self.parameters[:_NUM_TARGETS])
        self.observation = Observation.pixel(*self.camera.band_names)
        wavelength = self.camera.simulation_grid()
        self.wavelength_nm: tuple[float, ...] = tuple(wavelength.tolist())
        if isinstance(discrepancy, Tensor):
            self.discrepancy: Discrepancy | None = Discrepancy.from_tensor(discrepancy)
        else:
            self.discrepancy = None if discrepancy is None else load_discrepancy(tissue)
        centre = torch.tensor(tuple(self.camera.centre_nm), dtype=torch.float64)
        size = _MODEL_ERROR if self.discrepancy is None else _MODEL_ERROR_LEFT
        self.deviations = smooth_deviations(centre, size, _MODEL_ERROR_LENGTH_NM)
        self._weights = self.camera.weights(wavelength)
        if self.discrepancy is not None:
            learned = self.discrepancy.at(wavelength)
            seen = torch.from_numpy(learned.modes @ self._weights.T)
            self.deviations = torch.cat([seen, self.deviations])
            self._weights = self._weights * np.exp(learned.mean)
        if nuisances:  # band values change with a shift of the axis to first order
            change = self.camera.weights(wavelength, per_nm=True)
            factor = 1.0 if self.discrepancy is None else np.exp(learned.mean)
            self._weights = np.concatenate([self._weights, change * factor])
        self._groups = band_groups(centre, _MAX_GROUPS)
        self._explained = band_groups(centre, _MAX_EXPLAINED)
        self._rows = BLOCK
        while self._rows > 1 and self._rows * 3 * wavelength.size > _COEFFICIENTS:
            self._rows //= 2

    def layer_properties(self, theta: Tensor) -> tissue.LayerProperties:
        """Optical properties of the three layers at ``wavelength_nm``.

        Args:
            theta: parameters in physical units, shape ``(…, D)``.

        Returns:
            Coefficients of shape ``(…, 3, W)``, float64.
        """
        value = dict(zip(self.space.names, split_parameters(theta, self.space), strict=True))
        return three_layers(value, self.wavelength_nm)

    def _differentiable(self, theta: Tensor) -> Tensor:
        """Band values ``(S, C)`` of a few parameters by the torch solver."""
        layers = self.layer_properties(theta)
        result = simulate_layers(
            layers.mu_a_per_cm.transpose(-1, -2),
            layers.mu_s_per_cm.transpose(-1, -2),
            torch.tensor(tissue.ANISOTROPY, dtype=torch.float64, device=theta.device),
            layers.thickness_cm[..., None, :],
            layers.n[..., None],
            self.num_directions,
            bottom="black",
        )
        return self._seen(result.diffuse @ torch.from_numpy(self._weights).to(theta.device).T, theta)

    def _compiled(self, theta: Tensor) -> Tensor:
        """Band values ``(S, C)`` of a few parameters by the compiled kernel, in one thread."""
        with torch.no_grad():
            layers = self.layer_properties(theta)
        mu_a, mu_s, thickness, n = (v.numpy() for v in layers)
        solved = diffuse_reflectance(
            mu_a, mu_s, tissue.ANISOTROPY, thickness, n, self.num_directions, bands=self._weights, threads=1
        )
        return self._seen(torch.from_numpy(solved), theta)

    def _seen(self, solved: Tensor, theta: Tensor) -> Tensor:
        """Band values ``(S, C)`` under each row's stray light and shift of the wavelength axis."""
        if not self.nuisances:
            return solved
        value, per_nm = solved.tensor_split(2, -1)
        stray, shift = theta[:, -2:, None].double().unbind(1)
        return (value + shift * per_nm).clamp_min(0) + stray

    def forward(self, theta: Tensor) -> Tensor:
        """Return the diffuse reflectance that each band sees, relative to white and without specular light.

        Differentiable where ``theta`` requires a gradient; otherwise computed by the compiled kernel.

        Args:
            theta: parameters in physical units, shape ``(…, D)``.

        Returns:
            Reflectance, shape ``(…, C)``, float32.

        Raises:
            ValueError: if the last axis is not one entry a parameter.
        """
        split_parameters(theta, self.space)
        rows = theta.reshape(-1, theta.shape[-1])
        if theta.requires_grad and torch.is_grad_enabled():
            solved = torch.cat([self._differentiable(part) for part in rows.split(_ROWS_WITH_GRADIENT)])
        else:
            solved = by_rows(self._compiled, rows.detach().cpu(), self._rows)
        return solved.float().reshape(*theta.shape[:-1], -1).to(theta.device)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add the model's own error and the camera's noise to band values ``(…, C)``, anew for every row."""
        basis = self.deviations.to(y)
        draws = torch.randn(*y.shape[:-1], len(basis), generator=generator, dtype=y.dtype, device=y.device)
        return self._noisy.noise(y * torch.exp(draws @ basis), generator)

    def density_features(self, y: Tensor) -> Tensor:
        """Return ``(…, K)`` features for the density: √(band / mean) of at most 20 groups of bands.

        The root makes shot noise equally large everywhere. In log-ratios it is relative, and bright, flat
        spectra of phantoms, which have least of it, would look more ordinary than tissue. One group is
        dropped, since the squares add up to a constant and a density over all of them would not exist.
        """
        groups = y @ self._groups.to(y).T
        share = groups / groups.mean(-1, keepdim=True).clamp_min(1e-9)
        return share.clamp_min(1e-8).sqrt()[..., :-1]

    def explained_features(self, y: Tensor) -> Tensor:
        """Return ``(…, K)`` logarithms of at most 25 groups of bands, less their mean: the shape alone."""
        groups = (y @ self._explained.to(y).T).clamp_min(_DARKEST).log()
        return groups - groups.mean(-1, keepdim=True)

    def noise_level(self, y: Tensor) -> Tensor:
        """Return the relative variance of a scanner's noise from fourth differences of bands ``(…, C)``.

        They see nothing of smooth spectra. Cameras of few or broad bands do not tell how noisy they are.
        """
        if not self.camera.contiguous or self.camera.num_bands < _SMOOTH_BANDS:
            return super().noise_level(y)
        rough = y.clamp_min(_DARKEST).log().diff(n=4)
        return rough.abs().mean(-1).square() * (torch.pi / 2 / 70)  # 70 = 1² + 4² + 6² + 4² + 1²

    def features(self, y: Tensor) -> Tensor:
        """Return the isometric log-ratios ``(…, C - 1)`` of band values ``(…, C)``."""
        return isometric_log_ratio(y)

    def channel_features(self, y: Tensor) -> Tensor:
        """Return the logarithm of each band, ``(…, C)``."""
        return y.clamp_min(_DARKEST).log()

    def with_light(self, share: float) -> Oximetry:
        """Return the problem of the same camera with another share of the light in each band."""
        config: dict[str, Any] = {**self.to_config(), **self.tensors}
        return type(self)(**{**config, "camera": under_light(self.camera, share)})

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether pixels ``(…, C)`` are finite, not black, and positive in three quarters of the bands."""
        return are_spectra(y)

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add ``--camera``, ``--passband`` and ``--dyes``."""
        parser.add_argument(
            "--camera",
            help="name of a shipped camera, CSV of band responses (wavelength in nm, then bands), or camera "
            "file (JSON)",
        )
        parser.add_argument(
            "--passband",
            type=float,
            nargs=2,
            metavar=("LOW", "HIGH"),
            help="range in nm of the band-pass filter that a camera from a CSV is used behind",
        )
        parser.add_argument(
            "--dyes",
            default=(),
            metavar="CSV",
            help="dyes to look for beside the usual ones: columns dye, peak_nm, fwhm_nm, height",
        )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Oximetry:
        """Return the problem of a camera.

        Raises:
            ValueError: if the camera cannot be read, or a pass-band does not go with it.
        """
        if options.camera is None:
            if options.passband is not None:
                raise ValueError("--passband belongs to a camera of yours; give it, too: --camera CSV.")
            return cls(dyes=options.dyes)
        passband = None if options.passband is None else tuple(options.passband)
        return cls(load(options.camera, passband), dyes=options.dyes)

    @classmethod
    def of_device(cls, spec: str) -> Oximetry:
        """Return the problem of a camera, as ``load`` takes it, with a share of the usual light behind it.

        ``"tivita@light=0.5"`` is the shipped camera with half the light: shot noise is √2 times, read noise
        twice as large relative to white.

        Raises:
            ValueError: if the camera cannot be read or the light is not positive.
        """
        name, settings = settings_of(spec, ("light",))
        camera = load(name)
        return cls(under_light(camera, settings["light"]) if settings else camera)

    @classmethod
    def choices(cls) -> dict[str, list[str]]:
        """Return the shipped cameras."""
        return {"cameras": list(names())}

    @property
    def application(self) -> CameraApplication:
        """Cameras, reflectances and their colours."""
        return CameraApplication(self)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; the camera is written out, so that no file is needed."""
        return {
            "camera": self.camera.to_config(),
            "tissue": self.tissue,
            "num_directions": self.num_directions,
            "nuisances": self.nuisances,
            **({"dyes": [list(dye) for dye in self.own_dyes]} if self.own_dyes else {}),
            **({} if self.discrepancy is not None else {"discrepancy": None}),
        }

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What was learned from measured tissue."""
        return {} if self.discrepancy is None else {"discrepancy": self.discrepancy.to_tensor()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Oximetry:
        """Return the problem of a configuration; until December 2026 there were no such nuisances."""
        before = {"discrepancy": None} if "nuisances" not in config else {}
        return cls(**{"nuisances": False, **before, **config})
