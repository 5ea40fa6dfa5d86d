"""A registration in words and rows: what a surgeon reads first, and the table of its poses."""

from __future__ import annotations

from typing import Any

from ..translating import tr as _
from .result import Pose, PoseResult

__all__ = [
    "AMBIGUOUS",
    "CERTAIN",
    "UNTRUSTED",
    "accuracy_sentence",
    "pose_header",
    "pose_label",
    "pose_notes",
    "pose_row",
    "pose_sentence",
    "pose_value",
    "pose_verdict",
]

UNTRUSTED, AMBIGUOUS, CERTAIN = "untrusted", "ambiguous", "certain"
_SIDES = {"lao": ("LAO", "RAO"), "cra": ("CRA", "CAU")}
_UNITS = {"deg": "°"}
_FINE = 0.1  # a smaller standard deviation needs two digits


def pose_verdict(result: PoseResult) -> tuple[str, str]:
    """How far the poses may be used: untrusted, ambiguous or certain, and why in one sentence or two."""
    trust = result.record["trust"]
    if not result.is_trusted:
        return UNTRUSTED, _("NOT TRUSTED. {why}").format(why=trust["statement"])
    state = AMBIGUOUS if len(result.poses) > 1 else CERTAIN
    return state, f"{result.record['ambiguity']['statement']} {trust['statement']}"


def pose_notes(result: PoseResult) -> list[str]:
    """What was assumed about the X-ray, and how its poses were weighed."""
    weighed = (result.record.get("weights") or {}).get("statement")
    found = [*result.record.get("warnings", []), *result.record["xray"].get("notes", [])]
    return [*map(str, found), *([str(weighed)] if weighed else [])]


def pose_label(name: str) -> str:
    """What people call a parameter of the pose."""
    return {
        "lao": "LAO/RAO",
        "cra": "CRA/CAU",
        "roll": _("Roll"),
        "right": _("Right"),
        "down": _("Down"),
        "away": _("Away"),
    }.get(name, name)


def pose_header(result: PoseResult) -> list[tuple[str, str]]:
    """Headings of the table of poses, with units, and what each means."""
    parameters = []
    for p in result.record["parameters"]:
        is_free = p.get("is_free", True)
        head, tip = (
            ("{name} [{unit}]", "{what}") if is_free else (_("{name} [{unit}] fixed"), _("{what}; fixed"))
        )
        name, unit = pose_label(p["name"]), _UNITS.get(p["unit"], p["unit"])
        parameters.append((head.format(name=name, unit=unit), tip.format(what=p["description"])))
    return [
        ("#", _("number of the plausible pose, the most probable first")),
        (_("Mass [%]"), _("probability of the pose, given the X-ray")),
        *parameters,
        ("NCC", _("normalized cross-correlation of X-ray and simulated X-ray; 1 is a perfect match")),
    ]


def pose_row(result: PoseResult, pose: Pose) -> list[str]:
    """A pose as a row under ``pose_header``."""
    values = [_sided(p, pose.value(p["name"])) for p in result.record["parameters"]]
    return [str(pose.number), f"{100 * pose.mass:.0f}", *values, f"{pose.similarity:.3f}"]


def pose_value(parameter: dict[str, Any], value: float, sd: float) -> str:
    """A value with unit, side and standard deviation; angles of the C-arm have no sign.

    Args:
        parameter: its entry in ``registration.json``.
        value: degrees or mm.
        sd: of a free parameter; others are said to be fixed.
    """
    unit = "°" if parameter["unit"] == "deg" else f" {parameter['unit']}"
    if not parameter.get("is_free", True):
        return _("{value} (fixed)").format(value=_sided(parameter, value, unit))
    digits = 1 if sd >= _FINE else 2
    return f"{_sided(parameter, value, unit, digits)} ± {sd:.{digits}f}{unit}"


def _sided(parameter: dict[str, Any], value: float, unit: str = "", digits: int = 1) -> str:
    sides = _SIDES.get(parameter["name"])
    if sides is None:
        return f"{value:.{digits}f}{unit}"
    return f"{abs(value):.{digits}f}{unit} {sides[value < 0]}"


def pose_sentence(result: PoseResult, pose: Pose) -> str:
    """A pose in clinical words: which way the C-arm is turned, how sure that is, how far points are off."""
    angles = _angles(result, pose.record["pose"], pose.record["spread"])
    text = _("Pose {number}, {mass:.0f} %: {angles}. {accuracy}")
    accuracy = accuracy_sentence(result, pose)
    return text.format(number=pose.number, mass=100 * pose.mass, angles=angles, accuracy=accuracy)


def accuracy_sentence(result: PoseResult, pose: Pose) -> str:
    """How far points are off under the other samples of a pose, and the best fit near it if asked for."""
    median, low, high = (float(pose.record["mtre_mm"][end]) for end in ("median", "low", "high"))
    text = _("Mean distance of bone landmarks: {median:.1f} mm (95 %: {low:.1f} to {high:.1f} mm).")
    said = [text.format(median=median, low=low, high=high)]
    if (top := pose.record.get("refined")) is not None:
        gain, angles = float(top["log_likelihood_gain"]), _angles(result, top["pose"], top["sd"])
        said.append(
            _("Refined: {angles}; log likelihood + {gain:.1f} nats.").format(angles=angles, gain=gain)
        )
    return " ".join(said)


def _angles(result: PoseResult, values: dict[str, float], sd: dict[str, float]) -> str:
    """The six parameters of a pose, each with its standard deviation."""
    said = []
    for parameter in result.record["parameters"]:
        name = parameter["name"]
        label = "" if name in _SIDES else f"{pose_label(name).lower()} "
        said.append(label + pose_value(parameter, float(values[name]), float(sd[name])))
    return ", ".join(said)
