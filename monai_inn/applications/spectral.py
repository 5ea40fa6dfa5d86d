"""What problems of spectra share: the bands that an image must have, the pixels that are usable."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor

from monai_inn.problems.application import Application

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

__all__ = ["SpectralApplication", "are_spectra"]


def are_spectra(y: Tensor) -> Tensor:
    """Whether pixels ``(…, C)`` are finite, not black, and positive in three quarters of the bands."""
    dark = (y <= 0).sum(-1) > y.shape[-1] // 4
    return torch.isfinite(y).all(-1) & (y.mean(-1) > 0) & ~dark


class SpectralApplication(Application):
    """Problems whose observations are spectra of a device with bands of known wavelength.

    Attributes:
        camera: where the problem keeps what images are matched to: an attribute of it, for
            ``transforms.MatchCamera``.
        matching: further arguments of ``MatchCamera``.
    """

    camera: ClassVar[str] = "camera"
    is_without_patients = True
    matching: ClassVar[Mapping[str, Any]] = {}

    def loading(self) -> list[dict[str, Any]]:
        """Return the transforms of ``inference.json``: bands checked, unusable pixels zero."""
        return [
            *super().loading(),
            {
                "_target_": "monai_inn.transforms.MatchCamerad",
                "keys": "image",
                "camera": f"$@network_def.problem.{self.camera}",
                **self.matching,
            },
            {"_target_": "monai_inn.transforms.MarkInvalidPixelsd", "keys": "image", "valid_keys": "valid"},
            # The network answers a pixel of zeros with NaN.
            {"_target_": "monai.transforms.MaskIntensityd", "keys": "image", "mask_key": "valid"},
        ]

    def match(self, image: MetaTensor, path: str) -> MetaTensor:
        """Return the bands of the device, whose order and wavelengths were checked."""
        from monai_inn.transforms import MatchCamera

        camera = operator.attrgetter(self.camera)(self.problem)
        return cast("MetaTensor", MatchCamera(camera=camera, **self.matching)(image))

    def usable(self) -> Callable[[Tensor], Tensor]:
        """Return what finds pixels that are neither dark nor saturated."""
        from monai_inn.transforms import MarkInvalidPixels

        marker = MarkInvalidPixels()
        return lambda image: torch.as_tensor(marker.valid(image)).as_subclass(Tensor)[0]
