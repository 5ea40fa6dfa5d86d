"""MONAI transforms that load images ``(bands, *spatial)``, choose bands and calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import Transform
from monai.utils.enums import TransformBackends
from torch import Tensor

from monai_inn.transforms import images
from monai_inn.transforms.readers import read_multispectral

__all__ = [
    "CalibrateReflectance",
    "LoadMultispectral",
    "NormaliseSpectrum",
    "SelectBands",
]

# Bands that are computed in double precision at once: a second image in double precision would be large.
_BANDS_AT_ONCE = 16
_BAND_LABELS = ("wavelength_nm", "fwhm_nm", "band_names", "channel_names", "settings")


class LoadMultispectral(Transform):
    """Load a multispectral file as float32; see ``read_multispectral`` for formats and metadata.

    Args:
        bands: indices or names of the bands to keep; all by default.
    """

    def __init__(self, *, bands: Sequence[int | str] | None = None) -> None:
        self.bands = bands

    def __call__(self, filename: str | PathLike[str]) -> MetaTensor:
        """Return the image ``(bands, *spatial)`` of a file."""
        return read_multispectral(filename, self.bands)


class SelectBands(Transform):
    """Keep some bands, in the order asked for, and their labels.

    Args:
        indices: positions of the bands; or
        names: their names in ``meta["band_names"]``; or
        wavelength_nm: wanted wavelengths: the nearest band of each is taken.
        tolerance_nm: largest distance from a wanted wavelength; with ``wavelength_nm`` only.

    Raises:
        ValueError: if not exactly one way of choosing is given, or a band does not exist.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        *,
        indices: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        wavelength_nm: Sequence[float] | None = None,
        tolerance_nm: float = 5.0,
    ) -> None:
        given = [
            k
            for k, v in (("indices", indices), ("names", names), ("wavelength_nm", wavelength_nm))
            if v is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"SelectBands got {' and '.join(given) or 'nothing'}; "
                "give one of indices, names, wavelength_nm."
            )
        if len(indices or names or wavelength_nm or ()) == 0:
            raise ValueError(f"SelectBands got an empty {given[0]}; name at least one band.")
        self.indices, self.names, self.wavelength_nm, self.tolerance_nm = (
            indices,
            names,
            wavelength_nm,
            tolerance_nm,
        )

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Return the chosen bands of an image ``(bands, *spatial)``."""
        image = images.as_image(img)
        meta = images.metadata(image)
        chosen = self._positions(meta, len(image))
        out = image[chosen]
        if isinstance(out, MetaTensor):
            said = {key: meta[key] for key in _BAND_LABELS if key in meta}
            out.meta |= images.labels_of(said, chosen, len(image))
            # Once calibrated the mask of all bands is kept: it marks too many pixels, never too few.
            if "saturated" in meta and "saturation" in meta:
                out.meta["saturated"] = (images.plain_tensor(out) >= meta["saturation"]).any(0, keepdim=True)
        return out

    def _positions(self, meta: dict[str, Any], count: int) -> list[int]:
        """Positions of the wanted bands in the image."""
        if self.indices is not None:
            wrong = [i for i in self.indices if not -count <= i < count]
            if wrong:
                raise ValueError(
                    f"image has {count} bands, counted from 0, but SelectBands asks for {wrong}."
                )
            return [int(i) % count for i in self.indices]
        if self.names is not None:
            known = list(meta.get("band_names", ()))
            wrong_names = [n for n in self.names if n not in known]
            if wrong_names:
                raise ValueError(f"image has no bands {wrong_names}; it has {known or 'no band names'}.")
            return [known.index(n) for n in self.names]
        if "wavelength_nm" not in meta:
            raise ValueError(
                "image has no wavelengths; select by indices, or put wavelength_nm into its metadata."
            )
        axis = np.asarray(meta["wavelength_nm"], np.float64).reshape(-1)
        images.check_wavelengths(axis.tolist(), count)
        positions = []
        for wanted in self.wavelength_nm or ():
            nearest = int(np.abs(axis - wanted).argmin())
            if abs(axis[nearest] - wanted) > self.tolerance_nm:
                raise ValueError(
                    f"image has no band within {self.tolerance_nm:g} nm of {wanted:g} nm, "
                    f"the nearest is {axis[nearest]:g} nm. "
                    "Raise tolerance_nm or choose another wavelength."
                )
            positions.append(nearest)
        return positions


class CalibrateReflectance(InvertibleTransform):
    """Turn camera signal into reflectance: ``(signal − dark) / (white − dark)``.

    Assumes a linear sensor and the same illumination and exposure for image and references. Pixels where
    a white reference of the image's size is not above the dark one become NaN, for good.

    Args:
        white: signal of the white reference in units of the image: a number, ``(bands,)`` or
            ``(bands, *spatial)``.
        dark: signal without light, same forms.

    Raises:
        ValueError: if the references do not fit the image, or in a band ``white`` is nowhere above ``dark``.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, *, white: float | NdarrayOrTensor, dark: float | NdarrayOrTensor = 0.0) -> None:
        self.white = torch.as_tensor(white, dtype=torch.float64)
        self.dark = torch.as_tensor(dark, dtype=torch.float64)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Return the reflectance of an image ``(bands, *spatial)``, dimensionless."""
        image = images.as_image(img)
        dark, contrast = self._references(image)
        meta = images.metadata(image)
        out = images.with_metadata((images.plain_tensor(image).double() - dark) / contrast, image)
        if isinstance(out, MetaTensor):
            replaced = {k: meta[k] for k in ("units", "saturation") if k in meta}
            out.meta.pop("saturation", None)  # signal units; the mask meta["saturated"] stays valid
            out.meta["units"] = "reflectance"
            self.push_transform(out, extra_info={"replaced": replaced})
        return out

    def inverse(self, data: Tensor) -> Tensor:
        """Return the camera signal of a calibrated image."""
        dark, contrast = self._references(data)
        out = images.with_metadata(images.plain_tensor(data).double() * contrast + dark, data)
        if isinstance(out, MetaTensor):
            replaced = self.pop_transform(out)["extra_info"]["replaced"]
            out.meta.pop("units", None)
            out.meta.update(replaced)
        return out

    def _references(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Dark signal and white minus dark, broadcastable to the image; NaN where white is not above dark."""
        white, dark = (
            images.broadcast_reference(r, n, image) for r, n in ((self.white, "white"), (self.dark, "dark"))
        )
        contrast = white - dark
        usable = (contrast > 0) & contrast.isfinite()
        dead = (~usable.reshape(len(usable), -1).any(1)).nonzero().flatten().tolist()
        if dead:
            raise ValueError(
                f"the white reference is not above the dark one in bands {dead[:5]}, or not finite; "
                "check that the two are not swapped."
            )
        return dark, torch.where(usable, contrast, torch.nan)


