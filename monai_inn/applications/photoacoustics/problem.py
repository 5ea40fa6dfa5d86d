"""Oxygen saturation of a vessel in depth, from its photoacoustic spectrum."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.photoacoustics.application import LaserApplication
from monai_inn.applications.photoacoustics.likelihood import spectrum_log_likelihood
from monai_inn.applications.photoacoustics.priors import parameters
from monai_inn.applications.spectral import are_spectra
from monai_inn.physics import tissue
from monai_inn.physics.chromophores import wavelength_range_nm
from monai_inn.physics.rows import by_rows
from monai_inn.physics.transport.fluence import fluence
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.devices import settings_of
from monai_inn.problems.exact.tempering import TemperedSamples, tempered_posterior
from monai_inn.problems.known import split_parameters
from monai_inn.problems.observation import Observation

__all__ = ["Photoacoustics"]

_ROWS = 256
_WATER_OF_BLOOD = 0.8
_WATER_OF_EPIDERMIS = 0.5
_MM = 0.1  # cm
_FEWEST, _MOST = 2, 1000  # wavelengths
_DARKEST = 1e-9
_INDEX = 1.4  # of all tissue; others change the level of light, which is unknown
_TELL_NOISE = 15  # wavelengths


class Photoacoustics(InverseProblem):
    """A vessel below layers of tissue, whose initial pressure is known at several wavelengths.

    The light that reaches the vessel has lost what the tissue above absorbs, so that the vessel's spectrum is
    coloured: ``p0(λ) = Γ µa(λ) φ(λ)``, with the fluence ``φ`` of radiative transfer (adding-doubling) below
    an epidermis, an upper and a lower tissue. Brightness is unknown; features are shares of a spectrum's sum.

    Noise is of two kinds: white noise, of one level in a spectrum, anywhere between two limits; and an error
    of each wavelength's gain.

    Args:
        wavelengths_nm: wavelengths in nm, ascending.
        noise: least and largest standard deviation of the white noise, over the mean of a spectrum.
        calibration_sd: relative standard deviation of a wavelength's gain.
        views: from how many sides the same vessel is seen, through the same tissue of another thickness.

    Raises:
        ValueError: if there are fewer than two wavelengths, they do not ascend, or no absorption is known
            there; if the noise is not positive.

    Example:
        >>> theta, y = Photoacoustics([750, 800, 850]).simulate(4)
        >>> theta.shape, y.shape
        (torch.Size([4, 16]), torch.Size([4, 3]))

    Source: Nölke et al., Invertible neural networks for uncertainty quantification in photoacoustic imaging,
    2020, for the task; model and ranges are our own.
    """

    name: ClassVar[str] = "photoacoustics"
    targets = ("so2", "depth")
    is_relative = True

    def __init__(
        self,
        wavelengths_nm: Sequence[float] = tuple(range(700, 901, 10)),
        noise: Sequence[float] = (0.005, 0.05),
        calibration_sd: float = 0.01,
        views: int = 1,
    ) -> None:
        self.wavelengths_nm = tuple(float(w) for w in wavelengths_nm)
        _check_wavelengths(self.wavelengths_nm)
        self.noise_range = (float(noise[0]), float(noise[-1]))
        if not 0 < self.noise_range[0] <= self.noise_range[1] < 1 or calibration_sd < 0:
            raise ValueError(
                f"noise = {self.noise_range} and calibration_sd = {calibration_sd}; expected "
                "0 < least <= largest < 1, over the mean of a spectrum, and no negative number."
            )
        if views < 1:
            raise ValueError(f"views = {views}; a vessel is seen from one side or more.")
        self.calibration_sd, self.views = float(calibration_sd), int(views)
        self.parameters = parameters(self.views)
        names = [f"{w:g} nm" for w in self.wavelengths_nm]
        self.observation = Observation.pixel(
            *names, *(f"{name}, view {view}" for view in range(2, self.views + 1) for name in names)
        )

    def layer_properties(self, theta: Tensor) -> tissue.LayerProperties:
        """Optical properties of epidermis, upper and lower tissue; the last thickness ends at the vessel.

        Args:
            theta: parameters in physical units, shape ``(…, D)``.

        Returns:
            Coefficients of shape ``(…, views, 3, W)``, thickness ``(…, views, 3)``, float64.
        """
        value = dict(zip(self.space.names, split_parameters(theta, self.space), strict=True))
        zero, one = torch.zeros_like(value["vhb"]), torch.ones_like(value["vhb"])
        water = torch.stack([_WATER_OF_EPIDERMIS * one, value["upper_water"], value["water"]], -1)
        fat = torch.stack([zero, value["upper_fat"], value["fat"]], -1)
        vhb = value["vhb"][..., None] * torch.stack([zero, value["vhb_ratio"], one], -1)
        mixture = {
            "melanin": torch.stack([value["melanin"], zero, zero], -1),
            "water": water,
            "fat": fat * (1 - water),
            **tissue.blood(vhb, value["tissue_so2"][..., None]),
        }
        a_mie = value["a_mie"][..., None] * torch.stack([one, value["a_mie_ratio"], one], -1)
        shape = (*theta.shape[:-1], self.views, 3, len(self.wavelengths_nm))
        return tissue.LayerProperties(
            tissue.absorption(mixture, self.wavelengths_nm)[..., None, :, :].expand(shape),
            tissue.scattering(a_mie, value["b_mie"][..., None], self.wavelengths_nm)[..., None, :, :].expand(
                shape
            ),
            self._thickness(value),
            torch.full_like(one, _INDEX),
        )

    def _thickness(self, value: dict[str, Tensor]) -> Tensor:
        """Thickness of the three layers above the vessel in cm, shape ``(…, views, 3)``."""
        ends = ["", *(f"_{view}" for view in range(2, self.views + 1))]
        depth = torch.stack([value[f"depth{end}"] for end in ends], -1) * _MM
        share = torch.stack([value[f"upper_share{end}"] for end in ends], -1)
        epidermis = (value["d_epidermis"] * _MM)[..., None].expand_as(depth)
        below = depth - epidermis
        return torch.stack([epidermis, share * below, (1 - share) * below], -1)

    def vessel_absorption(self, so2: Tensor, radius_um: Tensor) -> Tensor:
        """Absorption of a vessel, mean over its width, in 1/cm, of saturations ``(…)``, ``(…, W)``."""
        one = torch.ones_like(so2)
        whole = tissue.absorption(
            tissue.blood(one, so2) | {"water": _WATER_OF_BLOOD * one}, self.wavelengths_nm
        )
        return tissue.in_vessels(whole, radius_um[..., None])

    def _compiled(self, theta: Tensor) -> Tensor:
        """Initial pressure ``(n, C)`` of parameters ``(n, D)``, in one thread."""
        layers = self.layer_properties(theta)
        mu_a, mu_s, thickness = (v.flatten(0, 1).numpy() for v in layers[:3])
        light = torch.from_numpy(fluence(mu_a, mu_s, thickness, n=_INDEX, threads=1))
        so2, radius = (theta[:, self.space.names.index(name)].double() for name in ("so2", "vessel_radius"))
        vessel = self.vessel_absorption(so2, radius)
        return (light.unflatten(0, (len(theta), self.views)) * vessel.unsqueeze(1)).flatten(1)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the initial pressure over Grüneisen parameter and irradiance, in 1/cm.

        Args:
            theta: parameters in physical units, shape ``(…, D)``.

        Returns:
            Shape ``(…, C)``, float32: all wavelengths of the first view, of the second, and so on.

        Raises:
            ValueError: if the last axis is not one entry a parameter.
        """
        split_parameters(theta, self.space)
        rows = theta.reshape(-1, theta.shape[-1])
        with torch.no_grad():
            made = by_rows(self._compiled, rows.detach().cpu(), _ROWS)
        return made.float().reshape(*theta.shape[:-1], -1).to(theta.device)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add errors of gain and white noise to pressures ``(…, C)``, a new level in every spectrum."""
        spectra = y.unflatten(-1, (self.views, -1))
        gain = self._normal(spectra.shape, y, generator)
        white = self._normal(spectra.shape, y, generator)
        share = torch.rand(spectra.shape[:-1], generator=generator, dtype=y.dtype, device=y.device)
        low, high = self.noise_range
        level = low * (high / low) ** share * spectra.mean(-1)
        made = spectra * (1 + self.calibration_sd * gain) + level.unsqueeze(-1) * white
        return made.flatten(-2)

    @staticmethod
    def _normal(shape: torch.Size, y: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=y.dtype, device=y.device)

    def shares(self, y: Tensor) -> Tensor:
        """Return pressures ``(…, C)`` over their mean in each view."""
        spectra = y.unflatten(-1, (self.views, -1))
        return (spectra / spectra.mean(-1, keepdim=True).clamp_min(_DARKEST)).flatten(-2)

    def features(self, y: Tensor) -> Tensor:
        """Return ``shares`` without the last wavelength of a view, which follows from the others."""
        return self.shares(y).unflatten(-1, (self.views, -1))[..., :-1].flatten(-2)

    def channel_features(self, y: Tensor) -> Tensor:
        """Return the logarithm of each pressure ``(…, C)``."""
        return y.clamp_min(_DARKEST).log()

    def with_light(self, share: float) -> Photoacoustics:
        """Return the problem with another share of each pulse's energy: noise does not depend on light.

        Raises:
            ValueError: if the share is not positive, or the noise would be as large as the signal.
        """
        if not 0 < share < math.inf:
            raise ValueError(f"light = {share:g}; give a positive share of the usual light.")
        if not self.noise_range[1] < share:
            raise ValueError(
                f"light = {share:g} makes noise as large as the signal; give over {self.noise_range[1]:g}."
            )
        return Photoacoustics(**self.to_config() | {"noise": [level / share for level in self.noise_range]})

    def explained_features(self, y: Tensor) -> Tensor:
        """Return ``shares``: white noise is equally large everywhere in them."""
        return self.shares(y)

    def noise_level(self, y: Tensor) -> Tensor:
        """Return the variance of the noise over the squared mean, ``(…)``, from third differences.

        Spectra of vessels are smooth in them where wavelengths lie close; few wavelengths do not tell.
        """
        if len(self.wavelengths_nm) < _TELL_NOISE:
            return super().noise_level(y)
        rough = self.shares(y).unflatten(-1, (self.views, -1)).diff(n=3)
        return rough.square().mean((-2, -1)) / 20  # 20 = 1² + 3² + 3² + 1²

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether pixels ``(…, C)`` are finite, bright, and positive in three quarters of the wavelengths."""
        return are_spectra(y.unflatten(-1, (self.views, -1))).all(-1)

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Log density of the shape of a spectrum ``(C,)`` given parameters ``(n, D)``, nats, ``(n,)``.

        Up to a constant that is the same for all parameters; see ``spectrum_log_likelihood``.
        """
        clean = self.forward(theta).unflatten(-1, (self.views, -1)).unbind(-2)
        measured = y.unflatten(-1, (self.views, -1)).unbind(-2)
        each = [
            spectrum_log_likelihood(m, x, self.noise_range, self.calibration_sd)
            for m, x in zip(clean, measured, strict=True)
        ]
        return torch.stack(each).sum(0)

    def exact_samples(self, y: Tensor, n: int, seed: int = 0) -> TemperedSamples:
        """Draw from the exact posterior of one spectrum ``(C,)`` by tempered Monte Carlo, a minute or so.

        Returns:
            Samples in the flow's space, ``(n, D)``; ``space.inverse`` gives physical units.
        """
        return tempered_posterior(self, y, n, seed)

    @classmethod
    def add_options(cls, parser: argparse._ActionsContainer) -> None:
        """Add ``--wavelengths``, ``--noise`` and ``--views``."""
        parser.add_argument(
            "--wavelengths", type=float, nargs="+", metavar="NM", help="wavelengths of a photoacoustic device"
        )
        parser.add_argument(
            "--noise",
            type=float,
            nargs=2,
            metavar=("LEAST", "MOST"),
            help="range of the noise of a photoacoustic spectrum, over its mean; .005 .05 by default",
        )
        parser.add_argument(
            "--views", type=int, default=1, help="from how many sides the same vessel is seen; 1 by default"
        )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Photoacoustics:
        """Return the problem of a device.

        Raises:
            ValueError: if an option is not usable.
        """
        given = {"wavelengths_nm": options.wavelengths, "noise": options.noise}
        return cls(**{name: value for name, value in given.items() if value is not None}, views=options.views)

    @classmethod
    def of_device(cls, spec: str) -> Photoacoustics:
        """Return the problem of a set of wavelengths, and how the vessel is seen.

        ``"700:900:10"`` are wavelengths from 700 to 900 nm in steps of 10, ``"750,800,850"`` these three;
        ``"750,850@views=2,light=0.5"`` sees the vessel from two sides with half the energy in each pulse.

        Raises:
            ValueError: if the text cannot be read, or the device cannot be used.
        """
        text, settings = settings_of(spec, ("light", "views"))
        views = settings.get("views", 1.0)
        if not views.is_integer():
            raise ValueError(f"device {spec!r}: views = {views:g}; give a whole number.")
        problem = cls(_wavelengths(text), views=int(views))
        return problem.with_light(settings["light"]) if "light" in settings else problem

    @property
    def application(self) -> LaserApplication:
        """Wavelengths and pressures."""
        return LaserApplication(self)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "wavelengths_nm": list(self.wavelengths_nm),
            "noise": list(self.noise_range),
            "calibration_sd": self.calibration_sd,
            "views": self.views,
        }


def _wavelengths(text: str) -> list[float]:
    """Wavelengths in nm of ``FIRST:LAST:STEP`` or of numbers with commas between them."""
    try:
        if ":" not in text:
            return [float(part) for part in text.split(",")]
        first, last, step = (float(part) for part in text.split(":"))
        if not last - first <= _MOST * step:
            raise ValueError
        return np.arange(first, last + 1e-6 * step, step).tolist()
    except ValueError:
        raise ValueError(
            f"device {text!r}: give wavelengths in nm as FIRST:LAST:STEP, or with commas between them: "
            "700:900:10 or 750,800,850."
        ) from None


def _check_wavelengths(axis: tuple[float, ...]) -> None:
    low, high = wavelength_range_nm()
    if len(axis) < _FEWEST:
        raise ValueError(f"{len(axis)} wavelength(s) given; saturation needs at least {_FEWEST}; add some.")
    if not all(b > a for a, b in itertools.pairwise(axis)):
        raise ValueError(
            f"wavelengths {', '.join(f'{w:g}' for w in axis)} nm do not ascend; give numbers, and sort them."
        )
    if axis[0] < low or axis[-1] > high:
        raise ValueError(
            f"wavelengths {axis[0]:g}–{axis[-1]:g} nm; absorption is known from {low:g} to {high:g} nm."
        )
