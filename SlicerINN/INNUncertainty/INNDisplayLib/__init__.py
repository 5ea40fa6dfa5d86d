"""Showing posteriors in MRML scenes: nodes, layers, legends, read-outs, plots. No Qt.

Used by the module in 3D Slicer, by the web viewer, and by the tests.
"""

from .charts import show_posterior
from .comparison import Comparison, compare
from .contours import hide_contours, show_contours
from .inspection import OUTSIDE, TRUSTED, UNUSABLE, WITHHELD, Mode, Reading, peaks, read_at, voxel_at
from .itk_images import itk_image
from .marks import matrix_of
from .overlay import KINDS, Appearance, Overlay
from .posteriors import RegionMean, density, interval_at, probability_below, region_mean
from .regions import RegionReading, read_region
from .result import Result, ResultError, Shown, read_result
from .run import Run, runs
from .samples import number_of_samples, show_sample
from .saving import save_result
from .storing import store

__all__ = [
    "KINDS",
    "OUTSIDE",
    "TRUSTED",
    "UNUSABLE",
    "WITHHELD",
    "Appearance",
    "Comparison",
    "Mode",
    "Overlay",
    "Reading",
    "RegionMean",
    "RegionReading",
    "Result",
    "ResultError",
    "Run",
    "Shown",
    "compare",
    "density",
    "hide_contours",
    "interval_at",
    "itk_image",
    "matrix_of",
    "number_of_samples",
    "peaks",
    "probability_below",
    "read_at",
    "read_region",
    "read_result",
    "region_mean",
    "runs",
    "save_result",
    "show_contours",
    "show_posterior",
    "show_sample",
    "store",
    "voxel_at",
]
