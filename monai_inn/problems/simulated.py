"""A problem that is a Python function, or finished simulations, without a class of its own."""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from monai_inn.problems.base import InverseProblem
from monai_inn.problems.called import CalledSimulator, Simulator
from monai_inn.problems.configured import checksum
from monai_inn.problems.drawing import BLOCK, FlatPrior
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter
from monai_inn.problems.priors import Empirical, independent, parameters_of
from monai_inn.problems.registry import create
from monai_inn.seeding import stream

__all__ = ["Simulated", "problem_of"]

_LEAST_STEPS = 100  # of rounding, within a column of finished simulations
_PARTS = (0.7, 0.1, 0.1, 0.1)  # of finished simulations: training, held-out loss, thresholds, measurement


class Simulated(InverseProblem):
    """What a Python function simulates, or what somebody has simulated already.

    A bundle holds no function. It keeps the simulations on which the training was measured, so that it can be
    validated anywhere; they are all that ``simulate`` of a loaded problem knows.

    Args:
        parameters: arguments of ``Parameter`` for each, ``None`` in the place of an infinite bound.
        observation_names: what an observation consists of.
        theta: finished simulations, parameters in physical units, shape ``(n, D)``.
        y: their observations, shape ``(n, C)``.
        simulator: a function with its prior.
        nuisances: names of the last parameters, those that maps do not show.
    """

    name: ClassVar[str] = "simulated"
    has_noise = False

    def __init__(
        self,
        parameters: Sequence[Mapping[str, Any]],
        observation_names: Sequence[str],
        theta: Tensor | None = None,
        y: Tensor | None = None,
        *,
        simulator: CalledSimulator | None = None,
        nuisances: Sequence[str] = (),
    ) -> None:
        self._config = [dict(entry) for entry in parameters]
        self.parameters = tuple(_parameter(entry) for entry in self._config)
        self.observation = Observation.pixel(*observation_names)
        self.nuisances = tuple(nuisances)
        self.targets = self.space.names[: len(self.space) - len(self.nuisances)]
        self._simulator = simulator
        self.can_simulate = simulator is not None
        self._stored = None if theta is None or y is None else (theta, y)
        self._parts: dict[int, range] = {}
        self._measured: int | None = None  # seed of the simulations that a bundle keeps

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Simulated:
        """Say where functions and simulations are fitted: the command line has no option for them."""
        raise ValueError(
            "a function or finished simulations are fitted in Python: monai_inn.fit(prior=…, simulator=…, "
            "minutes=…) or monai_inn.fit(theta=…, x=…, names=…, minutes=…)."
        )

    @classmethod
    def of_function(
        cls,
        prior: Distribution | Mapping[str, Distribution],
        simulator: Simulator,
        names: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
        *,
        is_vectorised: bool = False,
    ) -> Simulated:
        """Return the problem of a function: parameters follow from the prior, observations from a first call.

        Args:
            prior: distribution with event shape ``(D,)``, or one of single numbers for each name.
            simulator: maps parameters ``(D,)``, or ``(n, D)`` if it is vectorised, to an observation with its
                noise; NaN where it has none.
            names: names of the parameters; not needed if ``prior`` has them.
            units: their units; ``"1"`` by default.
            is_vectorised: whether the function takes many rows at once.

        Raises:
            ValueError: if prior and names disagree, the prior has no density or another support than
                intervals, half-lines and lines, or the function fails at the first call.
        """
        prior, names = independent(prior, names)
        parameters = parameters_of(prior, names, units)
        called = CalledSimulator(simulator, prior, [_parameter(entry) for entry in parameters], is_vectorised)
        return cls(parameters, [f"x{i + 1}" for i in range(called.size or 0)], simulator=called)

    @classmethod
    def of_simulations(
        cls,
        theta: Tensor,
        x: Tensor,
        names: Sequence[str | Parameter] | None,
        units: Sequence[str] | None = None,
        sites: str | None = None,
    ) -> Simulated:
        """Return the problem of finished simulations, the rows of both tensors.

        Args:
            theta: parameters drawn from their prior, shape ``(n, D)``.
            x: their observations, with noise, shape ``(n, C)``; rows with NaN are left out.
            names: names of the parameters; a ``Parameter`` for one with bounds, a period or classes.
            units: their units, but of a ``Parameter``; ``"1"`` by default.
            sites: name of the last parameter, if it is the number of a site, 0, 1, …, and no target.

        Raises:
            ValueError: if sizes do not fit, there are too few rows, a parameter is outside its bounds, or
                sites are no such numbers.
        """
        given = [torch.as_tensor(values).detach().cpu() for values in (theta, x)]
        theta, x = (values.float() for values in given)
        if theta.ndim != 2 or x.ndim != 2 or len(theta) != len(x):
            raise ValueError(
                f"theta has shape {tuple(theta.shape)} and x {tuple(x.shape)}; expected (n, D) and (n, C) of "
                "the same n simulations."
            )
        if names is None or len(names) != theta.shape[1]:
            raise ValueError(f"theta has {theta.shape[1]} columns, names = {names}; give a name for each.")
        keep = torch.isfinite(x).all(1) & torch.isfinite(theta).all(1)
        order = torch.randperm(int(keep.sum()), generator=torch.Generator().manual_seed(0))
        if dropped := len(theta) - len(order):
            warnings.warn(
                f"{dropped:,} of {len(theta):,} simulations hold NaN or infinity and were left out.",
                stacklevel=2,
            )
        theta, x = theta[keep][order], x[keep][order]
        if len(theta) < BLOCK:
            raise ValueError(f"{len(theta)} usable simulations; give at least {BLOCK:,}, usual are 10,000.")
        for name, values in zip(("theta", "x"), given, strict=True):
            _check_precision(name, values[keep])
        words = [each.name if isinstance(each, Parameter) else each for each in names]
        parameters = parameters_of(Empirical(theta), words, units)
        for i, each in enumerate(names):
            if isinstance(each, Parameter):
                parameters[i] = _inside(each, theta[:, i])
        if sites is not None:
            parameters[-1] |= _sites(sites, words, theta[:, -1])
            theta[:, -1] += torch.rand(len(theta), generator=stream(0, "sites"))
        nuisances = () if sites is None else (sites,)
        return cls(parameters, [f"x{i + 1}" for i in range(x.shape[1])], theta, x, nuisances=nuisances)

    @property
    def prior(self) -> Distribution:
        """Prior over the parameters in physical units, event shape ``(D,)``.

        Of finished simulations, and of the function of a loaded bundle, draws are known and no density.
        """
        if self._simulator is not None:
            return self._simulator.prior
        return FlatPrior(self.space) if self._stored is None else Empirical(self._stored[0])

    def available(self, seed: int) -> int | None:
        """How many simulations there are under a seed; ``None`` if as many as one likes."""
        if self._simulator is not None:
            return None
        return len(self._part(seed))

    def forward(self, theta: Tensor) -> Tensor:
        """Return what the function makes of parameters ``(…, D)``, noise included, shape ``(…, C)``.

        Raises:
            ValueError: if there is no function, or it fails.
        """
        if self._simulator is None:
            raise ValueError(
                "this problem was fitted to a function or to simulations, and a bundle holds no function; "
                "ask it for posteriors, but not for simulations."
            )
        return self._simulator(theta.reshape(-1, theta.shape[-1])).reshape(*theta.shape[:-1], -1)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the observations as they are: the function's have their noise already."""
        return y

    def simulate_clean(self, n: int, seed: int = 0, first_block: int = 0) -> tuple[Tensor, Tensor]:
        """Draw parameters and their observations; finished ones come in the order that they are stored in."""
        if self._simulator is None:
            return self._from_store(n, seed, first_block * BLOCK)
        made = self._simulator.simulate(n, seed, first_block)
        if seed == self._measured:
            self._stored = made
        return made

    def split(self, training: int, held_out: int, thresholds: int, measured: int) -> None:
        """Say which seed stands for what; each gets a part of its own of finished simulations."""
        self._measured = measured
        if self._simulator is None:
            total = 0 if self._stored is None else len(self._stored[0])
            ends = [0, *(round(total * share) for share in np.cumsum(_PARTS))]
            seeds = (training, held_out, thresholds, measured)
            self._parts = {seed: range(*ends[i : i + 2]) for i, seed in enumerate(seeds)}

    def _part(self, seed: int) -> range:
        """Rows of the finished simulations that belong to a seed; all of them if nothing was said.

        To any other seed belong those that the training has not seen.
        """
        unseen = self._parts.get(-1 if self._measured is None else self._measured)
        every = range(0 if self._stored is None else len(self._stored[0]))
        return self._parts.get(seed, every if unseen is None else unseen)

    def _from_store(self, n: int, seed: int, first: int) -> tuple[Tensor, Tensor]:
        part = self._part(seed)
        rows = part[first : first + n]
        if len(rows) < n or self._stored is None:
            raise ValueError(
                f"n = {n} simulations asked for, but there is no function to simulate with, and {len(part)} "
                "finished ones; ask for fewer."
            )
        theta, y = (values[rows.start : rows.stop] for values in self._stored)
        return theta, y

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Simulations that the training has not seen, once there are some."""
        if self._stored is None:
            return {}
        rows = range(len(self._stored[0])) if self._measured is None else self._part(self._measured)
        theta, y = (values[rows.start : rows.stop] for values in self._stored)
        keep = torch.isfinite(y).all(1)
        return {"theta": theta[keep].clone(), "y": y[keep].clone()}

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this problem from every other.

        Of a function: description, first draws, the function's text and first answers. Of finished
        simulations: description and checksums of them.
        """
        own: dict[str, Any] = {"name": self.name, "config": self.to_config()}
        if self._simulator is None:
            stored = zip(("theta", "y"), self._stored or (), strict=False)
            return own | {"tensors": {name: checksum(values) for name, values in stored}}
        return own | self._simulator.identity

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments but tensors and functions."""
        described = {"parameters": self._config, "observation_names": list(self.observation.names)}
        return described | ({"nuisances": list(self.nuisances)} if self.nuisances else {})


def problem_of(
    problem: InverseProblem | str | None,
    prior: Distribution | Mapping[str, Distribution] | None,
    simulator: Simulator | None,
    theta: Tensor | None,
    x: Tensor | None,
    sites: str | None = None,
    **described: Any,
) -> InverseProblem:
    """Return the one problem that was given: as such, by its name, as prior and function, or as simulations.

    ``sites`` names the parameter of finished simulations that is the number of a site.

    Raises:
        ValueError: if none or several were given, one half of a pair, or what is not a problem.
    """
    given = (problem is not None, prior is not None, simulator is not None, theta is not None, x is not None)
    if given == (True, False, False, False, False) and problem is not None:
        if any(value for value in described.values()):
            raise ValueError(
                f"{', '.join(described)} belong to a function or to simulations, not to a problem."
            )
        problem = create(problem) if isinstance(problem, str) else problem
        if not isinstance(problem, InverseProblem):
            raise ValueError(f"{problem!r} is not a problem; give an object of its class, or its name.")
        return problem
    if given == (False, True, True, False, False) and prior is not None and simulator is not None:
        return Simulated.of_function(prior, simulator, **described)
    if given == (False, False, False, True, True) and theta is not None and x is not None:
        described.pop("is_vectorised")
        return Simulated.of_simulations(theta, x, sites=sites, **described)
    raise ValueError("give either a problem, or prior and simulator, or theta and x (finished simulations).")


def _inside(parameter: Parameter, column: Tensor) -> dict[str, Any]:
    """Arguments of a parameter with draws ``(n,)`` inside its bounds; whole ones of classes get fractions."""
    low, high = float(column.min()), float(column.max())
    if parameter.categories and torch.equal(column, column.floor()):
        high += 1
        column += torch.rand(len(column), generator=stream(0, "classes"))
    if low < parameter.low or high > parameter.high:
        raise ValueError(
            f"{parameter.name} is {low:g} to {high:g} in theta, outside its bounds {parameter.low:g} to "
            f"{parameter.high:g}; give others, or convert it."
        )
    given = {key: value for key, value in asdict(parameter).items() if value != ()}
    return given | {key: None for key in ("low", "high") if math.isinf(given[key])}


def _check_precision(name: str, values: Tensor) -> None:
    """Refuse columns ``(n, D)`` of which single precision would leave a few numbers."""
    values = values.double()
    spread, largest = values.amax(0) - values.amin(0), values.abs().amax(0)
    lost = (spread > 0) & (spread < _LEAST_STEPS * torch.finfo(torch.float32).eps * largest)
    for column in lost.nonzero().flatten().tolist():
        raise ValueError(
            f"column {column} of {name} varies by {float(spread[column]):.3g} about "
            f"{float(values[:, column].mean()):.6g}, more finely than single precision tells; subtract an "
            "offset."
        )


def _sites(sites: str, names: Sequence[str], column: Tensor) -> dict[str, Any]:
    """What the parameter of the sites is, from their numbers ``(n,)``."""
    count = int(column.max()) + 1
    if names[-1] != sites or not torch.equal(column.unique(), torch.arange(count).to(column)) or count < 2:
        raise ValueError(
            f"the last column of theta, {names[-1]!r}, holds {column.unique()[:5].tolist()}; to be invariant "
            f"over {sites!r} give it that name and the numbers 0, 1, … of two or more sites."
        )
    return {"low": 0.0, "high": count, "categories": [str(k) for k in range(count)], "mean": 0.0, "sd": 1.0}


def _parameter(entry: Mapping[str, Any]) -> Parameter:
    bounds: dict[str, Any] = {
        name: edge if entry[name] is None else entry[name]
        for name, edge in (("low", -math.inf), ("high", math.inf))
    }
    return Parameter(**{**entry, **bounds})
