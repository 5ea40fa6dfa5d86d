"""MONAI transforms for multispectral images, and reading and writing them.

What is used of this subpackage imports MONAI, but for the files in ``formats`` and ``volumes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.transforms.array import (
        CalibrateReflectance,
        LoadMultispectral,
        NormaliseSpectrum,
        SelectBands,
    )
    from monai_inn.transforms.checks import MarkInvalidPixels, MatchApplication, MatchCamera
    from monai_inn.transforms.dictionary import (
        CalibrateReflectanced,
        LoadMultispectrald,
        MarkInvalidPixelsd,
        MatchApplicationd,
        MatchCamerad,
        MatchSeriesd,
        NormaliseSpectrumd,
        SelectBandsd,
    )
    from monai_inn.transforms.posterior import (
        OutOfDistributionMask,
        OutOfDistributionMaskd,
        PosteriorMaps,
        PosteriorMapsd,
    )
    from monai_inn.transforms.reader import MultispectralReader
    from monai_inn.transforms.readers import READABLE, read_multispectral
    from monai_inn.transforms.series import MatchSeries
    from monai_inn.transforms.volumes import write_map, write_nrrd

__all__ = [
    "READABLE",
    "CalibrateReflectance",
    "CalibrateReflectanced",
    "LoadMultispectral",
    "LoadMultispectrald",
    "MarkInvalidPixels",
    "MarkInvalidPixelsd",
    "MatchApplication",
    "MatchApplicationd",
    "MatchCamera",
    "MatchCamerad",
    "MatchSeries",
    "MatchSeriesd",
    "MultispectralReader",
    "NormaliseSpectrum",
    "NormaliseSpectrumd",
    "OutOfDistributionMask",
    "OutOfDistributionMaskd",
    "PosteriorMaps",
    "PosteriorMapsd",
    "SelectBands",
    "SelectBandsd",
    "read_multispectral",
    "write_map",
    "write_nrrd",
]

_HOMES = {
    "array": "CalibrateReflectance LoadMultispectral NormaliseSpectrum SelectBands",
    "checks": "MarkInvalidPixels MatchApplication MatchCamera",
    "dictionary": "CalibrateReflectanced LoadMultispectrald MarkInvalidPixelsd MatchApplicationd "
    "MatchCamerad MatchSeriesd NormaliseSpectrumd SelectBandsd",
    "posterior": "OutOfDistributionMask OutOfDistributionMaskd PosteriorMaps PosteriorMapsd",
    "reader": "MultispectralReader",
    "readers": "READABLE read_multispectral",
    "series": "MatchSeries",
    "volumes": "write_map write_nrrd",
}

# Those that write files alone need not wait for MONAI.
__getattr__ = lazy_attributes(__name__, {name: home for home in _HOMES for name in _HOMES[home].split()})
