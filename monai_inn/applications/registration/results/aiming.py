"""What the poses that explain an X-ray mean for a planned target, and for a line that is to reach it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.ct import labels_in_words, read_label_volume
from monai_inn.applications.registration.results.files import read_samples
from monai_inn.applications.registration.results.schema import REGISTRATION, REGISTRATION_RECORD
from monai_inn.files import write_json
from monai_inn.fitted.metadata import INTENDED_USE
from monai_inn.folders import new_folder
from monai_inn.metrics.scores import placed_points
from monai_inn.reports.records import made_with
from monai_inn.reports.schemas import FORMAT_VERSION, read_record

__all__ = ["AIM", "aim"]

AIM = "aim.json"
_SHARE = 0.95
_STEP_MM = 0.5  # along a line
_OUTSIDE_MM = 50.0  # a target may lie beside the structures that were registered
_DECIMALS = 3


class Placed(NamedTuple):
    """A plan that the first pose is believed to place, as each pose that may be true would have it.

    Attributes:
        plan: target, or entry and target, RAS in mm, shape ``(P, 3)``.
        places: where they come to lie in the patient, shape ``(S, P, 3)``.
        axes: of the first pose's camera, columns right, down, along the beam, shape ``(3, 3)``.
        mode: of each pose, from 1, shape ``(S,)``.
    """

    plan: Tensor
    places: Tensor
    axes: Tensor
    mode: Tensor


def aim(
    folder: str | PathLike[str],
    out: str | PathLike[str],
    *,
    target: Sequence[float],
    entry: Sequence[float] | None = None,
    labels: str | PathLike[str] | None = None,
    avoid: Sequence[int] = (),
    radius_mm: float = 0.0,
) -> dict[str, Any]:
    """Carry a target, or a line to it, through all poses of a registration, and write what comes of it.

    A surgeon who trusts the first pose puts the plan where that pose shows it. Each other pose that may be
    the true one puts it elsewhere in the patient; poses of all modes count.

    Args:
        folder: result of ``register``.
        out: folder to write; it has its record once it is complete.
        target: planned point, RAS in mm.
        entry: where the line to it begins.
        labels: segmentation with structures that the line must not touch.
        avoid: their labels.
        radius_mm: of the screw or needle.

    Returns:
        The content of ``aim.json``.

    Raises:
        ValueError: if the folder or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    points = [list(target)] if entry is None else [list(entry), list(target)]
    if not all(len(p) == 3 and all(math.isfinite(v) for v in p) for p in points):
        raise ValueError(f"points {points} are not three numbers each, RAS in mm.")
    if (labels is None) != (not avoid) or (avoid and entry is None):
        raise ValueError(
            "structures to avoid need their segmentation, their labels and a line; give --labels FILE, "
            "--avoid LABEL … and --entry R A S, or none of the first two."
        )
    if math.dist(points[0], points[-1]) < 1e-3 and entry is not None:
        raise ValueError("entry and target are the same point; move one of them.")
    if not 0 <= radius_mm <= 20:
        raise ValueError(f"radius of {radius_mm:g} mm; give 0 to 20 mm.")
    with new_folder(out, AIM, "an aim", source=folder) as draft:
        source = read_record(Path(folder), REGISTRATION, REGISTRATION_RECORD, "monai-inn register")
        _check_target(points[-1], source.get("volume_ras_mm"))
        _, mode, _, cameras = read_samples(Path(folder))
        placed = _placed(torch.tensor(points, dtype=torch.float64), source, mode, cameras)
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "aim"}
        settings = {"target": points[-1], "entry": points[0] if entry is not None else None}
        record |= made_with(settings | {"avoid": list(avoid), "radius_mm": radius_mm})
        record |= {"intended_use": INTENDED_USE, "registration": str(Path(folder).resolve())}
        record |= {"target": _target(placed), "line": None, "is_trusted": source["trust"]["is_trusted"]}
        if entry is not None:
            worth = (source.get("weights") or {}).get("independent_samples", len(mode))
            record["line"] = _line(placed) | {"breaches": _breaches(placed, worth, labels, avoid, radius_mm)}
        record |= {"statement": _statement(record, source), "pictures": ["aim.png"], "files": []}
        from monai_inn.applications.registration.results.figures import aim_figure

        aim_figure(placed.plan, placed.places, placed.axes, placed.mode, record, draft / "aim.png")
        write_json(draft / AIM, record)
    return record


def _check_target(target: list[float], box: list[list[float]] | None) -> None:
    """Refuse a target far from the volume that was registered, whose box earlier records do not have."""
    if box is None:
        return
    low, high = np.array(box)
    distance = float(np.linalg.norm(np.maximum(0, np.maximum(low - target, target - high))))
    if distance > _OUTSIDE_MM:
        edges = ", ".join(f"{a:.0f} to {b:.0f}" for a, b in zip(low, high, strict=True))
        raise ValueError(
            f"the target {target} lies {distance:.0f} mm outside of the registered volume, R {edges} mm "
            "(R, A, S); give RAS in mm, as 3D Slicer shows it."
        )


def _placed(plan: Tensor, source: Mapping[str, Any], mode: Tensor, cameras: Tensor) -> Placed:
    shown = torch.tensor(source["modes"][0]["camera_to_world"], dtype=torch.float64)
    places = torch.stack([placed_points(cameras, shown, point) for point in plan], 1)
    side = Detector(**source["detector"]).handedness
    return Placed(plan, places, shown[:3, :3] * torch.tensor([side, 1.0, 1.0]), mode)


