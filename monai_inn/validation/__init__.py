"""Validation of posteriors, ours or anybody's: cases in, a report with verdicts out."""

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes

if TYPE_CHECKING:
    from monai_inn.metrics.verdicts import Tolerance
    from monai_inn.validation.assess import validate
    from monai_inn.validation.cases import Cases, Images
    from monai_inn.validation.readers import read_cases, read_parameters
    from monai_inn.validation.recalibration import recalibrate, recalibrate_bundle
    from monai_inn.validation.report import check_report, write_report
    from monai_inn.validation.simulated import simulated_cases

__all__ = [
    "Cases",
    "Images",
    "Tolerance",
    "check_report",
    "read_cases",
    "read_parameters",
    "recalibrate",
    "recalibrate_bundle",
    "simulated_cases",
    "validate",
    "write_report",
]

_HOMES = {
    "Cases": "cases",
    "Images": "cases",
    "Tolerance": "assess",
    "check_report": "report",
    "read_cases": "readers",
    "read_parameters": "readers",
    "recalibrate": "recalibration",
    "recalibrate_bundle": "recalibration",
    "simulated_cases": "simulated",
    "write_report": "report",
    "validate": "assess",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
