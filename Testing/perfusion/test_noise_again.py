"""Noise of the level that an observation has, as its residuals tell it."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.applications.perfusion.acquisition import ARTERY_NOISE, MOST, TISSUE_NOISE, noise_level_of
from monai_inn.applications.perfusion.ivim import IntravoxelMotion
from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.applications.perfusion.signal import rician

ROWS, FRAMES = 4000, 30


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
