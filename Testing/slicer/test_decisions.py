"""Regions of decision against scipy, enumeration and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from INNDisplayLib import (
    Division,
    Region,
    label_regions,
    merge_islands,
    posteriors,
    region_volume,
)
from scipy.ndimage import generate_binary_structure, label

CERTAIN, POSSIBLE, UNKNOWN = Region.CERTAIN, Region.POSSIBLE, Region.UNKNOWN
FACES = generate_binary_structure(3, 1)
# How much each label claims: certain, and certainly not, more than possible, and that more than unknown.
CLAIM = np.array([2, 2, 1, 0])


def islands(labels, value):
    """Islands of a label by scipy: their number at each voxel, and their sizes."""
    pieces, count = label(labels == value, FACES)
    return pieces, np.bincount(pieces.ravel(), minlength=count + 1)[1:]


def test_regions_are_divided_at_the_stated_probabilities():
    p = np.float32([0, 0.049, 0.05, 0.5, 0.949, 0.95, 1, np.nan, 0.99, 0.0])
    withheld = np.zeros(10, bool)
    withheld[8:] = True
    found = label_regions(p, withheld, Division())
    assert found.tolist() == [0, 0, POSSIBLE, POSSIBLE, POSSIBLE, CERTAIN, CERTAIN, UNKNOWN, UNKNOWN, UNKNOWN]
    stricter = label_regions(p, withheld, Division(certain=0.99, possible=0.3))
    assert stricter.tolist()[:7] == [0, 0, 0, POSSIBLE, POSSIBLE, POSSIBLE, CERTAIN]
    above = Division(is_above=True).event(p)
    assert label_regions(above, withheld, Division()).tolist()[:2] == [CERTAIN, CERTAIN]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"certain": 0.05}, "the first of them the larger"),
        ({"certain": float("nan")}, "must be probabilities"),
        ({"possible": 0.0}, "probabilities above 0"),
        ({"smallest": -1.0}, "give 0 or a positive size"),
        ({"smallest": float("nan")}, "give 0 or a positive size"),
    ],
)
def test_division_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Division(**options)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shape", [(5, 12, 9), (1, 20, 15), (4, 1, 30), (7, 8, 1)])
def test_dissolved_islands_are_those_of_scipy_and_nothing_gains_certainty(seed, shape):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 4, [max(1, n // 2) for n in shape]).astype(np.uint8)
    labels = np.stack([np.resize(np.kron(part, np.ones((2, 2), np.uint8)), shape[1:]) for part in
                       coarse[np.arange(shape[0]) % len(coarse)]])  # fmt: skip
    noisy = generator.random(shape) < 0.15
    labels[noisy] = generator.integers(0, 4, noisy.sum())
    least = 6
    found = merge_islands(labels, least)
    changed = np.zeros(shape, bool)
    for value in (0, CERTAIN):
        pieces, sizes = islands(labels, value)
        changed |= np.append(False, sizes < least)[pieces]
        assert (islands(found, value)[1] >= least).all()
    assert changed.any()
    np.testing.assert_array_equal(found != labels, changed)
    assert (CLAIM[found] <= CLAIM[labels]).all()
    assert (CLAIM[found[changed]] < 2).all()


def test_an_island_gets_what_holds_for_it_and_for_most_around_it():
    for inside, outside, expected in itertools.product((0, 1, 2, 3), (0, 1, 2, 3), (None,)):
        labels = np.full((5, 5, 5), outside, np.uint8)
        labels[2, 2, 2] = inside
        expected = inside
        if inside != outside and inside in (0, CERTAIN):
            expected = UNKNOWN if outside == UNKNOWN else POSSIBLE
        assert merge_islands(labels, 2)[2, 2, 2] == expected, (inside, outside)
    labels = np.full((1, 3, 3), POSSIBLE, np.uint8)
    labels[0, 1, 1] = CERTAIN
    labels[0, 0, 1] = labels[0, 1, 0] = UNKNOWN  # as many faces of the one as of the other
    assert merge_islands(labels, 2)[0, 1, 1] == UNKNOWN


def test_islands_touch_by_faces_not_across_the_ends_of_rows():
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[0, 0, 3] = labels[0, 1, 0] = labels[1, 0, 0] = labels[0, 2, 3] = (
        CERTAIN  # neighbors in memory only
    )
    assert (merge_islands(labels, 2) == CERTAIN).sum() == 0
    np.testing.assert_array_equal(merge_islands(labels, 1), labels)
    full = np.full((2, 2, 2), CERTAIN, np.uint8)
    np.testing.assert_array_equal(merge_islands(full, 1e9), full)  # all there is, and nothing around it


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shape", [(5, 12, 9), (1, 20, 15), (4, 1, 30), (7, 8, 1), (1, 1, 1)])
def test_compiled_islands_are_the_same(seed, shape, monkeypatch):
    generator = np.random.default_rng(seed)
    share = generator.uniform(0.05, 0.6)
    labels = np.where(generator.random(shape) < share, generator.integers(0, 4, shape), seed % 4)
    labels = labels.astype(np.uint8)
    expected = [merge_islands(labels, least) for least in (2, 6, 1e9)]
    pytest.importorskip("numba")
    monkeypatch.setattr(posteriors, "LARGE", 0)
    for least, plain in zip((2, 6, 1e9), expected, strict=True):
        np.testing.assert_array_equal(merge_islands(labels, least), plain)


def enumerated(probability):
    """Distribution of the number of independent events, by all their outcomes."""
    share = np.zeros(len(probability) + 1)
    for outcome in itertools.product((0, 1), repeat=len(probability)):
        share[sum(outcome)] += np.prod(np.where(outcome, probability, 1 - probability))
    return share


@pytest.mark.parametrize("seed", range(5))
def test_independent_counts_are_those_of_enumeration(seed):
    p = np.random.default_rng(seed).beta(0.5, 0.5, 11)
    p[:2] = 1.0, 0.0
    below = enumerated(p).cumsum()
    for mass in (0.95, 0.4):
        levels = ((1 - mass) / 2, 0.5, (1 + mass) / 2)
        expected = [int(np.argmax(below >= level - 1e-12)) for level in levels]
        assert region_volume(p, np.zeros(11, bool), 1.0, mass).independent == tuple(expected)


def test_many_independent_counts_are_normal_to_within_a_voxel():
    p = np.random.default_rng(0).random(2000)
    more = np.append(p, 1e-12)  # one more than is counted exactly
    exact, normal = (region_volume(each, np.zeros(len(each), bool), 1.0).independent for each in (p, more))
    np.testing.assert_allclose(normal, exact, atol=1.0)


@pytest.mark.parametrize("seed", range(5))
def test_shared_volume_is_that_of_brute_force_over_the_common_level(seed):
    generator = np.random.default_rng(seed)
    p = generator.random(200).astype(np.float32)
    found = region_volume(p.reshape(4, 5, 10), np.zeros((4, 5, 10), bool), 2.5)
    level = (np.arange(200_000) + 0.5) / 200_000  # of all voxels at once: those with p above it belong
    count = np.searchsorted(np.sort(p), level)
    volumes = 2.5 * np.quantile(len(p) - count, (0.025, 0.5, 0.975), method="inverted_cdf")
    np.testing.assert_allclose(found.shared, volumes, atol=2.5 * 0.01)
    assert found.expected == pytest.approx(2.5 * p.sum(), rel=1e-6)


def test_volume_of_a_known_map():
    """Ten voxels for sure, four with probability one half, two not trusted, one not known."""
    p = np.zeros((1, 5, 8))
    p[0, :2, :5] = 1.0
    p[0, 2, :4] = 0.5
    withheld = np.zeros(p.shape, bool)
    withheld[0, 0, 6:] = True
    p[0, 4, 7] = np.nan
    p[0, 0, 6] = 1.0
    found = region_volume(p, withheld, 0.5, unit="mm²")
    assert (found.expected, found.unknown) == (6.0, 1.5)
    assert found.shared == (5.0, 5.0, 7.0)  # at levels above one half none of the four belongs
    assert found.independent == (5.0, 6.0, 7.0)  # P(none of four) = 1/16
    assert found.text.splitlines()[0] == "Area: 6 mm² expected."
    assert "if errors are fully shared: 5–7 mm²" in found.text
    assert found.text.endswith("none of these numbers: 1.5 mm²")


def test_nothing_that_is_trusted_has_no_volume():
    found = region_volume(np.full((1, 2, 2), 0.7), np.ones((1, 2, 2), bool), 1.0)
    assert (found.expected, found.shared, found.independent, found.unknown) == (0, (0, 0, 0), (0, 0, 0), 4)
