"""Inverse problems: prior, forward model and noise, one file a problem."""

from __future__ import annotations

from typing import Any

from monai_inn.problems.ballistics import InverseBallistics
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.deformable import DeformableRegistration
from monai_inn.problems.gaussian import LinearGaussian
from monai_inn.problems.gaussian_uniform import GaussianUniform
from monai_inn.problems.kinematics import InverseKinematics
from monai_inn.problems.mixture import EightModes
from monai_inn.problems.oximetry import Oximetry
from monai_inn.problems.parameters import Parameter, ParameterSpace, labels
from monai_inn.problems.registration import PoseRegistration
from monai_inn.problems.roots import ComplexRoots
from monai_inn.problems.sir import Epidemic
from monai_inn.problems.slcp import SimpleLikelihood
from monai_inn.problems.two_moons import TwoMoons

__all__ = [
    "ComplexRoots",
    "DeformableRegistration",
    "EightModes",
    "Epidemic",
    "GaussianUniform",
    "InverseBallistics",
    "InverseKinematics",
    "InverseProblem",
    "LinearGaussian",
    "Oximetry",
    "Parameter",
    "ParameterSpace",
    "PoseRegistration",
    "SimpleLikelihood",
    "TwoMoons",
    "create",
    "labels",
    "names",
]

_PROBLEMS: dict[str, type[InverseProblem]] = {
    cls.name: cls
    for cls in (
        ComplexRoots,
        DeformableRegistration,
        EightModes,
        Epidemic,
        GaussianUniform,
        InverseBallistics,
        InverseKinematics,
        LinearGaussian,
        Oximetry,
        PoseRegistration,
        SimpleLikelihood,
        TwoMoons,
    )
}


def names() -> tuple[str, ...]:
    """Return the names of all problems, for ``create`` and the command line."""
    return tuple(sorted(_PROBLEMS))


def create(name: str, **config: Any) -> InverseProblem:
    """Return the problem of that name, built with its keyword arguments.

    Raises:
        ValueError: if there is no such problem; the message lists those that exist.
    """
    if name not in _PROBLEMS:
        raise ValueError(f"unknown problem {name!r}; choose one of {', '.join(names())}.")
    return _PROBLEMS[name](**config)
