"""Named physical parameters and the bijection between their bounds and the space a flow works in."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from monai_inn.problems.scales import MOST_SDS, SCALES, of_normal, to_normal

__all__ = [
    "Parameter",
    "ParameterSpace",
    "labels",
    "one_of_each_field",
    "pixel_parameters",
    "some_pixels",
]


def labels(described: Iterable[tuple[str, str]], *, begin: bool = True) -> dict[str, str]:
    """Return what people read in place of each parameter's name.

    A label is the description up to its first comma or semicolon outside brackets, or the name where there is
    no description. The name stands behind a label that several parameters share.

    Args:
        described: name and description of each parameter.
        begin: whether labels begin with a capital letter; otherwise they are as in the middle of a sentence.

    Example:
        >>> labels([("d", "depth (x, y), from the skin"), ("t", "")])
        {'d': 'Depth (x, y)', 't': 't'}
    """
    short = {name: re.split(r"[,;]\s(?![^(]*\))", text)[0].strip() for name, text in described}
    words = list(short.values())
    shown = {}
    for name, text in short.items():
        label = text[:1].upper() + text[1:] if begin else text
        shown[name] = f"{label} ({name})" if text and words.count(text) > 1 else label or name
    return shown


@dataclass(frozen=True)
class Parameter:
    """One hidden quantity: its name, unit, support and the scale on which its prior is flat, or a Gaussian.

    Args:
        name: identifier used in files, on the command line and in figures.
        unit: unit as shown to people, ``"1"`` for a pure number.
        low: lower bound in ``unit``; ``-inf`` with ``high=inf`` for an unbounded quantity, whose prior is
            Gaussian.
        high: upper bound in ``unit``.
        description: what the quantity is, in one phrase; people see its part before the first comma, see
            ``labels``.
        scale: ``"linear"`` (uniform), ``"log"`` (log-uniform, needs ``low > 0``), ``"square"`` (the square
            of a uniform number, for quantities that are mostly near ``low``), ``"lognormal"`` (a Gaussian
            logarithm; the bounds only cut its tails and are at least 4.8 ``sd`` from its ``mean``) or
            ``"above"`` (the distance from ``low`` has a Gaussian logarithm; needs ``high=inf``).
        is_periodic: whether ``low`` and ``high`` are the same, as for an angle on the full circle.
        categories: names of classes, if the quantity is one of them. The integer part of a number between 0
            and how many there are says which; its fraction says nothing.
        mean: mean of the Gaussian prior of an unbounded quantity, or of the logarithm of a log-normal one.
        sd: standard deviation of the same.
        field: name of the image whose pixels this quantity is one of; empty for a number by itself.

    Raises:
        ValueError: if the name is empty or no file can have it, the bounds are not ordered, or do not fit the
            scale.
    """

    name: str
    unit: str
    low: float
    high: float
    description: str = ""
    scale: str = "linear"
    is_periodic: bool = False
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0
    field: str = ""

    def __post_init__(self) -> None:
        if not self.name.isprintable() or not self.name.strip() or {"/", "\\"} & set(self.name):
            raise ValueError(
                f"parameter {self.name!r}: files are named after it; give letters, without / or \\."
            )
        if self.scale not in SCALES:
            raise ValueError(f"parameter {self.name!r}: scale is {self.scale!r}, expected one of {SCALES}.")
        if not self.low < self.high:
            raise ValueError(
                f"parameter {self.name!r}: low = {self.low} must be below high = {self.high}; "
                "fix a known quantity in the forward model instead of giving it a prior."
            )
        if self.scale == "above":
            if math.isinf(self.low) or self.high != math.inf:
                raise ValueError(
                    f"parameter {self.name!r}: the scale 'above' needs a finite low and high = inf, got "
                    f"{self.low}, {self.high}."
                )
        elif math.isinf(self.low) != math.isinf(self.high):
            raise ValueError(
                f"parameter {self.name!r}: give two finite bounds, none, or the scale 'above', got "
                f"{self.low}, {self.high}."
            )
        if self.scale in ("log", "lognormal") and not 0 < self.low < math.inf:
            raise ValueError(f"parameter {self.name!r}: a log scale needs low > 0, got {self.low}.")
        object.__setattr__(self, "categories", tuple(self.categories))  # JSON gives a list
        if self.categories and (self.low, self.high, self.scale) != (
            0.0,
            float(len(self.categories)),
            "linear",
        ):
            raise ValueError(
                f"parameter {self.name!r}: {len(self.categories)} classes need low = 0, high = "
                f"{len(self.categories)} and a linear scale."
            )
        if self.is_periodic and (not self.is_bounded or self.scale != "linear"):
            raise ValueError(f"parameter {self.name!r}: if periodic, give finite bounds and a linear scale.")
        self._check_gaussian()

    def _check_gaussian(self) -> None:
        if not self.is_gaussian and (self.mean, self.sd) != (0.0, 1.0):
            raise ValueError(
                f"parameter {self.name!r}: mean and sd belong to unbounded and log-normal parameters; leave "
                f"them out, or give infinite bounds instead of {self.low}, {self.high}."
            )
        if not (math.isfinite(self.mean) and 0 < self.sd < math.inf):
            raise ValueError(
                f"parameter {self.name!r}: mean = {self.mean}, sd = {self.sd}; give finite numbers, sd > 0."
            )
        if self.scale == "lognormal":
            reach = [abs(math.log(edge) - self.mean) / self.sd for edge in (self.low, self.high)]
            if not math.log(self.low) < self.mean < math.log(self.high) or min(reach) < MOST_SDS:
                raise ValueError(
                    f"parameter {self.name!r}: the bounds {self.low}, {self.high} must be at least 4.8 sd "
                    f"from exp(mean) = {math.exp(self.mean):g} on the log scale, sd = {self.sd}."
                )

    @property
    def whole(self) -> str:
        """Name of the image whose pixel the quantity is, or its own, by which people and cards know it."""
        return self.field or self.name

    @property
    def is_bounded(self) -> bool:
        """Whether the parameter has two finite bounds."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_gaussian(self) -> bool:
        """Whether the prior is a Gaussian of ``mean`` and ``sd``, of the quantity or of its logarithm."""
        return not self.is_bounded or self.scale == "lognormal"


