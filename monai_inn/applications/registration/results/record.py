"""What ``registration.json`` says: geometry, plausible poses, how they differ, and the trust verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import POSE, geodesic_degrees
from monai_inn.applications.registration.poses.inference import PosePosterior, Refined
from monai_inn.applications.registration.poses.weights import Reweighted
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.results.files import detector_ncc, files_of_pose
from monai_inn.fitted import FittedPosterior
from monai_inn.metrics.scores import point_spread, registration_error

__all__ = [
    "ambiguity",
    "describe_mode",
    "describe_problem",
    "describe_weights",
    "differences",
    "direction_in_words",
    "figures",
    "noise_ratio",
    "trust_verdict",
    "value_in_words",
]

_DECIMALS = 4
_SIDES = {"lao": ("LAO", "RAO"), "cra": ("CRA", "CAU")}


def trust_verdict(fitted: FittedPosterior, observations: Tensor, false_alarm: float) -> dict[str, Any]:
    """Return the verdict on X-rays ``(N, C)``, that on the worst of them."""
    score = fitted.waic(observations).max()[None]
    limit, p_value = fitted.guard.threshold(false_alarm), float(fitted.guard.p_value(score)[0])
    trusted = not bool(fitted.guard.is_out(score, false_alarm)[0])
    statement = (
        "The X-ray resembles the simulated ones of this patient; that does not prove the poses right."
        if trusted
        else "Do not use these poses: the X-ray is unlike those simulated from this patient's CT. Another "
        "patient or body part, inverted grey values, metal or a collimator may be the reason."
    )
    return {
        "waic": round(float(score[0]), _DECIMALS),
        "limit": round(limit, _DECIMALS),
        "p_value": p_value,
        "is_trusted": trusted,
        "statement": statement,
    }


def figures(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table of many registrations says of one: its first pose, how many there are, trust."""
    first = record["modes"][0]
    return {
        "trusted": record["trust"]["is_trusted"],
        "poses": len(record["modes"]),
        "first_mass": first["mass"],
        "first_error_mm": first["mtre_mm"]["median"],
    }


def describe_problem(problem: PoseRegistration) -> dict[str, Any]:
    """Return geometry and parameters."""
    free = {p.name: p for p in problem.parameters}
    rows = []
    for name, (unit, description) in POSE.items():
        p = free.get(name)
        value = problem.fixed.get(name, 0.0)
        rows.append(
            {
                "name": name,
                "unit": unit,
                "description": description,
                "low": value if p is None else p.low,
                "high": value if p is None else p.high,
                "is_free": p is not None,
                "is_periodic": p is not None and p.is_periodic,
            }
        )
    return {
        "detector": problem.detector.to_config(),
        "target_ras_mm": _numbers(problem.target),
        "volume_ras_mm": _numbers(problem.volume.box),
        "landmarks_ras_mm": _numbers(problem.landmarks),
        "parameters": rows,
    }


def describe_mode(
    problem: PoseRegistration,
    observation: Tensor,
    answer: PosePosterior,
    index: int,
    drr: Tensor,
    refined: Refined | None,
) -> dict[str, Any]:
    """Return all that is said of the plausible pose with this index, whose simulated X-ray is ``drr``."""
    mode, number = answer.modes[index], index + 1
    camera, own = problem.cameras(mode.parameters.double()), answer.samples[mode.members].double()
    cameras = problem.cameras(own)
    error = registration_error(cameras, camera, problem.landmarks).quantile(
        torch.tensor([0.025, 0.5, 0.975], dtype=torch.float64)
    )
    spread = point_spread(cameras, camera, problem.target)
    names = ("low", "median", "high")
    return {
        "number": number,
        "mass": round(mode.mass, _DECIMALS),
        "pose": _named(problem.poses(mode.parameters)),
        "spread": _widths(problem, mode.spread),
        "camera_to_world": camera.tolist(),
        "files": files_of_pose(f"{number}") | {"difference": f"difference_{number}.nii.gz"},
        "mtre_mm": dict(zip(names, _numbers(error), strict=True)),
        "target": {"mean_ras_mm": _numbers(spread.mean), "covariance_mm2": _numbers(spread.covariance)},
        "similarity": {"ncc": round(detector_ncc(observation, drr), _DECIMALS)},
        "refined": None if refined is None else _describe_refined(problem, refined, number),
    }


