"""A Python function with a prior, or finished simulations, are problems like any other."""

from __future__ import annotations

import functools
import json
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from forked import python
from torch.distributions import (
    Beta,
    Categorical,
    Distribution,
    Gamma,
    Independent,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    Uniform,
    VonMises,
    constraints,
)

import monai_inn
from monai_inn.problems import Parameter, ParameterSpace, Simulated
from monai_inn.problems.priors import parameters_of
from monai_inn.problems.simulated import problem_of
from monai_inn.training import Recipe, fit, open_simulations, simulate_to_zarr

SMALL = Recipe(
    num_simulations=4096, posterior_steps=10, density_steps=5, preview_steps=3,
    preview_observations=64,
    held_out=512, guard=200, measured=300, batch_size=256,
)  # fmt: skip
NETWORK = {
    "flow": {"num_blocks": 1, "hidden_channels": (32,), "coupling": "affine"},
    "density": {"num_blocks": 2, "hidden_channels": (16,)},
}
PRIOR = {"a": Uniform(0.5, 2.0), "b": Normal(1.0, 0.5)}


def line(theta: torch.Tensor) -> list[float]:
    """A loop over four places: a straight line with noise of NumPy's global generator."""
    a, b = theta.tolist()
    return [a + b * place + 0.1 * np.random.standard_normal() for place in range(4)]


