"""The bijection between physical parameters and the flow's space, and the contract of every problem."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monai_inn.problems import (
    InverseProblem,
    LinearGaussian,
    Oximetry,
    Parameter,
    ParameterSpace,
    create,
)

SCALES = ("linear", "log", "square")


def space_of(scale: str, low: float = 0.5, width: float = 3.0) -> ParameterSpace:
    return ParameterSpace([Parameter("p", "1", low, low + width, scale=scale)])


@pytest.mark.parametrize("scale", SCALES)
@given(
    low=st.floats(0.01, 100),
    width=st.floats(0.01, 1000),
    share=st.floats(0.001, 0.999),
    extra=st.integers(0, 3),
)
@settings(max_examples=50)
def test_round_trip_and_log_det_against_autograd(scale, low, width, share, extra):
    space = ParameterSpace([Parameter(f"p{i}", "1", low, low + width, scale=scale) for i in range(extra + 1)])
    theta = torch.full((extra + 1,), low + share * width, dtype=torch.float64, requires_grad=True)
    latent, log_det = space.forward(theta)
    assert torch.allclose(space.inverse(latent), theta, rtol=1e-9)
    jacobian = torch.autograd.functional.jacobian(space.to_latent, theta)
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], log_det, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_float32_round_trip_to_1e5(scale):
    space = space_of(scale)
    theta = torch.linspace(0.6, 3.4, 100).unsqueeze(1)
    assert (space.inverse(space.to_latent(theta)) - theta).abs().max() < 1e-5


@pytest.mark.parametrize("scale", SCALES)
def test_prior_becomes_a_standard_normal(scale):
    """Kolmogorov–Smirnov on 5,000 draws, over ten seeds: p > .001 each."""
    space = space_of(scale)
    for seed in range(10):
        theta = space.sample_prior(5000, torch.Generator().manual_seed(seed))
        assert stats.kstest(space.to_latent(theta.double())[:, 0].numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("scale", SCALES)
def test_prior_density_integrates_to_one_and_is_zero_outside(scale):
    problem = LinearGaussian(1, 1)
    problem.parameters = space_of(scale).parameters
    prior = InverseProblem.prior.fget(problem)
    axis = torch.linspace(0.5 + 1e-5, 3.5 - 1e-5, 200_001, dtype=torch.float64).unsqueeze(1)
    mass = torch.trapezoid(prior.log_prob(axis).exp(), axis[:, 0])
    assert abs(mass.item() - 1) < 0.01  # the square law is integrably infinite at its lower end
    assert prior.log_prob(torch.tensor([[0.4], [3.6]])).eq(-torch.inf).all()


def test_values_never_leave_the_bounds():
    for scale in SCALES:
        theta = space_of(scale).inverse(torch.tensor([[-50.0], [50.0]]))
        assert 0.5 <= theta.min() < theta.max() <= 3.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 1.0), "low = 1.0 must be below high = 1.0"),
        ((0.0, math.inf), "two finite bounds, none"),
        ((0.0, 1.0, "", "log"), "log scale needs low > 0"),
        ((0.0, 1.0, "", "cubic"), "cubic"),
    ],
)
def test_bad_parameters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Parameter("sao2", "1", *arguments)
    with pytest.raises(ValueError, match="unique"):
        ParameterSpace([Parameter("a", "1", 0, 1)] * 2)
    with pytest.raises(ValueError, match=r"unknown parameter 'so2'; this problem has p"):
        space_of("linear").index("so2")


GAUSSIANS = (
    Parameter("rail", "m", -math.inf, math.inf, mean=-1.0, sd=0.25),
    Parameter("rate", "1/day", 0.03, 5.0, scale="lognormal", mean=math.log(0.4), sd=0.5),
)


def test_gaussian_priors_have_the_densities_of_scipy():
    space = ParameterSpace(GAUSSIANS)
    problem = LinearGaussian(1, 1)
    problem.parameters = GAUSSIANS
    prior = InverseProblem.prior.fget(problem)
    theta = torch.tensor([[-1.7, 0.05], [-1.0, 0.4], [-0.2, 4.0]], dtype=torch.float64)
    expected = stats.norm(-1, 0.25).logpdf(theta[:, 0]) + stats.lognorm(0.5, scale=0.4).logpdf(theta[:, 1])
    assert prior.log_prob(theta).numpy() == pytest.approx(expected, abs=1e-9)
    assert prior.log_prob(torch.tensor([[-1.0, 0.02]])).item() == -math.inf
    assert torch.allclose(space.inverse(space.to_latent(theta)), theta, rtol=1e-12)
    jacobian = torch.autograd.functional.jacobian(space.to_latent, theta[0])
    assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(space.forward(theta[0])[1].item())


def test_gaussian_priors_are_drawn_and_never_leave_their_bounds():
    """Kolmogorov–Smirnov on 5,000 draws, over ten seeds: p > .001 each."""
    space = ParameterSpace(GAUSSIANS)
    for seed in range(10):
        theta = space.sample_prior(5000, torch.Generator().manual_seed(seed)).double().numpy()
        assert stats.kstest(theta[:, 0], "norm", (-1, 0.25)).pvalue > 1e-3
        assert stats.kstest(theta[:, 1], "lognorm", (0.5, 0, 0.4)).pvalue > 1e-3
    wild = space.inverse(torch.tensor([[0.0, -1e3], [0.0, 1e3]]))
    assert space.contains(wild).all()
    assert space.inverse(torch.zeros(1, 2)).flatten().tolist() == pytest.approx([-1.0, 0.4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0.0, "high": 1.0, "sd": 2.0}, "mean and sd belong to unbounded and log-normal"),
        ({"low": -math.inf, "high": math.inf, "sd": 0.0}, "finite numbers, sd > 0"),
        ({"low": -math.inf, "high": math.inf, "mean": math.nan}, "finite numbers, sd > 0"),
        ({"low": 0.1, "high": 5.0, "scale": "lognormal", "sd": 0.5}, "at least 4.8 sd"),
        ({"low": 10.0, "high": 20.0, "scale": "lognormal", "sd": 0.1}, "at least 4.8 sd"),
        ({"low": -math.inf, "high": math.inf, "scale": "lognormal"}, "log scale needs low > 0"),
    ],
)
def test_bad_gaussian_priors_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Parameter("rate", "1/day", **arguments)


def test_unknown_problem_lists_the_known():
    with pytest.raises(
        ValueError, match=r"unknown problem 'oxy'; choose one of .*linear_gaussian, .*oximetry"
    ):
        create("oxy")


def test_linear_gaussian_reference_against_importance_sampling():
    problem = LinearGaussian(3, 2, 0.5)
    y = problem.simulate(1, seed=0)[1]
    theta = problem.prior.sample((400_000,))
    weight = (-0.5 * ((y - problem.forward(theta)) / 0.5).square().sum(-1)).softmax(0)
    posterior = problem.reference_posterior(y)
    effective = 1 / weight.square().sum()
    error = 5 * posterior.variance[0].max().sqrt() / effective**0.5
    assert (weight @ theta - posterior.mean[0]).abs().max() < error
    second = weight @ (theta - posterior.mean[0]).square()
    assert (second / posterior.variance[0] - 1).abs().max() < 5 * (2 / effective) ** 0.5


def test_oximetry_has_no_reference_posterior():
    with pytest.raises(NotImplementedError, match="oximetry"):
        Oximetry().reference_posterior(torch.ones(1, 100))
