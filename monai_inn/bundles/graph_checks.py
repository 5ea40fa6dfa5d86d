"""What the file of a graph gives, beside what the network gives, on simulations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.inferers.summaries import shared_latents

if TYPE_CHECKING:
    from monai_inn.inferers.modules.graphs import Graph
    from monai_inn.problems import ParameterSpace

__all__ = ["arguments_of", "differences", "is_rounding"]

_SIZES = ((1, 1), (37, 13))  # pixels and samples, other than those that were recorded
# Rounding leaves 1e-5 of a parameter's range or of a nat, more of the few samples between two modes, where a
# flow is steep, and p-values, which are ranks among held-out scores, a few ranks apart.
_LARGEST = {"samples": 1e-2, "log_prob": 1e-3, "waic": 1e-3, "p_value": 0.03}
_LARGEST_IN_DOUBLE = 1e-5


def is_rounding(found: dict[str, float], is_double: bool = False) -> bool:
    """Whether ``differences`` are such as rounding leaves, in double precision or in single."""
    return all(off <= (_LARGEST_IN_DOUBLE if is_double else _LARGEST[name]) for name, off in found.items())


def arguments_of(graph: Graph, pixels: int, samples: int) -> tuple[Tensor, ...]:
    """Return arguments of a graph from simulations, of which the last of several cannot be inferred."""
    theta, y = graph.problem.simulate(pixels, seed=0)
    if pixels > 1:
        y = torch.cat([y[:-1], torch.full_like(y[:1], torch.nan)])
    latent = shared_latents(samples, len(graph.space), seed=0).squeeze(1)
    made = {"observation": y, "latent": latent, "parameters": theta[:, : len(graph.space)].contiguous()}
    return tuple(made[name] for name in graph.inputs)


def differences(graph: Graph, run: Callable[..., Any]) -> dict[str, float]:
    """Return the largest difference between a file's answers and the network's, of each output.

    Samples count in shares of their parameter's range (of an unbounded one six standard deviations of its
    prior), angles along the circle; log densities and WAIC in nats, relative beyond one; p-values as such.
    """
    found = dict.fromkeys(graph.outputs, 0.0)
    for sizes in _SIZES:
        inputs = arguments_of(graph, *sizes)
        with torch.no_grad():
            expected = graph(*inputs)
            answers = run(*inputs)
        expected = (expected,) if isinstance(expected, Tensor) else expected
        answers = (answers,) if isinstance(answers, Tensor) else answers
        for name, value, true in zip(graph.outputs, answers, expected, strict=True):
            found[name] = max(found[name], _difference(name, graph.space, value.double(), true.double()))
    return found


def _difference(name: str, space: ParameterSpace, value: Tensor, expected: Tensor) -> float:
    if value.shape != expected.shape or not torch.equal(value.isnan(), expected.isnan()):
        return math.inf
    off = (value - expected).abs()
    if name == "samples":
        low, high = space.inverse(torch.tensor([[-3.0], [3.0]], dtype=off.dtype).expand(2, len(space)))
        turn = space.period
        off = torch.where(turn.isfinite(), off.minimum(turn - off), off) / (high - low)
    elif name != "p_value":
        off = torch.where(value == expected, 0.0, off / expected.abs().clamp_min(1.0))
    return float(off.nan_to_num(0.0, posinf=math.inf).max())
