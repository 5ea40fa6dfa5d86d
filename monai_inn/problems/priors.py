"""From a distribution of torch to named parameters: bounds become bijections, the rest is whitened."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    Distribution,
    Independent,
    IndependentTransform,
    MixtureSameFamily,
    Transform,
    TransformedDistribution,
    VonMises,
    constraints,
)

from monai_inn.files import one_line
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.drawing import BLOCK, FlatPrior, drawn
from monai_inn.problems.scales import LEAST
from monai_inn.seeding import seeded, stream

__all__ = ["Empirical", "independent", "own_draws", "parameters_of"]

_DRAWS = 10_000
_ONE_SD = (0.158655, 0.841345)


def independent(
    prior: Distribution | Mapping[str, Distribution], names: Sequence[str] | None
) -> tuple[Distribution, tuple[str, ...]]:
    """Return a prior of all parameters and their names.

    Args:
        prior: distribution with event shape ``(D,)``, or one of single numbers for each name.
        names: names of the parameters; not needed if ``prior`` has them.

    Raises:
        ValueError: if prior and names disagree, or the prior has no density.
    """
    if isinstance(prior, Mapping):
        if not prior:
            raise ValueError("the prior is empty; give a distribution for each name.")
        if names is not None and tuple(names) != tuple(prior):
            raise ValueError(f"names = {tuple(names)}, but the prior is of {tuple(prior)}; leave names out.")
        names, prior = tuple(prior), _Product(list(prior.values()))
    if not isinstance(prior, Distribution):
        raise ValueError(f"prior is a {type(prior).__name__}; give a distribution of torch.distributions.")
    if prior.batch_shape or len(prior.event_shape) != 1:
        raise ValueError(
            f"the prior has batch shape {tuple(prior.batch_shape)}, event shape {tuple(prior.event_shape)}; "
            "give one distribution over vectors; for independent parameters Independent(…, 1), or a "
            "dictionary of one for each."
        )
    if names is None or len(names) != prior.event_shape[0]:
        raise ValueError(
            f"the prior is over {prior.event_shape[0]} parameters, names = {names}; give a name for each."
        )
    try:
        with seeded(0):
            prior.log_prob(prior.sample())
    except NotImplementedError:
        raise ValueError(f"the prior {prior} has no density; give one with log_prob.") from None
    except ValueError as error:
        raise ValueError(
            f"the prior refuses its own draw: {one_line(error)}; give mixtures components of one support."
        ) from None
    return prior, tuple(names)


def parameters_of(
    prior: Distribution, names: Sequence[str], units: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return arguments of ``Parameter`` for each parameter, with ``None`` for an infinite bound, JSON-ready.

    Two bounds are taken as they are. Beyond one bound, and without any, location and spread come from draws.
    ``VonMises`` is of angles from −π to π; shifted and scaled, as to degrees, of where those go.

    Raises:
        ValueError: if the support is none of intervals, half-lines and lines, or units do not fit the names.
    """
    if units is not None and len(units) != len(names):
        raise ValueError(f"{len(names)} names and {len(units)} units; give a unit for each, '1' for none.")
    lows, highs = _bounds(prior, len(names))
    turns = _turns(prior, len(names))
    with seeded(0):
        draws = prior.sample(torch.Size((_DRAWS,))).double()
    result: list[dict[str, Any]] = []
    for i, (name, low, high) in enumerate(zip(names, lows, highs, strict=True)):
        entry: dict[str, Any] = {"name": name, "unit": units[i] if units else "1", "low": None, "high": None}
        if math.isinf(low) and not math.isinf(high):
            raise ValueError(
                f"parameter {name!r} is only bounded from above, by {high:g}; take its negative."
            )
        if (turn := turns[i]) is not None:
            unit = units[i] if units else "rad" if turn == (-math.pi, math.pi) else "1"
            entry |= {"unit": unit, "low": turn[0], "high": turn[1], "is_periodic": True}
        elif math.isinf(high):
            column = draws[:, i] if math.isinf(low) else (draws[:, i] - low).clamp_min(LEAST).log()
            left, right = (float(torch.quantile(column, level)) for level in _ONE_SD)
            entry |= {"mean": float(column.median()), "sd": (right - left) / 2 or 1e-12}
            entry |= {} if math.isinf(low) else {"low": low, "scale": "above"}
        else:
            entry |= {"low": low, "high": high}
        result.append(entry)
    return result


def _turns(prior: Distribution, size: int) -> list[tuple[float, float] | None]:
    """Ends of each parameter that is an angle, ``None`` for any other."""
    if isinstance(prior, _Product):
        return [turn for part in prior.parts for turn in _turns(part, 1)]
    prior, steps = _without_wrapping(prior), list[Transform]()
    if isinstance(prior, TransformedDistribution):
        steps = list(_flat(prior.transforms))
        prior = _without_wrapping(prior.base_dist)
    shifts = [step for step in steps if isinstance(step, AffineTransform)]
    if not isinstance(prior, VonMises) or len(shifts) < len(steps):
        return [None] * size
    ends = torch.tensor([[-math.pi], [math.pi]], dtype=torch.float64).expand(2, size)
    for step in shifts:
        ends = (ends * step.scale + step.loc).sort(0).values
    return [(low, high) for low, high in ends.T.tolist()]


def _without_wrapping(prior: Distribution) -> Distribution:
    while isinstance(prior, (Independent, MixtureSameFamily)):
        prior = prior.base_dist if isinstance(prior, Independent) else prior.component_distribution
    return prior


