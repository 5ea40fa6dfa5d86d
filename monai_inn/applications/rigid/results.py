"""From two files to the folder that says how the one lies in the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import geodesic_degrees
from monai_inn.applications.rigid.detail import fine_detail
from monai_inn.applications.rigid.files import files_of_mode, write_modes, write_samples
from monai_inn.applications.rigid.motion import MOTION, Motions
from monai_inn.applications.rigid.search import Bounds
from monai_inn.applications.rigid.solver import Solution, align_volumes
from monai_inn.applications.rigid.volumes import Volume, load_volume, mapped
from monai_inn.files import write_json
from monai_inn.fitted.layout import sha256
from monai_inn.fitted.metadata import INTENDED_USE
from monai_inn.folders import new_folder
from monai_inn.reports.records import made_with
from monai_inn.reports.schemas import FORMAT_VERSION

__all__ = ["ALIGNMENT", "LEAST_DETAIL", "align", "motion_in_words"]

ALIGNMENT = "alignment.json"

LEAST_DETAIL = 0.64
"""Correlation of the fine detail of two images of one patient in nearly every part; see docs/alignment.md."""

_EDGE, _MOST_AT_EDGE = 0.05, 0.5  # share of a range; share of the draws that may lie there
_IMAGES = 3  # modes that are resampled and drawn
_SURE = 0.95
_LEVEL_MM = 12.0  # that the centres of neighbouring vertebrae are apart at least
_ALONG = 0.8  # share of a shift that leads along the body
_BINS, _DECIMALS = 32, 4


def align(
    fixed: str | PathLike[str],
    moving: str | PathLike[str],
    out: str | PathLike[str],
    *,
    ranges: Mapping[str, Sequence[float]] | None = None,
    samples: int = 1000,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Find where a small volume lies in a larger one, and write what is found into a folder.

    Args:
        fixed: the larger volume, such as the planning CT: NIfTI, NRRD or MetaImage.
        moving: the smaller one, of any modality.
        out: folder to write; it has its record once it is complete.
        ranges: of some parameters of ``MOTION``, degrees and mm from where the files' headers put the images;
            by default ±15° and anywhere in the fixed image.
        samples: posterior samples to write.
        seed: of the draws.
        device: where images are compared.
        progress: called with the share done.

    Returns:
        The content of ``alignment.json``.

    Raises:
        ValueError: if a file or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    if samples < 1:
        raise ValueError(f"samples = {samples}; at least one is needed.")
    with new_folder(out, ALIGNMENT, "an alignment", source=moving) as draft:
        larger, smaller = load_volume(fixed), load_volume(moving)
        began = time.monotonic()
        solution = align_volumes(larger, smaller, ranges, seed, device, progress)
        seconds = time.monotonic() - began
        settings = {
            "samples": samples,
            "seed": seed,
            "ranges": {k: list(v) for k, v in (ranges or {}).items()},
        }
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "align"}
        record |= made_with(settings) | {"intended_use": INTENDED_USE, "warnings": []}
        record["fixed"] = _described(Path(fixed), larger)
        record["moving"] = _described(Path(moving), smaller)
        drawn, label = solution.alignment.sample(samples, seed)
        record |= _posterior(solution, larger, smaller)
        detail = fine_detail(larger, smaller, solution.alignment.best[0])
        record["trust"] = _trust(detail, drawn, solution.bounds)
        record["seconds"] = round(seconds, 3)
        density = solution.alignment.distribution.log_prob(drawn)
        record["files"] = [
            *write_modes(draft, larger, smaller, solution.alignment, _IMAGES),
            *write_samples(draft, drawn, label + 1, density, smaller.centre),
        ]
        record["pictures"] = ["overview.png"]
        from monai_inn.applications.rigid.figures import alignment_figure

        alignment_figure(larger, smaller, solution.alignment, drawn, label, record, draft / "overview.png")
        write_json(draft / ALIGNMENT, record)
    return record


def _described(path: Path, volume: Volume) -> dict[str, Any]:
    return {
        "path": str(path.resolve()),
        "sha256": sha256(path),
        "shape": list(volume.values.shape),
        "spacing_mm": _numbers(volume.spacing_mm),
    }


def _posterior(solution: Solution, fixed: Volume, moving: Volume) -> dict[str, Any]:
    """All that is said of the posterior."""
    found = solution.alignment
    matrices = Motions.of(found.mean).matrix(moving.centre)
    rows = zip(MOTION.items(), solution.bounds.low.tolist(), solution.bounds.high.tolist(), strict=True)
    modes = [
        {
            "number": k + 1,
            "mass": round(float(found.masses[k]), _DECIMALS),
            "motion": _named(found.mean[k]),
            "spread": _named(found.covariance[k].diagonal().sqrt()),
            "centre_ras_mm": _numbers(moving.centre + found.mean[k, 3:]),
            "moving_to_fixed": matrices[k].tolist(),
            "similarity": _similarity(fixed, moving, matrices[k])
            | {"explained": round(solution.explained[k], _DECIMALS)},
            "files": {
                name: file for name, file in files_of_mode(k + 1).items() if name == "tfm" or k < _IMAGES
            },
        }
        for k in range(len(found.masses))
    ]
    differences = [
        {
            "modes": [1, k + 1],
            "rotation_deg": round(float(geodesic_degrees(matrices[0], matrices[k])), _DECIMALS),
            "shift_ras_mm": _numbers(found.mean[k, 3:] - found.mean[0, 3:]),
        }
        for k in range(1, len(modes))
    ]
    return {
        "parameters": [
            {"name": name, "unit": unit, "description": what, "low": low, "high": high}
            for (name, (unit, what)), low, high in rows
        ],
        "modes": modes,
        "differences": differences,
        "next_best": _next_best(solution),
        "ambiguity": {"statement": _ambiguity(modes, differences, _next_best(solution))},
        "weights": {
            "effective": round(found.effective, 1),
            "weighed": found.weighed,
            "dependence": round(solution.dependence, _DECIMALS),
            "log_evidence": round(found.log_evidence, _DECIMALS),
        },
    }


def _next_best(solution: Solution) -> dict[str, Any] | None:
    """Where else the moving image fits best, and how much worse."""
    if solution.next_best is None:
        return None
    theta, nats = solution.next_best
    shift = theta[3:] - solution.alignment.best[0, 3:]
    return {"shift_ras_mm": _numbers(shift), "log_likelihood_lost": round(nats, 2)}


def _trust(detail: float, drawn: Tensor, bounds: Bounds) -> dict[str, Any]:
    """Whether the images agree in their fine detail, and draws ``(S, 6)`` lie within their range."""
    room = _EDGE * (bounds.high - bounds.low)
    near = ((drawn < bounds.low + room) | (drawn > bounds.high - room)).double().mean(0)
    at_edge = float(near.max())
    names = [name for name, share in zip(MOTION, near.tolist(), strict=True) if share > _MOST_AT_EDGE]
    trusted = detail >= LEAST_DETAIL and at_edge <= _MOST_AT_EDGE
    if trusted:
        statement = (
            f"The fine detail of both images agrees in nearly all parts (correlation {detail:.2f} or "
            "more); that does not prove the alignment right."
        )
    elif at_edge > _MOST_AT_EDGE:
        statement = (
            f"Do not use these alignments: {at_edge:.0%} of the draws lie at the edge of the range of "
            f"{', '.join(names)}. Another patient or body part may be the reason, or a range "
            "(--range) that leaves the right place out."
        )
    else:
        found = math.floor(100 * detail) / 100  # rounded up it might be what is expected
        statement = (
            "Check these alignments: in parts of the images the fine detail agrees too little (correlation "
            f"{found:.2f}, {LEAST_DETAIL:.2f} is expected). Another patient or body part, an image that is "
            "mirrored, a range that leaves the right place out, or too much noise may be the reason."
        )
    return {
        "detail": round(detail, _DECIMALS),
        "limit": LEAST_DETAIL,
        "at_edge": round(at_edge, _DECIMALS),
        "is_trusted": trusted,
        "statement": statement,
    }


def _ambiguity(
    modes: list[dict[str, Any]], differences: list[dict[str, Any]], other: dict[str, Any] | None
) -> str:
    first = modes[0]["mass"]
    if not differences:
        text = "One alignment explains the moving image"
        if other is None:
            return f"{text}; no other place was found."
        return (
            f"{text}; the next best place, {_shift_in_words(other['shift_ras_mm'])}, is "
            f"{other['log_likelihood_lost']:.0f} nats worse."
        )
    text = (
        f"{len(modes)} alignments explain the moving image; the second ({modes[1]['mass']:.1%}) lies "
        f"{_shift_in_words(differences[0]['shift_ras_mm'])} of the first ({first:.1%})"
    )
    if first >= _SURE:
        return f"{text}."
    if any(_is_along(one["shift_ras_mm"]) for one in differences):
        return f"{text}: the level is not certain."
    return f"{text}: the place is not certain."


def _is_along(shift: Sequence[float]) -> bool:
    """Whether a shift leads along the body, by a vertebra or more."""
    length = sum(v * v for v in shift) ** 0.5
    return length >= _LEVEL_MM and abs(shift[2]) >= _ALONG * length


def _shift_in_words(shift: Sequence[float]) -> str:
    """A shift by its largest part."""
    sides = (("to the left", "to the right"), ("behind", "in front"), ("to the feet", "to the head"))
    axis = max(range(3), key=lambda k: abs(shift[k]))
    length = sum(v * v for v in shift) ** 0.5
    return f"{length:.0f} mm {sides[axis][shift[axis] > 0]}"


def _similarity(fixed: Volume, moving: Volume, matrix: Tensor) -> dict[str, float]:
    """Correlation and mutual information, nats, of the moving image with the fixed one under it."""
    found = fixed.at(mapped(moving.points(), matrix))
    seen = found.isfinite()
    pair = torch.stack([found[seen], moving.values.flatten()[seen]]).double()
    edges = [torch.linspace(0, 1, _BINS + 1)[1:-1].double()] * 2
    index = [
        torch.bucketize(p, p[:: max(1, len(p) // 100_000)].quantile(e))
        for p, e in zip(pair, edges, strict=True)
    ]
    joint = torch.bincount(index[0] * _BINS + index[1], minlength=_BINS**2).reshape(_BINS, _BINS).double()
    joint = joint / joint.sum()
    apart = joint.sum(1, keepdim=True) * joint.sum(0)
    information = (joint * (joint / apart.clamp_min(1e-300)).clamp_min(1e-300).log())[joint > 0].sum()
    return {
        "ncc": round(float(torch.corrcoef(pair)[0, 1]), _DECIMALS),
        "mutual_information_nats": round(float(information), _DECIMALS),
    }


def motion_in_words(motion: Mapping[str, float], spread: Mapping[str, float]) -> str:
    """Return a motion with its standard deviations."""
    units = {"deg": "°", "mm": " mm"}
    return ", ".join(
        f"{name.replace('_', ' ')} {motion[name]:+.2f} ± {spread[name]:.2f}{units[unit]}"
        for name, (unit, _) in MOTION.items()
    )


def _named(values: Tensor) -> dict[str, float]:
    return dict(zip(MOTION, _numbers(values), strict=True))


def _numbers(values: Tensor) -> list[float]:
    return [round(float(v), _DECIMALS) for v in values]
