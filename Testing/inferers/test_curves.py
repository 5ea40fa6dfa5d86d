"""Curves of pixels and their posterior-predictive bands, where these are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from exact_networks import Linear, Trend, exact_fit

import monai_inn.inferers.posterior as walk
from monai_inn.inferers.curves import Curves, band, band_interval, curve_axis, curve_values
from monai_inn.problems import Observation, Oximetry, Photoacoustics

PIXELS, FRAMES = 1000, 24
TIMES = torch.linspace(0, 1, FRAMES)


def observed(n=PIXELS, seed=2):
    """Observations of a straight line in the same frames, with room for more behind them."""
    problem = Trend()
    theta = problem.simulate(n, seed)[0]
    times = torch.cat([TIMES, torch.full((problem.most - FRAMES,), torch.nan)]).expand(n, -1)
    clean = torch.cat([problem.forward_with_context(theta, times), times], -1)
    return problem, problem.noise(clean, torch.Generator().manual_seed(seed))


def curves_of(problem, y, samples=39, interval=0.95, seed=0):
    """Curves ``(n, 4, T)`` of rows ``(n, C)``, and their p-values."""
    columns, _ = curve_axis(problem, y.T)
    found = torch.full((len(y), 4, len(columns)), torch.nan)
    curves = Curves(columns, interval, found.__setitem__)
    maps = exact_fit(problem).maps(
        y.T.reshape(y.shape[1], -1, 50), samples=2, adequacy=samples, seed=seed, curves=curves, batched=False
    )
    return found, maps["adequacy"].as_tensor().flatten()


def predictive(problem, y):
    """Mean and standard deviation ``(n, FRAMES)`` of another measurement at the same times: Bayes' rule."""
    design = problem.design(y)[:, :FRAMES].double()
    posterior = exact_fit(problem).network.posterior(y)
    root = design @ posterior.root
    mean = (design @ posterior.mean.unsqueeze(-1)).squeeze(-1)
    return mean, (root.square().sum(-1) + problem.noise_sd**2).sqrt()


# 39 draws end at the levels 1/40 and 39/40; of 19 the second and the last but one stand for 0.1 and 0.9.
@pytest.mark.parametrize(("samples", "interval", "end"), [(39, 0.95, 0.025), (19, 0.8, 0.1)])
def test_bands_end_at_the_levels_of_the_exact_posterior_predictive(samples, interval, end):
    problem, y = observed()
    mean, sd = predictive(problem, y)
    found = curves_of(problem, y, samples, interval)[0].double()
    for part, level in zip((1, 2, 3), (end, 0.5, 1 - end), strict=True):
        reached = torch.special.ndtr((found[:, part] - mean) / sd)
        # The k-th of S draws has the level k / (S + 1) on average, with the spread of a beta distribution.
        # Frames of a pixel count as one, and pixels share the samples of the posterior, if not the noise.
        spread = math.sqrt(level * (1 - level) / (samples + 2))
        assert float(reached.mean()) == pytest.approx(level, abs=4 * spread / math.sqrt(PIXELS) + 0.003)
        assert float(reached.std()) == pytest.approx(spread, rel=0.1)


def test_another_observation_lies_in_the_band_as_often_as_it_says():
    problem, y = observed()
    mean, sd = predictive(problem, y)
    again = mean + sd * torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    found = curves_of(problem, y)[0]
    inside = (again >= found[:, 1]) & (again <= found[:, 3])
    assert float(inside.float().mean()) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / PIXELS))


def test_curves_are_those_of_the_same_simulations_and_change_no_p_value():
    problem, y = observed(200)
    calls = []

    def forward(theta, context):
        calls.append(None)
        return Trend.forward_with_context(problem, theta, context)

    problem.forward_with_context = forward
    found, p = curves_of(problem, y)
    number = len(calls)
    assert number == 39
    torch.testing.assert_close(found[:, 0], y[:, :FRAMES], rtol=0, atol=0)
    image = y.T.reshape(y.shape[1], -1, 50)
    plain = exact_fit(problem).maps(image, samples=2, adequacy=39, batched=False)["adequacy"]
    assert torch.equal(plain.as_tensor().flatten(), p)
    assert len(calls) == 2 * number


