"""Calibration, scores, modes, out-of-distribution detection; ``PosteriorMetric`` is their MONAI metric."""

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes
from monai_inn.metrics.bootstrap import bootstrap_bounds
from monai_inn.metrics.calibration.coverage import (
    coverage,
    coverage_interval,
    coverage_of_counts,
    needed_cases_for_shift,
    needed_cases_for_width,
    width_and_shift,
)
from monai_inn.metrics.calibration.ecdf import ecdf_difference
from monai_inn.metrics.calibration.error import (
    calibration_curve,
    calibration_error,
    calibration_noise_floor,
    curve_of_counts,
)
from monai_inn.metrics.calibration.sbc import (
    pit,
    rank_counts,
    sbc_ranks,
    sbc_uniformity,
    uniformity_of_counts,
)
from monai_inn.metrics.calibration.sharpness import contraction, hds_length, interval_width, posterior_sd
from monai_inn.metrics.calibration.tarp import tarp
from monai_inn.metrics.classes import (
    ClassSets,
    brier_score,
    class_shares,
    classification_figures,
    expected_calibration_error,
    reliability,
)
from monai_inn.metrics.detection.ood import ConformalThreshold, typicality, waic, waic_terms
from monai_inn.metrics.detection.separation import auroc, average_precision, bootstrap_interval, fpr_at_tpr
from monai_inn.metrics.disentanglement import Disentanglement, disentanglement
from monai_inn.metrics.grid import grid_divergence, posterior_grid
from monai_inn.metrics.independence import IndependenceResult, hsic, independence_test
from monai_inn.metrics.information import InformationGain, information_gain
from monai_inn.metrics.modes import (
    Mode,
    ModeSpace,
    Pose,
    find_modes,
    find_modes_batch,
    match,
    mode_distance,
    mode_scores,
)
from monai_inn.metrics.recommend import Application, recommend
from monai_inn.metrics.resimulation import resimulation_error, resimulation_test
from monai_inn.metrics.scores import crps, energy_score, log_score, point_spread, registration_error
from monai_inn.metrics.two_sample import c2st, joint_pairs, mmd

if TYPE_CHECKING:
    from monai_inn.metrics.cumulative import PosteriorMetric

__all__ = [
    "Application",
    "ClassSets",
    "ConformalThreshold",
    "Disentanglement",
    "IndependenceResult",
    "InformationGain",
    "Mode",
    "ModeSpace",
    "Pose",
    "PosteriorMetric",
    "auroc",
    "average_precision",
    "bootstrap_bounds",
    "bootstrap_interval",
    "brier_score",
    "c2st",
    "calibration_curve",
    "calibration_error",
    "calibration_noise_floor",
    "class_shares",
    "classification_figures",
    "contraction",
    "coverage",
    "coverage_interval",
    "coverage_of_counts",
    "crps",
    "curve_of_counts",
    "disentanglement",
    "ecdf_difference",
    "energy_score",
    "expected_calibration_error",
    "find_modes",
    "find_modes_batch",
    "fpr_at_tpr",
    "grid_divergence",
    "hds_length",
    "hsic",
    "independence_test",
    "information_gain",
    "interval_width",
    "joint_pairs",
    "log_score",
    "match",
    "mmd",
    "mode_distance",
    "mode_scores",
    "needed_cases_for_shift",
    "needed_cases_for_width",
    "pit",
    "point_spread",
    "posterior_grid",
    "posterior_sd",
    "rank_counts",
    "recommend",
    "registration_error",
    "reliability",
    "resimulation_error",
    "resimulation_test",
    "sbc_ranks",
    "sbc_uniformity",
    "tarp",
    "typicality",
    "uniformity_of_counts",
    "waic",
    "waic_terms",
    "width_and_shift",
]

__getattr__ = lazy_attributes(__name__, {"PosteriorMetric": "cumulative"})