CORRELATED = MultivariateNormal(torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
MATRIX = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
NOISE = 0.5


def linear(theta: torch.Tensor) -> torch.Tensor:
    return theta @ MATRIX.T + NOISE * torch.randn(len(theta), 3)


def exact(x: torch.Tensor) -> MultivariateNormal:
    """Posterior of the linear function under the correlated prior, in closed form."""
    precision = CORRELATED.precision_matrix + MATRIX.T @ MATRIX / NOISE**2
    shift = CORRELATED.precision_matrix @ CORRELATED.mean + x @ MATRIX / NOISE**2
    return MultivariateNormal(torch.linalg.solve(precision, shift.T).T, precision_matrix=precision)


LONGER = Recipe(
    num_simulations=16_384, posterior_steps=120, density_steps=5, preview_steps=3,
    preview_observations=64,
    held_out=1024, guard=200, measured=100, batch_size=256,
)  # fmt: skip


def excess(fitted, theta, x) -> float:
    """Mean KL divergence of the exact posterior to the network's, nats, from draws of both."""
    return float((exact(x).log_prob(theta) - fitted.posterior(x).log_prob(theta)).mean())


@torch.no_grad()
def test_posterior_of_a_function_under_a_correlated_prior_is_the_exact_one():
    fitted = fit(
        prior=CORRELATED, simulator=linear, names=("u", "v"), is_vectorised=True, recipe=LONGER, members=2,
        network=NETWORK,
    )  # fmt: skip
    torch.manual_seed(0)
    theta = CORRELATED.sample((4000,))
    assert -0.02 < excess(fitted, theta, linear(theta)) < 0.05


@torch.no_grad()
def test_posterior_of_finished_simulations_is_the_exact_one():
    torch.manual_seed(0)
    theta = CORRELATED.sample((20_000,))
    fitted = fit(theta=theta, x=linear(theta), names=("u", "v"), recipe=LONGER, members=2, network=NETWORK)
    assert fitted.card["training"]["simulations"] == 14_000
    fresh = CORRELATED.sample((4000,))
    assert -0.02 < excess(fitted, fresh, linear(fresh)) < 0.06


@pytest.fixture(scope="module")
def of_function(tmp_path_factory):
    """A fit of the loop and its bundle."""
    folder = tmp_path_factory.mktemp("function") / "bundle"
    fitted = fit(prior=PRIOR, simulator=line, units=("mm", "mm"), recipe=SMALL, members=2, network=NETWORK)
    fitted.save(folder)
    return fitted, folder


def test_its_bundle_is_loaded_validated_and_asked_without_the_function(of_function, tmp_path):
    fitted, folder = of_function
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    code = f"""
import monai_inn as mi, torch
fitted = mi.load({str(folder)!r})
with torch.no_grad():
    print(fitted.posterior(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).log_prob(torch.tensor([[1.0, 1.0]])).item())
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        assert float(done.stdout) == fitted.posterior(x).log_prob(torch.tensor([[1.0, 1.0]])).item()
    assert monai_inn.load(folder).maps(torch.ones(4, 2, 3))["median"].meta["units"] == ["mm", "mm"]


@pytest.mark.usefixtures("quick_drawings")
def test_it_is_validated_on_simulations_that_the_training_has_not_seen(of_function, tmp_path, capsys):
    from monai_inn.cli import main

    _, folder = of_function
    assert (
        main(["validate", str(folder), "-o", str(tmp_path / "report"), "-n", "500", "--samples", "63"]) == 0
    )
    assert json.loads((tmp_path / "report/report.json").read_text())
    again = monai_inn.load(folder).problem
    kept = again.available(0)
    assert 300 <= kept < 500
    said = f"500 cases were asked for, {kept} taken: the training has left no more."
    assert said in capsys.readouterr().out
    assert len(again.simulate(kept)[0]) == kept
    with pytest.raises(ValueError, match=f"no function to simulate with, and {kept} finished ones"):
        again.simulate(5000)
    with pytest.raises(ValueError, match="a bundle holds no function"):
        again.forward(torch.ones(1, 2))


def test_draws_are_reproducible_and_leave_the_generators_alone():
    problem = Simulated.of_function(PRIOR, line)
    state = np.random.get_state()[1].copy()
    one, two = problem.simulate(1500, seed=3), problem.simulate(2100, seed=3)
    assert (np.random.get_state()[1] == state).all()
    for short, long in zip(one, two, strict=True):
        assert torch.equal(short, long[:1500])
    assert not torch.equal(one[1], problem.simulate(1500, seed=4)[1])


def test_simulations_of_a_function_are_kept(tmp_path):
    problem = Simulated.of_function(PRIOR, lambda theta: line(theta))
    simulate_to_zarr(problem, 3000, tmp_path / "store", seed=1, chunk=1024)
    assert torch.equal(
        open_simulations(tmp_path / "store").load()[1], problem.simulate_clean(3000, seed=1)[1]
    )
    fitted = fit(problem, recipe=SMALL, members=2, network=NETWORK, simulations=tmp_path / "store")
    assert fitted.card["training"]["simulations"] == 3000
    other = Simulated.of_function(PRIOR, lambda theta: line(2 * theta))
    with pytest.raises(ValueError, match="expected those of"):
        fit(other, recipe=SMALL, members=2, simulations=tmp_path / "store")


def test_rows_that_fail_are_reported_and_left_out():
    def sometimes(theta):
        return [math.nan] * 4 if theta[0] > 1.8 else line(theta)

    with pytest.warns(UserWarning, match=r"of 4,096 simulations hold NaN and were left out"):
        fitted = fit(prior=PRIOR, simulator=sometimes, recipe=SMALL, members=2, network=NETWORK)
    assert 3300 < fitted.card["training"]["simulations"] < 3800
    with pytest.raises(ValueError, match="all 4,096 simulations hold NaN"):
        fit(prior=PRIOR, simulator=lambda _: [math.nan] * 4, recipe=SMALL, members=2)


def test_rows_of_finished_simulations_with_nan_are_reported():
    x = torch.rand(2000, 3)
    x[:500] = math.nan
    with pytest.warns(UserWarning, match=r"500 of 2,000 simulations hold NaN or infinity and were left out"):
        problem = Simulated.of_simulations(torch.rand(2000, 2), x, ("a", "b"))
    assert problem.available(0) == 1500


class Times:
    """A function that is an object."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, theta: torch.Tensor) -> torch.Tensor:
        return self.factor * theta


def noisy(theta: torch.Tensor, sd: float) -> torch.Tensor:
    return theta + sd * torch.randn(2)


def closure(factor: float):
    return lambda theta: factor * theta


def in_words(sign: str):
    return lambda theta: -theta if sign == "minus" else theta


def unlike(theta: torch.Tensor, sd: float) -> torch.Tensor:
    return theta - sd


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (functools.partial(noisy, sd=0.1), functools.partial(noisy, sd=0.9), "with another value of sd,"),
        (functools.partial(noisy, sd=0.1), functools.partial(unlike, sd=0.1), "with another simulator,"),
        (closure(1.0), closure(5.0), "with a simulator with another value of factor,"),
        (Times(1.0), Times(5.0), "with a simulator with another value of factor,"),
        (in_words("plus"), in_words("minus"), "with a simulator that answers otherwise,"),
    ],
)
def test_functions_that_look_alike_are_told_apart(one, other, said, tmp_path):
    simulate_to_zarr(Simulated.of_function(PRIOR, one), 1024, tmp_path / "store")
    store = open_simulations(tmp_path / "store")
    store.require_problem(Simulated.of_function(PRIOR, one))
    with pytest.raises(ValueError, match=said):
        store.require_problem(Simulated.of_function(PRIOR, other))
    narrow = {"a": Uniform(0.5, 2.0), "b": Normal(1.0, 0.4)}
    with pytest.raises(ValueError, match="with other arguments,"):
        store.require_problem(Simulated.of_function(narrow, one))
    with pytest.raises(ValueError, match=r"another problem \(problem: "):
        simulate_to_zarr(Simulated.of_function(PRIOR, other), 1024, tmp_path / "store")


