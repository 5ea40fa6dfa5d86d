"""A line through voxels against closed forms and dense sampling."""

from __future__ import annotations

import numpy as np
import pytest
from INNDisplayLib import any_event, carried_points, path_through, risk_along, tube_radius
from scipy.spatial.transform import Rotation

SHAPE = 6, 9, 11


def along_axis():
    index = np.array([[-2.0, 4, 3], [13, 4, 3]])
    return path_through(index, index * 0.5, SHAPE)


def test_a_line_along_an_axis_meets_each_voxel_once():
    path = along_axis()
    assert path.voxels.tolist() == [[3, 4, i] for i in range(-2, 14)]
    np.testing.assert_array_equal(path.inside, [0 <= i < 11 for i in range(-2, 14)])
    np.testing.assert_allclose(path.lengths, [0.25, *[0.5] * 14, 0.25])
    assert path.length == pytest.approx(7.5)


@pytest.mark.parametrize("seed", range(10))
def test_an_oblique_line_is_that_of_dense_sampling(seed):
    generator = np.random.default_rng(seed)
    index = generator.uniform(-3, 12, (2, 3))
    places = generator.uniform(-50, 50, (2, 3))
    path = path_through(index, places, SHAPE)
    share = (np.arange(100_000) + 0.5) / 100_000
    dense = np.floor(index[0] + share[:, None] * (index[1] - index[0]) + 0.5).astype(int)[:, ::-1]
    is_new = np.append(True, (dense[1:] != dense[:-1]).any(1))
    length = np.linalg.norm(places[1] - places[0])
    assert path.length == pytest.approx(length)
    assert (path.lengths > 0).all()
    long = path.lengths > 2e-5 * length  # shorter pieces may lie between two samples
    seen = {tuple(v): n for v, n in zip(*np.unique(dense[is_new], axis=0, return_counts=True), strict=True)}
    assert {tuple(v) for v in path.voxels[long]} <= set(seen)
    assert set(seen) <= {tuple(v) for v in path.voxels}
    for voxel, mm in zip(path.voxels, path.lengths, strict=True):
        share_inside = (dense == voxel).all(1).mean()
        assert mm == pytest.approx(share_inside * length, abs=3e-5 * length)
    np.testing.assert_array_equal(
        path.inside, [all(0 <= v < n for v, n in zip(w, SHAPE, strict=True)) for w in path.voxels]
    )


def test_a_line_of_many_pieces_is_the_line_of_one():
    index = np.array([[0.2, 1.1, 0.3], [9.7, 6.4, 4.9]])
    places = index * [0.5, 0.7, 2.0]
    one = path_through(index, places, SHAPE)
    share = np.linspace(0, 1, 57)[:, None]
    many = path_through(*(p[0] + share * (p[1] - p[0]) for p in (index, places)), SHAPE)
    np.testing.assert_array_equal(many.voxels, one.voxels)
    np.testing.assert_allclose(many.ends, one.ends, atol=1e-6)


def test_any_event_at_both_ends_of_dependence():
    p = np.array([0.1, 0.2, 0.5])
    assert any_event(p) == (0.5, pytest.approx(1 - 0.9 * 0.8 * 0.5))
    assert any_event(p[:0]) == (0.0, 0.0)
    level = np.random.default_rng(0).random((200_000, 3))
    drawn = (level < p).any(1).mean(), (level[:, :1] < p).any(1).mean()
    np.testing.assert_allclose(drawn, any_event(p)[::-1], atol=4 * 0.5 / np.sqrt(200_000))


def test_risk_counts_trusted_voxels_and_the_length_of_all_others():
    path = along_axis()
    probability = np.full(16, np.nan)
    probability[2:13] = 0.0
    probability[6], probability[9], probability[11] = 0.3, 0.2, 1.0
    trusted = path.inside.copy()
    trusted[11] = False
    risk = risk_along(path, probability, trusted)
    assert (risk.low, risk.high) == (pytest.approx(0.3), pytest.approx(1 - 0.7 * 0.8))
    assert risk.unknown_mm == pytest.approx(7.5 - 11 * 0.5 + 0.5)
    assert risk.at_mm == pytest.approx(0.25 + 5.5 * 0.5)
    assert risk.order[0] == 1.0
    assert risk.order > risk_along(path, probability * 0, path.inside | True).order


def test_points_are_carried_as_the_poses_say():
    """The camera of the plan is moved; what it sees of the patient moves with it."""
    shown, other = np.eye(4), np.eye(4)
    shown[:3, :3] = Rotation.from_euler("xyz", (20, 10, 5), degrees=True).as_matrix()
    shown[:3, 3] = 3, 4, 5
    other[:3] = shown[:3]
    other[:3, 3] += (1.0, 0, -2)
    points = np.array([[10.0, 0, 0], [0, 20, 7]])
    carried = carried_points(np.stack([shown, other]), shown, points)
    np.testing.assert_allclose(carried, [points, points + np.array([1, 0, -2])], atol=1e-12)


def test_tube_holds_the_stated_share_of_lines():
    line = np.array([[0.0, 0, 0], [0, 0, 10]])
    off = np.linspace(0, 1, 101)
    lines = np.broadcast_to(line, (101, 2, 3)).copy()
    lines[:, 1, 0] += off
    lines[:, 0, 2] += 5  # along the line nothing is lost
    assert tube_radius(lines, line) == pytest.approx(0.95)
