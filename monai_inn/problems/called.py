"""A Python function that simulates observations; what is wrong with its answers is said in words."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from monai_inn.files import one_line
from monai_inn.problems.configured import checksum
from monai_inn.problems.drawing import BLOCK, drawn
from monai_inn.problems.parameters import Parameter
from monai_inn.seeding import seeded_everywhere, stream

__all__ = ["CalledSimulator", "Simulator"]

Simulator = Callable[[Tensor], Any]
"""Parameters in, one simulated observation out: numbers, an array or a tensor."""


class CalledSimulator:
    """A simulator with the prior of its parameters; the first two draws say how long observations are.

    Args:
        function: maps parameters ``(D,)``, or ``(n, D)`` if it is vectorised, to an observation with its
            noise; NaN where it has none.
        prior: distribution of the parameters, event shape ``(D,)``.
        parameters: their names, for messages.
        is_vectorised: whether the function takes many rows at once.

    Raises:
        ValueError: if the function fails.
    """

    def __init__(
        self,
        function: Simulator,
        prior: Distribution,
        parameters: Sequence[Parameter],
        is_vectorised: bool = False,
    ) -> None:
        self.function, self.prior, self.parameters = function, prior, parameters
        self.is_vectorised = is_vectorised
        self.size: int | None = None
        self.size = self._first_answers().shape[1]

    def __call__(self, theta: Tensor) -> Tensor:
        """Return the observations ``(n, size)`` of parameters ``(n, D)``.

        Raises:
            ValueError: if the function fails, or its answers have another shape.
        """
        rows: list[Tensor] = []
        for row in [theta] if self.is_vectorised else theta:
            try:
                made = self.function(row.clone())  # which it may change
                made = made.detach().cpu() if isinstance(made, Tensor) else np.asarray(made, np.float32)
                made = torch.as_tensor(made, dtype=torch.float32)
            except Exception as error:  # whatever the function raises
                raise ValueError(
                    f"the simulator failed {self._at(row)}: {one_line(error)}; let it return NaN for "
                    "parameters that have no observation."
                ) from error
            if self.is_vectorised and made.shape[:1] != row.shape[:1]:
                raise ValueError(
                    f"the simulator returned the shape {tuple(made.shape)} {self._at(row)}; return one "
                    f"observation a row, ({len(row)}, …)."
                )
            made = made.reshape(len(row) if self.is_vectorised else 1, -1)
            size = (rows[0].shape[1] if rows else made.shape[1]) if self.size is None else self.size
            if made.shape[1] != size:
                raise ValueError(
                    f"the simulator returned {made.shape[1]} numbers {self._at(row)}, and {size} before; "
                    "return an observation of the same length each time."
                )
            rows.append(made.clone())  # which may be a buffer of the function's own
        return torch.cat(rows)

    def simulate(self, n: int, seed: int, first_block: int) -> tuple[Tensor, Tensor]:
        """Return ``n`` draws of the prior and their observations; each block has its own random numbers."""
        theta, y = [], []
        for start in range(0, n, BLOCK):
            block = first_block + start // BLOCK
            rows = drawn(self.prior, stream(seed, block, "prior"))
            # Row by row a call need not know how many follow; all at once, it must see the same number.
            rows = rows if self.is_vectorised else rows[: n - start]
            with seeded_everywhere(stream(seed, block, "simulator").initial_seed()):
                y.append(self(rows)[: n - start])
            theta.append(rows[: n - start])
        return torch.cat(theta), torch.cat(y)

    @property
    def identity(self) -> dict[str, str]:
        """What tells this function from others: first draws of the prior, its text and its first answers."""
        return {
            "prior": checksum(drawn(self.prior, stream(0, 0, "prior"))),
            "simulator": _text(self.function),
            "answers": self._answers,
        }

    def _first_answers(self) -> Tensor:
        """Observations of two draws from the prior, the same each time if the function heeds the seed."""
        with seeded_everywhere(0):
            return self(drawn(self.prior, stream(0, 0, "prior"))[:2])

    @functools.cached_property
    def _answers(self) -> str:
        """Checksum of the first answers, which depend on all that the function holds.

        They are rounded, because other processors add up in another order. It is empty for a function with
        random numbers of its own.
        """
        sums = {checksum(self._first_answers().bfloat16().float()) for _ in range(2)}
        return sums.pop() if len(sums) == 1 else ""

    def _at(self, row: Tensor) -> str:
        if self.is_vectorised:
            return f"for {len(row)} rows of parameters"
        return "at " + ", ".join(
            f"{p.name} = {v:.4g}" for p, v in zip(self.parameters, row.tolist(), strict=True)
        )


def _text(function: Simulator) -> str:
    """Checksum of the source of a function or of an object's class, or its name where there is none."""
    while isinstance(function, functools.partial):
        function = function.func
    source = function if inspect.isroutine(function) else type(function)
    try:
        return hashlib.sha256(inspect.getsource(source).encode()).hexdigest()
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)