def test_a_function_with_random_numbers_of_its_own_stays_itself():
    rng = np.random.default_rng(0)

    def own(theta):
        return theta.numpy() + rng.standard_normal(2)

    one = Simulated.of_function(PRIOR, own).identity
    assert one == Simulated.of_function(PRIOR, own).identity


def test_other_parameters_of_the_same_observations_are_other_simulations(tmp_path):
    theta, x = torch.rand(5000, 2), torch.rand(5000, 3)  # 10,000 draws describe the prior: each one twice
    options = {"names": ("a", "b"), "recipe": SMALL, "members": 2, "network": NETWORK}
    fit(theta=theta, x=x, checkpoint=tmp_path, **options)
    with pytest.raises(ValueError, match=r"problem differ \(other data .*finished simulations\)"):
        fit(theta=theta.flip(0), x=x, checkpoint=tmp_path, resume=True, **options)


class NoDensity(Distribution):
    """Draws alone."""

    arg_constraints: ClassVar = {}
    support = constraints.real_vector

    def __init__(self) -> None:
        super().__init__(torch.Size(), torch.Size([2]), validate_args=False)

    def sample(self, sample_shape=()):
        return torch.randn(*sample_shape, 2)


def transposed(theta):
    return torch.stack([theta[:, 0], theta[:, 1], theta.sum(1)])


def raises(theta):
    if theta[0] > 1.9:
        raise ZeroDivisionError("no such line")
    return line(theta)


