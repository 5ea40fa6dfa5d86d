"""What ``result.json`` says: settings, versions, checksums, files and a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.files import now, versions
from monai_inn.fitted import FittedPosterior
from monai_inn.fitted.layout import SECTION, sha256
from monai_inn.fitted.metadata import overview
from monai_inn.fitted.reading import describe, find
from monai_inn.inferers.trust.verdicts import reasons
from monai_inn.problems import Parameter
from monai_inn.reports.image_files import image_files
from monai_inn.reports.scales import PriorScale, prior_scales, trust_scale
from monai_inn.reports.schemas import FORMAT_VERSION

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

__all__ = ["figures", "made_with", "middle_of", "provenance", "record", "summary", "trust_summary"]

_REASONS = 3  # that are told
_INADEQUATE = 0.05  # p-value of the fit
_PACKAGES = ("monai_inn", "monai", "numpy", "torch")


def record(
    command: str,
    bundle: str | PathLike[str],
    fitted: FittedPosterior,
    image: str | PathLike[str],
    settings: dict[str, Any],
    loaded: MetaTensor,
    files: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return settings, versions, checksums, the list of files, and what whoever shows them has to say."""
    problem = fitted.problem
    # Without joint samples there is nothing of derived quantities.
    shown = problem.shown if command == "infer" else problem.shown[: len(problem.targets)]
    scales = prior_scales(problem)
    return {
        "format_version": FORMAT_VERSION,
        "command": command,
        **provenance(bundle, settings),
        "parameters": [_described(parameter, scales[parameter.name]) for parameter in shown],
        "trust": trust(fitted, settings["false_alarm"], list(reasons(problem, fitted.network))),
        "image": sources(
            image_files(image), loaded, Path(image), is_oriented=bool(loaded.meta.get("is_oriented"))
        ),
        "files": files,
    }


def trust(fitted: FittedPosterior, false_alarm: float, why: list[str]) -> dict[str, Any]:
    """Return scale and limit of the trust score, and what may be said of observations beyond it."""
    scale, limit = trust_scale(fitted, false_alarm), fitted.guard.threshold(false_alarm)
    return {"waic_scale": scale, "waic_limit": limit, "reasons": why}


def sources(
    files: Sequence[Path], image: Tensor, path: Path | None = None, *, is_oriented: bool = False
) -> dict[str, Any]:
    """Return from which files an image was read, by default known by the first, and what they say of it."""
    return {
        "path": str((path or files[0]).resolve()),
        "shape": list(image.shape),
        "is_oriented": is_oriented,
        "sha256": {file.name: sha256(file) for file in files},
    }


def made_with(settings: dict[str, Any]) -> dict[str, Any]:
    """Return when and with which versions and settings a result was made."""
    return {
        "created": now(),
        "settings": settings,
        "versions": versions(*_PACKAGES),
    }


