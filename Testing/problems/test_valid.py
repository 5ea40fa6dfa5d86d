"""Simulations that can be inferred are found however few they are."""

from __future__ import annotations

import pytest
import torch

from monai_inn.problems import LinearGaussian
from monai_inn.problems.valid import valid_simulations


class Rare(LinearGaussian):
    """Only observations whose first channel is above a limit can be inferred."""

    limit = 0.0

    def is_valid(self, y):
        return y[..., 0] > self.limit


def test_as_many_are_returned_as_asked_for():
    problem = Rare()
    theta, y = valid_simulations(problem, 2000, seed=1)
    assert len(theta) == len(y) == 2000
    assert bool(problem.is_valid(y).all())
    every = problem.simulate(10_000, seed=1)[1]
    assert torch.equal(y, every[problem.is_valid(every)][:2000])


def test_a_problem_without_usable_observations_is_refused():
    problem = Rare()
    problem.limit = 1e9
    with pytest.raises(ValueError, match="only 0 of 5,632 simulations"):
        valid_simulations(problem, 100, seed=1)
