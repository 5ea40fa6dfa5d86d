"""Missing entries of series in images: which of them leave a voxel valid."""

from __future__ import annotations

import pytest
import torch
from exact_networks import Trend, exact_fit

from monai_inn.problems import Observation

NAN = torch.nan
TWO = Observation.series(3, "tissue", "artery", context=("time",))


def image_of(y):
    return y.T.reshape(1, y.shape[1], -1, 4)


def test_a_voxel_with_missing_entries_is_answered_by_the_others():
    """As the posterior of the entries that are left says; voxels beside it do not change."""
    problem = Trend()
    fitted = exact_fit(problem)
    y = problem.simulate(24, seed=1)[1]
    some = y.clone()
    some[3, 2:9] = NAN
    some[5, 4], some[5, problem.most + 4] = NAN, NAN  # without its time, too
    whole, maps = (fitted.maps(image_of(rows), samples=65, batched=True) for rows in (y, some))
    assert maps["valid"].all()
    found, before = (m["median"].as_tensor().flatten() for m in (maps, whole))
    changed = torch.nonzero(found != before).flatten().tolist()
    assert changed == [3, 5]
    q = fitted.network.posterior(some[changed])
    torch.testing.assert_close(found[changed].double(), q.mean[:, 0], rtol=0, atol=0.1 * float(q.sd.min()))


def test_voxels_without_a_measurement_are_not_answered():
    problem = Trend()
    y = problem.simulate(24, seed=1)[1]
    y[0, : problem.most] = NAN
    y[1, : problem.most] = 0.0
    y[2, : problem.most] = torch.where(torch.arange(problem.most) % 2 == 0, 0.0, NAN)
    y[3, 0] = torch.inf
    y[4, problem.most] = NAN  # an entry without its time
    y[5, 1 : problem.most] *= 0.0  # a single value is a measurement
    maps = exact_fit(problem).maps(image_of(y), samples=8, batched=True)
    assert torch.nonzero(maps["valid"].flatten() == 0).flatten().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(maps["median"].flatten().isnan(), maps["valid"].flatten() == 0)


@pytest.mark.parametrize(
    ("row", "is_blank"),
    [
        ([0, 5, 0, 6, 0, 7, 1, 2, 3], True),  # the artery is the same in every voxel
        ([0, 5, NAN, NAN, 0, 7, 1, NAN, 3], True),
        ([0, 0, 1, 0, 0, 0, 1, 2, 3], False),
        ([1, 0, 2, 0, 3, 0, 1, 2, 3], False),
    ],
)
def test_the_first_value_of_each_entry_is_that_of_the_voxel(row, is_blank):
    assert TWO.is_blank(torch.tensor([row])).tolist() == [is_blank]


def test_a_neighbourhood_has_no_settings():
    with pytest.raises(ValueError, match=r"has no settings, but context = \('te',\); make them parameters"):
        Observation(("v",), "neighbourhood", (3, 3), context=("te",))


def test_a_pixel_of_zeros_is_a_measurement():
    assert not Observation.pixel("a", "b").is_blank(torch.zeros(1, 2))
    assert not Observation.neighbourhood((3, 3), "a").is_blank(torch.zeros(1, 9))
