"""Bits: closed forms of Gaussian, circular and discrete posteriors, and what a metric must refuse."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import Distribution, Independent, MixtureSameFamily, Normal, Uniform

import monai_inn as mi
from monai_inn.inferers.summaries import shared_latents
from monai_inn.metrics import bootstrap_bounds, information_gain
from monai_inn.metrics.information import log_priors
from monai_inn.problems import LinearGaussian, Observation, Parameter, create
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.valid import fresh_simulations
from monai_inn.training.pool import SimulationPool

CPU = torch.device("cpu")


class Exact:
    """The exact posterior of a problem in the place of a trained one."""

    device = CPU

    def __init__(self, problem: InverseProblem) -> None:
        self.problem = problem

    def posterior(self, y):
        return self.problem.reference_posterior(y)

    target_posterior = posterior


def closed_form(problem: LinearGaussian) -> tuple[torch.Tensor, float]:
    """Mutual information of each parameter, and of all with the observation, bits."""
    a = problem.matrix
    precision = torch.eye(a.shape[1]).to(a) + a.T @ a / problem.noise_sd**2
    variance = torch.linalg.inv(precision).diagonal()
    return -0.5 * variance.log2(), float(0.5 * torch.logdet(precision) / math.log(2))


def even_simulations(problem: LinearGaussian, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters and observations from a Sobol sequence: their means are hardly random."""
    z = shared_latents(n, problem.num_parameters + problem.num_observations, seed).squeeze(1).double()
    theta, noise = z.tensor_split([problem.num_parameters], -1)
    return theta, problem.forward(theta) + problem.noise_sd * noise


@pytest.mark.parametrize("noise_sd", [0.05, 0.3, 1.0, 5.0])
def test_bits_of_the_exact_posterior_are_the_mutual_information(noise_sd):
    problem = LinearGaussian(3, 2, noise_sd=noise_sd)
    gain = information_gain(Exact(problem), simulations=even_simulations(problem, 2048))
    each, together = closed_form(problem)
    torch.testing.assert_close(gain.mean, each, atol=0.02, rtol=0)
    assert float(gain.targets.mean()) == pytest.approx(together, abs=0.02)
    assert torch.equal(gain.every, gain.targets)


def test_bounds_hold_the_mutual_information_and_no_information_is_none():
    problem = LinearGaussian(2, 2, noise_sd=0.3)
    gain = information_gain(Exact(problem), 2000)
    each, together = closed_form(problem)
    error = gain.bits.std(0) / len(gain) ** 0.5
    assert bool(((gain.mean - each).abs() < 4 * error + 0.02).all())
    low, high = gain.bounds()
    # 1.96 standard errors at each side, those of 1,000 resamplings within a tenth or so.
    torch.testing.assert_close(high - low, 2 * 1.96 * error, rtol=0.15, atol=0)
    found = gain.summary()["targets"]
    assert found["low"] < float(gain.targets.mean()) < found["high"]
    assert abs(found["bits"] - together) < 4 * float(gain.targets.std()) / len(gain) ** 0.5
    nothing = information_gain(Exact(LinearGaussian(2, 2, noise_sd=1e4)), 500)
    assert -0.06 < float(nothing.mean.min()) < float(nothing.mean.max()) < 0.03
    assert abs(float(nothing.every.mean())) < 1e-3


def test_a_wrong_posterior_tells_less_and_the_deficit_is_the_divergence():
    """Posterior sd twice too large: log₂ 2 − ½ (1 − ¼) / ln 2 = 0.459 bits less for each parameter."""

    class TooWide(Exact):
        def posterior(self, y):
            exact = self.problem.reference_posterior(y)
            return Independent(Normal(exact.mean, 2 * exact.variance.sqrt()), 1)

        target_posterior = posterior

    problem = LinearGaussian(1, 1, noise_sd=0.1)
    pairs = even_simulations(problem, 4096)
    loss = closed_form(problem)[0] - information_gain(TooWide(problem), simulations=pairs).mean
    assert float(loss) == pytest.approx(1 - 0.5 * 0.75 / math.log(2), abs=0.035)


class Known(InverseProblem):
    """One parameter, and an observation that is the truth; the posterior is given."""

    name = "known"
    observation = Observation.pixel("y")

    def __init__(self, parameter: Parameter, posterior) -> None:
        self.parameters, self.targets, self._posterior = (parameter,), (parameter.name,), posterior

    def forward(self, theta):
        return theta

    def noise(self, y, generator=None):
        return y

    def reference_posterior(self, y):
        return self._posterior(y)

    def to_config(self):
        return {}


