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
_OF_XRAYS: dict[str, Any] = {
    "task": "Posterior of the pose of a C-arm from one X-ray of the patient whose CT this is",
    "description": "Conditional normalizing flow for 2D/3D registration: for one X-ray the posterior of the "
    "pose with all its modes, and a score that tells whether the X-ray resembles those simulated of the CT.",
    "data_source": "Simulated X-rays of one CT. The bundle holds that CT's attenuation: handle it as you "
    "would the patient's images.",
    "data_type": "simulated; X-rays of any format that monai_inn.transforms.read_xray reads",
    "references": [
        "Trofimova et al., Representing ambiguity in registration problems with conditional invertible "
        "neural networks, 2020"
    ],
}
_INTENDED_USE = "Research only. Not a medical device; not for diagnosis or treatment."


def metadata(fitted: FittedPosterior, name: str, weights_sha256: str, weights_bytes: int) -> dict[str, Any]:
    """Return the content of ``metadata.json``."""
    problem, version = fitted.problem, importlib.metadata.version
    ours = _version("monai_inn")
    told = _of_pixels(fitted) if problem.observation.is_local else _OF_XRAYS
    return {
        "schema": _SCHEMA,
        "version": ours,
        "changelog": {ours: f"trained with monai_inn {ours} on {datetime.date.today().isoformat()}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"monai_inn": ours} | {p: v for p in _REQUIRED if (v := _version(p))},
        "name": name,
        "task": told["task"],
        "description": told["description"],
        "authors": "The monai_inn developers",
        "copyright": "Copyright the monai_inn developers, Apache License 2.0",
        "data_source": " ".join([told["data_source"], *fitted.card.get("sources", ())]),
        "data_type": told["data_type"],
        "intended_use": _INTENDED_USE,
        "eval_metrics": _headline(fitted.card),
        "references": [*_REFERENCES, *told["references"]],
        "network_data_format": _data_format(fitted),
        SECTION: {
            "format_version": FORMAT_VERSION,
            "problem": problem.name,
            "targets": list(problem.targets),
            "parameters": [_finite(p) for p in problem.space.to_config()],
            "camera": getattr(getattr(problem, "camera", None), "name", None),
            "weights_sha256": weights_sha256,
            "weights_bytes": weights_bytes,
            "card": _finite(fitted.card),
        },
    }


def _of_pixels(fitted: FittedPosterior) -> dict[str, Any]:
    """What is said of a problem of pixels."""
    name = fitted.problem.name
    return {
        "task": f"Posterior maps of {', '.join(p.description or p.name for p in _targets(fitted))}",
        "description": (
            f"Conditional normalizing flow for the inverse problem {name!r}: for every pixel the posterior "
            "of the hidden parameters, and a score that tells whether the pixel resembles the training data."
        ),
        "data_source": f"Simulations of the forward model {name!r} of monai_inn; no patient data.",
        "data_type": "simulated; images of any format that monai_inn.transforms.read_multispectral reads",
        "references": [
            "Adler et al., Uncertainty-aware performance assessment of optical imaging modalities with "
            "invertible neural networks, 2019"
        ],
    }


def _xray_format(fitted: FittedPosterior) -> dict[str, Any]:
    """``network_data_format``: one X-ray in, samples of the pose out."""
    rows, columns = fitted.problem.observation.size
    shared = {"dtype": "float32", "is_patch_data": False, "value_range": []}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "X-ray",
        "num_channels": 1,
        "spatial_shape": [rows, columns],
        "channel_def": {"0": "line integral of attenuation relative to the brightest, 1"},
    }
    units = {str(i): f"{p.description}, {p.unit}" for i, p in enumerate(fitted.problem.parameters)}
    pred = {
        "type": "series",
        "format": "posterior samples",
        "num_channels": len(units),
        "spatial_shape": ["*"],
        "channel_def": units,
    }
    return {"inputs": {"image": image | shared}, "outputs": {"pred": pred | shared}}


def _data_format(fitted: FittedPosterior) -> dict[str, Any]:
    """``network_data_format``: bands in, medians, interval widths and trust out, with units."""
    if not fitted.problem.observation.is_local:
        return _xray_format(fitted)
    problem = fitted.problem
    camera = getattr(problem, "camera", None)
    bands = [
        f"{name}, reflectance relative to white, 1" if camera else name
        for name in problem.observation.columns
    ]
    maps = [
        *(f"{p.description or p.name}, posterior median, {p.unit}" for p in _targets(fitted)),
        *(f"{p.description or p.name}, width of the central interval, {p.unit}" for p in _targets(fitted)),
        "WAIC, high = out of distribution, nat",
        "out of distribution, 1 = do not trust, 1",
    ]
    shared = {"dtype": "float32", "spatial_shape": ["*", "*"], "is_patch_data": False}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "multispectral camera" if camera else "simulated",
        "num_channels": len(bands),
        **shared,
        "value_range": [0, 1] if camera else [],
        "channel_def": {str(i): text for i, text in enumerate(bands)},
    }
    pred = {
        "type": "image",
        "format": "posterior maps",
        "num_channels": len(maps),
        **shared,
        "value_range": [],
        "channel_def": {str(i): text for i, text in enumerate(maps)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": pred}}


def _targets(fitted: FittedPosterior) -> Any:
    return fitted.problem.space.subset(fitted.problem.targets).parameters


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
