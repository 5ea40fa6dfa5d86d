"""Medians over pixels, of numbers and of angles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_inn.reports.records import middle, middle_of


def test_the_lower_median_of_numbers():
    values = np.array([4.0, 1.0, 3.0, 2.0])
    assert middle_of(values) == 2.0 == float(torch.from_numpy(values).median())
    assert middle_of(values[:0]) is None


@pytest.mark.parametrize("low", [-180.0, 0.0, 90.0])
@pytest.mark.parametrize("cut", range(-200, 200, 37))
def test_the_median_of_angles_turns_with_them(low, cut):
    """Turned by any angle, the median is that of the numbers turned likewise, wherever the circle is cut."""
    values = np.array([-30.0, -25.0, -20.0, 1.0, 5.0, 10.0])
    turned = (values + cut - low) % 360 + low
    expected = (np.quantile(values, 0.5, method="lower") + cut - low) % 360 + low
    assert middle_of(turned, low, 360.0) == pytest.approx(expected)
    row = middle("deg", torch.from_numpy(turned), torch.full((6,), 3.0), low, 360.0)
    assert row == {"unit": "deg", "median_of_medians": pytest.approx(expected), "median_interval_width": 3.0}