class Wrapped(Distribution):
    """Samples and log densities of two functions, for a batch of observations."""

    def __init__(self, draw, log_prob, y) -> None:
        self.draw, self.density = draw, log_prob
        super().__init__(y.shape[:-1], y.shape[-1:], validate_args=False)

    def sample(self, sample_shape=()):
        return self.draw(torch.Size(sample_shape))

    def log_prob(self, value):
        return self.density(value)


def test_a_class_of_which_the_observation_tells_the_parity_gives_one_bit():
    def posterior(y):
        def draw(shape):
            return y % 2 // 1 + 2 * torch.randint(2, (*shape, *y.shape)) + torch.rand(*shape, *y.shape)

        return Wrapped(draw, lambda value: torch.full(value.shape[:-1], math.log(0.5)), y)

    problem = Known(Parameter("kind", "1", 0, 4, categories=("a", "b", "c", "d")), posterior)
    gain = information_gain(Exact(problem), 400)
    assert float(gain.mean) == pytest.approx(1.0, abs=0.02)
    assert float(gain.every.mean()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("centre", [0.0, 90.0, 180.0, -179.0])
def test_an_angle_is_a_point_on_a_circle_wherever_that_is_cut(centre):
    sd, turn = 6.0, 360.0

    def posterior(y):
        def draw(shape):
            angle = centre + sd * torch.randn(*shape, *y.shape)
            return torch.remainder(angle + 180, turn) - 180

        return Wrapped(draw, lambda value: torch.zeros(value.shape[:-1]), y)

    problem = Known(Parameter("angle", "deg", -180.0, 180.0, is_periodic=True), posterior)
    z = shared_latents(2048, 1, 0).squeeze(1)
    truth = torch.remainder(centre + sd * z + 180, turn) - 180
    gain = information_gain(Exact(problem), simulations=(truth, truth))
    assert float(gain.mean) == pytest.approx(
        math.log2(turn / sd) - 0.5 * math.log2(2 * math.pi * math.e), abs=0.02
    )


def test_two_narrow_modes_far_apart_lose_little():
    """A kernel as wide as the spread of all samples would lose more than two bits."""
    sd = 0.03

    def mixture(y):
        modes = Normal(torch.tensor([-1.0, 1.0]), sd)
        return MixtureSameFamily(torch.distributions.Categorical(torch.ones(2)), modes)

    def posterior(y):
        def draw(shape):
            return mixture(y).sample((*shape, *y.shape))

        return Wrapped(draw, lambda value: mixture(y).log_prob(value).sum(-1), y)

    problem = Known(Parameter("x", "1", -math.inf, math.inf), posterior)
    torch.manual_seed(0)
    truth = mixture(None).sample((2000, 1))
    gain = information_gain(Exact(problem), simulations=(truth, truth))
    assert -0.05 < float((gain.bits[:, 0] - gain.every).mean()) < 0.02


def test_a_prior_that_is_not_flat_counts_as_it_is():
    """θ ~ N(2, 3²) measured with sd 1: ½ log₂ 10 bits."""
    prior = Independent(Normal(torch.tensor([2.0]), 3.0), 1)

    def simulator(theta):
        return theta + torch.randn(theta.shape)

    from monai_inn.problems.simulated import Simulated

    problem = Simulated.of_function(prior, simulator, ("x",), is_vectorised=True)
    gain = information_gain(_Given(problem, lambda y: Independent(Normal(0.9 * y + 0.2, 0.9**0.5), 1)), 4000)
    expected = 0.5 * math.log2(10)
    error = float(gain.every.std()) / 4000**0.5
    assert float(gain.every.mean()) == pytest.approx(expected, abs=4 * error)
    assert float(gain.mean) == pytest.approx(expected, abs=4 * error + 0.04)  # two estimated densities
    skewed = Independent(Uniform(torch.tensor([0.0]), 1.0), 1)
    flat = Simulated.of_function(skewed, simulator, ("x",), is_vectorised=True)
    useless = information_gain(_Given(flat, lambda y: skewed.expand(y.shape[:-1])), 500)
    assert -0.06 < float(useless.mean) < 0.04
    assert abs(float(useless.every.mean())) < 1e-3


class _Given(Exact):
    def __init__(self, problem, posterior) -> None:
        self.problem, self.posterior = problem, posterior
        self.target_posterior = posterior


def test_a_prior_that_is_derived_from_the_flat_one_is_not_flat():
    """Of planets the water has the density 2 (1 − w); that of some parameters alone is not known."""
    planets = create("planets")
    theta, _ = planets.simulate(200, seed=1)
    of_targets, of_every = log_priors(planets, theta)
    assert of_targets is None
    torch.testing.assert_close(of_every, planets.prior.log_prob(theta))


def test_of_finished_simulations_the_prior_is_known_by_its_draws_only():
    generator = torch.Generator().manual_seed(0)
    theta = 2 + 3 * torch.randn(4096, 1, generator=generator)
    x = theta + torch.randn(4096, 1, generator=generator)
    from monai_inn.problems.simulated import Simulated

    problem = Simulated.of_simulations(theta, x, ("x",))
    fitted = _Given(problem, lambda y: Independent(Normal(0.9 * y + 0.2, 0.9**0.5), 1))
    gain = information_gain(fitted, 2000)
    assert gain.every is None
    assert gain.targets is None
    assert float(gain.mean) == pytest.approx(0.5 * math.log2(10), abs=0.12)
    assert gain.summary()["every"] is None


def test_regions_and_masks():
    problem = LinearGaussian(2, 1)
    gain = information_gain(Exact(problem), 400, samples=64)
    regions = gain.by("x2", bins=4)
    assert [len(region.gain) for region in regions] == [100] * 4
    assert all(a.high <= b.low for a, b in itertools.pairwise(regions))
    mean = torch.stack([region.gain.mean for region in regions]).mean(0)
    torch.testing.assert_close(mean, gain.mean)
    half = gain.where(gain.theta[:, 0] > 0)
    assert torch.equal(half.targets, gain.targets[gain.theta[:, 0] > 0])
    with pytest.raises(ValueError, match="unknown target 'sao2'; this problem has x1, x2"):
        gain.by("sao2")
    with pytest.raises(ValueError, match="400 cases do not fill 500 bins"):
        gain.by("x1", 500)
    with pytest.raises(ValueError, match="leaves no case"):
        gain.where(torch.zeros(400, dtype=torch.bool))
    with pytest.raises(TypeError, match="expected a boolean"):
        gain.where(torch.zeros(400))


def test_same_seed_same_bits_and_bad_numbers_are_refused():
    exact = Exact(LinearGaussian(2, 1))
    before = torch.get_rng_state()
    first, again, other = (information_gain(exact, 50, samples=64, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.bits, again.bits)
    assert not torch.equal(first.bits, other.bits)
    with pytest.raises(ValueError, match="n = 0"):
        information_gain(exact, 0)
    with pytest.raises(ValueError, match="samples = 8 do not show a density"):
        information_gain(exact, 10, samples=8)
    with pytest.raises(ValueError, match="at least one case"):
        bootstrap_bounds(torch.zeros(0, 2))


def test_fresh_simulations_are_not_those_of_a_training_with_the_same_seed():
    problem = LinearGaussian(2, 1)
    fresh = fresh_simulations(problem, 100, seed=0)[0]
    pool = SimulationPool.simulate(problem, 4096, 0, CPU).latent
    assert float(torch.cdist(fresh, pool).min()) > 0


@pytest.mark.slow
def test_a_trained_network_reaches_the_mutual_information():
    from monai_inn.training import Recipe

    for noise_sd in (0.1, 1.0):
        problem = LinearGaussian(noise_sd=noise_sd)
        fitted = mi.fit(problem, recipe=Recipe(200_000, 4000, 500, 500, 4000, measured=4000), seed=0)
        pairs = tuple(values.float() for values in even_simulations(problem, 8192))
        gain = mi.metrics.information_gain(fitted, simulations=pairs)
        each, together = closed_form(problem)
        torch.testing.assert_close(gain.mean, each, atol=0.02, rtol=0)
        assert float(gain.every.mean()) == pytest.approx(together, abs=0.02)


def test_bootstrap_bounds_of_a_mean_and_of_a_paired_median():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(400, 2, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 3.0])
    low, high = bootstrap_bounds(values)
    expected = 1.96 * values.std(0) / 20
    torch.testing.assert_close((high + low) / 2, values.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close((high - low) / 2, expected, rtol=0.15, atol=0)

    def median_gap(pairs):
        first, second = pairs.median(0).values.unbind(-1)
        return second - first

    low, high = bootstrap_bounds(values, median_gap)
    assert low.shape == high.shape == ()
    # A median's standard error is √(π / 2) times that of a mean.
    assert float(high - low) == pytest.approx(2 * 1.96 * math.sqrt(math.pi / 2 * 2 / 400), rel=0.25)
    assert float(low) < 3 < float(high)
