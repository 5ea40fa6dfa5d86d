"""The ``metadata.json`` of a bundle: what it says, and what a program that offers bundles reads from it."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_inn import __version__
from monai_inn.fitted.layout import FORMAT_VERSION, METADATA, PRETRAINED, README, SECTION
from monai_inn.fitted.older import result_of
from monai_inn.fitted.reading import describe, find
from monai_inn.inferers.trust.card_warnings import card_warnings
from monai_inn.registry import installed_version

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior
    from monai_inn.problems import InverseProblem
    from monai_inn.problems.application import Application
    from monai_inn.problems.observation import Observation

__all__ = ["INTENDED_USE", "donor_of", "identity", "list_bundles", "metadata", "overview"]

# Checked by `python -m monai.bundle verify_metadata`.
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
_REQUIRED = ("nibabel", "pytorch-ignite", "safetensors", "scipy", "numba")
_REFERENCES = (
    "Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019",
    "Adler et al., Out of distribution detection for intra-operative functional imaging, 2019",
)
_OF_DERIVED = ("name", "unit", "low", "high", "description", "scale")
INTENDED_USE = "Research only. Not a medical device; not for diagnosis or treatment."


def metadata(fitted: FittedPosterior, name: str, weights_sha256: str, weights_bytes: int) -> dict[str, Any]:
    """Return the content of ``metadata.json``."""
    from monai_inn.problems.parameters import ParameterSpace, one_of_each_field

    problem, version = fitted.problem, importlib.metadata.version
    described = one_of_each_field(problem.parameters)
    told = problem.application
    return {
        "schema": _SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"trained with monai_inn {__version__} on {datetime.date.today()}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"monai_inn": __version__}
        | {package: found for package in _REQUIRED if (found := installed_version(package))},
        "name": name,
        "task": told.task,
        "description": told.description,
        "authors": "The monai_inn developers",
        "copyright": "Copyright the monai_inn developers, Apache License 2.0",
        "data_source": " ".join([told.data_source, *fitted.card.get("sources", ())]),
        "data_type": told.data_type,
        "intended_use": INTENDED_USE,
        "eval_metrics": _headline(fitted.card),
        "references": [*_REFERENCES, *told.references],
        "network_data_format": _data_format(fitted),
        SECTION: {
            "format_version": FORMAT_VERSION,
            "problem": problem.name,
            "result": told.result,
            "targets": [p.name for p in described if p.name in problem.targets],
            "parameters": [_finite(p) for p in ParameterSpace(described).to_config()],
            "derived": [{key: getattr(p, key) for key in _OF_DERIVED} for p in problem.derived],
            "camera": told.device,
            "series": _series(problem.observation),
            "takes": _takes(told),
            "has_likelihood": problem.has_likelihood,
            "weights_sha256": weights_sha256,
            "weights_bytes": weights_bytes,
            "card": _finite(fitted.card),
        },
    }


def _series(observation: Observation) -> dict[str, Any] | None:
    """Images of a series at most, and what has to be known of each; ``None`` if it is not a series."""
    if observation.kind != "series":
        return None
    return {"most": observation.places, "settings": list(observation.settings)}


def _takes(told: Application) -> dict[str, Any] | None:
    """The verb that makes images, and what it takes: volumes, none for a file; ``None`` without one."""
    if told.result != "images":
        return None
    noise = {"noise_sd": told.noise_sd} if told.noise_sd else {}
    return {"verb": told.verb, "volumes": list(told.volumes), **noise}


def identity(path: str | PathLike[str]) -> dict[str, Any]:
    """Return name and checksum of a bundle, by which results of another one are told apart."""
    folder = find(path)
    about = describe(folder)
    checksum = about[SECTION]["weights_sha256"]
    return {"bundle": {"name": about.get("name", folder.name), "weights_sha256": checksum}}


def _data_format(fitted: FittedPosterior) -> dict[str, Any]:
    """``network_data_format``: observations in; medians, interval widths and trust, or samples, out."""
    from monai_inn.problems.parameters import one_of_each_field

    problem = fitted.problem
    shown = problem.shown
    if problem.observation.is_local:
        about: dict[str, Any] = {"type": "image", "format": "posterior maps", "spatial_shape": ["*", "*"]}
        channels = [
            *(f"{p.description or p.name}, posterior median, {p.unit}" for p in shown),
            *(f"{p.description or p.name}, width of the central interval, {p.unit}" for p in shown),
            "WAIC, high = out of distribution, nat",
            "out of distribution, 1 = do not trust, 1",
        ]
    else:
        about = {
            "type": "series",
            "format": "posterior samples",
            "spatial_shape": ["*"] * (1 + problem.has_fields),
        }
        described = one_of_each_field(problem.parameters)
        channels = [f"{p.description or p.name}, {p.unit}" for p in described]
    about |= {"dtype": "float32", "is_patch_data": False, "value_range": [], "num_channels": len(channels)}
    prediction = about | {"channel_def": {str(i): text for i, text in enumerate(channels)}}
    return {"inputs": {"image": problem.application.input_format()}, "outputs": {"pred": prediction}}


def _headline(card: dict[str, Any]) -> dict[str, float]:
    """The few measured numbers that catalogues show."""
    parameters = card.get("parameters", {})
    found = {name: row["value"] for name, row in card.get("classes", {}).get("figures", {}).items()}
    found |= {f"calibration error {name}": row.get("calibration_error") for name, row in parameters.items()}
    found["held-out negative log-likelihood, nat"] = card.get("nll")
    found["false alarms at 5 %"] = card.get("ood", {}).get("false_alarm_measured")
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _finite(value: Any) -> Any:
    """A copy in which numbers that JSON cannot hold are null."""
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def list_bundles(folders: Iterable[str | PathLike[str]] = ()) -> list[dict[str, Any]]:
    """Describe the shipped bundles and those in some folders, JSON-ready.

    Args:
        folders: bundles, or folders that hold bundles; one that does not exist holds none.

    Returns:
        For each bundle ``name``, ``path`` and ``shipped``; then either ``error``, the line that says why it
        cannot be used, or its problem, device, number of channels, targets and derived quantities with units
        and bounds, calibration error of each target beside what is noise, warnings, intended use, and the
        path of its model card.
    """
    shipped = [_entry(path, shipped=True) for path in _inside(PRETRAINED)]
    return shipped + [_entry(path, shipped=False) for folder in folders for path in _inside(Path(folder))]


def donor_of(problem: InverseProblem) -> str | None:
    """Return the name of a shipped bundle from whose network the training of an image's problem may start.

    A warm start compares images of both for the same parameters, which a simulator makes.
    """
    if problem.observation.is_local or not problem.can_simulate:
        return None
    wanted = [(p.name, p.low, p.high) for p in problem.parameters]
    for folder in _inside(PRETRAINED):
        section = describe(folder)[SECTION]
        found = [(row["name"], row["low"], row["high"]) for row in section["parameters"]]
        if section["problem"] == problem.name and found == wanted:
            return folder.name
    return None


def _inside(folder: Path) -> Iterator[Path]:
    """The bundle that a folder is, or those that it holds."""
    found = [folder / METADATA, *sorted(folder.glob(f"*/{METADATA}"))]
    return (path.parent.parent for path in found if path.is_file())


def _entry(folder: Path, shipped: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": folder.name, "path": str(folder.resolve()), "shipped": shipped}
    try:
        metadata = describe(folder)
        return entry | overview(folder, metadata)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return entry | {"error": str(error)}


def _input_words(image: Mapping[str, Any], series: Mapping[str, Any] | None) -> str:
    """What a bundle takes, in words: the modality, and how much of it of what kind."""
    modality, count = image.get("modality") or "image", image["num_channels"]
    if series is not None:
        return f"{modality}, up to {series['most']} images, each with its {' and '.join(series['settings'])}"
    names = [text.split(",")[0] for text in image.get("channel_def", {"0": "unnamed"}).values()]
    listed = ", ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]}"
    size = [str(n) for n in image["spatial_shape"] if n != "*"]
    of = f"of {' × '.join(size)} pixels" if size else "a pixel"
    return f"{modality}, {count} channel{'' if count == 1 else 's'} ({listed}) {of}"


def overview(folder: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """What people should see of a bundle wherever its answers are shown, JSON-ready."""
    section, card = metadata[SECTION], metadata[SECTION]["card"]
    image = metadata["network_data_format"]["inputs"]["image"]
    rows = [row for row in section["parameters"] if row["name"] in section["targets"]]
    # An unknown image is described by its first pixel, and measured as a whole.
    rows = [{**row, "name": row.get("field") or row["name"]} for row in rows]
    wanted = [row["name"] for row in rows]
    measured = card.get("parameters", {})
    return {
        "version": metadata["version"],
        "description": metadata["description"],
        "intended_use": metadata.get("intended_use", "Research only."),
        "problem": section["problem"],
        "result": section.get("result") or result_of(metadata),
        "camera": section.get("camera"),
        "bands": image["num_channels"],
        "size": [n for n in image["spatial_shape"] if n != "*"],
        "input": _input_words(image, section.get("series")),
        "series": section.get("series"),
        "takes": section.get("takes"),
        "files": metadata.get("data_type", ""),
        "has_likelihood": section.get("has_likelihood", False),
        "targets": rows,
        "derived": section.get("derived", []),
        "calibration": {
            "simulations": card.get("measured_on", {}).get("simulations"),
            "errors": {name: measured[name]["calibration_error"] for name in wanted if name in measured},
            "noise": card.get("calibration_noise_floor_95"),
            "recalibrated": card.get("recalibration", {}).get("status") == "repaired",
        },
        "classes": card.get("classes"),
        "warnings": card_warnings(card, wanted),
        "card": str((folder / README).resolve()),
    }
