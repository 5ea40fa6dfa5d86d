"""What the display library computes from stored quantiles, against closed forms."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from INNDisplayLib import density, interval_at, peaks, probability_below, region_mean
from INNDisplayLib.numbers import posteriors
from scipy.stats import norm, norminvgauss

LEVELS = np.array(sorted({0.025, 0.5, 0.975, *((np.arange(16) + 0.5) / 16)}))


def normal_quantiles(mean, sd):
    return norm.ppf(LEVELS, np.asarray(mean)[..., None], np.asarray(sd)[..., None])


def test_probability_is_the_level_at_stored_quantiles_and_linear_between():
    rows = normal_quantiles([0.3, 0.7], [0.1, 0.02])
    for k in (0, 5, len(LEVELS) - 1):
        found = [probability_below(row, LEVELS, row[k]) for row in rows]
        np.testing.assert_allclose(found, LEVELS[k], atol=1e-6)
    middle = (rows[0, 4] + rows[0, 5]) / 2
    assert probability_below(rows[0], LEVELS, middle) == pytest.approx((LEVELS[4] + LEVELS[5]) / 2)


def test_probability_of_a_normal_is_known_to_the_spacing_of_the_levels():
    """Between levels 1/16 apart a linear interpolation of this cdf is off by at most 0.007."""
    row = normal_quantiles(0.5, 0.1)
    for threshold in np.linspace(0.3, 0.7, 41):
        exact = norm.cdf(threshold, 0.5, 0.1)
        assert probability_below(row, LEVELS, threshold) == pytest.approx(exact, abs=0.0075)


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=19, max_size=19),
    st.floats(-6, 6),
    st.floats(0, 3),
)
def test_probability_is_a_distribution_function(values, threshold, more):
    row = np.sort(np.array(values, np.float32))
    low, high = (float(probability_below(row, LEVELS, t)) for t in (threshold, threshold + more))
    assert 0 <= low <= high <= 1


def test_missing_voxels_stay_missing_and_pieces_do_not_show():
    rows = np.tile(normal_quantiles(0.5, 0.1), (70_000, 1)).astype(np.float32)
    rows[65_536] = np.nan
    found = probability_below(rows.reshape(7, 100, 100, -1), LEVELS, 0.5)
    assert found.shape == (7, 100, 100)
    assert np.flatnonzero(np.isnan(found)).tolist() == [65_536]
    np.testing.assert_allclose(found[np.isfinite(found)], 0.5, atol=1e-6)
    assert probability_below(rows[:0], LEVELS, 0.5).shape == (0,)


@pytest.mark.parametrize("number", [2, 3, 19])
def test_compiled_probabilities_are_the_same_to_the_last_bit(number, monkeypatch):
    rows = np.sort(np.random.default_rng(number).standard_normal((40_000, number)).astype(np.float32), 1)
    rows[::7] = rows[::7].round()  # some quantiles are equal, also to the threshold
    rows[5::11] = np.nan
    levels = (np.arange(number) + 0.5) / number
    thresholds = (-9.0, -0.7, 0.0, 1.0, float(rows[0, 0]), 9.0)
    with np.errstate(all="ignore"):
        plain = [probability_below(rows, levels, threshold) for threshold in thresholds]
    pytest.importorskip("numba")
    monkeypatch.setattr(posteriors, "LARGE", 0)
    for threshold, expected in zip(thresholds, plain, strict=True):
        np.testing.assert_array_equal(probability_below(rows, levels, threshold), expected)


def test_without_numba_large_volumes_are_computed_plainly(monkeypatch):
    monkeypatch.setattr(posteriors, "LARGE", 0)
    monkeypatch.setitem(sys.modules, "INNDisplayLib.numbers.kernels", None)
    monkeypatch.delattr("INNDisplayLib.numbers.kernels", raising=False)
    assert posteriors.compiled_loops(10) is None
    row = normal_quantiles(0.5, 0.1).astype(np.float32)
    assert probability_below(row, LEVELS, 0.5) == pytest.approx(0.5)


def test_equal_quantiles_are_a_step():
    row = np.full(len(LEVELS), 0.4)
    assert probability_below(row, LEVELS, 0.39) == 0
    assert probability_below(row, LEVELS, 0.41) == 1


def test_interval_ends_are_the_stored_ones():
    low, median, high = interval_at(normal_quantiles(2.0, 0.5), LEVELS, 0.95)
    assert (low, median, high) == pytest.approx(norm.ppf([0.025, 0.5, 0.975], 2.0, 0.5))


def test_density_integrates_to_one_also_at_a_bound():
    values, height = density(normal_quantiles(0.5, 0.1), LEVELS, 0.0, 1.0)
    assert np.trapezoid(height, values) == pytest.approx(1, abs=2e-3)
    assert values[height.argmax()] == pytest.approx(0.5, abs=0.01)
    # Half a normal at its bound: highest there, nothing beyond.
    half = norm.ppf((1 + LEVELS) / 2, 0.0, 0.1)
    values, height = density(half, LEVELS, 0.0, np.inf)
    assert values[0] == 0
    assert np.trapezoid(height, values) == pytest.approx(1, abs=5e-3)
    assert height[0] > 0.95 * height.max()


def test_peaks_of_a_mixture_have_its_places_and_masses():
    grid = np.linspace(-4, 4, 4001)
    cdf = 0.7 * norm.cdf(grid, -1.5, 0.4) + 0.3 * norm.cdf(grid, 1.0, 0.3)
    values, height = density(np.interp(LEVELS, cdf, grid), LEVELS, -np.inf, np.inf)
    first, second = peaks(values, height)
    assert (first.value, second.value) == pytest.approx((-1.5, 1.0), abs=0.15)
    assert (first.mass, second.mass) == pytest.approx((0.7, 0.3), abs=0.04)
    (only,) = peaks(*density(normal_quantiles(0.0, 1.0), LEVELS, -np.inf, np.inf))
    assert only.mass == 1


def test_shared_errors_make_the_mean_as_wide_as_its_voxels():
    rows = normal_quantiles([0.2, 0.4, 0.6], [0.05, 0.1, 0.15])
    found = region_mean(rows, LEVELS, np.ones(3, bool))
    # Fully shared errors: one normal number moves all three, so that the spreads add up.
    assert found.shared == pytest.approx(norm.ppf([0.025, 0.5, 0.975], 0.4, 0.1))
    assert found.expected == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize("voxels", [30, 400])
def test_independent_errors_average_out(voxels):
    """Few voxels by drawing, many by the normal law; levels cut the tails, which costs 2 % of the spread."""
    rows = normal_quantiles(np.full(voxels, 0.5), np.full(voxels, 0.1))
    found = region_mean(rows, LEVELS, np.ones(voxels, bool))
    exact = 1.96 * 0.1 / np.sqrt(voxels)
    low, median, high = found.independent
    assert median == pytest.approx(0.5, abs=0.1 * exact)
    assert (high - low) / 2 == pytest.approx(exact, rel=0.06)
    assert found.shared[0] < low < high < found.shared[2]


def test_the_expected_mean_of_skewed_posteriors_is_not_the_mean_of_medians():
    skewed = norminvgauss(2.0, 1.8)
    rows = np.tile(skewed.ppf(LEVELS), (100, 1))
    found = region_mean(rows, LEVELS, np.ones(100, bool))
    assert found.expected == pytest.approx(skewed.mean(), rel=0.05)
    assert skewed.median() < 0.9 * skewed.mean()
    assert found.shared[1] == pytest.approx(skewed.median(), rel=1e-6)


def test_withheld_voxels_are_left_out_and_counted():
    rows = normal_quantiles([0.2, 0.9, 0.4], [0.1, 0.1, 0.1])
    rows[2] = np.nan
    found = region_mean(rows, LEVELS, np.array([True, False, True]))
    assert (found.voxels, found.left_out) == (1, 2)
    assert found.expected == pytest.approx(0.2, abs=1e-6)
    with pytest.raises(ValueError, match="3 voxels and none that can be trusted"):
        region_mean(rows, LEVELS, np.zeros(3, bool))
