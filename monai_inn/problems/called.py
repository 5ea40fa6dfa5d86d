"""A Python function that simulates observations; what is wrong with its answers is said in words."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
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

_FIRST = (2, 32, 512)  # draws whose answers say how long observations are: until one is not NaN
_MOST_PARTS = 1000  # of a container whose numbers are looked at

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
        held = _held(function)
        self._first = _FIRST[0]
        for self._first in _FIRST:
            first = self._first_answers()
            if not first.isnan().all():
                break
        self.size = first.shape[1]
        after = _held(function)  # counts of its calls, and the like, do not tell it from others
        self._values = {place: value for place, value in held.items() if after.get(place) == value}

    def __call__(self, theta: Tensor) -> Tensor:
        """Return the observations ``(n, size)`` of parameters ``(n, D)``.

        Raises:
            ValueError: if the function fails, or its answers have another shape.
        """
        rows: list[Tensor] = []
        for row in [theta] if self.is_vectorised else theta:
            try:
                made = self.function(row.clone())  # which it may change
                made = made.detach().cpu() if isinstance(made, Tensor) else np.asarray(made)
                if np.iscomplexobj(made):
                    raise ValueError("complex numbers; return real and imaginary parts")
                if 0 in made.shape or made.dtype == object:
                    raise ValueError("no numbers were returned")
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
            if made.shape[1] == 1 and made.isnan().all():  # one NaN for a whole observation
                made = made.expand(-1, size)
            elif rows and rows[0].isnan().all() and self.size is None:
                rows, size = [torch.full((len(row), made.shape[1]), math.nan) for row in rows], made.shape[1]
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
    def identity(self) -> dict[str, Any]:
        """What tells this function from others: first draws of the prior, its text, values, first answers."""
        return {
            "prior": checksum(drawn(self.prior, stream(0, 0, "prior"))),
            "simulator": _text(self.function),
            "answers": self._answers,
        } | ({"values": self._values} if self._values else {})

    def _first_answers(self) -> Tensor:
        """Observations of some draws from the prior, the same each time if the function heeds the seed."""
        with seeded_everywhere(0):
            return self(drawn(self.prior, stream(0, 0, "prior"))[: self._first])

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


def _held(function: Simulator) -> dict[str, str]:
    """Numbers and arrays, as text or checksum, that a function uses without being given them, by their place.

    They are what its text names of its module, what it closes over, its defaults, and what its object holds.
    Functions and objects of the same module that it uses are followed.
    """
    values: dict[str, str] = {}
    own = inspect.unwrap(function) if inspect.isroutine(function) else type(function)
    _collect(function, "", values, {id(values)}, own.__module__)
    return dict(sorted(values.items()))


def _collect(value: Any, place: str, values: dict[str, str], seen: set[int], module: str) -> None:
    """Add the numbers at a place, and those of what stands there."""
    if isinstance(value, (bool, int, float, complex, np.number)):
        values[place] = repr(value)
    elif isinstance(value, (Tensor, np.ndarray)):
        with contextlib.suppress(TypeError):  # of numbers only
            values[place] = checksum(torch.as_tensor(value))
    elif id(value) not in seen:
        seen.add(id(value))
        for name, each in _parts_of(value, module).items():
            _collect(each, f"{place}.{name}".strip("."), values, seen, module)


def _parts_of(value: Any, module: str) -> Mapping[Any, Any]:
    """What a container, or a function or object of a module, holds, by name; nothing of anything else."""
    if isinstance(value, (dict, list, tuple)):
        found = value if isinstance(value, dict) else dict(enumerate(value))
        return found if len(found) <= _MOST_PARTS else {}
    if isinstance(value, functools.partial):
        return {"": value.func, **dict(enumerate(value.args)), **value.keywords}
    if inspect.ismethod(value):
        return {"self": value.__self__, "": value.__func__}
    if inspect.isfunction(value) and value.__module__ == module:
        try:
            known = inspect.getclosurevars(value)
        except ValueError:  # a name that nothing was assigned to yet
            return {}
        defaults = dict(enumerate(value.__defaults__ or ())) | (value.__kwdefaults__ or {})
        return {**known.globals, **known.nonlocals, "defaults": defaults}
    if type(value).__module__ == module:
        return {**getattr(value, "__dict__", {}), "": vars(type(value)).get("__call__")}
    return {}
