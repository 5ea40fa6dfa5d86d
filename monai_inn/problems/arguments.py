"""What the problems ask of their arguments."""

from __future__ import annotations

import math

from torch import Tensor

from monai_inn.problems.parameters import ParameterSpace

__all__ = ["check_positive", "split_parameters"]


def check_positive(name: str, value: float) -> float:
    """Return the value.

    Raises:
        ValueError: if it is not a positive, finite number.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{name} = {value}; give a positive, finite number.")
    return float(value)


def split_parameters(theta: Tensor, space: ParameterSpace) -> tuple[Tensor, ...]:
    """Return the columns of parameters ``(…, D)`` in float64, each of shape ``(…)``.

    Raises:
        ValueError: if the last axis is not one entry a parameter.
    """
    if theta.ndim == 0 or theta.shape[-1] != len(space):
        raise ValueError(
            f"theta has shape {tuple(theta.shape)}, expected (…, {len(space)}): {', '.join(space.names)}."
        )
    return theta.double().unbind(-1)
