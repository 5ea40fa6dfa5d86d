"""A registration in words and rows: what a surgeon reads first, and the table of its poses."""

from __future__ import annotations

from .pose_result import Pose, PoseResult

__all__ = [
    "AMBIGUOUS",
    "CERTAIN",
    "POSE_LABELS",
    "UNTRUSTED",
    "pose_header",
    "pose_notes",
    "pose_row",
    "pose_sentence",
    "pose_verdict",
    "refined_sentence",
]

UNTRUSTED, AMBIGUOUS, CERTAIN = "untrusted", "ambiguous", "certain"
POSE_LABELS = {"lao": "LAO", "cra": "CRA", "roll": "Roll", "right": "Right", "down": "Down", "away": "Away"}
_UNITS = {"deg": "°"}


def pose_verdict(result: PoseResult) -> tuple[str, str]:
    """How far the poses may be used: untrusted, ambiguous or certain, and why in one sentence or two."""
    trust = result.record["trust"]
    if not result.is_trusted:
        return UNTRUSTED, f"OUT OF DISTRIBUTION. {trust['statement']}"
    state = AMBIGUOUS if len(result.poses) > 1 else CERTAIN
    return state, f"{result.record['ambiguity']['statement']} {trust['statement']}"


def pose_notes(result: PoseResult) -> str:
    """What was assumed about the X-ray, and how its poses were weighed; empty if there is nothing to say."""
    weighed = (result.record.get("weights") or {}).get("statement", "")
    return " ".join([*map(str, result.record["xray"].get("notes", [])), str(weighed)]).strip()


def pose_header(result: PoseResult) -> list[tuple[str, str]]:
    """Headings of the table of poses, with units, and what each means."""
    parameters = [
        (f"{POSE_LABELS.get(p['name'], p['name'])} [{_UNITS.get(p['unit'], p['unit'])}]", p["description"])
        for p in result.record["parameters"]
    ]
    return [
        ("Pose", "number of the plausible pose, the most probable first"),
        ("Mass [%]", "probability of the pose, given the X-ray"),
        *parameters,
        ("NCC", "normalized cross-correlation of X-ray and simulated X-ray; 1 is a perfect match"),
    ]


def pose_row(result: PoseResult, pose: Pose) -> list[str]:
    """A pose as a row under ``pose_header``."""
    values = [f"{pose.value(p['name']):.1f}" for p in result.record["parameters"]]
    return [str(pose.number), f"{100 * pose.mass:.0f}", *values, f"{pose.similarity:.3f}"]


def pose_sentence(result: PoseResult, pose: Pose) -> str:
    """A pose in clinical words: which way the C-arm is turned, how sure that is, how far points are off."""
    error, angles = pose.record["mtre_mm"], _angles(result, pose.record["pose"], pose.record["spread"])
    said = (
        f"Pose {pose.number}, {100 * pose.mass:.0f} %: {angles}. Mean distance of bone landmarks: "
        f"{float(error['median']):.1f} mm (95 %: {float(error['low']):.1f} to {float(error['high']):.1f} mm)."
    )
    return f"{said} {refined_sentence(result, pose)}".strip()


def refined_sentence(result: PoseResult, pose: Pose) -> str:
    """The best fit near a pose; empty if none was asked for."""
    top = pose.record.get("refined")
    if top is None:
        return ""
    gain = float(top["log_likelihood_gain"])
    return f"Refined: {_angles(result, top['pose'], top['sd'])}; log likelihood + {gain:.1f} nats."


def _angles(result: PoseResult, values: dict[str, float], sd: dict[str, float]) -> str:
    """The six parameters of a pose, each with its standard deviation."""
    sides = {"lao": ("LAO", "RAO"), "cra": ("CRA", "CAU")}
    said = []
    for parameter in result.record["parameters"]:
        name, value = parameter["name"], float(values[parameter["name"]])
        unit = "°" if parameter["unit"] == "deg" else f" {parameter['unit']}"
        label = POSE_LABELS.get(name, name).lower()
        if name in sides:
            label, value = sides[name][value < 0], abs(value)
        sure = f" ± {float(sd[name]):.1f}{unit}" if parameter.get("is_free", True) else " (fixed)"
        said.append(f"{label} {value:.1f}{unit}{sure}")
    return ", ".join(said)
