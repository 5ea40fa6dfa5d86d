"""Functions, priors, units and number formats as people have them who have used other packages before."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch.distributions import (
    AffineTransform,
    Categorical,
    ComposeTransform,
    Independent,
    LogNormal,
    MixtureSameFamily,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
)

from monai_inn.networks.encoders.whitening import Whitening
from monai_inn.problems import Parameter, ParameterSpace, Simulated
from monai_inn.problems.drawing import FlatPrior
from monai_inn.training import Recipe, fit

UNIT = {"a": Uniform(0.0, 1.0)}
SMALL = Recipe(
    num_simulations=2048, posterior_steps=5, density_steps=5, preview_steps=3, preview_observations=64,
    held_out=512, guard=200, measured=200, batch_size=256,
)  # fmt: skip


def into_a_tensor(theta, kept=torch.zeros(1)):  # noqa: B008
    return kept.copy_(theta)


def into_an_array(theta, kept=np.zeros(1, np.float32)):  # noqa: B008
    kept[:] = theta
    return kept


def in_place(theta):
    before = theta.clone()
    theta *= 2
    return before


@pytest.mark.parametrize("function", [into_a_tensor, into_an_array, in_place])
def test_functions_may_keep_what_they_return_and_change_what_they_are_given(function):
    problem = Simulated.of_function(UNIT, function)
    theta, y = problem.simulate(5)
    assert torch.equal(theta, y)
    assert torch.equal(problem.forward(theta), theta)


def test_a_function_of_many_rows_may_change_them():
    theta, y = Simulated.of_function(UNIT, in_place, is_vectorised=True).simulate(5)
    assert torch.equal(theta, y)


HALF = TransformedDistribution(LogNormal(0.0, 1.0), [AffineTransform(3.0, 2.0)])


@pytest.mark.parametrize(
    ("prior", "low", "high"),
    [
        (TransformedDistribution(Uniform(0.0, 1.0), [AffineTransform(5.0, 10.0)]), 5.0, 15.0),
        (TransformedDistribution(Uniform(0.0, 1.0), [AffineTransform(5.0, -10.0)]), -5.0, 5.0),
        (TransformedDistribution(Normal(0.0, 1.0), [SigmoidTransform(), AffineTransform(0, 9)]), 0.0, 9.0),
        (
            TransformedDistribution(
                Normal(0.0, 1.0),
                ComposeTransform([SigmoidTransform(), AffineTransform(0.0, 2.0), AffineTransform(1.0, 3.0)]),
            ),
            1.0,
            7.0,
        ),
        (HALF, 3.0, math.inf),
        (TransformedDistribution(Normal(0.0, 1.0), [AffineTransform(5.0, 10.0)]), -math.inf, math.inf),
        (
            MixtureSameFamily(
                Categorical(torch.ones(2)),
                Uniform(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 5.0]), validate_args=False),
                validate_args=False,
            ),
            0.0,
            5.0,
        ),
    ],
)  # fmt: skip
def test_ends_of_priors_that_were_shifted_scaled_or_mixed(prior, low, high):
    problem = Simulated.of_function({"a": prior}, lambda theta: theta)
    (found,) = problem.parameters
    assert (found.low, found.high) == pytest.approx((low, high))
    theta = problem.simulate(2000)[0]
    assert problem.space.contains(theta).all()
    assert problem.prior.log_prob(theta).isfinite().all()
    assert (problem.prior.log_prob(torch.tensor([-100.0])) == -math.inf) == math.isfinite(low)


def test_ends_of_a_shifted_prior_of_vectors():
    part = Independent(Uniform(torch.zeros(2), torch.ones(2)), 1)
    shifted = TransformedDistribution(
        part, [AffineTransform(torch.tensor([1.0, 2.0]), torch.tensor([1.0, -4.0]))]
    )
    problem = Simulated.of_function(shifted, lambda theta: theta, names=("a", "b"))
    assert [(p.low, p.high) for p in problem.parameters] == [(1.0, 2.0), (-2.0, 2.0)]


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ({}, "the prior is empty; give a distribution for each name"),
        (
            {"a": TransformedDistribution(LogNormal(0.0, 1.0), [AffineTransform(0.0, -1.0)])},
            "bounded from above",
        ),
    ],
)
def test_priors_without_a_space_are_refused(prior, said):
    with pytest.raises(ValueError, match=said):
        Simulated.of_function(prior, lambda theta: theta)


def test_a_prior_draws_from_streams_of_its_own():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    Simulated.of_function({"a": HALF, "b": Normal(0.0, 1.0)}, lambda theta: theta).prior.log_prob(
        torch.ones(3, 2)
    )
    assert torch.equal(torch.rand(2), expected)


def test_densities_of_whole_numbers_are_those_of_the_same_numbers():
    space = ParameterSpace(
        [Parameter("a", "1", 0.0, 5.0), Parameter("b", "1", 0.0, math.inf, scale="above", mean=0.0, sd=1.0)]
    )
    whole = torch.tensor([[2, 3], [4, 1], [7, 1]])
    assert torch.equal(FlatPrior(space).log_prob(whole), FlatPrior(space).log_prob(whole.float()))
    assert space.contains(whole).tolist() == [True, True, False]


@pytest.mark.parametrize("prior", [Normal(5e-27, 1e-27), LogNormal(-71.0, 0.5)])
def test_parameters_may_be_as_small_as_single_precision_holds(prior):
    problem = Simulated.of_function({"a": prior}, lambda theta: theta)
    theta = problem.simulate(4000)[0]
    latent = problem.space.to_latent(theta)
    assert latent.std() == pytest.approx(1, abs=0.06)  # five standard errors
    torch.testing.assert_close(problem.space.inverse(latent), theta, rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [(1e6, 1.0, 1e-7), (1e-9, 1e9, 1.0)])
def test_features_of_any_units_are_whitened(scale):
    generator = torch.Generator().manual_seed(0)
    common, own = torch.randn(4000, 1, generator=generator), torch.randn(4000, 3, generator=generator)
    features = (common + 0.3 * own) * torch.tensor(scale)
    whitening = Whitening(3)
    whitening.fit(features)
    torch.testing.assert_close(torch.cov(whitening(features).T), torch.eye(3), rtol=0, atol=1e-4)
    exact = (
        -0.5 * torch.linalg.slogdet(torch.cov(features.double().T / torch.tensor(scale).double()[:, None]))[1]
    )
    assert float(whitening.log_det) == pytest.approx(float(exact) - math.log(math.prod(scale)), abs=1e-4)
    with pytest.raises(ValueError, match="features are singular"):
        whitening.fit(torch.cat([features[:, :2], features[:, :1] * 1e9], 1))


def simulations(offset=0.0):
    theta = torch.rand(3000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + offset
    return {"theta": theta, "x": theta + 0.1, "names": ("a",)}


def test_simulations_that_single_precision_rounds_away_are_refused():
    with pytest.raises(ValueError, match=r"column 0 of theta varies by 0\.999 about 1\.7e\+09, more"):
        fit(**simulations(1.7e9), recipe=SMALL, members=2)


def test_simulations_may_carry_gradients():
    given = simulations()
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    problem = Simulated.of_simulations(given["theta"], given["x"] * weight, given["names"])
    assert not problem.simulate(10)[1].requires_grad


@pytest.mark.parametrize("seed", [-1, 1.5, "0"])
def test_seeds_are_whole_numbers(seed):
    with pytest.raises(ValueError, match="give a whole number from 0 on"):
        fit(prior=UNIT, simulator=lambda theta: theta, recipe=SMALL, members=2, seed=seed)


def test_a_seed_of_numpy_is_one():
    noisy = {"prior": UNIT, "simulator": lambda theta: theta + torch.randn(1)}
    assert json.dumps(fit(**noisy, recipe=SMALL, members=2, seed=np.int64(3)).card)


def test_double_precision_by_default_is_refused_before_anything_is_simulated():
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ValueError, match=r"trained in single precision; call torch\.set_default_dtype"):
            fit(prior=UNIT, simulator=lambda theta: 1 / 0, recipe=SMALL, members=2)
    finally:
        torch.set_default_dtype(torch.float32)
