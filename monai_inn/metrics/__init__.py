"""Calibration, scores, modes, out-of-distribution detection; the MONAI metric classes load when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes
from monai_inn.metrics.calibration import (
    CalibrationCurve,
    NoiseFloor,
    calibration_curve,
    calibration_error,
    calibration_noise_floor,
    curve_of_counts,
)
from monai_inn.metrics.coverage import (
    Coverage,
    coverage,
    coverage_interval,
    coverage_of_counts,
    needed_cases,
)
from monai_inn.metrics.detection import (
    RocCurve,
    auroc,
    average_precision,
    bootstrap_interval,
    fpr_at_tpr,
    roc_curve,
)
from monai_inn.metrics.ecdf import (
    EcdfDifference,
    EcdfEnvelope,
    ecdf_difference,
    ecdf_envelope,
)
from monai_inn.metrics.grid import (
    GridComparison,
    grid_divergence,
    posterior_grid,
)
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
from monai_inn.metrics.normal_scores import (
    WidthShift,
    needed_cases_for_shift,
    needed_cases_for_width,
    width_and_shift,
)
from monai_inn.metrics.ood import (
    ConformalThreshold,
    WaicTerms,
    benjamini_hochberg,
    typicality,
    waic,
    waic_terms,
)
from monai_inn.metrics.poses import (
    PointSpread,
    point_spread,
    registration_error,
)
from monai_inn.metrics.recommend import (
    Application,
    Recommendation,
    recommend,
)
from monai_inn.metrics.resimulation import (
    ResimulationTest,
    noise_sd_of,
    resimulation_error,
    resimulation_test,
)
from monai_inn.metrics.sbc import (
    SbcUniformity,
    pit,
    rank_counts,
    sbc_ranks,
    sbc_uniformity,
    uniformity_of_counts,
)
from monai_inn.metrics.scores import (
    LogScores,
    crps,
    energy_score,
    log_score,
)
from monai_inn.metrics.sharpness import (
    Contraction,
    contraction,
    hds_length,
    interval_width,
    posterior_sd,
)
from monai_inn.metrics.strata import (
    Strata,
    StratifiedMetric,
    bins_of,
    by_stratum,
)
from monai_inn.metrics.tarp import (
    TarpResult,
    other_truths,
    prior_scale,
    tarp,
    tarp_fractions,
    tarp_of_fractions,
)
from monai_inn.metrics.two_sample import (
    C2stResult,
    MmdResult,
    c2st,
    mmd,
)

if TYPE_CHECKING:
    from monai_inn.metrics.posterior_modes import (
        ModeSummary,
        PosteriorModes,
    )
    from monai_inn.metrics.rank_metrics import (
        Pit,
        PosteriorCalibration,
        PosteriorCoverage,
        SbcEcdf,
        Tarp,
    )
    from monai_inn.metrics.score_metrics import (
        Crps,
        EnergyScore,
        GridDivergence,
        HighestDensityLength,
        LogScore,
        ResimulationError,
        Sharpness,
    )
    from monai_inn.metrics.two_sample_metrics import (
        ClassifierTwoSample,
        MaximumMeanDiscrepancy,
    )

__all__ = [
    "Application",
    "C2stResult",
    "CalibrationCurve",
    "ClassifierTwoSample",
    "ConformalThreshold",
    "Contraction",
    "Coverage",
    "Crps",
    "EcdfDifference",
    "EcdfEnvelope",
    "EnergyScore",
    "GridComparison",
    "GridDivergence",
    "HighestDensityLength",
    "LogScore",
    "LogScores",
    "MaximumMeanDiscrepancy",
    "MmdResult",
    "Mode",
    "ModeSpace",
    "ModeSummary",
    "NoiseFloor",
    "Pit",
    "PointSpread",
    "Pose",
    "PosteriorCalibration",
    "PosteriorCoverage",
    "PosteriorModes",
    "Recommendation",
    "ResimulationError",
    "ResimulationTest",
    "RocCurve",
    "SbcEcdf",
    "SbcUniformity",
    "Sharpness",
    "Strata",
    "StratifiedMetric",
    "Tarp",
    "TarpResult",
    "WaicTerms",
    "WidthShift",
    "auroc",
    "average_precision",
    "benjamini_hochberg",
    "bins_of",
    "bootstrap_interval",
    "by_stratum",
    "c2st",
    "calibration_curve",
    "calibration_error",
    "calibration_noise_floor",
    "contraction",
    "coverage",
    "coverage_interval",
    "coverage_of_counts",
    "crps",
    "curve_of_counts",
    "ecdf_difference",
    "ecdf_envelope",
    "energy_score",
    "find_modes",
    "find_modes_batch",
    "fpr_at_tpr",
    "grid_divergence",
    "hds_length",
    "interval_width",
    "log_score",
    "match",
    "mmd",
    "mode_distance",
    "mode_scores",
    "needed_cases",
    "needed_cases_for_shift",
    "needed_cases_for_width",
    "noise_sd_of",
    "other_truths",
    "pit",
    "point_spread",
    "posterior_grid",
    "posterior_sd",
    "prior_scale",
    "rank_counts",
    "recommend",
    "registration_error",
    "resimulation_error",
    "resimulation_test",
    "roc_curve",
    "sbc_ranks",
    "sbc_uniformity",
    "tarp",
    "tarp_fractions",
    "tarp_of_fractions",
    "typicality",
    "uniformity_of_counts",
    "waic",
    "waic_terms",
    "width_and_shift",
]

_HOMES = {
    "ModeSummary": "posterior_modes",
    "PosteriorModes": "posterior_modes",
    "Pit": "rank_metrics",
    "PosteriorCalibration": "rank_metrics",
    "PosteriorCoverage": "rank_metrics",
    "SbcEcdf": "rank_metrics",
    "Tarp": "rank_metrics",
    "Crps": "score_metrics",
    "EnergyScore": "score_metrics",
    "GridDivergence": "score_metrics",
    "HighestDensityLength": "score_metrics",
    "LogScore": "score_metrics",
    "ResimulationError": "score_metrics",
    "Sharpness": "score_metrics",
    "ClassifierTwoSample": "two_sample_metrics",
    "MaximumMeanDiscrepancy": "two_sample_metrics",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