def pixel_parameters(
    field: str,
    unit: str,
    size: Sequence[int],
    described: Mapping[str, str],
    mean: float = 0.0,
    sd: float = 1.0,
) -> tuple[Parameter, ...]:
    """Return the pixels of an unknown image, unbounded, those of one place beside each other.

    Args:
        field: name of the image.
        unit: unit of its values.
        size: its spatial size.
        described: description of each channel by its name, which its pixels' names begin with.
        mean: prior mean of each.
        sd: prior standard deviation of each.
    """
    ends = (-math.inf, math.inf)
    return tuple(
        Parameter(" ".join([name, *map(str, place)]), unit, *ends, text, mean=mean, sd=sd, field=field)
        for place in itertools.product(*(range(1, n + 1) for n in size))
        for name, text in described.items()
    )


def one_of_each_field(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return parameters with the first pixel of each image in the place of all of them, for descriptions."""
    return list({p.whole: p for p in reversed(tuple(parameters))}.values())[::-1]


def some_pixels(parameters: Iterable[Parameter], most: int) -> dict[str, list[int]]:
    """Return the columns of each parameter, of an image those of at most so many pixels all over it.

    Every so many pixels would be those of a few columns of the image; a shuffle of one seed chooses them.
    """
    groups: dict[str, list[int]] = {}
    for column, parameter in enumerate(parameters):
        groups.setdefault(parameter.whole, []).append(column)
    for name, columns in groups.items():
        shuffled = torch.randperm(len(columns), generator=torch.Generator().manual_seed(0))
        groups[name] = [columns[i] for i in sorted(shuffled[:most].tolist())]
    return groups


class ParameterSpace:
    """Bijection between bounded physical parameters and the flow's space, one axis at a time.

    Every parameter goes through ``z = Φ⁻¹(F(x))`` with ``F`` the cumulative distribution of its prior: the
    prior becomes a standard normal, so that a parameter that the data say nothing about needs no work from
    the flow, and samples can never leave the bounds. For a Gaussian prior this is ``z = (x − mean) / sd``.

    Example:
        >>> space = ParameterSpace([Parameter("sao2", "1", 0.0, 1.0)])
        >>> space.to_latent(torch.tensor([[0.5]]))
        tensor([[0.]])
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        names = [p.name for p in self.parameters]
        if len(set(names)) != len(names) or not names:
            raise ValueError(f"parameter names must be unique and at least one, got {names}.")
        self._groups = _runs(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names in the order of the last axis."""
        return tuple(p.name for p in self.parameters)

    @property
    def low(self) -> Tensor:
        """Lower bounds, shape ``(D,)``, float64."""
        return torch.tensor([p.low for p in self.parameters], dtype=torch.float64)

    @property
    def high(self) -> Tensor:
        """Upper bounds, shape ``(D,)``, float64."""
        return torch.tensor([p.high for p in self.parameters], dtype=torch.float64)

    @property
    def period(self) -> Tensor:
        """Length of a turn of each periodic parameter, ``inf`` for the others, shape ``(D,)``, float64."""
        turns = [p.high - p.low if p.is_periodic else math.inf for p in self.parameters]
        return torch.tensor(turns, dtype=torch.float64)

    def subset(self, names: Sequence[str]) -> ParameterSpace:
        """Return the space of some of the parameters, in the order asked for."""
        if tuple(names) == self.names:  # of a field, looking each up would take seconds
            return self
        return type(self)([self.parameters[self.index(name)] for name in names])

    def index(self, name: str) -> int:
        """Return the position of a parameter on the last axis.

        Raises:
            ValueError: if there is no such parameter; the message lists those that exist.
        """
        if name not in self.names:
            raise ValueError(f"unknown parameter {name!r}; this problem has {', '.join(self.names)}.")
        return self.names.index(name)

    def contains(self, theta: Tensor) -> Tensor:
        """Whether parameters ``(…, D)`` lie inside all bounds, shape ``(…)``."""
        theta = _floating(theta)
        low, high = self.low.to(theta), self.high.to(theta)
        return ((theta >= low) & (theta <= high)).all(-1)

    def to_latent(self, theta: Tensor) -> Tensor:
        """Map physical parameters ``(…, D)`` to the flow's space, same shape; values outside are clamped."""
        return self.forward(theta)[0]

    def forward(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Map physical parameters ``(…, D)`` to the flow's space.

        Returns:
            The latent parameters, same shape, and ``log |d latent / d theta|`` in nats, shape ``(…)``.
        """
        theta = _floating(theta)
        latent, log_det = [], torch.zeros(theta.shape[:-1], dtype=theta.dtype, device=theta.device)
        for p, columns in self._groups:
            z, change = to_normal(p, theta[..., columns])
            latent.append(z)
            log_det = log_det + change.sum(-1)
        return torch.cat(latent, -1), log_det

    def inverse(self, latent: Tensor) -> Tensor:
        """Map the flow's space ``(…, D)`` back to physical parameters, always inside the bounds."""
        return torch.cat([of_normal(p, latent[..., columns]) for p, columns in self._groups], -1)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` independent parameters from their priors, shape ``(n, D)``, float32."""
        latent = torch.randn(n, len(self), generator=generator, dtype=torch.float64)
        return self.inverse(latent).float()

    def to_config(self) -> list[dict[str, Any]]:
        """Return a JSON-ready description, from which ``from_config`` makes an equal space."""
        return [asdict(p) for p in self.parameters]

    @classmethod
    def from_config(cls, config: Sequence[dict[str, Any]]) -> ParameterSpace:
        """Build the space that ``to_config`` described."""
        return cls([Parameter(**entry) for entry in config])


def _runs(parameters: Sequence[Parameter]) -> list[tuple[Parameter, slice]]:
    """One of each run of parameters with the same prior, as those of a field have, and its columns."""
    runs: list[tuple[Parameter, slice]] = []
    for column, p in enumerate(parameters):
        start = column
        if runs and _prior_of(runs[-1][0]) == _prior_of(p):
            start = runs.pop()[1].start
        runs.append((p, slice(start, column + 1)))
    return runs


def _prior_of(p: Parameter) -> tuple[Any, ...]:
    return p.low, p.high, p.scale, p.mean, p.sd


def _floating(theta: Tensor) -> Tensor:
    """Numbers that densities can be computed of; whole ones would round them."""
    return theta if theta.is_floating_point() else theta.float()
