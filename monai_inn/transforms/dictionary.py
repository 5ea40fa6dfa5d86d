"""Dictionary forms of the transforms in ``array``: the same names with ``d`` at the end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform
from monai.utils.misc import ensure_tuple

from monai_inn.transforms.array import (
    CalibrateReflectance,
    LoadMultispectral,
    NormaliseSpectrum,
    SelectBands,
)
from monai_inn.transforms.checks import MarkInvalidPixels, MatchApplication, MatchCamera
from monai_inn.transforms.series import MatchSeries

__all__ = [
    "CalibrateReflectanced",
    "EachKey",
    "LoadMultispectrald",
    "MarkInvalidPixelsd",
    "MatchApplicationd",
    "MatchCamerad",
    "MatchSeriesd",
    "NormaliseSpectrumd",
    "SelectBandsd",
]

_Data = Mapping[Hashable, Any]
_Result = dict[Hashable, Any]


class EachKey(MapTransform):
    """Applies one array transform to each key; its options are those of the array transform."""

    array: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "array"):
            _, keys, missing, _ = inspect.signature(EachKey.__init__).parameters.values()
            options = inspect.signature(cls.array).parameters.values()
            cls.__signature__ = inspect.Signature([keys, *options, missing])  # type: ignore[attr-defined]

    def __init__(self, keys: KeysCollection, *, allow_missing_keys: bool = False, **options: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = self.array(**options)

    def __call__(self, data: _Data) -> _Result:
        """Return a copy of the dictionary with the keys transformed."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class _EachKeyInvertible(EachKey, InvertibleTransform):
    """Applies one invertible array transform, or its inverse, to each key."""

    def inverse(self, data: _Data) -> _Result:
        """Return a copy of the dictionary with the keys transformed back."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform.inverse(result[key])
        return result


class LoadMultispectrald(EachKey):
    """Replace file names by images; see ``LoadMultispectral``."""

    array = LoadMultispectral


class SelectBandsd(EachKey):
    """Keep some bands of each image; see ``SelectBands``."""

    array = SelectBands


class CalibrateReflectanced(_EachKeyInvertible):
    """Turn each camera signal into reflectance; see ``CalibrateReflectance``."""

    array = CalibrateReflectance


class NormaliseSpectrumd(_EachKeyInvertible):
    """Divide each spectrum by its sum; see ``NormaliseSpectrum``."""

    array = NormaliseSpectrum


class MatchApplicationd(EachKey):
    """Return each image as the application of a problem takes it; see ``MatchApplication``."""

    array = MatchApplication


class MatchCamerad(EachKey):
    """Check each image against a camera; see ``MatchCamera``."""

    array = MatchCamera


class MarkInvalidPixelsd(MapTransform):
    """Write where each image is usable under a key of its own; see ``MarkInvalidPixels``.

    Args:
        keys: images ``(bands, *spatial)``.
        valid_keys: where the masks go, one for each image: boolean ``MetaTensor`` ``(1, *spatial)``
            with the image's affine.
        negative_fraction: largest share of bands at or below zero that a usable spectrum may have.
        saturation: value at and above which a band counts as saturated; by default what the file's type says.
        mask_key: key of the user's mask, True where results are wanted; no mask by default.
        allow_missing_keys: whether an absent image is skipped.

    Raises:
        ValueError: if there are not as many ``valid_keys`` as ``keys``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        valid_keys: KeysCollection = "valid",
        negative_fraction: float = 0.25,
        saturation: float | None = None,
        mask_key: Hashable | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.valid_keys = ensure_tuple(valid_keys)
        if len(self.valid_keys) != len(self.keys):
            raise ValueError(
                f"{len(self.keys)} keys but {len(self.valid_keys)} valid_keys; give one for each image."
            )
        self.mask_key = mask_key
        self.transform = MarkInvalidPixels(negative_fraction=negative_fraction, saturation=saturation)

    def __call__(self, data: _Data) -> _Result:
        """Return a copy of the dictionary with the masks added."""
        result = dict(data)
        for key, valid_key in self.key_iterator(result, self.valid_keys):
            mask = None if self.mask_key is None else result[self.mask_key]
            valid = self.transform.valid(result[key], mask)
            image = result[key]
            # A mask of its own, so only the geometry goes along, not the labels of the bands.
            result[valid_key] = (
                MetaTensor(valid, affine=image.affine) if isinstance(image, MetaTensor) else valid
            )
        return result


class MatchSeriesd(EachKey):
    """Turn each image of a series into the channels of its network; see ``MatchSeries``."""

    array = MatchSeries
