"""The three inverse problems of the comparison, their test cases, and which branch a solution belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_inn.problems import InverseBallistics, InverseKinematics, InverseProblem, Oximetry
from monai_inn.problems.valid import valid_simulations

_TEST_SEED, _REFERENCE_SEED = 303, 404
_STEP_RAD = 1e-3
_GAP_SAMPLES = 32


@dataclass(frozen=True)
class Case:
    """One problem of the comparison.

    Args:
        title: as shown above its table.
        make: makes the problem.
        branch: from the problem and parameters ``(…, D)`` to which of two branches they are on.
        shown: observation of the picture; if ``None``, the test case in the middle of the prior.
        has_reference: whether its exact posterior is known.
    """

    title: str
    make: Callable[[], InverseProblem]
    branch: Callable[[InverseProblem, Tensor], Tensor] | None = None
    shown: tuple[float, ...] | None = None
    has_reference: bool = True


def _hand_points_up(problem: InverseProblem, theta: Tensor) -> Tensor:
    """Given the first two joints, the last arm reaches the distance pointing up or down."""
    return theta[..., 1:].sum(-1).sin() > 0


def _is_flat(problem: InverseProblem, theta: Tensor) -> Tensor:
    """A flat throw flies further if it is thrown higher, a lob less far."""
    higher = theta.double().clone()
    higher[..., 2] += _STEP_RAD
    return (problem.forward(higher) > problem.forward(theta.double()))[..., 0]


CASES = {
    "kinematics": Case(
        "Inverse kinematics: 4 parameters, 2 observations",
        InverseKinematics,
        _hand_points_up,
        (1.5, 0.0),
    ),
    "ballistics": Case(
        "Inverse ballistics: 4 parameters, 1 observation",
        InverseBallistics,
        _is_flat,
        (5.0,),
    ),
    "oximetry": Case(
        "Oximetry with a camera of 16 bands: 16 parameters",
        lambda: Oximetry("imec_ssm4x4_470_620"),
        has_reference=False,
    ),
}


@dataclass(frozen=True)
class Truth:
    """Test cases of a problem, and what is known about their exact posteriors.

    Args:
        theta: parameters ``(N, D)`` in physical units.
        y: their observations ``(N, C)``.
        shown: observation ``(1, C)`` of the picture.
        exact: samples ``(S, N, D)`` of the exact posteriors, if they are known.
        log_prob: their log densities in nats at the first samples, ``(s, N)``.
    """

    theta: Tensor
    y: Tensor
    shown: Tensor
    exact: Tensor | None
    log_prob: Tensor | None

    @classmethod
    def of(cls, case: Case, problem: InverseProblem, observations: int, samples: int) -> Truth:
        """Simulate test cases, and solve them exactly where that is possible."""
        theta, y = valid_simulations(problem, observations, _TEST_SEED)
        middle = problem.space.to_latent(theta)[:, :2].norm(dim=1).argmin()
        shown = y[middle][None] if case.shown is None else torch.tensor([case.shown])
        if not case.has_reference:
            return cls(theta, y, shown, None, None)
        reference = problem.reference_posterior(y)
        torch.manual_seed(_REFERENCE_SEED)
        exact = reference.sample((samples,))
        return cls(theta, y, shown, exact, reference.log_prob(exact[:_GAP_SAMPLES]))
