"""Functions, priors, units and number formats as people have them who have used other packages before."""

from __future__ import annotations

import functools
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
    VonMises,
)

import monai_inn
from monai_inn.networks.encoders.whitening import Whitening
from monai_inn.problems import Parameter, ParameterSpace, Simulated
from monai_inn.problems.drawing import FlatPrior
from monai_inn.training import Recipe, fit
from monai_inn.training.simulation_store import what_differs

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


# What tells one function from another.


class Gain:
    """A simulator with a number inside, which counts its calls."""

    def __init__(self, gain):
        self.gain, self.calls = gain, 0

    def __call__(self, theta):
        self.calls += 1
        return 1000 + self.gain * theta * (theta > 2)


def scaled(theta, factor):
    return 1000 + factor * theta * (theta > 2)


def closing_over(factor):
    table = {"factors": np.array([factor])}

    def inner(theta):
        return scaled(theta, table["factors"][0])

    return inner


SPREAD = 0.1


def of_the_module(theta):
    return 1000 + SPREAD * theta * (theta > 2)


@pytest.mark.parametrize(
    "make",
    [Gain, closing_over, lambda f: functools.partial(scaled, factor=f), lambda f: Gain(f).__call__, None],
    ids=["object", "closure", "partial", "method", "module"],
)
def test_a_number_inside_tells_functions_apart_where_no_first_answer_does(monkeypatch, make):
    """It acts where no prior draw lies, and is small beside what the answers begin with."""

    def identity(value):
        if make is None:
            monkeypatch.setitem(of_the_module.__globals__, "SPREAD", value)
        return Simulated.of_function(UNIT, of_the_module if make is None else make(value)).identity

    one, other = identity(0.1), identity(0.4)
    assert one["answers"] == other["answers"]
    assert one != other
    assert one == identity(0.1)
    assert "a simulator with another value of " in what_differs(one, other)


def test_counts_of_calls_do_not_tell_a_function_from_itself():
    gain = Gain(1.0)
    first = Simulated.of_function(UNIT, gain)
    first.simulate(20)
    assert Simulated.of_function(UNIT, gain).identity == first.identity


# What a function returns.


def test_one_nan_stands_for_a_whole_observation():
    def nan_below(theta):
        return math.nan if theta[0] < 0.9 else [theta[0], 2.0]

    theta, y = Simulated.of_function(UNIT, nan_below).simulate(200)
    assert y.shape == (200, 2)
    assert torch.equal(y.isnan().all(1), theta[:, 0] < 0.9)
    assert torch.equal(y[theta[:, 0] >= 0.9][:, 0], theta[theta[:, 0] >= 0.9][:, 0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (1j, "complex numbers; return real and imaginary parts"),
        ([], "no numbers were returned"),
        (None, "no numbers were returned"),
    ],
)
def test_what_is_no_observation_is_refused_in_words(answer, message):
    with pytest.raises(ValueError, match=message):
        Simulated.of_function(UNIT, lambda theta: answer)


# What a parameter is.


@pytest.mark.parametrize("name", ["", " ", "a/b", "..\\x", "a\nb"])
def test_names_that_no_file_can_have_are_refused(name):
    with pytest.raises(ValueError, match="files are named after it"):
        Simulated.of_function({name: Uniform(0.0, 1.0)}, lambda theta: theta)


def test_an_angle_may_be_in_degrees():
    degrees = TransformedDistribution(VonMises(0.5, 1.0), AffineTransform(90.0, -180 / math.pi))
    both = Independent(
        TransformedDistribution(
            VonMises(torch.zeros(2), 1.0), AffineTransform(0.0, torch.tensor([1.0, 2.0]))
        ),
        1,
    )
    (angle,) = Simulated.of_function({"angle": degrees}, lambda theta: theta, units=["°"]).parameters
    assert (angle.unit, angle.is_periodic) == ("°", True)
    assert (angle.low, angle.high) == pytest.approx((-90, 270))
    ends = [(p.low, p.high) for p in Simulated.of_function(both, lambda t: t, ["a", "b"]).parameters]
    assert ends[0] == pytest.approx((-math.pi, math.pi))
    assert ends[1] == pytest.approx((-2 * math.pi, 2 * math.pi))


def finished(n=3000):
    generator = torch.Generator().manual_seed(0)
    theta = torch.rand(n, 3, generator=generator) * torch.tensor([360.0, 1.0, 3.0])
    theta[:, 2] = theta[:, 2].floor()
    return theta, torch.cat([theta, theta[:, :1].sin()], 1)


KINDS = [
    Parameter("turn", "°", 0.0, 360.0, is_periodic=True),
    "share",
    Parameter("kind", "1", 0.0, 3.0, categories=("fat", "water", "air")),
]


def test_finished_simulations_may_have_angles_and_classes(tmp_path):
    theta, x = finished()
    fitted = fit(theta=theta, x=x, names=KINDS, recipe=SMALL)
    fitted.save(tmp_path / "bundle")
    problem = monai_inn.load(tmp_path / "bundle").problem
    assert problem.parameters[0::2] == (KINDS[0], KINDS[2])
    drawn = fitted.posterior(x[:4]).sample((200,))
    assert (drawn[..., 0] >= 0).all()
    assert (drawn[..., 0] <= 360).all()
    shares = torch.stack([(drawn[..., 2].long() == k).float().mean() for k in range(3)])
    assert float(shares.sum()) == pytest.approx(1)
    stored = problem.tensors["theta"][:, 2]
    assert stored.frac().unique().numel() > 100, "classes fill their interval"
    with pytest.raises(NotImplementedError, match="no density of the prior is known"):
        problem.prior.log_prob(theta[:1])


def test_finished_simulations_outside_their_bounds_are_refused():
    theta, x = finished()
    theta[5, 0] = 400
    with pytest.raises(ValueError, match=r"turn is \S+ to 400 in theta, outside its bounds 0 to 360"):
        fit(theta=theta, x=x, names=KINDS, recipe=SMALL)