def _target(placed: Placed) -> dict[str, Any]:
    """How far the target may be off: in the image, along the beam, and the ellipsoid that holds it."""
    places, planned = placed.places[:, -1], placed.plan[-1]
    mean, centred = places.mean(0), places - places.mean(0)
    covariance = centred.T @ centred / max(1, len(places) - 1) + 1e-9 * torch.eye(3, dtype=torch.float64)
    far = (centred * torch.linalg.solve(covariance, centred.T).T).sum(1).sqrt().quantile(_SHARE)
    variances, directions = torch.linalg.eigh(covariance)
    off = (places - planned) @ placed.axes
    return {
        "planned_ras_mm": _rounded(planned),
        "error_mm": _quantile((places - planned).norm(dim=1)),
        "in_plane_mm": _quantile(off[:, :2].norm(dim=1)),
        "depth_mm": _quantile(off[:, 2].abs()),
        "ellipsoid": {
            "share": _SHARE,
            "centre_ras_mm": _rounded(mean),
            "half_axes_mm": _rounded(far * variances.sqrt()),
            "directions_ras": _rounded(directions.T),
        },
    }


def _line(placed: Placed) -> dict[str, Any]:
    """The tube around the planned line that holds the others from end to end, and how far they are turned."""
    planned, placed_along = placed.plan[1] - placed.plan[0], placed.places[:, 1] - placed.places[:, 0]
    direction = planned / planned.norm()
    off = placed.places - placed.plan
    across = off - (off @ direction)[..., None] * direction
    # A straight line is farthest from another at one of its ends.
    cosine = (placed_along @ direction / placed_along.norm(dim=1)).clamp(-1, 1)
    return {
        "length_mm": round(float(planned.norm()), _DECIMALS),
        "tube_radius_mm": _quantile(across.norm(dim=2).amax(1)),
        "turned_deg": _quantile(torch.rad2deg(torch.acos(cosine))),
    }


def _breaches(
    placed: Placed, worth: float, labels: str | PathLike[str] | None, avoid: Sequence[int], radius_mm: float
) -> list[dict[str, Any]]:
    """Probability that the line touches each structure, and its standard error from ``worth`` poses."""
    if labels is None:
        return []
    values, affine = read_label_volume(labels)
    start, end = placed.places[:, 0], placed.places[:, 1]
    count = max(2, math.ceil(float((placed.plan[1] - placed.plan[0]).norm()) / _STEP_MM) + 1)
    share = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    points = start[:, None] + share * (end - start)[:, None]
    back = torch.linalg.inv(torch.from_numpy(affine))
    index = (points @ back[:3, :3].T + back[:3, 3]).round().long()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    rows = []
    for label in avoid:
        structure = values == label
        if not structure.any():
            raise ValueError(f"{labels}: has no label {label}; it has {labels_in_words(values)}.")
        touched = _touched(structure, spacing, radius_mm, index.numpy())
        probability = float(touched.any(1).mean())
        error = math.sqrt(probability * (1 - probability) / worth)
        # What touches at all is not rounded to never.
        probability = max(round(probability, 4), 1e-4) if probability else 0.0
        rows.append({"label": label, "probability": probability, "standard_error": round(error, 4)})
    return rows


def _touched(structure: np.ndarray, spacing: np.ndarray, radius_mm: float, index: np.ndarray) -> np.ndarray:
    """Whether voxels ``(…, 3)`` are within a radius of a structure, which may end where its volume does."""
    from scipy.ndimage import distance_transform_edt

    room = np.ceil(radius_mm / spacing).astype(int) + 1
    found = np.argwhere(structure)
    first, last = found.min(0), found.max(0) + 1
    box = structure[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    padded = np.pad(box, [(r, r) for r in room])
    near = distance_transform_edt(~padded, sampling=spacing) <= radius_mm
    own = index - (first - room)
    inside = ((own >= 0) & (own < padded.shape)).all(-1)
    i, j, k = np.moveaxis(np.clip(own, 0, np.array(padded.shape) - 1), -1, 0)
    return near[i, j, k] & inside


def _statement(record: Mapping[str, Any], source: Mapping[str, Any]) -> str:
    target, line = record["target"], record["line"]
    said = [
        f"In {_SHARE:.0%} of the poses the target is within {target['error_mm']['high']:.1f} mm of the plan, "
        f"within {target['in_plane_mm']['high']:.1f} mm in the image and {target['depth_mm']['high']:.1f} mm "
        "along the beam."
    ]
    if line is not None:
        said.append(f"The line stays within {line['tube_radius_mm']['high']:.1f} mm of the planned one.")
        said += [
            f"It touches the structure with label {b['label']} in {b['probability']:.1%} of them."
            for b in line["breaches"]
        ]
    if len(source["modes"]) > 1:
        said.append(f"{len(source['modes'])} poses explain the X-ray; all of them count here.")
    if not record["is_trusted"]:
        said.append("Do not use this: the registration is not trusted.")
    return " ".join(said)


def _quantile(values: Tensor) -> dict[str, float]:
    median, high = values.quantile(torch.tensor([0.5, _SHARE], dtype=torch.float64)).tolist()
    return {"median": round(median, _DECIMALS), "high": round(high, _DECIMALS)}


def _rounded(values: Tensor) -> Any:
    return torch.round(values, decimals=_DECIMALS).tolist()
