"""Whether several X-rays agree about the patient's place, in words, and the poses of those that do."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from monai_inn.applications.registration.poses.draws import Draws
from monai_inn.applications.registration.poses.joint import View, agreeing, joined, most_apart
from monai_inn.applications.registration.poses.solver import Solution, Solver

__all__ = ["Agreement", "agreement_of"]


class Agreement(NamedTuple):
    """Which X-rays agree, and what they say together.

    Attributes:
        base: number, from 0, of the X-ray whose poses the draws are.
        draws: the posterior of the X-rays that agree; that of the first alone where no majority does.
        is_whole: whether all agree.
        statement: which do not, and where the poses are from.
        record: the same for ``registration.json``.
    """

    base: int
    draws: Draws
    is_whole: bool
    statement: str
    record: dict[str, Any]


def agreement_of(
    solver: Solver,
    found: Sequence[Solution],
    angles: Sequence[tuple[float, float]],
    paths: Sequence[str | PathLike[str]],
    samples: int,
    seed: int,
) -> Agreement:
    """Join several X-rays of a patient, or those that agree.

    Args:
        solver: what found their poses.
        found: of each X-ray.
        angles: ``lao`` and ``cra`` that the gantry showed at each, degrees.
        paths: of their files.
        samples: number of draws.
        seed: their seed.
    """
    views = [View(one.draws, one.detector, shown) for one, shown in zip(found, angles, strict=True)]
    numbers = agreeing(views, solver.target, solver.unknowns)
    everyone = joined(views, solver.target, solver.unknowns, samples, seed)
    record = {
        "agree": [number + 1 for number in numbers],
        "distance": round(everyone.distance, 2),
        "limit_distance": round(most_apart(len(views)), 2),
    }
    if len(numbers) == len(views):
        return Agreement(0, everyone.draws, True, "", record)
    if not numbers:
        return Agreement(0, views[0].draws, False, _none_agree(len(views)), record)
    kept = joined([views[k] for k in numbers], solver.target, solver.unknowns, samples, seed)
    return Agreement(numbers[0], kept.draws, False, _others_disagree(numbers, paths), record)


_REASONS = "A patient who moved, an X-ray of another patient or wrong angles of the gantry may be the reason."


def _none_agree(count: int) -> str:
    which = "two X-rays" if count == 2 else f"{count} X-rays, and most of them,"
    return (
        f"Do not use these poses: the {which} do not agree about the patient's place. {_REASONS} The poses "
        "are from the first X-ray alone."
    )


def _others_disagree(numbers: Sequence[int], paths: Sequence[str | PathLike[str]]) -> str:
    odd = [k for k in range(len(paths)) if k not in numbers]
    names = _listed([f"{k + 1} ({Path(paths[k]).name})" for k in odd])
    subject = f"X-ray {names} does" if len(odd) == 1 else f"X-rays {names} do"
    return (
        f"Do not use these poses before you know why {subject} not agree with the others. {_REASONS} The "
        f"poses are from X-rays {_listed([str(k + 1) for k in numbers])} alone, which agree."
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
