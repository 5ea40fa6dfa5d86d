"""Which mode is which reference solution: distances and one-to-one assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from monai_inn.metrics.modes.detection import Mode
from monai_inn.metrics.modes.space import ModeSpace

__all__ = ["Assignment", "Matching", "assign", "match", "mode_distance"]

Assignment = Literal["greedy", "hungarian"]


class Matching(NamedTuple):
    """One-to-one pairs of modes and references within the criterion.

    Attributes:
        mode: position of the mode of each pair in the list given, shape ``(P,)``, ascending.
        reference: position of its reference, shape ``(P,)``.
        distance: distance of the pair, at most 1, shape ``(P,)``.
        spare_modes: modes without a reference.
        missed_references: references without a mode.
    """

    mode: Tensor
    reference: Tensor
    distance: Tensor
    spare_modes: Tensor
    missed_references: Tensor


def mode_distance(modes: Sequence[Mode], references: Tensor, space: ModeSpace) -> Tensor:
    """Return the distances of modes and references ``(R, D)`` in units of the tolerance, shape ``(K, R)``.

    Raises:
        ValueError: if the references are no ``(R, D)`` of the space or not finite.
    """
    if references.ndim != 2:
        raise ValueError(
            f"references have shape {tuple(references.shape)}, expected (references, parameters) of one case."
        )
    references = space.check(references, "references")
    places = torch.stack([mode.parameters for mode in modes]) if modes else torch.zeros(0, len(space))
    shape = (len(modes), references.shape[0], len(space))
    return space.distance(places.double()[:, None].expand(shape), references[None].expand(shape))


def assign(distance: Tensor, mass: Tensor, assignment: Assignment = "greedy") -> Matching:
    """Pair modes and references one to one, never beyond a distance of 1.

    ``"greedy"`` lets the heaviest mode take its nearest free reference first, as in object detection;
    ``"hungarian"`` makes as many pairs as possible and, among those, the sum of distances smallest. They
    differ where several references lie within the tolerance of one mode.

    Args:
        distance: distances in units of the criterion, shape ``(K, R)``.
        mass: masses of the modes, shape ``(K,)``.
        assignment: ``"greedy"`` or ``"hungarian"``.

    Raises:
        ValueError: if the shapes do not fit, a distance is NaN, or the assignment is unknown.
    """
    if assignment not in ("greedy", "hungarian"):
        raise ValueError(f"unknown assignment {assignment!r}; choose 'greedy' or 'hungarian'.")
    if distance.ndim != 2 or mass.shape != distance.shape[:1] or bool(distance.isnan().any()):
        raise ValueError(
            f"distance has shape {tuple(distance.shape)} and mass {tuple(mass.shape)}, expected (modes, "
            "references) without NaN and (modes,)."
        )
    table = distance.detach().cpu().double().numpy()
    if assignment == "hungarian":
        # One forbidden pair costs more than all allowed ones together.
        forbidden = min(table.shape) + 1.0
        rows, columns = linear_sum_assignment(np.where(table <= 1, table, forbidden))
        pairs = [(int(k), int(r)) for k, r in zip(rows, columns, strict=True) if table[k, r] <= 1]
    else:
        pairs, free = [], np.ones(table.shape[1], bool)
        nearest = table.min(1, initial=np.inf)
        # Of equally heavy modes the nearer one goes first, so that their order in the list does not matter.
        for k in sorted(range(len(table)), key=lambda k: (-float(mass[k]), nearest[k])):
            reachable = np.where(free, table[k], np.inf)
            if reachable.size and reachable.min() <= 1:
                pairs.append((k, int(reachable.argmin())))
                free[pairs[-1][1]] = False
    pairs.sort()
    modes, references = (torch.tensor([pair[i] for pair in pairs], dtype=torch.int64) for i in (0, 1))
    spare = sorted(set(range(table.shape[0])) - set(modes.tolist()))
    missed = sorted(set(range(table.shape[1])) - set(references.tolist()))
    return Matching(
        modes,
        references,
        torch.as_tensor(table)[modes, references],
        torch.tensor(spare, dtype=torch.int64),
        torch.tensor(missed, dtype=torch.int64),
    )


def match(
    modes: Sequence[Mode],
    references: Tensor,
    space: ModeSpace,
    assignment: Assignment = "greedy",
) -> Matching:
    """Pair the modes of one case with the reference solutions within their tolerance.

    Args:
        modes: modes found.
        references: known solutions, shape ``(R, D)``; ``R`` may be 0.
        space: tolerances, angles and poses.
        assignment: see ``assign``.

    Raises:
        ValueError: as for ``assign`` and ``mode_distance``.

    Source: Adler et al., Application-driven validation of posteriors in inverse problems, 2023.
    """
    mass = torch.tensor([mode.mass for mode in modes], dtype=torch.float64)
    return assign(mode_distance(modes, references, space), mass, assignment)
