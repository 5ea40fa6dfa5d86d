"""Width and shift of posteriors from the truth's normal scores."""

import math

import pytest
import torch
from scipy.stats import binom, kstest

from monai_inn.metrics.calibration.coverage import (
    needed_cases_for_shift,
    needed_cases_for_width,
    width_and_shift,
)

SEED = 0


def pit_of(width, shift, n, d=1, seed=SEED):
    """Transform of the truth under Gaussian posteriors of this width and offset against the exact one."""
    truth = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.special.ndtr((truth - shift * width) / width)


def test_exact_posteriors_raise_false_alarms_at_the_nominal_rate():
    repeats, n = 400, 50
    pit = torch.rand(n, repeats, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    result = width_and_shift(pit)
    for p in (result.width_p, result.shift_p):
        assert kstest(p.numpy(), "uniform").pvalue > 0.001
        alarms = int((p < 0.05).sum())
        assert binom.ppf(0.0005, repeats, 0.05) <= alarms <= binom.ppf(0.9995, repeats, 0.05)
    for low, neutral, high in (
        (result.width_low, 1, result.width_high),
        (result.shift_low, 0, result.shift_high),
    ):
        # The bounds are asymptotic, and 50 cases are few: a little below the nominal 95 %.
        covered = int(((low <= neutral) & (neutral <= high)).sum())
        assert covered >= binom.ppf(0.0005, repeats, 0.92)


@pytest.mark.parametrize(("width", "shift"), [(1.0, 0.0), (0.9, 0.0), (1.2, -0.1), (0.7, 0.3)])
def test_width_and_shift_of_gaussian_posteriors_are_found(width, shift):
    n = 40_000
    result = width_and_shift(pit_of(width, shift, n))
    # The scores are normal with standard deviation 1 / width.
    assert float(result.width) == pytest.approx(width, abs=4.5 * width / math.sqrt(2 * n))
    assert float(result.shift) == pytest.approx(shift, abs=4.5 / width / math.sqrt(n))
    assert result.width_low < result.width < result.width_high
    assert result.shift_low < result.shift < result.shift_high
    # Half the length of a 95 % interval of a standard deviation.
    half = 1.96 * width / math.sqrt(2 * n)
    assert float(result.width_high - result.width_low) / 2 == pytest.approx(half, rel=0.1)


def test_needed_cases_give_the_promised_power():
    repeats = 400
    for needed, width, shift in (
        (needed_cases_for_width(0.1), 0.9, 0.0),
        (needed_cases_for_shift(0.1), 1.0, 0.1),
    ):
        result = width_and_shift(pit_of(width, shift, needed, repeats))
        p = result.width_p if width != 1 else result.shift_p
        seen = int((p < 0.05).sum())
        # The formula is that of small deviations; at 10 % it is a few per cent on the safe side.
        assert binom.ppf(0.001, repeats, 0.78) <= seen <= binom.ppf(0.999, repeats, 0.9)
    assert needed_cases_for_width(0.1) == 393
    assert needed_cases_for_shift(0.1) == 785


@pytest.mark.parametrize(
    ("pit", "message"),
    [
        (torch.full((19, 1), 0.5), "19 cases are too few"),
        (torch.tensor([[0.0], [1.0]]), "strictly inside"),
        (torch.rand(40), "cases, parameters"),
    ],
)
def test_bad_input_is_refused(pit, message):
    with pytest.raises(ValueError, match=message):
        width_and_shift(pit)


def test_deviation_must_be_positive():
    with pytest.raises(ValueError, match="positive deviation"):
        needed_cases_for_width(0.0)
