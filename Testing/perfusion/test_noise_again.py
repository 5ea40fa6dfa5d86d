"""Noise of the level that an observation has, as its residuals tell it."""

from __future__ import annotations

import math

import pytest
import torch

import monai_inn as mi
from monai_inn.applications.perfusion.ivim import IntravoxelMotion
from monai_inn.applications.perfusion.models.acquisition import (
    ARTERY_NOISE,
    DYNAMIC,
    TISSUE_NOISE,
    log_uniform,
    noise_level_of,
    noisy_curves,
)
from monai_inn.applications.perfusion.models.magnitudes import SPOILED
from monai_inn.applications.perfusion.models.signal import rician
from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.inferers.curves import PARTS, Curves, curve_values
from monai_inn.inferers.trust.adequacy import Adequacy

ROWS, FRAMES = 4000, 30

MOST = DYNAMIC.most


def test_levels_are_draws_of_their_posterior():
    """The true level is below a draw of it with probability one half, and ranks among them evenly."""
    generator = torch.Generator().manual_seed(0)
    true = 10 ** (-2.5 + torch.rand(ROWS, 1, generator=generator))  # far from both limits
    residual = true * torch.randn(ROWS, FRAMES, generator=generator)
    residual[:, 20:] = torch.nan
    below = sum((noise_level_of(residual, (1e-6, 1e3), generator) < true).float() for _ in range(39))
    share = torch.stack([(below < limit).float().mean() for limit in (4, 10, 20, 30, 36)])
    expected = torch.tensor([4, 10, 20, 30, 36]) / 40
    assert (share - expected).abs().max() < 4 * math.sqrt(0.25 / ROWS)
    limited = noise_level_of(residual, (0.004, 0.006), generator)
    assert (limited.min(), limited.max()) == (pytest.approx(0.004), pytest.approx(0.006))
    assert (noise_level_of(torch.full((2, 3), torch.nan), (0.1, 1), generator) == 0.1).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_curves_get_noise_as_they_have_it(share):
    """White or of magnitudes: the root mean square of both curves is that of the observation."""
    problem = Perfusion(magnitude_share=share)
    made = problem.simulate_clean(500, seed=1)[1]
    generator = torch.Generator().manual_seed(0)
    y = made.clone()
    levels = torch.where(torch.arange(500) % 2 == 0, 0.003, 0.05).unsqueeze(-1)
    tissue, artery, _ = problem.curves(made)
    scale = artery.nan_to_num(0.0).amax(-1, keepdim=True).clamp_min(0.1)
    y[:, : 2 * MOST : 2] = tissue + levels * torch.randn(tissue.shape, generator=generator)
    y[:, 1 : 2 * MOST : 2] = artery + levels * scale * torch.randn(artery.shape, generator=generator)
    again = problem.noise_again(made, y, generator)
    assert torch.equal(again[:, 2 * MOST :].isnan(), made[:, 2 * MOST :].isnan())
    for part, unit in ((0, 1.0), (1, scale)):
        spread = ((again - made)[:, part : 2 * MOST : 2] / unit).square().nanmean(-1).sqrt()
        limits = (TISSUE_NOISE, ARTERY_NOISE)[part]
        ratio = (spread / levels[:, 0]).log()[levels[:, 0] > limits[0]]
        # Half the logarithm of an F distribution of as many degrees of freedom as frames, 8 at least.
        error = 1 / math.sqrt(8)
        assert float(ratio.std()) < error
        assert float(ratio.median().abs()) < 4 * 1.25 * error / math.sqrt(len(ratio))


def test_signals_of_any_scale_get_noise_as_they_have_it():
    problem = IntravoxelMotion()
    made = problem.simulate_clean(2000, seed=1)[1]
    generator = torch.Generator().manual_seed(0)
    signal, b = made.split(made.shape[1] // 2, -1)
    level = torch.where(torch.arange(2000) % 2 == 0, 0.01, 0.03).unsqueeze(-1)
    y = torch.cat([700 * rician(signal, level, generator), b], -1)
    again = problem.noise_again(made, y, generator)
    assert torch.equal(again[:, signal.shape[1] :].isnan(), b.isnan())
    spread = (again - made)[:, : signal.shape[1]].square().nanmean(-1, keepdim=True).sqrt()
    expected = (rician(signal, level, generator) - signal).square().nanmean(-1, keepdim=True).sqrt()
    many = made[:, : signal.shape[1]].isfinite().sum(-1) >= 8
    for rows in (many & (level[:, 0] < 0.02), many & (level[:, 0] > 0.02)):
        assert float((spread / expected)[rows].log().median().abs()) < 0.06


def second_measurement(problem, number):
    """Two observations of the same tissues with noise of the same level."""
    made, generator = problem.simulate_clean(number, seed=9)[1], torch.Generator().manual_seed(3)
    values = problem.observation.num_values
    if isinstance(problem, IntravoxelMotion):
        signal, b = made.split(values, -1)
        level = log_uniform((1 / 250, 1 / 8), (number, 1), generator)
        return [torch.cat([rician(signal, level, generator), b], -1) for _ in range(2)]
    tissue, artery, times = problem.curves(made)
    levels = [log_uniform(limits, (number, 1), generator) for limits in (TISSUE_NOISE, ARTERY_NOISE)]
    noisy = [noisy_curves(tissue, artery, 0.25, generator, SPOILED.draw, levels) for _ in range(2)]
    return [torch.cat([torch.stack(pair, -1).flatten(-2), times], -1) for pair in noisy]


@pytest.mark.parametrize(("name", "most"), [("perfusion", 0.99), ("ivim", 0.97)])
def test_bands_of_the_bundles_hold_second_measurements(name, most):
    """Those of perfusion are too wide where noise is small: its samples then scatter more than the noise."""
    fitted = mi.load(name)
    problem, number = fitted.problem, 400
    y, again = second_measurement(problem, number)
    valid = problem.is_valid(y)
    y, again = y[valid], again[valid]
    places = torch.arange(problem.observation.places)
    found = torch.zeros(len(y), len(PARTS), len(places))
    adequacy = Adequacy(problem, fitted.network, 39, 0, Curves(places, 0.95, found.__setitem__))
    with torch.no_grad():
        adequacy(y, torch.arange(len(y)))
    _, low, _, high = found.unbind(1)
    values = curve_values(problem, again)
    # A single signal at b = 0 is one over itself.
    counted = values.isfinite() & (high - low > 1e-4)
    inside = ((values >= low) & (values <= high))[counted].float().mean()
    error = 4 * math.sqrt(0.95 * 0.05 / len(y))  # places of a voxel share their errors
    assert 0.95 - error < float(inside) < most