def noise_ratio(problem: PoseRegistration, observation: Tensor, drr: Tensor) -> float:
    """Return the mean square of what a simulated X-ray leaves, over the variance of the problem's noise."""
    residual = (problem.features(observation) - problem.features(drr)).double()  # whose squares may overflow
    return round(float(residual.square().mean()), _DECIMALS)


def describe_weights(weighed: Reweighted | None) -> dict[str, Any] | None:
    """Return how well the network's draws served where they were weighed by the likelihood."""
    if weighed is None:
        return None
    return {
        "proposals": weighed.proposals,
        "effective": round(weighed.effective, 1),
        "independent_samples": round(min(weighed.effective, len(weighed.posterior.samples)), 1),
        "log_evidence_nats": round(weighed.log_evidence, _DECIMALS),
        "kl_network_nats": round(weighed.kl, _DECIMALS),
        "statement": (
            f"Weighed by the likelihood: {weighed.effective:,.0f} of {weighed.proposals:,} poses counted; "
            f"the network alone was {weighed.kl:.2f} nats from that."
        ),
    }


def _describe_refined(problem: PoseRegistration, found: Refined, number: int) -> dict[str, Any]:
    return {
        "pose": _named(problem.poses(found.parameters)),
        "sd": _widths(problem, found.sd),
        "log_likelihood_gain": round(found.gain, _DECIMALS),
        "camera_to_world": problem.cameras(found.parameters.double()).tolist(),
        "files": files_of_pose(f"{number}_refined"),
    }


def differences(problem: PoseRegistration, answer: PosePosterior) -> list[dict[str, Any]]:
    """Return how the heaviest pose and each other one differ."""
    cameras = [problem.cameras(mode.parameters.double()) for mode in answer.modes]
    first = cameras[0]
    rows = []
    for number, other in enumerate(cameras[1:], start=2):
        moved = point_spread(other[None], first, problem.target).mean - problem.target
        rows.append(
            {
                "modes": [1, number],
                "rotation_deg": round(float(geodesic_degrees(first, other)), 2),
                "target_mm": round(float(moved.norm()), 2),
                "mtre_mm": round(float(registration_error(other, first, problem.landmarks)), 2),
            }
        )
    return rows


def ambiguity(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a surgeon reads first, from a record with modes and differences."""
    modes = record["modes"]
    told = "; ".join(
        f"{mode['mass']:.0%} at {direction_in_words(mode['pose']['lao'], mode['pose']['cra'])}"
        for mode in modes
    )
    if len(modes) == 1:
        statement = f"One pose explains this X-ray: {told}."
    else:
        apart = record["differences"][0]
        statement = (
            f"{len(modes)} poses explain this X-ray: {told}. The first two differ by "
            f"{apart['rotation_deg']:.0f}°, bone by {apart['mtre_mm']:.0f} mm on average. Use what you know "
            "about the patient's side, or take a second view."
        )
    return {"num_plausible": len(modes), "statement": statement}


def direction_in_words(lao: float, cra: float) -> str:
    """Return where a C-arm is turned to, in whole degrees with the names of the sides."""
    angles = (("lao", lao), ("cra", cra))
    return ", ".join(f"{abs(value):.0f}° {_SIDES[name][value < 0]}" for name, value in angles)


def value_in_words(name: str, value: float, sd: float | None = None) -> str:
    """Return a pose parameter for people: angles of the C-arm with their side, never with a sign.

    Args:
        name: of the parameter, see ``carm.POSE``.
        value: degrees or mm.
        sd: its standard deviation, None where the parameter is fixed.
    """
    unit = "°" if POSE[name][0] == "deg" else f" {POSE[name][0]}"
    digits = 1 if sd is None or sd >= 0.1 else 2
    sure = " (fixed)" if sd is None else f" ± {sd:.{digits}f}{unit}"
    if name in _SIDES:
        return f"{abs(value):.{digits}f}{unit} {_SIDES[name][value < 0]}{sure}"
    return f"{name} {value:.{digits}f}{unit}{sure}"


def _named(pose: Tensor) -> dict[str, float]:
    return dict(zip(POSE, _numbers(pose), strict=True))


def _widths(problem: PoseRegistration, sd: Tensor) -> dict[str, float]:
    """Widths of all six parameters; those that are not free have none."""
    return {n: 0.0 for n in POSE} | dict(zip(problem.targets, _numbers(sd), strict=True))


def _numbers(values: Tensor) -> Any:
    return torch.round(values.double(), decimals=_DECIMALS).tolist()
