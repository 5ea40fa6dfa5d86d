"""P-values of the fit: cautious where the model is right, small where it cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from exact_networks import Linear, Trend, exact_fit

import monai_inn.inferers.posterior as walk
from monai_inn.problems import Simulated

PIXELS, SIMULATIONS = 4000, 39
# Four standard errors of a share of 0.05 among so many independent pixels.
ERROR = 4 * math.sqrt(0.05 * 0.95 / PIXELS)


def image_of(y):
    return y.T.reshape(1, y.shape[1], -1, 50)


def adequacy(problem, y, seed=0):
    maps = exact_fit(problem).maps(image_of(y), samples=2, adequacy=SIMULATIONS, seed=seed, batched=True)
    assert maps["adequacy"].meta["channel_names"] == ["adequacy"]
    return maps["adequacy"].as_tensor().flatten()


def many_channels():
    """Thirty channels of three unknowns, of which one is a nuisance."""
    return Linear(channels=30, targets=2)


@pytest.mark.parametrize("make", [many_channels, Trend])
def test_a_model_that_is_right_is_hardly_ever_blamed(make):
    """Cautious, but spread out: it could blame."""
    problem = make()
    y = problem.simulate(PIXELS, seed=2)[1]
    p = adequacy(problem, y)
    assert ((p >= 0) & (p <= 1)).all()
    assert float((p <= 0.05).float().mean()) < 0.05 + ERROR
    assert 0.1 < float((p <= 0.25).float().mean()) < 0.3
    assert 0.1 < float((p > 0.75).float().mean()) < 0.4


def test_a_channel_that_no_parameters_explain_is_seen():
    problem = many_channels()
    y = problem.simulate(1000, seed=2)[1]
    away = torch.linalg.svd(problem.matrix)[0][:, 3]  # no parameters move observations that way
    p = adequacy(problem, y + 12 * problem.noise_sd * away)
    assert float((p <= 0.05).float().mean()) > 0.95


@pytest.mark.parametrize("noise", [1.0, 10.0])
def test_a_bent_curve_is_no_straight_line(noise):
    """Whatever the noise is, if the bend grows with it: only how residuals hang together counts."""
    problem = Trend()
    problem.noise_sd = noise * Trend.noise_sd
    y = problem.simulate(1000, seed=2)[1]
    y[:, : problem.most] += noise * 12 * (y[:, problem.most :] - 0.5).square()
    p = adequacy(problem, y)
    assert float((p <= 0.05).float().mean()) > 0.9


def test_neighbouring_residuals_are_those_that_were_measured():
    """The correlation of each with the next, by NumPy; a gap between them is none."""
    problem = Trend()
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(5, problem.most, generator=generator)
    made = problem.simulate_clean(5, seed=1)[1]
    made[:, problem.most :] = torch.linspace(0, 1, problem.most)
    made[:, : problem.most] = 1.0
    residual[:, [0, 3, 4, 11]] = torch.nan
    residual[4] = torch.nan
    y = made.clone()
    y[:, : problem.most] += 3 * residual
    found = problem.lack_of_fit(y, made)
    rows = [row[np.isfinite(row)] for row in residual[:4].numpy()]
    expected = [(row[1:] * row[:-1]).sum() / (row**2).sum() for row in rows]
    np.testing.assert_allclose(found[:4].numpy(), expected, rtol=1e-4)
    assert found[4] == 0  # nothing was measured


def test_a_scale_that_features_remove_does_not_count():
    """Signals of unknown scale: residuals are those of what the posterior is conditioned on."""
    problem = Trend()
    problem.features = lambda y: torch.cat([y[..., :30] / y[..., :1], y[..., 30:]], -1)
    made, y = problem.simulate_clean(50, seed=1)[1], problem.simulate(50, seed=1)[1]
    scaled = torch.cat([800 * y[:, :30], y[:, 30:]], -1)
    expected = problem.lack_of_fit(y, made)
    torch.testing.assert_close(problem.lack_of_fit(scaled, made), expected, rtol=1e-3, atol=1e-4)
    problem.features = lambda y: y[..., :2]  # no rows any more: the sum of squares
    torch.testing.assert_close(problem.lack_of_fit(y, made), (y - made)[:, :2].square().sum(-1))


def test_a_pixel_is_compared_by_what_is_to_be_explained():
    problem = many_channels()
    y, made = torch.randn(2, 4, 30, generator=torch.Generator().manual_seed(0)).unbind(0)
    torch.testing.assert_close(problem.lack_of_fit(y, made), (y - made).square().sum(-1))


def test_threads_and_pieces_walk_alike_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(walk, "_SIMULATED_PIXELS", 64)
    problem = Trend()
    sizes = []

    def forward(theta, context):
        sizes.append(math.prod(theta.shape[:-1]))
        return Trend.forward_with_context(problem, theta, context)

    y = problem.simulate(400, seed=2)[1]
    problem.forward_with_context = forward
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(adequacy(problem, y))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)
    assert len(set(found[0].tolist())) > 10
    assert max(sizes) <= 64
    assert not torch.equal(adequacy(problem, y, seed=1), found[0])


def test_what_cannot_be_inferred_is_not_simulated():
    """Not even a made-up pixel, whose settings mean nothing."""
    problem = Trend()
    y = problem.simulate(100, seed=2)[1]
    y[7] = torch.nan
    p = adequacy(problem, y)
    assert torch.nonzero(p.isnan()).flatten().tolist() == [7]

    def refuse(theta, context):
        raise AssertionError("there is nothing to simulate")

    problem.forward_with_context = refuse
    assert adequacy(problem, torch.full_like(y, torch.nan)).isnan().all()


def test_samples_that_cannot_be_compared_do_not_count():
    """Half of the simulations break: the p-value is that of the others and the measured one."""
    problem = many_channels()
    y = problem.simulate(100, seed=2)[1]
    calls = []

    def noise(made, generator=None):
        calls.append(None)
        broken = torch.full_like(made, torch.inf) - torch.inf
        return broken if len(calls) % 2 else Linear.noise(problem, made, generator)

    problem.noise = noise
    problem.lack_of_fit = lambda y, made: (y - made).square().sum(-1)
    p = adequacy(problem, y)
    steps = p * (SIMULATIONS // 2 + 1)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    assert 0.2 < float(p.mean()) < 0.8


def test_it_is_refused_where_nobody_can_tell():
    problem = many_channels()
    image = image_of(problem.simulate(100, seed=2)[1])
    for number in (-1, 18):
        with pytest.raises(ValueError, match=rf"adequacy = {number} simulations per pixel; give at least 19"):
            exact_fit(problem).maps(image, adequacy=number, batched=True)
    for name, value in (("can_simulate", False), ("has_noise", False)):
        other = many_channels()
        setattr(other, name, value)
        with pytest.raises(ValueError, match=r"'exact_linear' cannot simulate.*leave adequacy out"):
            exact_fit(other).maps(image, adequacy=19, batched=True)
    assert not Simulated.has_noise  # its function returns observations with their noise
    assert "adequacy" not in exact_fit(problem).maps(image, batched=True)
