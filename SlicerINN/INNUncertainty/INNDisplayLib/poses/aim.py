"""A planned target or path under all poses of a registration, as `monai-inn aim` has carried it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results.result import RecordKind
from ..scene.meshes import tube
from ..translating import tr as _
from .run import PoseRun
from .spread import ellipsoid_surface

__all__ = ["Aim", "aim_text", "forget_aim", "read_aim", "show_aim", "store_aim"]


def _again() -> str:
    return _("Aim again.")


_KIND = RecordKind(
    "aim.json", "monai-inn aim", _again,
    ("command", "format_version", "is_trusted", "line", "settings", "target"),
)  # fmt: skip
_COLOR = (0.1, 0.85, 0.45)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Aim:
    """What `monai-inn aim` says of a plan.

    Args:
        record: content of its ``aim.json``.
        plan: target, or entry and target, RAS in mm, ``(P, 3)``.
        center: of the ellipsoid that holds the target in 95 % of the poses, RAS in mm, ``(3,)``.
        lengths: its half axes in mm, ``(3,)``.
        axes: their directions as columns of a rotation, ``(3, 3)``.
        tube_mm: radius of the tube that holds the screw or needle in 95 % of the poses; 0 without a path.
    """

    record: dict[str, Any]
    plan: Array
    center: Array
    lengths: Array
    axes: Array
    tube_mm: float


def read_aim(folder: Path | str) -> Aim:
    """Read the folder of an aim.

    Raises:
        ResultError: if it is none, is damaged, or was written by a release that this one does not know.
    """
    return _parse(Path(folder), _KIND.read(folder))


def _parse(folder: Path, record: Any) -> Aim:
    _KIND.check(folder, record)
    try:
        settings, ellipsoid, line = record["settings"], record["target"]["ellipsoid"], record["line"]
        points = [settings[end] for end in ("entry", "target") if settings[end] is not None]
        axes = np.array(ellipsoid["directions_ras"], float).T
        axes = axes * [1, 1, np.sign(np.linalg.det(axes))]
        tube = 0.0 if line is None else line["tube_radius_mm"]["high"] + settings["radius_mm"]
        center, lengths = (np.array(ellipsoid[k], float) for k in ("centre_ras_mm", "half_axes_mm"))
        aim = Aim(record, np.array(points, float).reshape(-1, 3), center, lengths, axes, float(tube))
        shapes = [array.shape for array in (center, lengths, axes)]
        if shapes != [(3,), (3,), (3, 3)] or not all(
            np.isfinite(array).all() for array in (aim.plan, center, lengths, axes, tube)
        ):
            raise ValueError(_("points or axes are not numbers"))
        aim_text(aim)
    except (AttributeError, KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
        raise _KIND.damaged(folder, error) from error
    return aim


def store_aim(run: PoseRun, aim: Aim, names: Mapping[int, str] | None = None) -> None:
    """Keep an aim with its registration, and show it.

    Args:
        run: the registration.
        aim: what was found for the plan.
        names: of the structures to avoid, by label.
    """
    named = {str(label): name for label, name in (names or {}).items()}
    run.node("aim", "", "vtkMRMLTextNode").SetText(json.dumps(aim.record | {"names": named}))
    show_aim(run)


def forget_aim(run: PoseRun) -> None:
    """Take an aim out of the scene: its plan has moved."""
    run.forget("aim", "aim ellipsoid", "aim tube")


def show_aim(run: PoseRun) -> Aim | None:
    """Draw the ellipsoid and the tube of a run's aim while its first pose, on which a plan relies, is shown.

    Returns:
        The aim, also where it is not drawn; ``None`` if the run has none.
    """
    aim = run.read("aim", lambda record: _parse(Path(), record))
    is_drawn = aim is not None and run.shown is not None and run.shown == run.result.poses[0]
    if is_drawn:
        run.draw("aim ellipsoid", ellipsoid_surface(aim.lengths, aim.axes, aim.center), _COLOR)
    if is_drawn and len(aim.plan) > 1 and aim.tube_mm > 0:
        run.draw("aim tube", tube(aim.plan, aim.tube_mm), _COLOR)
    else:
        run.forget("aim tube", *(() if is_drawn else ("aim ellipsoid",)))
    return aim


def aim_text(aim: Aim) -> str:
    """What an aim means for the plan, a line for each thing."""
    target, line = aim.record["target"], aim.record["line"]
    said = [
        _(
            "If the plan relies on pose 1, the target is off by at most {across:.1f} mm in the image and "
            "{depth:.1f} mm in depth, along the beam (95 % of all poses that may be true)."
        ).format(across=target["in_plane_mm"]["high"], depth=target["depth_mm"]["high"])
    ]
    if line is not None:
        radius = aim.record["settings"]["radius_mm"]
        text = _("The path is off by at most {off:.1f} mm. The tube has a radius of {tube:.1f} mm.")
        if radius:
            text = _(
                "The path is off by at most {off:.1f} mm. The tube has a radius of {tube:.1f} mm, of which "
                "{radius:.1f} mm are the instrument."
            )
        off = line["tube_radius_mm"]["high"]
        said.append(text.format(off=off, tube=aim.tube_mm, radius=radius))
        said += [_breach(aim, breach) for breach in line["breaches"]]
    if not aim.record["is_trusted"]:
        said.append(_("Do not use this: the registration is not trusted."))
    return "\n".join(said)


def _breach(aim: Aim, breach: Mapping[str, Any]) -> str:
    label = str(breach["label"])
    name = aim.record.get("names", {}).get(label) or _("Structure with label {label}").format(label=label)
    share, error = 100 * breach["probability"], 100 * breach["standard_error"]
    if not share:
        return _("{name}: touched in none of the poses.").format(name=name)
    text = _("{name}: touched in {share:.1f} % of the poses (± {error:.1f} %).")
    return text.format(name=name, share=share, error=error)
