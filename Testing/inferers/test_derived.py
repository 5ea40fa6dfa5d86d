"""Derived quantities: their maps are those of the joint posterior of the targets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from exact_networks import Linear, exact_fit

from monai_inn.fitted import FittedPosterior
from monai_inn.inferers import MapNetwork
from monai_inn.inferers.trust.verdicts import mass_of_draws
from monai_inn.problems import Derived, LinearGaussian

SUM = Derived("sum", "mm", -5.0, 5.0, "sum of all parts", of=lambda theta: theta.sum(-1))
RATIO = Derived("ratio", "1", 1e-3, 1e3, "a over b", "log", of=lambda theta: theta[..., 0] / theta[..., 1])
SAMPLES = 4096
NORMAL = torch.distributions.Normal(0.0, 1.0)


def problem_with(*derived: Derived, **arguments):
    problem = Linear(**arguments)
    problem.derived = derived
    return problem


def image_of(problem, n, seed=3):
    """Observations ``(n, C)`` of simulations, and the same as an image of two rows."""
    y = problem.simulate(n, seed)[1]
    return y, y.T.reshape(-1, 2, n // 2)


def error_of_quantile(level):
    """Five standard errors of a quantile of independent draws, in standard deviations of a normal law."""
    density = NORMAL.log_prob(NORMAL.icdf(torch.tensor(level))).exp()
    return 5 * math.sqrt(level * (1 - level) / SAMPLES) / float(density)


def test_a_sum_has_the_posterior_of_a_sum():
    """Sum of a, b, c with mean .5 and sd .8: normal, mean and variance from the exact joint posterior."""
    problem = problem_with(SUM)
    fitted = exact_fit(problem)
    y, image = image_of(problem, 30)
    q = fitted.network.posterior(y)
    mean = 3 * 0.5 + 0.8 * q.mean.sum(-1)
    sd = 0.8 * (q.root @ q.root.mT).sum((-1, -2)).sqrt()
    maps = fitted.maps(image, samples=SAMPLES, below={"sum": 1.0, "a": 0.3}, quantiles=3)
    assert maps["median"].shape == (4, 2, 15)
    assert maps["median"].meta["channel_names"] == ["a", "b", "c", "sum"]
    assert maps["median"].meta["units"] == ["mm"] * 4
    found = {name: maps[name].as_tensor()[-1].flatten().double() for name in maps}
    for name, level in (("interval_low", 0.025), ("median", 0.5), ("interval_high", 0.975)):
        expected = mean + sd * float(NORMAL.icdf(torch.tensor(level)))
        assert ((found[name] - expected).abs() / sd).max() < error_of_quantile(level), name
    assert ((found["mean"] - mean).abs() / sd).max() < 5 / math.sqrt(SAMPLES)
    assert (found["mode_count"] == 1).all()
    # Thresholds of derived quantities follow those of targets, whatever was said first.
    assert maps["probability_below"].meta["channel_names"] == ["a < 0.3", "sum < 1"]
    share = NORMAL.cdf((1.0 - mean) / sd)
    assert (found["probability_below"] - share).abs().max() < 5 * 0.5 / math.sqrt(SAMPLES)
    assert len(maps["quantiles"]) == 4 * 5  # three, and the ends of the interval
    assert maps["quantiles"].meta["channel_names"][-1] == "sum at 0.975"
    assert torch.equal(maps["quantiles"][-1], maps["interval_high"][-1])


def test_a_ratio_has_its_known_posterior():
    """Of log-normal numbers: log-normal, by the difference of their logarithms."""
    problem = problem_with(RATIO, scale="lognormal")
    fitted = exact_fit(problem)
    y, image = image_of(problem, 30)
    q = fitted.network.posterior(y)
    weight = torch.tensor([0.8, -0.8, 0.0], dtype=torch.float64)
    mean = q.mean @ weight
    sd = (weight @ q.root).square().sum(-1).sqrt()
    maps = fitted.maps(image, samples=SAMPLES)
    found = {name: maps[name].as_tensor()[-1].flatten().double() for name in maps}
    for name, level in (("interval_low", 0.025), ("median", 0.5), ("interval_high", 0.975)):
        expected = mean + sd * float(NORMAL.icdf(torch.tensor(level)))
        assert ((found[name].log() - expected).abs() / sd).max() < error_of_quantile(level), name
    spread = (torch.exp(sd.square()) - 1).sqrt()
    expected = torch.exp(mean + sd.square() / 2)
    assert ((found["mean"] / expected - 1).abs() / spread).max() < 5 / math.sqrt(SAMPLES)


def test_maps_are_those_of_the_samples():
    """By brute force over the samples that ``draw`` gives for the same seed."""
    problem = problem_with(RATIO, scale="lognormal")
    fitted = exact_fit(problem)
    image = image_of(problem, 20)[1]
    drawn = torch.stack(list(fitted.draw(image, 257, seed=4))).double().numpy()
    np.testing.assert_allclose(drawn[:, 3], drawn[:, 0] / drawn[:, 1], rtol=1e-5)
    maps = fitted.maps(image, samples=257, seed=4, below={"ratio": 1.5})
    ends = np.exp(np.quantile(np.log(drawn[:, 3]), (0.025, 0.5, 0.975), axis=0, method="hazen"))
    for name, expected in zip(("interval_low", "median", "interval_high"), ends, strict=True):
        np.testing.assert_allclose(maps[name][-1].numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(maps["mean"][-1].numpy(), drawn[:, 3].mean(0), rtol=1e-4)
    np.testing.assert_allclose(maps["probability_below"][0].numpy(), (drawn[:, 3] < 1.5).mean(0))
    theta = problem.simulate(7)[0]  # a row may hold nuisances, too
    assert torch.equal(problem.derive(theta), theta[:, :1] / theta[:, 1:2])


def test_a_monotone_function_of_one_target_has_the_mapped_quantiles():
    """On a scale on which it is straight at every level; on others where quantiles are samples."""
    square = Derived("square", "mm2", 1e-2, 1e2, "", "log", of=lambda theta: theta[..., 0].square())
    inverse = Derived("inverse", "1/mm", 1e-2, 1e2, "", "log", of=lambda theta: 1 / theta[..., 0])
    plain = Derived("plain", "mm2", 0.0, 1e2, "", of=lambda theta: theta[..., 0].square())
    fitted = exact_fit(problem_with(square, inverse, plain, scale="lognormal"))
    image = image_of(fitted.problem, 20)[1]
    for interval, columns in ((0.9, 2), (1 - 3 / 61, 3)):
        maps = fitted.maps(image, samples=61, interval=interval)
        low, median, high = (maps[n].numpy() for n in ("interval_low", "median", "interval_high"))
        for found, target, mirrored in ((low, low, high), (median, median, median), (high, high, low)):
            expected = np.stack([target[0] ** 2, 1 / mirrored[0], target[0] ** 2])
            np.testing.assert_allclose(found[3:][:columns], expected[:columns], rtol=2e-5)
        np.testing.assert_array_equal(maps["interval_width"].numpy(), high - low)


def test_levels_of_recalibrated_targets_leave_them_alone():
    """The levels of one target say nothing of a function of several."""
    fitted = exact_fit(problem_with(SUM))
    image = image_of(fitted.problem, 20)[1]
    before = fitted.maps(image, samples=64, below={"sum": 1.0, "a": 0.3})
    fitted.network.level_scores = torch.linspace(0.01, 0.99, 399).square().expand(3, -1).contiguous()
    after = fitted.maps(image, samples=64, below={"sum": 1.0, "a": 0.3})
    for name in ("median", "interval_low", "interval_high", "probability_below"):
        assert torch.equal(before[name][-1], after[name][-1]), name
        assert not torch.equal(before[name][0], after[name][0]), name


def test_what_says_no_more_than_the_prior_is_not_informative():
    """One channel sees a alone: of b the prior is left, of what is made of b as well."""
    twice = [
        Derived(f"two_{n}", "mm", -9.0, 9.0, of=lambda t, i=i: 2 * t[..., i]) for i, n in enumerate("ab")
    ]
    problem = problem_with(*twice, channels=1, noise_sd=0.05)
    problem.matrix = torch.tensor([[1.0, 0.0, 0.0]])
    image = image_of(problem, 20)[1]
    silent = exact_fit(problem).maps(image, samples=256, batched=False)["uninformative"]
    assert silent.mean((1, 2)).tolist() == [0, 1, 1, 0, 1]


def test_the_mass_of_draws_is_counted():
    draws = torch.tensor([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0], [3.0, 8.0]])
    low, high = torch.tensor([[0.5, 5.0], [-1.0, 9.0]]), torch.tensor([[2.0, 5.5], [9.0, 9.5]])
    assert mass_of_draws(draws, low, high).tolist() == [[0.5, 0.25], [1.0, 0.0]]


@pytest.fixture
def fitted(gaussian_fit):
    """A network with a preview, which nobody trained."""
    problem = LinearGaussian()
    problem.derived = (SUM,)
    return FittedPosterior(problem, gaussian_fit.network, {})


def test_a_preview_leaves_them_out(fitted):
    y = image_of(fitted.problem, 12)[1]
    preview, maps = fitted.preview(y), fitted.maps(y, samples=8)
    assert preview["median"].meta["channel_names"] == ["x1", "x2", "x3", "x4"]
    assert preview["median"].shape == (4, 2, 6)
    assert len(preview["quantiles"].meta["channel_names"]) == preview["quantiles"].shape[0]
    assert maps["median"].meta["channel_names"] == ["x1", "x2", "x3", "x4", "sum"]


def test_a_map_network_has_their_channels_traced_and_not(fitted):
    network = MapNetwork(fitted.problem, fitted.network.config, samples=16)
    network.network.load_state_dict(fitted.network.state_dict())
    y = image_of(fitted.problem, 12)[1][None]
    maps = fitted.maps(y, samples=16, batched=True)
    wanted = torch.cat([maps[n].as_tensor() for n in ("median", "interval_width", "waic", "ood")], 1)
    with torch.no_grad():
        torch.testing.assert_close(network(y), wanted)
        torch.testing.assert_close(network._plain(y), wanted, rtol=1e-4, atol=2e-3)
    assert network.channel_names[4] == "median sum"
    assert len(network.channel_names) == wanted.shape[1] == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": -math.inf, "high": math.inf}, "'x': give finite ends of the range"),
        ({"scale": "square"}, "the scale 'linear' or 'log'"),
        ({"is_periodic": True}, "neither an angle nor a class"),
    ],
)
def test_a_quantity_that_cannot_be_shown_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Derived(**{"name": "x", "unit": "1", "low": 0.0, "high": 1.0, "of": torch.sum} | arguments)


def test_bad_thresholds_and_functions_are_refused(fitted):
    y = image_of(fitted.problem, 12)[1]
    with pytest.raises(ValueError, match="unknown parameter 'summ'; this problem has x1, x2, x3, x4, sum"):
        fitted.maps(y, below={"summ": 1.0})
    with pytest.raises(ValueError, match="sum = 7 is outside its bounds; give a value between -5 and 5"):
        fitted.maps(y, below={"sum": 7.0})
    wrong = problem_with(Derived("all", "1", 0.0, 1.0, of=lambda theta: theta))
    with pytest.raises(ValueError, match=r"'all' has the shape \(5, 3\).*expected \(5,\).*last axis away"):
        wrong.derive(torch.ones(5, 3))
    twice = problem_with(Derived("a", "1", 0.0, 1.0, of=lambda theta: theta[..., 0]))
    with pytest.raises(ValueError, match="names must be unique"):
        exact_fit(twice).maps(image_of(twice, 4)[1])
