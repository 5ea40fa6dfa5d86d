"""The difference of two angles is at most half a turn; classes have none."""

from __future__ import annotations

import json

import driving  # it installs what stands in for Slicer
import numpy as np
import pytest
from made_results import finished, turned, write_result
from scipy.optimize import brentq
from scipy.stats import norm

from INNDisplayLib import (  # isort: skip
    compare,
    difference_quantiles,
    posterior_of_change,
    read_region,
    read_result,
    region_mean,
    store,
)


_WANTED = np.array([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])
_LEVELS = np.array(sorted({0.025, 0.5, 0.975, *((np.arange(16) + 0.5) / 16)}))
_MANY = (np.arange(96) + 0.5) / 96


def wrapped_normal(sd, levels):
    """Quantiles in degrees about the mean of a normal law on the circle, which is cut opposite to it."""
    turns = 360 * np.arange(-3, 4)

    def below(x):
        return (norm.cdf((x + turns) / sd) - norm.cdf((turns - 180) / sd)).sum()

    return np.array([brentq(lambda x, u=u: below(x) - u, -180, 180) for u in levels])


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [(0.5, 359.5, -1), (359, 0, 1), (350, 20, 30), (20, 350, -30), (90, 100, 10)],
)
@pytest.mark.parametrize("is_swapped", [False, True])
def test_narrow_angles_turn_the_short_way(before, after, change, is_swapped):
    """Normal posteriors far from filling the circle; quantiles may lie beyond its bounds, samples may not."""
    sizes = (5.0, 2.0) if is_swapped else (2.0, 5.0)
    total = np.hypot(*sizes)
    exact = change + total * norm.ppf(_WANTED)
    stored = [at + sd * norm.ppf(_LEVELS)[None] for at, sd in zip((before, after), sizes, strict=True)]
    found = difference_quantiles(*stored, _WANTED, (_LEVELS, _LEVELS), 360)[0]
    np.testing.assert_allclose(found, exact, atol=0.02 * total)
    samples = [(at + sd * norm.ppf(_MANY)[None]) % 360 for at, sd in zip((before, after), sizes, strict=True)]
    found = difference_quantiles(*samples, _WANTED, (None, None), 360)[0]
    np.testing.assert_allclose(found, exact, atol=0.02 * total)


@pytest.mark.parametrize("center", [0, 100, 170, -150])
def test_wide_angles_have_the_wrapped_normal_difference(center):
    """Variances add on the circle too. A third of a turn is one standard deviation of the two."""
    sizes = 60.0, 104.0
    exact = center + wrapped_normal(np.hypot(*sizes), _WANTED)
    samples = [
        (at + wrapped_normal(sd, _MANY))[None] % 360
        for at, sd in zip((200, 200 + center), sizes, strict=True)
    ]
    found = difference_quantiles(*samples, _WANTED, (None, None), 360)[0]
    np.testing.assert_allclose(found, exact, atol=3)  # of 120
    assert abs(found[3]) <= 180


def test_angles_of_which_nothing_is_known_differ_by_anything():
    """The interval of 95 % has 95 % of the circle."""
    angles = 360 * _MANY[None]
    low, middle, high = difference_quantiles(
        angles, angles, np.array([0.025, 0.5, 0.975]), (None, None), 360
    )[0]
    assert high - low == pytest.approx(0.95 * 360, abs=360 / 96)
    assert abs(middle) <= 180


def test_a_turn_in_any_unit():
    radians = [np.radians(np.array([[at]])) for at in (358.0, 3.0)]
    found = difference_quantiles(*radians, np.array([0.5]), (None, None), 2 * np.pi)
    np.testing.assert_allclose(np.degrees(found), 5, atol=1e-3)


# Results: the third parameter is an angle, on a circle of 45; the second day has nine tenths of it more.


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("turns")
    return turned(write_result(place / "day 1")), turned(write_result(place / "day 8", seed=1, shift=0.9))


@pytest.fixture
def days(scene, folders):
    return [store(scene, read_result(folder), folder.name) for folder in folders]


