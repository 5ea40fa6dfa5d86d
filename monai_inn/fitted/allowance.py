"""A limit on the tensors that a description from a file may have made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["Allowance"]

_OF_ANY = 1 << 12  # what even a small tensor, with the module around it, counts as
_MAKERS = (torch.zeros, torch.ones, torch.empty, torch.rand, torch.randn, torch.eye, torch.arange)


class Allowance(TorchFunctionMode):
    """Inside, new tensors may hold a number of values in all; asking for more gives an error, not memory.

    Args:
        values: how many.
    """

    def __init__(self, values: int) -> None:
        super().__init__()
        self.limit = self.left = values

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: Sequence[Any] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        """Count what is asked for.

        Raises:
            ValueError: if that is more than is left.
        """
        if function in _MAKERS:
            self.left -= max(_OF_ANY, _size(arguments))
            if self.left < 0:
                raise ValueError(f"asks for more than {self.limit:,} values")
        return function(*arguments, **(options or {}))


def _size(arguments: Sequence[Any]) -> int:
    """An upper limit of the values of a new tensor, from the sizes that its maker is given."""
    sizes = [n for a in arguments for n in (a if isinstance(a, Sequence) else (a,))]
    return math.ceil(math.prod(max(1, abs(n)) for n in sizes if isinstance(n, (int, float))))
