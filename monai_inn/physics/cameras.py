"""Multispectral cameras: what their bands see of a spectrum, and their noise."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_inn.physics.band_checks import band_warnings, blocks_light, check_peaks
from monai_inn.physics.band_responses import Curve, check_response, gaussian_bands, interpolation_matrix
from monai_inn.physics.camera_files import read_camera_file
from monai_inn.physics.camera_noise import add_noise
from monai_inn.physics.measured_bands import measured_bands
from monai_inn.physics.tables import DATA
from monai_inn.spelling import nearest

__all__ = ["Camera", "load", "names"]


@dataclass(frozen=True, eq=False)
class Camera:
    """Band responses of a camera behind its filter and under its light, and how noisy it is.

    Build one with ``from_csv``, ``from_centres`` or ``load`` rather than directly.

    Args:
        name: what people call it.
        band_names: one name a band.
        first_nm: wavelength of the first column of ``response``; columns are 1 nm apart.
        response: response × light × pass-band at 1 nm steps, any scale, shape ``(C, K)``.
        contiguous: whether the bands scan the spectrum in equal narrow steps (a push-broom or filter
            scanner).
        white_snr: range of the signal-to-noise ratio at a white reference, log-uniform over images.
        read_noise: standard deviation of the signal-independent noise, in units of reflectance.
        calibration_sd: relative standard deviation of the gain of each band.
        glare_max: reflected stray light, uniform from zero to this reflectance.
        wavelength_jitter_nm: the wavelength axis is wrong by up to this much; contiguous cameras only.
        peaks_nm: peak wavelength of each band in nm as the vendor gives it, all different; empty if it gives
            none. Images whose header holds them are matched by them.
        warnings: what is doubtful about the band responses; it is said wherever the camera is used.
    """

    name: str
    band_names: tuple[str, ...]
    first_nm: float
    response: NDArray[np.float64]
    contiguous: bool = False
    white_snr: tuple[float, float] = (25.0, 200.0)
    read_noise: float = 1e-3
    calibration_sd: float = 0.015
    glare_max: float = 0.02
    wavelength_jitter_nm: float = 0.0
    peaks_nm: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "response", np.array(self.response, dtype=np.float64))
        object.__setattr__(self, "band_names", tuple(self.band_names))
        for name in ("white_snr", "peaks_nm", "warnings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_response(self.name, self.band_names, self.axis_nm, self.response)
        if not 0 < self.white_snr[0] <= self.white_snr[1]:
            raise ValueError(f"camera {self.name!r}: white_snr = {self.white_snr}, expected 0 < low <= high.")
        if min(self.read_noise, self.calibration_sd, self.glare_max, self.wavelength_jitter_nm) < 0:
            raise ValueError(f"camera {self.name!r}: noise settings must not be negative.")
        if self.wavelength_jitter_nm and not self.contiguous:
            raise ValueError(
                f"camera {self.name!r}: wavelength_jitter_nm needs contiguous narrow bands, being applied "
                "as a shift along the band axis. Set it to zero."
            )
        check_peaks(self.name, self.band_names, self.peaks_nm)

    @property
    def axis_nm(self) -> NDArray[np.float64]:
        """Wavelengths of the columns of ``response`` in nm, shape ``(K,)``."""
        return self.first_nm + np.arange(self.response.shape[1], dtype=np.float64)

    @property
    def centre_nm(self) -> NDArray[np.float64]:
        """Centre of mass of each band in nm, shape ``(C,)``."""
        return self.response @ self.axis_nm / self.response.sum(1)

    @property
    def num_bands(self) -> int:
        """Number of bands ``C``."""
        return len(self.band_names)

    @classmethod
    def from_csv(
        cls,
        path: str | PathLike[str],
        *,
        passband_nm: tuple[float, float] | None = None,
        illuminant: Curve | None = None,
        transmission: Curve | None = None,
        **settings: Any,
    ) -> Camera:
        """Read measured band responses; see ``measured_bands`` for the format and its errors.

        Doubtful responses, as of a mosaic sensor without its filter, are warned of; see ``band_warnings``.

        Args:
            path: CSV file with a wavelength column in nm and one column a band.
            passband_nm: range that the band-pass filter lets through; the whole table if not given.
            illuminant: wavelengths in nm and relative power of the light; equal power if not given.
            transmission: wavelengths in nm and transmission of a filter or lens; all passes if not given.
            settings: ``name`` (the file's stem if not given), ``peaks_nm``, noise settings of ``Camera``.
        """
        bands, doubts = measured_bands(path, passband_nm, illuminant, transmission)
        names, first_nm, response = bands
        settings = {"name": Path(path).stem, "band_names": names, **settings}
        camera = cls(first_nm=first_nm, response=response, **settings)
        has_filter = passband_nm is not None or (transmission is not None and blocks_light(transmission))
        found = band_warnings(
            camera.band_names, first_nm, response, has_filter=has_filter, has_peaks=bool(camera.peaks_nm)
        )
        texts = tuple(f"camera {camera.name!r}: {doubt}" for doubt in (*doubts, *found))
        for text in texts:
            warnings.warn(text, stacklevel=2)
        return replace(camera, warnings=texts)

    @classmethod
    def from_centres(
        cls,
        centre_nm: Sequence[float] | NDArray[np.float64],
        fwhm_nm: float | Sequence[float],
        *,
        illuminant: Curve | None = None,
        range_nm: tuple[float, float] = (250.0, 1000.0),
        **settings: Any,
    ) -> Camera:
        """Build a camera of Gaussian bands; see ``band_responses.gaussian_bands`` for the errors.

        Args:
            centre_nm: band centres in nm, shape ``(C,)``.
            fwhm_nm: full width at half maximum in nm, one number or one a band.
            illuminant: wavelengths in nm and relative power of the light; equal power if not given.
            range_nm: the sensor sees nothing outside.
            settings: ``name``, ``band_names`` and the noise settings of ``Camera``. ``contiguous`` is worked
                out from the centres if not given.
        """
        names, first_nm, response = gaussian_bands(centre_nm, fwhm_nm, illuminant, range_nm)
        steps = np.diff(np.asarray(centre_nm, dtype=np.float64))
        even = steps.size > 1 and steps.min() > 0 and np.ptp(steps) < 0.05 * steps.mean()
        contiguous = bool(even and np.max(fwhm_nm) <= 2 * steps.mean())
        settings = {"name": "custom", "band_names": names, "contiguous": contiguous, **settings}
        return cls(first_nm=first_nm, response=response, **settings)

    def simulation_grid(self) -> NDArray[np.float64]:
        """Ascending wavelengths in nm at which spectra should be simulated, shape ``(W,)``.

        2 nm apart below 600 nm, where haemoglobin has narrow peaks, and 5 nm above. Linear interpolation
        between them is part of ``weights``.
        """
        axis = self.axis_nm
        change = float(np.clip(600.0, axis[0], axis[-1]))
        points = [np.arange(axis[0], change, 2.0), np.arange(change, axis[-1], 5.0), axis[-1:]]
        return np.unique(np.concatenate(points))

    def weights(self, wavelength_nm: ArrayLike, per_nm: bool = False) -> NDArray[np.float64]:
        """Weights that turn a sampled reflectance into band values.

        Args:
            wavelength_nm: ascending wavelengths in nm that cover the camera's range, shape ``(W,)``.
            per_nm: return by how much band values change where all bands lie 1 nm further instead.

        Returns:
            Matrix of shape ``(C, W)`` whose rows sum to one: a white reference is one in every band. Those of
            the change sum to zero.

        Raises:
            ValueError: if the wavelengths do not ascend, or do not cover the range of the camera.
        """
        grid, axis = np.asarray(wavelength_nm, dtype=np.float64), self.axis_nm
        if grid.ndim != 1 or grid.size < 2 or (np.diff(grid) <= 0).any():
            raise ValueError(
                f"wavelength_nm of shape {grid.shape} must be one ascending axis of at least two values."
            )
        if grid[0] > axis[0] or grid[-1] < axis[-1]:
            raise ValueError(
                f"wavelength_nm covers {grid[0]:g} to {grid[-1]:g} nm, but camera {self.name!r} sees "
                f"{axis[0]:g} to {axis[-1]:g} nm. Simulate on camera.simulation_grid()."
            )
        matrix = interpolation_matrix(axis, grid, slope=per_nm)
        return self.response @ matrix / self.response.sum(1, keepdims=True)

    def observe(self, reflectance: Tensor, wavelength_nm: ArrayLike) -> Tensor:
        """Return noise-free band values ``(…, C)`` of reflectance ``(…, W)`` at ``W`` wavelengths in nm."""
        return reflectance @ torch.from_numpy(self.weights(wavelength_nm)).to(reflectance).T

    def noise(self, y: Tensor, generator: torch.Generator | None = None, per_image: bool = False) -> Tensor:
        """Return noisy copies of band values; see ``camera_noise.add_noise`` for the model.

        Args:
            y: noise-free values relative to white, shape ``(…, C)``, or ``(B, C, *spatial)`` if
                ``per_image``.
            generator: source of the random numbers.
            per_image: draw glare, calibration, signal-to-noise ratio and wavelength shift once an image
                instead of once a row; only read and shot noise then differ between pixels.

        Returns:
            Noisy values, same shape.

        Raises:
            ValueError: if the number of bands differs from the camera's.
        """
        return add_noise(self, y, generator, per_image)

    def to_config(self) -> dict[str, Any]:
        """Return a JSON-ready description that holds everything: ``from_config`` needs no file."""
        config: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        # Bands of a scanner are zero almost everywhere.
        runs = [(int(row.nonzero()[0][0]), np.trim_zeros(row, "b")) for row in self.response]
        config["response"] = {
            "length": self.response.shape[1],
            "start": [start for start, _ in runs],
            "values": [row[start:].tolist() for start, row in runs],
        }
        for name in ("peaks_nm", "warnings"):
            if not config[name]:  # then older versions of this package can read it, too
                del config[name]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Camera:
        """Build the camera that ``to_config`` described."""
        packed = config["response"]
        response = np.zeros((len(packed["values"]), packed["length"]))
        for row, start, values in zip(response, packed["start"], packed["values"], strict=True):
            row[start : start + len(values)] = values
        return cls(**{**config, "response": response})

    def __repr__(self) -> str:
        axis = self.axis_nm
        return f"Camera({self.name!r}, {self.num_bands} bands, {axis[0]:g}-{axis[-1]:g} nm)"


_FOLDER = DATA / "cameras"


def names() -> tuple[str, ...]:
    """Return the names of the shipped cameras."""
    return (*sorted(path.stem for path in _FOLDER.glob("*.json")), "tivita")


def load(name_or_path: str | PathLike[str], passband_nm: tuple[float, float] | None = None) -> Camera:
    """Return a shipped camera by name, or read one from a CSV file of band responses or a camera file.

    Args:
        name_or_path: name; path of a table, see ``Camera.from_csv``; or path of a camera file, see
            ``camera_files.read_camera_file``.
        passband_nm: range that the band-pass filter lets through, for a table or a camera file without one.

    Raises:
        ValueError: if it is none of these, or has a pass-band of its own already.
    """
    text = str(name_or_path)
    if text in names():
        if passband_nm is not None:
            raise ValueError(
                f"camera {text!r} is shipped with its own pass-band. Leave the pass-band out, or give the "
                "CSV file of your camera's responses in the place of the name."
            )
        return _shipped(text)
    if not Path(text).exists():
        hint = nearest(text, names())
        raise ValueError(
            f"unknown camera {text!r}{hint}: no shipped camera ({', '.join(names())}) and no such CSV file. "
            "Give one of these names, or the path of a table of band responses or of a camera file (.json)."
        )
    if Path(text).suffix.lower() != ".json":
        return Camera.from_csv(text, passband_nm=passband_nm)
    try:
        settings = read_camera_file(text)
        if passband_nm is not None and "passband_nm" in settings:
            raise ValueError(f"{text} has a passband_nm already. Leave one of the two pass-bands out.")
        return Camera.from_csv(**{"passband_nm": passband_nm, **settings})
    except ValueError as error:
        if text in str(error):
            raise
        raise ValueError(f"{text}: {error}") from error


@functools.cache
def _shipped(name: str) -> Camera:
    """Shipped camera."""
    if name == "tivita":
        # Nominal axis of the hyperspectral scanner; published files differ by 2.5 nm, hence the jitter.
        centres = 500.0 + np.arange(100) * 500.0 / 99
        return Camera.from_centres(centres, 5.0, name=name, contiguous=True, wavelength_jitter_nm=2.5)
    return Camera.from_csv(**read_camera_file(_FOLDER / f"{name}.json"))