def changes(theta):
    return [1.0] * (3 if theta[0] > 1.9 else 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give either a problem, or prior and simulator, or theta and x"),
        ({"problem": "linear_gausian"}, r"'linear_gausian' \(did you mean 'linear_gaussian'\?\)"),
        ({"problem": "simulated"}, r"needs parameters, observation_names; in Python: .*\('simulated', "),
        ({"problem": Simulated}, "is not a problem; give an object of its class, or its name"),
        ({"prior": PRIOR}, "give either a problem, or prior and simulator"),
        ({"theta": torch.ones(2000, 1)}, "or theta and x"),
        ({"prior": PRIOR, "simulator": raises}, r"failed at a = 1\.9\d*, b = .*no such line; let it"),
        ({"prior": PRIOR, "simulator": changes}, r"returned 3 numbers at a = 1\.9\d*, b = .*, and 4 before"),
        ({"prior": PRIOR, "simulator": line, "names": ("a", "c")}, r"leave names out"),
        ({"prior": PRIOR, "simulator": line, "units": ("mm",)}, "2 names and 1 units"),
        ({"prior": CORRELATED, "simulator": linear, "names": ("u",)}, "over 2 parameters, names = "),
        ({"prior": CORRELATED, "simulator": linear}, "give a name for each"),
        ({"prior": Normal(torch.zeros(2), 1.0), "simulator": line, "names": ("a", "b")}, "Independent"),
        ({"prior": {"a": Poisson(3.0)}, "simulator": line}, "support"),
        ({"prior": "flat", "simulator": line, "names": ("a",)}, "prior is a str"),
        ({"prior": NoDensity(), "simulator": line, "names": ("a", "b")}, "has no density; give one with"),
        (
            {"prior": PRIOR, "simulator": transposed, "is_vectorised": True},
            r"returned the shape \(3, 2\) for 2 rows of parameters; return one observation a row, \(2, …\)",
        ),
        ({"theta": torch.ones(2000, 2), "x": torch.ones(1999, 3), "names": ("a", "b")}, "of the same n"),
        ({"theta": torch.rand(50, 2), "x": torch.rand(50, 3), "names": ("a", "b")}, "give at least 1,024"),
        ({"theta": torch.rand(50, 2), "x": torch.rand(50, 3)}, "give a name for each"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(given, said):
    with pytest.raises(ValueError, match=said) as told:
        fit(**given, recipe=SMALL, members=2)
    assert "\n" not in str(told.value)


def test_the_name_of_a_problem_stands_for_it():
    made = problem_of("linear_gaussian", None, None, None, None)
    assert made.identity == monai_inn.problems.create("linear_gaussian").identity


@pytest.mark.parametrize(
    "prior",
    [
        Independent(Uniform(torch.tensor([-1.0, 2.0]), torch.tensor([3.0, 2.5])), 1),
        Independent(LogNormal(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.2])), 1),
        Independent(Gamma(torch.tensor([2.0, 9.0]), torch.tensor([1.0, 3.0])), 1),
        Independent(Beta(torch.tensor([2.0, 0.8]), torch.tensor([1.0, 3.0])), 1),
        CORRELATED,
    ],
)
def test_any_prior_becomes_a_space_that_holds_it(prior):
    edges = {"low": -math.inf, "high": math.inf}
    space = ParameterSpace(
        [
            Parameter(**{k: edges[k] if v is None else v for k, v in entry.items()})
            for entry in parameters_of(prior, ("a", "b"))
        ]
    )
    torch.manual_seed(0)
    theta = prior.sample((20_000,)).double()
    assert space.contains(theta).all()
    latent, log_det = space.forward(theta)
    assert latent.abs().max() < 7
    assert latent.std(0).min() > 0.3
    assert torch.allclose(space.inverse(latent), theta, rtol=1e-4, atol=1e-4)
    some = theta[:50].requires_grad_()
    grad = torch.autograd.grad(space.to_latent(some).sum(), some)[0]
    assert torch.allclose(grad.abs().log().sum(-1), log_det[:50].detach(), atol=1e-5)


ANGLES = Independent(VonMises(torch.tensor([3.0, 0.0]), torch.tensor([4.0, 1.0])), 1)


@pytest.mark.parametrize(
    "prior",
    [ANGLES, MixtureSameFamily(Categorical(torch.ones(3)), ANGLES.expand((3,)))],
)
def test_angles_have_no_seam(prior):
    problem = Simulated.of_function(prior, lambda theta: theta, names=("a", "b"), units=("rad", "rad"))
    assert problem.space.period.tolist() == [2 * math.pi] * 2
    theta = problem.simulate(2000)[0]
    assert problem.space.contains(theta).all()
    assert {bool(a > 0) for a in theta[:, 0]} == {True, False}  # on both sides of the seam
    assert problem.prior.log_prob(theta).isfinite().all()
    alone = Simulated.of_function({"c": VonMises(0.0, 1.0), "d": Normal(0.0, 1.0)}, lambda theta: theta)
    assert [(p.unit, p.is_periodic) for p in alone.parameters] == [("rad", True), ("1", False)]


def test_a_mixture_has_the_support_of_its_components():
    mixture = MixtureSameFamily(Categorical(torch.ones(2)), Gamma(torch.tensor([2.0, 9.0]), torch.ones(2)))
    (found,) = Simulated.of_function({"a": mixture}, lambda theta: theta).parameters
    assert (found.low, found.high, found.scale) == (0.0, math.inf, "above")


def test_with_a_problem_nothing_else_is_given():
    from monai_inn.problems import LinearGaussian

    with pytest.raises(ValueError, match="belong to a function"):
        fit(LinearGaussian(), names=("a",), recipe=SMALL)