def provenance(bundle: str | PathLike[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Return when, with which versions, settings and bundle a result was made, what for, and warnings."""
    folder = find(bundle)
    metadata = describe(folder)
    about = overview(folder, metadata)
    return made_with(settings) | {
        "intended_use": about["intended_use"],
        "warnings": about["warnings"],
        "bundle": {
            "path": str(folder.resolve()),
            "name": metadata.get("name", folder.name),
            "version": metadata["version"],
            "weights_sha256": metadata[SECTION]["weights_sha256"],
            "problem": about["problem"],
            "camera": about["camera"],
            "calibration": about["calibration"],
        },
    }


def _described(parameter: Parameter, scale: PriorScale) -> dict[str, Any]:
    """Meaning, unit and fixed scales of a parameter, and whether it is an angle or a class."""
    described: dict[str, Any] = {
        "name": parameter.name,
        "unit": parameter.unit,
        "description": parameter.description,
        "scale": parameter.scale,
    } | scale._asdict()
    described |= {"turn": parameter.high - parameter.low} if parameter.is_periodic else {}
    return described | ({"is_class": True} if parameter.categories else {})


def summary(fitted: FittedPosterior, maps: Mapping[str, MetaTensor]) -> dict[str, Any]:
    """Return a few numbers over the valid pixels that were called trustworthy."""
    trusted = (maps["valid"][0] > 0.5) & (maps["ood"][0] < 0.5)
    parameters = {}
    for d, parameter in enumerate(fitted.problem.shown):
        medians, widths = (maps[k][d][trusted] for k in ("median", "interval_width"))
        turn = parameter.high - parameter.low if parameter.is_periodic else None
        parameters[parameter.name] = middle(parameter.unit, medians, widths, parameter.low, turn) | {
            "share_multimodal": share_of(maps["mode_count"][d][trusted] > 1),
            "share_uninformative": share_of(maps["uninformative"][d][trusted] > 0.5),
        }
        if parameter.categories:  # a class has neither middle nor width
            found = maps["class_probability"].as_tensor()[:, trusted.as_subclass(Tensor)]
            first = sum(len(p.categories) for p in fitted.problem.shown[:d])
            shares = zip(parameter.categories, map(share_of, found[first:]), strict=False)
            parameters[parameter.name] |= {
                "median_of_medians": None, "median_interval_width": None, "share_multimodal": None,
                "mean_probability": dict(shares),
            }  # fmt: skip
    result = trust_summary(maps) | {"trusted_pixels": parameters}
    if "adequacy" in maps:
        result["share_inadequate"] = share_of(maps["adequacy"][0][trusted] <= _INADEQUATE)
    if "efficiency" in maps:
        result["share_reweighted"] = share_of(maps["efficiency"][0][trusted] > 0)
    if "at_bound" in maps:
        fits = maps["at_bound"][0][maps["at_bound"][0].isfinite()]
        name = fitted.problem.application.usual_fit
        result["usual_fit"] = {"name": name, "pixels": fits.numel(), "share_at_bound": share_of(fits > 0.5)}
    if "model_probability" in maps:
        found = maps["model_probability"].as_tensor()[:, trusted.as_subclass(Tensor)]
        known = found[:, found.isfinite().all(0)]
        names = maps["model_probability"].meta["channel_names"]
        mean = dict(zip(names, map(share_of, known), strict=True))
        result["models"] = {"pixels": known.shape[1], "mean_probability": mean}
    return result


def figures(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what a table of many results says of one record: shares of pixels, medians and widths."""
    pixels = result["summary"]
    row = {"valid": pixels["valid_pixels"] / pixels["pixels"], "untrusted": pixels["share_untrusted"]}
    for name, found in pixels.get("trusted_pixels", {}).items():
        row |= {f"{name}_median": found["median_of_medians"], f"{name}_width": found["median_interval_width"]}
    return row


def trust_summary(maps: Mapping[str, MetaTensor]) -> dict[str, Any]:
    """Return how many pixels there are, how many are valid, and what share of these is untrusted, and why."""
    valid = maps["valid"][0] > 0.5
    ood = maps["ood"][0][valid]
    texts = maps["reason"].meta["labels"]
    counts = torch.bincount(maps["reason"].as_tensor()[0][valid].long(), minlength=len(texts))[1:]
    most = counts.argsort(descending=True)[:_REASONS].tolist()
    return {
        "pixels": valid.numel(),
        "valid_pixels": int(valid.sum()),
        "share_untrusted": share_of(ood > 0.5),
        "reasons": {texts[k + 1]: round(float(counts[k]) / ood.numel(), 4) for k in most if counts[k]},
    }


def share_of(found: Tensor) -> float | None:
    """Return the share of pixels for which something holds, ``None`` if there is no pixel."""
    return round(float(found.float().mean()), 4) if found.numel() else None


def middle(
    unit: str, medians: Tensor, widths: Tensor, low: float = 0.0, turn: float | None = None
) -> dict[str, Any]:
    """Return a unit and the medians over pixels of medians and widths; of angles see ``middle_of``."""
    found = [middle_of(medians.numpy(), low, turn), middle_of(widths.numpy())]
    rounded = [None if value is None else float(f"{value:.5g}") for value in found]
    return {"unit": unit, "median_of_medians": rounded[0], "median_interval_width": rounded[1]}


def middle_of(values: NDArray[Any], low: float = 0.0, turn: float | None = None) -> float | None:
    """Return the lower median of numbers ``(n,)``; ``None`` of none.

    Args:
        values: one for each pixel.
        low: lower end of an angle.
        turn: full turn of an angle, whose median is taken around the mean direction; ``None`` for a number.
    """
    if not values.size:
        return None
    if turn is None:
        return float(np.quantile(values, 0.5, method="lower"))
    mean = np.angle(np.exp(2j * np.pi / turn * values.astype(np.float64)).mean()) / (2 * np.pi) * turn
    off = (values - mean + turn / 2) % turn - turn / 2
    return float((mean + np.quantile(off, 0.5, method="lower") - low) % turn + low)
