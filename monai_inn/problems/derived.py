"""Quantities that follow from the parameters that people look at, such as the ratio of two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from monai_inn.problems.parameters import Parameter, ParameterSpace
from monai_inn.problems.scales import cumulative, quantile

__all__ = ["Derived", "DerivedSpace"]


@dataclass(frozen=True)
class Derived(Parameter):
    """A quantity that is a function of a problem's targets.

    Its posterior is that of the function over joint samples of the targets. ``low``, ``high`` and ``scale``,
    which is ``"linear"`` or ``"log"``, say over which range it is shown; its values may lie beyond.

    Args:
        of: function of targets ``(…, D)`` in physical units that returns values ``(…)`` in ``unit``; positive
            ones for a logarithmic scale.

    Raises:
        ValueError: if the range is not finite, or the quantity is an angle or a class.

    Example:
        >>> mass = Derived("mass", "kg", 0.0, 10.0, "mass", of=lambda theta: theta[..., 0] * theta[..., 1])
        >>> mass.of(torch.tensor([[2.0, 3.0]]))
        tensor([6.])
    """

    of: Callable[[Tensor], Tensor] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        is_range = self.is_bounded and self.scale in ("linear", "log")
        if not is_range or self.is_periodic or self.categories:
            raise ValueError(
                f"derived quantity {self.name!r}: give finite ends of the range that it is shown over, and "
                "the scale 'linear' or 'log'; it is neither an angle nor a class."
            )


class DerivedSpace(ParameterSpace):
    """Derived quantities on the scales that they are shown on: 0 at ``low``, 1 at ``high``, and on beyond.

    Args:
        parameters: the quantities.
    """

    parameters: tuple[Derived, ...]

    def of(self, targets: Tensor) -> Tensor:
        """Return the quantities ``(…, K)`` of targets ``(…, D)``, both in physical units.

        Raises:
            ValueError: if a function returns values of another shape.
        """
        columns = [quantity.of(targets) for quantity in self.parameters]
        for quantity, column in zip(self.parameters, columns, strict=True):
            if column.shape != targets.shape[:-1]:
                raise ValueError(
                    f"the derived quantity {quantity.name!r} has the shape {tuple(column.shape)} for targets "
                    f"{tuple(targets.shape)}, expected {tuple(targets.shape[:-1])}; write a function that "
                    "takes the last axis away, such as lambda theta: theta[..., 0] / theta[..., 1]."
                )
        return torch.stack(columns, -1).to(targets.dtype)

    def forward(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Map values ``(…, K)`` to their scales; also ``log |d scaled / d value|`` in nats, ``(…)``."""
        columns = zip(self.parameters, theta.unbind(-1), strict=True)
        scaled, change = zip(*(cumulative(p, column) for p, column in columns), strict=True)
        return torch.stack(scaled, -1), torch.stack(change, -1).sum(-1)

    def inverse(self, latent: Tensor) -> Tensor:
        """Map numbers ``(…, K)`` on the scales back to values."""
        columns = zip(self.parameters, latent.unbind(-1), strict=True)
        return torch.stack([quantile(p, column) for p, column in columns], -1)
