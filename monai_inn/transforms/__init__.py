"""MONAI transforms for multispectral images, and reading and writing them.

Importing this subpackage imports MONAI; ``import monai_inn`` alone does not.
"""

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