class NormaliseSpectrum(InvertibleTransform):
    """Divide each spectrum by the sum of its magnitudes, so that only its shape is left.

    Removes what exposure, distance and illumination strength multiply. Bands that are not finite are left
    out of the sum and stay what they are; spectra of zeros stay zeros. The norms go along for the inverse.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Return an image ``(bands, *spatial)`` with unit L1 norm over the bands."""
        image = images.as_image(img)
        plain = images.plain_tensor(image)
        norm = torch.zeros(plain.shape[1:], dtype=torch.float64, device=plain.device)
        for bands in plain.split(_BANDS_AT_ONCE):
            norm += torch.where(bands.isfinite(), bands, 0).abs().sum(0, dtype=torch.float64)
        norm = torch.where(norm > 0, norm, 1.0)[None]
        shares = [(bands / norm).to(image.dtype) for bands in plain.split(_BANDS_AT_ONCE)]
        out = images.with_metadata(torch.cat(shares), image)
        if isinstance(out, MetaTensor):
            replaced = {k: out.meta.pop(k) for k in ("units", "saturation") if k in out.meta}
            out.meta["units"] = "share of the spectrum's sum"
            self.push_transform(out, extra_info={"norm": norm, "replaced": replaced})
        return out

    def inverse(self, data: Tensor) -> Tensor:
        """Return the image with its norms put back.

        Raises:
            RuntimeError: if the data carry no trace of this transform.
        """
        if not isinstance(data, MetaTensor):
            raise RuntimeError(
                "NormaliseSpectrum.inverse got a tensor without its norms; keep the MetaTensor it returned."
            )
        info = self.pop_transform(data)["extra_info"]
        norm = torch.as_tensor(info["norm"], device=data.device)
        values = [(bands * norm).to(data.dtype) for bands in images.plain_tensor(data).split(_BANDS_AT_ONCE)]
        out = images.with_metadata(torch.cat(values), data)
        if isinstance(out, MetaTensor):
            out.meta.pop("units", None)
            out.meta.update(info["replaced"])
        return out
