"""The ``metadata.json`` of a bundle: versions, intended use, measured figures, channels with units."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
from typing import TYPE_CHECKING, Any

from monai_inn.bundles.layout import FORMAT_VERSION, SECTION

if TYPE_CHECKING:
    from monai_inn.inferers import FittedPosterior

__all__ = ["metadata"]

# Checked by `python -m monai.bundle verify_metadata`.
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
_REQUIRED = ("nibabel", "pytorch-ignite", "safetensors", "scipy", "numba")
_REFERENCES = (
    "Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019",
    "Adler et al., Out of distribution detection for intra-operative functional imaging, 2019",
)
_INTENDED_USE = "Research only. Not a medical device; not for diagnosis or treatment."


def metadata(fitted: FittedPosterior, name: str, weights_sha256: str, weights_bytes: int) -> dict[str, Any]:
    """Return the content of ``metadata.json``."""
    problem, version = fitted.problem, importlib.metadata.version
    ours = _version("monai_inn")
    told = problem.application
    return {
        "schema": _SCHEMA,
        "version": ours,
        "changelog": {ours: f"trained with monai_inn {ours} on {datetime.date.today().isoformat()}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"monai_inn": ours} | {p: v for p in _REQUIRED if (v := _version(p))},
        "name": name,
        "task": told.task,
        "description": told.description,
        "authors": "The monai_inn developers",
        "copyright": "Copyright the monai_inn developers, Apache License 2.0",
        "data_source": " ".join([told.data_source, *fitted.card.get("sources", ())]),
        "data_type": told.data_type,
        "intended_use": _INTENDED_USE,
        "eval_metrics": _headline(fitted.card),
        "references": [*_REFERENCES, *told.references],
        "network_data_format": _data_format(fitted),
        SECTION: {
            "format_version": FORMAT_VERSION,
            "problem": problem.name,
            "result": told.result,
            "targets": list(problem.targets),
            "parameters": [_finite(p) for p in problem.space.to_config()],
            "camera": told.device,
            "weights_sha256": weights_sha256,
            "weights_bytes": weights_bytes,
            "card": _finite(fitted.card),
        },
    }


def _data_format(fitted: FittedPosterior) -> dict[str, Any]:
    """``network_data_format``: observations in; medians, interval widths and trust, or samples, out."""
    problem = fitted.problem
    shown = problem.space.subset(problem.targets).parameters
    if problem.observation.is_local:
        about: dict[str, Any] = {"type": "image", "format": "posterior maps", "spatial_shape": ["*", "*"]}
        channels = [
            *(f"{p.description or p.name}, posterior median, {p.unit}" for p in shown),
            *(f"{p.description or p.name}, width of the central interval, {p.unit}" for p in shown),
            "WAIC, high = out of distribution, nat",
            "out of distribution, 1 = do not trust, 1",
        ]
    else:
        about = {"type": "series", "format": "posterior samples", "spatial_shape": ["*"]}
        channels = [f"{p.description or p.name}, {p.unit}" for p in problem.parameters]
    about |= {"dtype": "float32", "is_patch_data": False, "value_range": [], "num_channels": len(channels)}
    prediction = about | {"channel_def": {str(i): text for i, text in enumerate(channels)}}
    return {"inputs": {"image": problem.application.input_format()}, "outputs": {"pred": prediction}}


def _headline(card: dict[str, Any]) -> dict[str, float]:
    """The few measured numbers that catalogues show."""
    parameters = card.get("parameters", {})
    found = {f"calibration error {name}": row.get("calibration_error") for name, row in parameters.items()}
    found["held-out negative log-likelihood, nat"] = card.get("nll")
    found["false alarms at 5 %"] = card.get("ood", {}).get("false_alarm_measured")
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _finite(value: Any) -> Any:
    """A copy in which numbers that JSON cannot hold are null."""
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