def _bounds(prior: Distribution, size: int) -> tuple[list[float], list[float]]:
    """Ends of the support of each parameter."""
    if isinstance(prior, _Product):
        each = [_bounds(part, 1) for part in prior.parts]
        return [low[0] for low, _ in each], [high[0] for _, high in each]
    while isinstance(prior, Independent):
        prior = prior.base_dist
    if type(prior) is not TransformedDistribution:  # those of torch know their support
        return _ends(_support(prior), size, isinstance(prior, MixtureSameFamily))
    # torch takes whatever was shifted or scaled for unbounded.
    steps = list(_flat(prior.transforms))
    shifts: list[AffineTransform] = []
    while steps and isinstance(last := steps[-1], AffineTransform):
        shifts.append(last)
        steps.pop()
    base = prior.base_dist
    support = steps[-1].codomain if steps else _support(base)
    low, high = _ends(support, size, isinstance(base, MixtureSameFamily))
    ends = torch.tensor([low, high], dtype=torch.float64)
    for shift in reversed(shifts):
        ends = (ends * shift.scale + shift.loc).sort(0).values
    return ends[0].tolist(), ends[1].tolist()


def _support(prior: Distribution) -> Any:
    try:
        return prior.support
    except NotImplementedError:
        return constraints.real_vector if prior.event_shape else constraints.real


def _flat(transforms: Sequence[Transform]) -> Iterator[Transform]:
    """Transforms one by one, those inside others in their place."""
    for step in transforms:
        while isinstance(step, IndependentTransform):
            step = step.base_transform
        yield from _flat(step.parts) if isinstance(step, ComposeTransform) else (step,)


def _ends(support: Any, size: int, is_mixture: bool) -> tuple[list[float], list[float]]:
    while hasattr(support, "base_constraint"):  # of vectors, or of a mixture
        support = support.base_constraint
    if isinstance(support, type(constraints.real)) or support is constraints.real_vector:
        return [-math.inf] * size, [math.inf] * size
    low, high = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    if (low is None and high is None) or getattr(support, "is_discrete", False):
        raise ValueError(
            f"the prior's support is {support}; give one of numbers in an interval, above a bound, or any."
        )
    ends = []
    for bound, default, widest in ((low, -math.inf, torch.amin), (high, math.inf, torch.amax)):
        value = torch.as_tensor(default if bound is None else bound, dtype=torch.float64)
        value = widest(value, 0) if is_mixture and value.ndim else value  # the first axis is of components
        ends.append([float(v) for v in value.expand(size)])
    return ends[0], ends[1]


def own_draws(problem: InverseProblem, n: int = 10 * BLOCK, seed: int = 0) -> Tensor | None:
    """Return draws from a prior that the parameters' scales do not describe, ``(n, D)``.

    Of finished simulations they are their parameters, as many as there are. ``None`` where the prior is flat
    on each scale, which tells its probabilities exactly.
    """
    if not problem.can_simulate:
        there = problem.available(seed) or 0
        return problem.simulate_clean(min(n, there), seed)[0] if there else None
    if type(problem.prior) is FlatPrior:
        return None
    blocks = range(math.ceil(n / BLOCK))
    return torch.cat([drawn(problem.prior, stream(seed, i, "own draws")) for i in blocks])[:n]


class Empirical(Distribution):
    """Finished draws ``(n, D)``; no density of them is known."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, theta: Tensor) -> None:
        self.theta = theta
        super().__init__(torch.Size(), theta.shape[1:], validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return the first rows, from the start again after the last, shape ``(*sample_shape, D)``."""
        rows = torch.arange(torch.Size(sample_shape).numel()) % len(self.theta)
        return self.theta[rows].reshape(*sample_shape, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Refuse: whoever made the draws may know their density."""
        raise NotImplementedError(
            "of finished simulations no density of the prior is known; ask who drew them."
        )


class _Product(Distribution):
    """Independent parameters, each with a distribution of single numbers."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, parts: Sequence[Distribution]) -> None:
        for part in parts:
            if not isinstance(part, Distribution) or part.batch_shape + part.event_shape not in ((), (1,)):
                raise ValueError(
                    f"{part} is not a distribution of single numbers; give one for each parameter."
                )
        self.parts = list(parts)
        super().__init__(torch.Size(), torch.Size([len(self.parts)]), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        return torch.stack([part.sample(shape).reshape(shape) for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        columns = zip(self.parts, value.unbind(-1), strict=True)
        given = zip(columns, self._ends, self._some, strict=True)
        return torch.stack([_density(*column, *ends, some) for column, ends, some in given]).sum(0)

    @functools.cached_property
    def _ends(self) -> list[tuple[float, float]]:
        """Ends of the support of each part."""
        return list(zip(*_bounds(self, len(self.parts)), strict=True))

    @functools.cached_property
    def _some(self) -> list[Tensor]:
        """A number inside the support of each part, whatever it is."""
        with seeded(0):
            return [part.sample().reshape(()) for part in self.parts]


def _density(part: Distribution, value: Tensor, low: float, high: float, some: Tensor) -> Tensor:
    """Log density of single numbers, ``-inf`` outside the support, where torch raises; ``some`` is inside."""
    if isinstance(part, MixtureSameFamily) and not part.event_shape:  # torch wants all components to agree
        inside = _support(part.component_distribution).check(value.unsqueeze(-1)).any(-1)
    else:
        inside = _support(part).check(value) & (value >= low) & (value <= high)
    safe = torch.where(inside, value, some.to(value))
    if part.batch_shape or part.event_shape:
        safe = safe.unsqueeze(-1)
    density = part.log_prob(safe).reshape(value.shape)
    return torch.where(inside, density, -torch.inf)