def test_what_was_not_measured_has_no_curve():
    problem, y = observed(100)
    y[3, 5] = torch.nan
    y[7, :FRAMES] = torch.nan
    found = curves_of(problem, y)[0]
    missing = torch.zeros(100, FRAMES, dtype=torch.bool)
    missing[3, 5] = missing[7] = True
    for part in found.unbind(1):
        assert torch.equal(part.isnan(), missing)


def test_pieces_and_threads_leave_the_same_curves(monkeypatch):
    monkeypatch.setattr(walk, "_SIMULATED_PIXELS", 64)
    problem, y = observed(400)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(curves_of(problem, y)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_the_axis_is_ascending_and_common_to_all_pixels():
    problem, y = observed(100)
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0))
    y[:, problem.most : problem.most + FRAMES] = TIMES[order]
    y[:50] = torch.nan  # of pixels that are not inferred nothing is known
    columns, axis = curve_axis(problem, y.T)
    torch.testing.assert_close(axis, TIMES)
    assert torch.equal(order[columns], torch.arange(FRAMES))
    y[60, problem.most] += 0.1
    assert curve_axis(problem, y.T) is None
    assert curve_axis(problem, torch.full_like(y.T, torch.nan)) is None  # nobody was inferred
    assert curve_axis(Linear(), torch.zeros(3, 10)) is None  # channels without an axis


def test_spectra_lie_over_their_wavelengths():
    """Where what is to be explained has a value for each channel, and one view."""
    laser = Photoacoustics([700, 750, 800])
    columns, axis = curve_axis(laser, torch.zeros(3, 10))
    assert (columns.tolist(), axis.tolist()) == ([0, 1, 2], [700, 750, 800])
    y = laser.simulate(20)[1]
    torch.testing.assert_close(curve_values(laser, 5 * y), y / y.mean(-1, keepdim=True))
    assert curve_axis(Photoacoustics([700, 750, 800], views=2), torch.zeros(6, 10)) is None
    assert curve_axis(Oximetry(), torch.zeros(100, 10)) is None


def test_a_scale_that_features_remove_is_not_drawn():
    problem, y = observed(50)
    y = y.nan_to_num(0.5)
    assert torch.equal(curve_values(problem, y), y[:, : problem.most])
    problem.features = lambda y: torch.cat([y[..., :30] / y[..., :1], y[..., 30:]], -1)
    torch.testing.assert_close(curve_values(problem, 800 * y), y[:, :30] / y[:, :1])
    problem.observation = Observation.series(15, "signal", "reference", context=("time",))
    problem.features = lambda y: y[..., :2]  # no rows any more
    assert torch.equal(curve_values(problem, y[:, :45]), y[:, :30:2])


def test_the_band_of_some_draws():
    """Levels k / (S + 1), linear between them; those that are missing do not count."""
    draws = torch.arange(1.0, 20.0)[torch.randperm(19)].reshape(19, 1, 1).repeat(1, 2, 3)
    expected = torch.tensor([0.25, 0.5, 0.75]) * 20
    torch.testing.assert_close(band(draws, 0.5)[1, :, 2], expected)
    torch.testing.assert_close(band(draws, 0.99)[0, :, 0], torch.tensor([1.0, 10.0, 19.0]))
    draws[draws > 9] = torch.nan
    torch.testing.assert_close(band(draws, 0.5)[1, :, 2], torch.tensor([2.5, 5.0, 7.5]))
    draws[:, 0, 0] = torch.nan
    assert band(draws, 0.5)[0, :, 0].isnan().all()
    assert np.isclose([band_interval(0.95, n) for n in (19, 39, 99)], [0.9, 0.95, 0.95]).all()
