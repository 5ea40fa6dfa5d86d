"""Divergence on a grid against closed forms of Gaussians."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from monai_inn.metrics.grid import grid_divergence, posterior_grid


def gaussian(mean, sd, points):
    return Normal(torch.tensor(mean, dtype=torch.float64), sd).log_prob(points[:, 0])


def line(low=-12.0, high=12.0, n=600):
    return posterior_grid(torch.tensor([low]), torch.tensor([high]), n)


def test_gaussians_have_their_closed_forms():
    points, volume = line()
    for shift, sd in ((0.0, 1.0), (0.7, 1.0), (0.3, 1.4), (-1.0, 0.8)):
        result = grid_divergence(gaussian(shift, sd, points), gaussian(0.0, 1.0, points), volume)
        # Sums over a regular grid of a smooth density that vanishes at its ends are exact to rounding.
        exact = math.log(sd) + (1 + shift**2) / (2 * sd**2) - 0.5
        assert float(result.kl) == pytest.approx(exact, abs=1e-10)
        assert float(result.mass_q) == pytest.approx(1, abs=1e-10)
        assert float(result.mass_p) == pytest.approx(1, abs=1e-10)
        if sd == 1.0:
            # The kink where the densities cross costs the step squared.
            assert float(result.tv) == pytest.approx(math.erf(abs(shift) / 2**1.5), abs=volume**2)


@pytest.mark.parametrize("d", [2, 3])
def test_correlated_gaussians_in_more_dimensions(d):
    points, volume = posterior_grid(torch.full((d,), -7.0), torch.full((d,), 7.0), 45)
    assert points.shape == (45**d, d)
    assert volume * 45**d == pytest.approx(14.0**d)
    cover = torch.full((d, d), 0.5, dtype=torch.float64) + 0.5 * torch.eye(d, dtype=torch.float64)
    p = MultivariateNormal(torch.zeros(d, dtype=torch.float64), cover)
    q = MultivariateNormal(torch.full((d,), 0.2, dtype=torch.float64), torch.eye(d, dtype=torch.float64))
    result = grid_divergence(q.log_prob(points), p.log_prob(points) + 5.0, volume)
    assert float(result.kl) == pytest.approx(float(kl_divergence(p, q)), abs=1e-6)
    assert float(result.mass_p) == pytest.approx(math.exp(5.0), rel=1e-6)
    assert torch.allclose(points.mean(0), torch.zeros(d, dtype=torch.float64), atol=1e-9)


def test_many_cases_and_uneven_cells():
    points, volume = line(n=200)
    log_p = torch.stack([gaussian(0.0, 1.0, points), gaussian(1.0, 2.0, points)])
    log_q = torch.stack([gaussian(0.5, 1.0, points), gaussian(1.0, 2.0, points)])
    result = grid_divergence(log_q.float(), log_p, volume)
    assert result.kl.shape == result.tv.shape == result.mass_q.shape == (2,)
    assert result.kl.tolist() == pytest.approx([0.125, 0.0], abs=1e-5)

    edges = torch.sinh(torch.linspace(-3.3, 3.3, 2001, dtype=torch.float64))
    middle = 0.5 * (edges[1:] + edges[:-1])[:, None]
    uneven = grid_divergence(gaussian(0.5, 1.0, middle), gaussian(0.0, 1.0, middle), edges.diff())
    assert float(uneven.kl) == pytest.approx(0.125, abs=1e-4)
    assert float(uneven.mass_q) == pytest.approx(1.0, abs=1e-4)


def test_densities_that_exclude_cells():
    points, volume = posterior_grid(torch.tensor([0.0]), torch.tensor([2.0]), 200)
    whole = torch.full((200,), -math.log(2.0))
    half = torch.where(points[:, 0] < 1, 0.0, -torch.inf)
    inside = grid_divergence(whole, half, volume)
    assert float(inside.kl) == pytest.approx(math.log(2.0))
    assert float(inside.tv) == pytest.approx(0.5)
    assert float(grid_divergence(half, whole, volume).kl) == math.inf
    assert float(grid_divergence(half, half, volume).kl) == 0.0


def test_mass_shows_a_grid_that_does_not_cover():
    points, volume = line(low=0.0, high=8.0)
    result = grid_divergence(gaussian(0.0, 1.0, points), gaussian(2.0, 1.0, points), volume)
    assert float(result.mass_q) == pytest.approx(0.5, abs=1e-4)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(-50, 50), st.floats(0.01, 100))
def test_factors_and_units_do_not_matter(seed, constant, unit):
    generator = torch.Generator().manual_seed(seed)
    # Densities within a factor of e²: no cell may hold too much.
    log_q, log_p = 2 * torch.rand(2, 40, generator=generator, dtype=torch.float64)
    result = grid_divergence(log_q, log_p, 1.0)
    other = grid_divergence(log_q + constant, log_p - constant, unit)
    torch.testing.assert_close(other.kl, result.kl)
    torch.testing.assert_close(other.tv, result.tv)
    assert float(result.kl) >= 2 * float(result.tv) ** 2 - 1e-12  # Pinsker
    torch.testing.assert_close(other.mass_q, result.mass_q * unit * math.exp(constant))


def test_bad_input_is_refused():
    zero = torch.zeros(10)
    with pytest.raises(ValueError, match=r"log_q has shape \(10,\) and log_p \(9,\)"):
        grid_divergence(zero, zero[:9], 1.0)
    with pytest.raises(ValueError, match=r"cell_volume has shape \(9,\)"):
        grid_divergence(zero, zero, torch.ones(9))
    with pytest.raises(ValueError, match="expected a positive number"):
        grid_divergence(zero, zero, 0.0)
    with pytest.raises(ValueError, match="log_p holds NaN"):
        grid_divergence(zero, zero + torch.nan, 1.0)
    with pytest.raises(ValueError, match="log_q is -inf at all points"):
        grid_divergence(zero - torch.inf, zero, 1.0)
    peak = zero.clone()
    peak[4] = 4.0
    with pytest.raises(ValueError, match="one cell holds 86% of log_q"):
        grid_divergence(peak, zero, 1.0)
    with pytest.raises(ValueError, match=r"low has shape \(4,\)"):
        posterior_grid(torch.zeros(4), torch.ones(4), 3)
    with pytest.raises(ValueError, match="expected finite numbers, low below high"):
        posterior_grid(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), 3)
    with pytest.raises(ValueError, match="n = 1 cells"):
        posterior_grid(torch.zeros(1), torch.ones(1), 1)