def short_way(days):
    """Difference of the medians by complex numbers."""
    old, new = (day.array("median", "a_mie") for day in days)
    return np.angle(np.exp(2j * np.pi * (new - old) / 45)) * 45 / (2 * np.pi)


def test_the_change_of_an_angle_goes_the_short_way(scene, days):
    run = store(scene, finished(posterior_of_change(*days, "a_mie")), "change")
    (shown,) = run.parameters
    assert (shown.low, shown.high, shown.turn) == (-22.5, 22.5, 45)
    valid, expected = run.usable(), short_way(days)
    assert expected[valid].mean() == pytest.approx(-4.5, abs=0.3)  # four standard errors
    np.testing.assert_allclose(run.array("median", "a_mie_change")[valid], expected[valid], atol=0.01)


def test_the_map_of_the_difference_goes_the_short_way(scene, days):
    found = compare(*days, "a_mie")
    volume = days[0].array("difference", "a_mie")
    known = np.isfinite(volume)
    np.testing.assert_allclose(volume[known], short_way(days)[known], atol=1e-4)
    assert found.voxels == known.sum()
    assert 4 < found.median < 5  # a tenth of the circle
    # The widest intervals, ± 1.96 · .12 turns, overlap by far; the narrowest, ± .04, do not.
    reach = [day.array("interval_width", "a_mie") / 2 for day in days]
    apart = np.abs(short_way(days)) > reach[0] + reach[1]
    assert found.contradicting == pytest.approx(apart[known].mean(), abs=0.01)
    assert 0 < found.contradicting < 1


@pytest.mark.parametrize("made", [compare, lambda *given: next(posterior_of_change(*given))])
def test_classes_are_refused(days, made):
    with pytest.raises(
        ValueError, match="Blood volume fraction is a class, and classes have no difference; select another"
    ):
        made(*days, "vhb")


@pytest.mark.parametrize(("middle", "expected"), [(180, 358), (0, -2)])
@pytest.mark.parametrize("voxels", [3, 51])
def test_the_mean_of_angles_over_a_region_lies_among_them(voxels, middle, expected):
    """Normal posteriors at 340, 0 and 14 degrees, some of them a turn away; one that is not trusted."""
    centers = np.resize([340.0, 360.0, 14.0], voxels) + np.resize([0, -360], voxels)
    rows = np.append(centers, 180.0)[:, None] + 5 * norm.ppf(_LEVELS)
    found = region_mean(rows, _LEVELS, np.arange(voxels + 1) < voxels, 0.95, 360.0, middle)
    assert found.expected == pytest.approx(expected, abs=1e-4)
    assert found.shared == pytest.approx(expected + 5 * norm.ppf([0.025, 0.5, 0.975]))
    reach = 5 * norm.ppf(0.975) / np.sqrt(voxels)
    np.testing.assert_allclose(found.independent, expected + reach * np.array([-1, 0, 1]), atol=0.1 * reach)


def test_a_region_has_the_mean_of_an_angle_and_none_of_a_class(days):
    node, segment = driving.sphere(days[0].find("median", "a_mie"), 5.0)
    mean = read_region(days[0], node, segment, "a_mie").mean
    medians = days[0].array("median", "a_mie")[days[0].usable()]
    assert medians.min() < mean.expected < medians.max()
    with pytest.raises(ValueError, match="Blood volume fraction is a class, and classes have no mean; sel"):
        read_region(days[0], node, segment, "vhb")


def test_the_record_says_what_is_an_angle_and_what_a_class():
    from monai_inn.problems import Parameter
    from monai_inn.reports.records import _described
    from monai_inn.reports.scales import prior_scale

    rows = [
        _described(p, prior_scale(p))
        for p in (
            Parameter("tilt", "deg", 0.0, 360.0, "tilt", is_periodic=True),
            Parameter("kind", "1", 0.0, 2.0, "kind", categories=("a", "b")),
            Parameter("depth", "mm", 0.0, 2.0, "depth"),
        )
    ]
    keys = "turn", "is_class"
    told = [{key: row[key] for key in keys if key in row} for row in rows]
    assert told == [{"turn": 360.0}, {"is_class": True}, {}]
    assert json.loads(json.dumps(rows)) == rows
