"""What a registration straight from a CT has found, and what its record says of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import RANGES, camera_to_world, geodesic_degrees
from monai_inn.applications.registration.poses.inference import PosePosterior
from monai_inn.applications.registration.poses.solver import Solution
from monai_inn.applications.registration.prepared import Patient
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.radiograph import NUISANCES
from monai_inn.applications.registration.results.agreement import Agreement
from monai_inn.applications.registration.results.record import ambiguity, direction_in_words
from monai_inn.applications.registration.results.registering import describe_poses
from monai_inn.applications.registration.results.residual import describe_residual
from monai_inn.metrics.modes import Mode

__all__ = ["Case", "trust_of"]

# Explained share and lead together, and lead alone; measured, see docs/registration_methods.md.
_LEAST_SCORE, _LEAST_LEAD = 0.9, 0.2
_LAID = 30.0  # degrees by which a patient on the table may be turned


class Case:
    """A patient, some X-rays, and the poses that explain them.

    Args:
        who: the patient.
        problem: the same before the detector of the first X-ray.
        sources: what the record says of each X-ray's file.
        angles: ``lao`` and ``cra`` of the gantry at each, degrees; empty if not known.
        found: what each X-ray says alone.
        agreement: what they say together, if there are several.
        left_out: share of each pixel of the first that was not to be compared.
        seed: of the draws.

    Attributes:
        base: number of the X-ray whose poses are shown, from 0.
        best: its posterior, given all that agree.
        problem: the patient before its detector.
    """

    def __init__(
        self,
        who: Patient,
        problem: PoseRegistration,
        sources: list[dict[str, Any]],
        angles: Sequence[tuple[float, float]],
        found: Sequence[Solution],
        agreement: Agreement | None,
        left_out: Tensor | None,
        seed: int,
    ) -> None:
        self.who, self.sources, self.angles, self.found = who, sources, angles, found
        self.agreement, self.left_out, self.seed = agreement, left_out, seed
        self.base = 0 if agreement is None else agreement.base
        self.problem = who.problem(found[self.base].detector) if self.base else problem

    @cached_property
    def best(self) -> Solution:
        """Its posterior, given all that agree."""
        own = self.found[self.base]
        if self.agreement is None:
            return own
        draws = self.agreement.draws
        x = draws.fit.x
        return own._replace(draws=draws, models=own.level.radiograph(x[:, :6], x[:, 6:]))

    def answer(self) -> tuple[PosePosterior, Tensor, list[Tensor]]:
        """Return posterior, X-ray and simulated X-rays; images as shares of what the best one shows."""
        index = [list(RANGES).index(name) for name in self.problem.targets]
        found, draws = self.best, self.best.draws
        modes = []
        for k, mass in enumerate(draws.masses.tolist()):
            members = torch.nonzero(draws.labels == k).flatten()
            spread = draws.covariance[k].diagonal().sqrt().float()
            modes.append(Mode(draws.fit.x[k, index].float(), mass, spread, None, members))
        counted = found.models[0][found.window > 0.5]
        low, high = float(counted.min()), float(counted.max())
        shown = ((found.image - low) / (high - low)).clamp(-0.2, 1.5).flatten()
        drrs = [((model - low) / (high - low)).flatten() for model in found.models]
        return PosePosterior(draws.samples[:, index].float(), draws.log_density.float(), modes), shown, drrs

    def described(self) -> dict[str, Any]:
        """Return what the record says."""
        own, left_out = self.found[self.base], None if self.base else self.left_out
        residual = describe_residual(own, left_out, self.seed)
        sources = [
            source | {"notes": [*source["notes"], _seen(one)]}
            for source, one in zip(self.sources, self.found, strict=True)
        ]
        xray = sources.pop(self.base)
        if self.angles:
            xray["notes"].append(_compared(self.best, *self.angles[self.base]))
        if residual["unexplained"] is not None:
            xray["notes"].append(residual["unexplained"]["statement"])
        answer, shown, drrs = self.answer()
        record: dict[str, Any] = {"bundle": self.who.described()}
        record |= {"xray": xray, "other_xrays": sources, "residual": residual}
        record |= describe_poses(self.problem, shown, answer, drrs)
        record |= {"trust": trust_of(self.found, self.agreement), "weights": _weights(own, self.best)}
        return record | {"unit": _unit(self.best), "ambiguity": ambiguity(record)}


def _compared(found: Solution, lao: float, cra: float) -> str:
    """What the gantry's angles say of the pose."""
    directions = torch.zeros(2, 6, dtype=torch.float64)
    directions[0, :2], directions[1, :2] = torch.tensor([lao, cra]).double(), found.draws.fit.x[0, :2]
    cameras = camera_to_world(directions, found.detector, torch.zeros(3))
    apart = float(geodesic_degrees(cameras[0], cameras[1]))
    gantry = direction_in_words(lao, cra)
    if apart <= _LAID:
        return f"The gantry showed {gantry}, {apart:.0f}° from the first pose's direction."
    return (
        f"The gantry showed {gantry}, but the first pose looks from a direction {apart:.0f}° away: the "
        "patient did not lie on the back, head first, or the pose is wrong."
    )


