"""Showing posteriors in MRML scenes: nodes, layers, legends, read-outs, plots. No Qt.

Used by the module in 3D Slicer, by the web viewer, and by the tests.
"""

from .inspection import (
    OUTSIDE,
    TRUSTED,
    UNUSABLE,
    WITHHELD,
    Mode,
    Reading,
    peaks,
    read_at,
    show_posterior,
    voxel_at,
)
from .marks import itk_image, matrix_of
from .measuring import Comparison, RegionReading, compare, read_region
from .meshes import hide_contours, show_contours
from .overlay import KINDS, Appearance, Overlay
from .pose_result import POSES_FILE, Pose, PoseResult, PoseSamples, read_poses
from .pose_run import PoseRun, pose_runs
from .pose_scene import hide_mode, show_mode, show_spread, store_poses
from .pose_spread import CHI_95, Spread, ellipsoid, spread_of
from .pose_views import (
    COMPARISONS,
    DIFFERENCE_LIMIT,
    IMAGE_VIEWS,
    Comparing,
    compared,
    face_image,
    image_axes,
    look_at_target,
    show_comparison,
    show_images,
)
from .pose_words import (
    AMBIGUOUS,
    CERTAIN,
    POSE_LABELS,
    UNTRUSTED,
    accuracy_sentence,
    pose_header,
    pose_notes,
    pose_row,
    pose_sentence,
    pose_verdict,
)
from .posteriors import RegionMean, density, interval_at, probability_below, region_mean
from .result import Result, ResultError, Shown, read_result
from .run import Run, number_of_samples, runs, show_sample
from .storing import save_result, store

__all__ = [
    "AMBIGUOUS",
    "CERTAIN",
    "CHI_95",
    "COMPARISONS",
    "DIFFERENCE_LIMIT",
    "IMAGE_VIEWS",
    "KINDS",
    "OUTSIDE",
    "POSES_FILE",
    "POSE_LABELS",
    "TRUSTED",
    "UNTRUSTED",
    "UNUSABLE",
    "WITHHELD",
    "Appearance",
    "Comparing",
    "Comparison",
    "Mode",
    "Overlay",
    "Pose",
    "PoseResult",
    "PoseRun",
    "PoseSamples",
    "Reading",
    "RegionMean",
    "RegionReading",
    "Result",
    "ResultError",
    "Run",
    "Shown",
    "Spread",
    "accuracy_sentence",
    "compare",
    "compared",
    "density",
    "ellipsoid",
    "face_image",
    "hide_contours",
    "hide_mode",
    "image_axes",
    "interval_at",
    "itk_image",
    "look_at_target",
    "matrix_of",
    "number_of_samples",
    "peaks",
    "pose_header",
    "pose_notes",
    "pose_row",
    "pose_runs",
    "pose_sentence",
    "pose_verdict",
    "probability_below",
    "read_at",
    "read_poses",
    "read_region",
    "read_result",
    "region_mean",
    "runs",
    "save_result",
    "show_comparison",
    "show_contours",
    "show_images",
    "show_mode",
    "show_posterior",
    "show_sample",
    "show_spread",
    "spread_of",
    "store",
    "store_poses",
    "voxel_at",
]
