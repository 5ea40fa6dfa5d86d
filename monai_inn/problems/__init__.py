"""Inverse problems: prior, forward model and noise, one file a problem."""

from __future__ import annotations

from typing import Any

from monai_inn.problems.base import InverseProblem
from monai_inn.problems.gaussian import LinearGaussian
from monai_inn.problems.oximetry import Oximetry
from monai_inn.problems.parameters import Parameter, ParameterSpace

__all__ = ["InverseProblem", "LinearGaussian", "Oximetry", "Parameter", "ParameterSpace", "create", "names"]

_PROBLEMS: dict[str, type[InverseProblem]] = {cls.name: cls for cls in (LinearGaussian, Oximetry)}


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