def _seen(found: Solution) -> str:
    """What was left out of the X-ray."""
    covered = 1 - float((found.window > 0.5).float().mean())
    if covered < 0.005:
        return "All of the image was compared."
    return f"{covered:.0%} of the image was left out: collimator, tools, what lies beyond the CT."


def trust_of(found: Sequence[Solution], agreement: Agreement | None = None) -> dict[str, Any]:
    """Return whether the CT explains what the X-rays show, and whether they agree."""
    least = min(found, key=lambda one: one.explained + one.lead)
    told = min(one.lead for one in found) >= _LEAST_LEAD
    explained = least.explained + least.lead >= _LEAST_SCORE
    trusted = (agreement is None or agreement.is_whole) and told and explained
    share = f"{least.explained:.0%} of the X-ray's structure"
    lead = f"{max(0, least.lead):.0%} of what the next best leaves"
    if agreement is not None and not agreement.is_whole:
        statement = agreement.statement
    elif trusted:
        statement = f"The best pose explains {share}, and {lead}; that does not prove it."
    elif explained:
        statement = (
            f"Do not use these poses: the best explains {share}, but others elsewhere nearly as much. Too "
            "little of the patient's bone may be visible; show more of it, or mask less."
        )
    else:
        statement = (
            f"Do not use these poses: the best explains {share} and {lead}, too little for X-rays of this "
            "patient. Another patient or body part, or a wrong reading of the grey values, may be the reason."
        )
    return {
        "explained": round(least.explained, 4),
        "lead": round(least.lead, 4),
        "limit": _LEAST_SCORE,
        "is_trusted": trusted,
        "statement": statement,
    } | ({} if agreement is None else agreement.record)


def _weights(own: Solution, best: Solution) -> dict[str, Any]:
    """How well an X-ray's draws were proposed, how far errors widen them, its evidence."""
    draws = own.draws
    return {
        "proposals": draws.weighed,
        "effective": round(draws.effective * draws.weighed, 1),
        "independent_samples": round(best.draws.independent, 1),
        "inflation": round(draws.inflation, 3),
        "log_evidence_nats": round(draws.log_evidence, 4),
        "statement": (
            f"{draws.weighed} poses nearby were compared with the X-ray; "
            f"{draws.effective * draws.weighed:.0f} of them count. Errors of the simulation make the poses "
            f"{draws.inflation:.1f} times as uncertain."
        ),
    }


def _unit(found: Solution) -> dict[str, float]:
    """What was fitted of the X-ray unit."""
    return {n.name: round(float(v), 4) for n, v in zip(NUISANCES, found.draws.fit.x[0, 6:], strict=True)}
