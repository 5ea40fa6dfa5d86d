"""MONAI transforms that check an image: pixels without a usable spectrum, and the camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import Transform
from monai.utils.enums import TransformBackends
from torch import Tensor

from monai_inn.transforms.array import SelectBands
from monai_inn.transforms.images import as_image, broadcast_mask, check_wavelengths, metadata, plain_tensor

if TYPE_CHECKING:
    from monai_inn.problems.application import Application

__all__ = ["CameraLike", "MarkInvalidPixels", "MatchApplication", "MatchCamera"]

# Camera files round their centres; a difference within the rounding is none.
_ROUNDING_NM = 1e-3
_PEAK_NM = 1.0  # how far a header's peak wavelength may be from the declared one


class CameraLike(Protocol):
    """What ``MatchCamera`` needs of a camera."""

    name: str
    band_names: Sequence[str]
    centre_nm: Any


class MarkInvalidPixels(Transform):
    """Find the pixels that carry no usable spectrum; the mask goes to ``meta["valid"]``.

    Invalid are pixels with a value that is not finite, with all bands zero, with too many bands at or below
    zero, with a saturated band, and those outside the user's mask. Use it before cropping or resampling: the
    record of saturated pixels in the metadata belongs to the image as it was read.

    Args:
        negative_fraction: largest share of bands at or below zero that a usable spectrum may have.
        saturation: value at and above which a band counts as saturated; by default what the file's type says.
        mask: True where the user wants results, shape ``(1, *spatial)`` or ``spatial``.

    Raises:
        ValueError: if a mask does not have the image's spatial shape.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        *,
        negative_fraction: float = 0.25,
        saturation: float | None = None,
        mask: NdarrayOrTensor | None = None,
    ) -> None:
        if not 0 <= negative_fraction < 1:
            raise ValueError(f"negative_fraction = {negative_fraction}, expected a share in [0, 1).")
        self.negative_fraction, self.saturation, self.mask = negative_fraction, saturation, mask

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> Tensor:
        """Return the image with ``meta["valid"]``, boolean, shape ``(1, *spatial)``."""
        image = as_image(img)
        out = image if isinstance(image, MetaTensor) else MetaTensor(image)
        out = out.clone()
        out.meta["valid"] = self.valid(image, mask)
        return out

    def valid(self, img: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> Tensor:
        """Return where an image ``(bands, *spatial)`` is usable, boolean, shape ``(1, *spatial)``."""
        image = as_image(img)
        plain, meta = plain_tensor(image), metadata(image)
        low = (plain <= 0).sum(0, keepdim=True)
        valid = plain.isfinite().all(0, keepdim=True) & (low <= self.negative_fraction * len(plain))
        valid &= (plain != 0).any(0, keepdim=True)
        if self.saturation is not None:
            valid &= ~(plain >= self.saturation).any(0, keepdim=True)
        elif "saturated" in meta:
            valid &= ~broadcast_mask(
                meta["saturated"], plain, "saturated pixels, recorded when the file was read, have"
            )
        elif "saturation" in meta:
            valid &= ~(plain >= meta["saturation"]).any(0, keepdim=True)
        for wanted in (self.mask, mask):
            if wanted is not None:
                valid &= broadcast_mask(wanted, plain, "mask has")
        return valid


class MatchCamera(Transform):
    """Check that an image was taken with the camera that a network was trained for.

    Vendors label bands by their peaks, which may lie far from the centres of mass. An image whose wavelengths
    are the camera's declared ``peaks_nm``, each within 1 nm and in any order, gets the order of the camera's
    bands.

    Args:
        camera: object with ``name``, ``band_names`` and ``centre_nm`` of shape ``(bands,)``, and optionally
            ``peaks_nm``, one for each band or empty.
        tolerance_nm: largest difference of a band's wavelength; by default half the median band spacing.

    Raises:
        ValueError: if the number of bands or a wavelength differs.
    """

    def __init__(self, *, camera: CameraLike, tolerance_nm: float | None = None) -> None:
        self.camera = camera
        self.centre_nm = np.asarray(camera.centre_nm, np.float64).reshape(-1)
        self.peaks_nm = np.asarray(getattr(camera, "peaks_nm", ()), np.float64).reshape(-1)
        if not np.isfinite(self.centre_nm).all():
            raise ValueError(f'camera "{camera.name}" has bands whose centre_nm is not a finite number.')
        if tolerance_nm is None:
            spacing = np.diff(np.sort(self.centre_nm))
            tolerance_nm = float(np.median(spacing)) / 2 if len(spacing) else 10.0
        self.tolerance_nm = tolerance_nm

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Return the image; if it has no wavelengths it takes those of the camera."""
        image = as_image(img)
        count, name = len(self.centre_nm), self.camera.name
        if len(image) != count and image.shape[-1] == count:
            raise ValueError(
                f'image has shape {tuple(image.shape)}, expected {count} bands first for camera "{name}"; '
                "move the bands to the front, they are last."
            )
        if len(image) != count:
            raise ValueError(
                f'image has {len(image)} bands, but camera "{name}" has {count}; '
                "pass an image of that camera, or fit a bundle for yours."
            )
        meta = metadata(image)
        if "wavelength_nm" in meta:
            given = np.asarray(meta["wavelength_nm"], np.float64).reshape(-1)
            check_wavelengths(given.tolist(), count)
            order = self._order(given)
            if order is None:
                self._compare(given)
            elif order != sorted(order):
                return SelectBands(indices=order)(image)
        elif isinstance(image, MetaTensor):
            image = image.clone()
            image.meta["wavelength_nm"] = tuple(self.centre_nm.tolist())
            image.meta.setdefault("band_names", tuple(self.camera.band_names))
        return image

    def _order(self, given: np.ndarray) -> list[int] | None:
        """The band of the image for each band of the camera, if wavelengths are the declared peaks."""
        if not len(self.peaks_nm):
            return None
        order = np.empty(len(given), np.int64)
        order[np.argsort(self.peaks_nm)] = np.argsort(given)
        distance = np.abs(given[order] - self.peaks_nm)
        if distance.max() > _PEAK_NM + _ROUNDING_NM:
            return None
        # Where rounded peaks lie closer together than their rounding, the image's own order may fit as well.
        is_same = np.abs(given - self.peaks_nm).sum() <= distance.sum() + _ROUNDING_NM
        return list(range(len(given))) if is_same else order.tolist()

    def _compare(self, given: np.ndarray) -> None:
        """Raise if a wavelength is too far from the camera's."""
        limit = self.tolerance_nm + _ROUNDING_NM
        wrong = np.flatnonzero(np.abs(given - self.centre_nm) > limit)
        if not len(wrong):
            return
        first = ", ".join(
            f"band {i} at {given[i]:g} nm instead of {self.centre_nm[i]:g} nm" for i in wrong[:3]
        )
        advice = "pass an image of that camera, or fit a bundle for yours."
        if np.all(np.abs(np.sort(given) - np.sort(self.centre_nm)) <= limit):
            advice = (
                "the bands are the same in another order: use SelectBands(wavelength_nm=camera.centre_nm)."
            )
        raise ValueError(
            f'image and camera "{self.camera.name}" differ by more than {self.tolerance_nm:g} nm '
            f"in {len(wrong)} of {len(given)} bands: {first}; {advice}"
        )


class MatchApplication(Transform):
    """Return an image as the application of a problem takes it, or refuse one of another acquisition.

    Args:
        application: ``problem.application``.

    Raises:
        ValueError: if the image does not match.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, *, application: Application) -> None:
        self.application = application

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Return the image ``(C, *spatial)``, matched."""
        return self.application.match(img, str(img.meta.get("filename_or_obj", "image")))
