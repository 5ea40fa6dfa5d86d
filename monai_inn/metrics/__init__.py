"""Calibration, out-of-distribution scores and detection; the MONAI metric class loads when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai_inn.metrics.calibration import (
    CalibrationCurve,
    NoiseFloor,
    calibration_curve,
    calibration_error,
    calibration_noise_floor,
    coverage_interval,
    curve_of_counts,
)
from monai_inn.metrics.detection import (
    RocCurve,
    auroc,
    average_precision,
    bootstrap_interval,
    fpr_at_tpr,
    roc_curve,
)
from monai_inn.metrics.ood import (
    ConformalThreshold,
    WaicTerms,
    benjamini_hochberg,
    typicality,
    waic,
    waic_terms,
)
from monai_inn.metrics.sbc import (
    SbcUniformity,
    rank_counts,
    sbc_ranks,
    sbc_uniformity,
    uniformity_of_counts,
)

if TYPE_CHECKING:
    from monai_inn.metrics.posterior_calibration import PosteriorCalibration

__all__ = [
    "CalibrationCurve",
    "ConformalThreshold",
    "NoiseFloor",
    "PosteriorCalibration",
    "RocCurve",
    "SbcUniformity",
    "WaicTerms",
    "auroc",
    "average_precision",
    "benjamini_hochberg",
    "bootstrap_interval",
    "calibration_curve",
    "calibration_error",
    "calibration_noise_floor",
    "coverage_interval",
    "curve_of_counts",
    "fpr_at_tpr",
    "rank_counts",
    "roc_curve",
    "sbc_ranks",
    "sbc_uniformity",
    "typicality",
    "uniformity_of_counts",
    "waic",
    "waic_terms",
]


def __getattr__(name: str) -> Any:
    if name == "PosteriorCalibration":
        from monai_inn.metrics.posterior_calibration import PosteriorCalibration

        return PosteriorCalibration
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
