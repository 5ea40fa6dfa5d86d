"""Inverse problems: prior, forward model and noise, one file a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_inn.lazy import lazy_attributes
from monai_inn.problems.ballistics import InverseBallistics
from monai_inn.problems.base import InverseProblem, Prior
from monai_inn.problems.deformable import DeformableRegistration
from monai_inn.problems.gaussian import LinearGaussian
from monai_inn.problems.gaussian_uniform import GaussianUniform
from monai_inn.problems.kinematics import InverseKinematics
from monai_inn.problems.mixture import EightModes
from monai_inn.problems.oximetry import Oximetry
from monai_inn.problems.parameters import Parameter, ParameterSpace, labels
from monai_inn.problems.registration import PoseRegistration
from monai_inn.problems.registry import REGISTERED, create, names, register
from monai_inn.problems.roots import ComplexRoots
from monai_inn.problems.simulated import Simulated
from monai_inn.problems.sir import Epidemic
from monai_inn.problems.slcp import SimpleLikelihood
from monai_inn.problems.two_moons import TwoMoons

if TYPE_CHECKING:
    from monai_inn.validation.contract import check_problem

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
    "Prior",
    "SimpleLikelihood",
    "Simulated",
    "TwoMoons",
    "check_problem",
    "create",
    "labels",
    "names",
    "register",
]

REGISTERED.update(
    {
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
            Simulated,
            TwoMoons,
        )
    }
)

# It trains and validates, which is far above problems; nothing here imports it.
__getattr__ = lazy_attributes("monai_inn.validation", {"check_problem": "contract"})
