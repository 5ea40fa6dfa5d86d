"""Cases whose calibration is known."""

from __future__ import annotations

import math

import torch

from monai_inn.problems import Parameter
from monai_inn.testproblems.gaussian import LinearGaussian
from monai_inn.validation import Cases

SEED = 0


def gaussian_cases(n=2000, samples=127, width=1.0, shift=0.0, seed=SEED, where=None):
    """Exact posteriors of linear-Gaussian observations, with their width and position spoilt.

    ``where(mean)`` tells in which cases; in all by default.
    """
    torch.manual_seed(seed)
    problem = LinearGaussian()
    truth, y = problem.simulate(n, seed=seed)
    q = problem.reference_posterior(y)
    sd = q.variance.sqrt()
    drawn = q.sample((samples,))
    spoilt = q.mean + width * (drawn - q.mean) + shift * width * sd
    if where is not None:
        spoilt = torch.where(where(q.mean)[:, None], spoilt, drawn)
    return Cases(spoilt, truth, problem.parameters, {"kind": "test"})


def described(*names, unit="1"):
    return tuple(Parameter(name, unit, -math.inf, math.inf) for name in names)
