"""Distances in units of the tolerance, and who is matched with whom."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from monai_inn.metrics.modes import Mode, ModeSpace, Pose, match, mode_distance
from monai_inn.metrics.modes.matching import assign

SEED = 0
VECTOR = ModeSpace([5.0] * 3 + [2.0] * 3, poses=[Pose((0, 1, 2), (3, 4, 5))])
QUATERNION = ModeSpace([5.0] * 4 + [2.0] * 3, poses=[Pose((0, 1, 2, 3), (4, 5, 6))])


def mode(place, mass=1.0, spread=1.0):
    place = torch.as_tensor(place, dtype=torch.float64).reshape(-1)
    return Mode(place, mass, torch.full_like(place, spread), None)


def pose(rotation, translation, space):
    values = rotation.as_rotvec() if space is VECTOR else np.roll(rotation.as_quat(), 1)
    return torch.as_tensor(np.concatenate([values, translation]))


@settings(max_examples=100)
@given(st.floats(-500, 500), st.floats(-500, 500), st.integers(-2, 2))
def test_linear_and_periodic_distance(a, b, turns):
    space = ModeSpace([0.5, 10.0], period=[math.inf, 360.0])
    around = abs((a - b + 180) % 360 - 180) / 10
    first, second = torch.tensor([a, a + 360.0 * turns]), torch.tensor([b, b])
    expected = max(abs(first[0].item() - second[0].item()) / 0.5, around)
    assert float(space.distance(first, second)) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert float(space.distance(second, first)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_tolerance_is_a_box_and_its_edge_counts():
    space = ModeSpace([0.05, 2.0])
    zero = torch.zeros(2)
    assert float(space.distance(zero, torch.tensor([0.05, 2.0], dtype=torch.float64))) == 1
    assert float(space.distance(zero, torch.tensor([0.049, 1.99]))) < 1
    assert float(space.distance(zero, torch.tensor([0.051, 0.0]))) > 1


@pytest.mark.parametrize("space", [VECTOR, QUATERNION])
def test_pose_distance_is_the_geodesic_and_the_length(space):
    rng = np.random.default_rng(SEED)
    for _ in range(30):
        p, q = Rotation.random(random_state=rng), Rotation.random(random_state=rng)
        s, t = rng.normal(size=3), rng.normal(size=3)
        degrees = math.degrees((p.inv() * q).magnitude())
        expected = max(degrees / 5, float(np.linalg.norm(s - t)) / 2)
        assert float(space.distance(pose(p, s, space), pose(q, t, space))) == pytest.approx(expected)
    # 4.9° about any axis is inside a tolerance of 5°, 5.1° is not; the same for 1.9 and 2.1 mm.
    for degrees, length, inside in ((4.9, 1.9, True), (5.1, 1.9, False), (4.9, 2.1, False)):
        axis = rng.normal(size=3)
        turn = Rotation.from_rotvec(math.radians(degrees) * axis / np.linalg.norm(axis))
        start = Rotation.random(random_state=rng)
        shift = length * np.array([0.0, 0.6, 0.8])
        moved = pose(start * turn, shift, space)
        assert (float(space.distance(pose(start, np.zeros(3), space), moved)) <= 1) is inside


def test_a_quaternion_is_its_negative_and_a_full_turn_is_none():
    rng = np.random.default_rng(SEED)
    p, q = (pose(Rotation.random(random_state=rng), np.zeros(3), QUATERNION) for _ in range(2))
    negative = torch.cat([-p[:4], p[4:]])
    assert float(QUATERNION.distance(p, negative)) == pytest.approx(0, abs=1e-6)
    assert float(QUATERNION.distance(negative, q)) == pytest.approx(float(QUATERNION.distance(p, q)))
    torch.testing.assert_close(QUATERNION.embed(p), QUATERNION.embed(negative))
    # Vectors of ±179.9° about one axis are opposite in sign and 0.2° apart.
    vectors = [torch.tensor([s * math.radians(179.9), 0, 0, 0, 0, 0], dtype=torch.float64) for s in (1, -1)]
    assert float(VECTOR.distance(*vectors)) == pytest.approx(0.2 / 5)


@pytest.mark.parametrize("space", [VECTOR, QUATERNION, ModeSpace([2.0, 3.0, 0.5], [math.inf, 360.0, 1.0])])
def test_embedding_keeps_small_distances_and_can_be_undone(space):
    generator = torch.Generator().manual_seed(SEED)
    values = torch.randn(50, len(space), generator=generator, dtype=torch.float64)
    back = space.restore(space.embed(values))
    # Half of the precision is lost where a small angle comes from a matrix.
    assert float(space.distance(values, back).max()) < 1e-6
    near = values.clone()
    near[:, -1] += 1e-3
    moved = (space.embed(values) - space.embed(near)).norm(dim=1)
    torch.testing.assert_close(moved, space.distance(values, near), rtol=1e-3, atol=1e-9)
    if space.poses:
        near = values.clone()
        near[:, :3] += 1e-4 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
        moved = (space.embed(values) - space.embed(near)).norm(dim=1)
        torch.testing.assert_close(moved, space.distance(values, near), rtol=1e-3, atol=1e-9)


def test_half_way_between_two_solutions():
    space = ModeSpace([1.0, 5.0], [math.inf, 360.0])
    a, b = torch.tensor([[0.0, 350.0]]).double(), torch.tensor([[2.0, 10.0]]).double()
    torch.testing.assert_close(space.middle(a, b), torch.tensor([[1.0, 360.0]]).double())
    turned = [torch.tensor([[0.0, 0.0, s, 0, 0, 0]]).double() for s in (0.1, 0.5)]
    torch.testing.assert_close(VECTOR.middle(*turned), torch.tensor([[0, 0, 0.3, 0, 0, 0]]).double())


def test_greedy_and_hungarian_by_hand():
    # The heavy mode at 0 is nearest to the reference at 0.4, which the light one at 0.9 needs, for -0.8 is
    # out of its reach: greedy makes one pair, Hungarian two.
    space, modes = ModeSpace([1.0]), [mode(0.0, 0.6), mode(0.9, 0.4)]
    references = torch.tensor([[0.4], [-0.8]])
    greedy = match(modes, references, space, "greedy")
    assert (greedy.mode.tolist(), greedy.reference.tolist()) == ([0], [0])
    assert (greedy.spare_modes.tolist(), greedy.missed_references.tolist()) == ([1], [1])
    assert greedy.distance.tolist() == pytest.approx([0.4])
    best = match(modes, references, space, "hungarian")
    assert (best.mode.tolist(), best.reference.tolist()) == ([0, 1], [1, 0])
    assert best.distance.tolist() == pytest.approx([0.8, 0.5])
    assert best.spare_modes.numel() == best.missed_references.numel() == 0


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(0, 4), st.integers(0, 4))
def test_assignments_against_brute_force(seed, num_modes, num_references):
    rng = np.random.default_rng(seed)
    distance = torch.as_tensor(rng.uniform(0, 2, (num_modes, num_references)))
    mass = torch.as_tensor(rng.uniform(0.1, 1, num_modes))
    best = (0, 0.0)
    size = min(num_modes, num_references)
    for modes in itertools.permutations(range(num_modes), size):
        for references in itertools.combinations(range(num_references), size):
            kept = [float(distance[k, r]) for k, r in zip(modes, references, strict=True)]
            kept = [d for d in kept if d <= 1]
            best = max(best, (len(kept), -sum(kept)))
    found = assign(distance, mass, "hungarian")
    assert len(found.mode) == best[0]
    assert float(found.distance.sum()) == pytest.approx(-best[1])

    free, expected = set(range(num_references)), {}
    for k in sorted(range(num_modes), key=lambda k: -float(mass[k])):
        near = min(
            (r for r in free if distance[k, r] <= 1), key=lambda r: float(distance[k, r]), default=None
        )
        if near is not None:
            expected[k] = near
            free.remove(near)
    greedy = assign(distance, mass, "greedy")
    assert dict(zip(greedy.mode.tolist(), greedy.reference.tolist(), strict=True)) == expected
    for matching in (found, greedy):
        assert len(matching.mode) + len(matching.spare_modes) == num_modes
        assert len(matching.reference) + len(matching.missed_references) == num_references


def test_no_references_and_no_modes():
    for space in (ModeSpace([1.0]), VECTOR):
        place = [0.0] * len(space)
        nothing = torch.zeros(0, len(space))
        assert match([mode(place)], nothing, space).spare_modes.tolist() == [0]
        assert match([], torch.zeros(2, len(space)), space).missed_references.tolist() == [0, 1]
        assert mode_distance([mode(place)], nothing, space).shape == (1, 0)


def test_bad_spaces_are_refused():
    for scale in ([0.1, 0.0], [0.1, -1.0], [0.1, math.nan], [0.1, math.inf]):
        with pytest.raises(ValueError, match="give every parameter a positive, finite tolerance"):
            ModeSpace(scale)
    with pytest.raises(ValueError, match=r"scale has shape \(0,\), expected one tolerance per parameter"):
        ModeSpace([])
    with pytest.raises(ValueError, match=r"expected a positive number per parameter \(2\)"):
        ModeSpace([1.0, 1.0], period=[360.0])
    with pytest.raises(ValueError, match="a rotation has 2 columns, expected 3"):
        ModeSpace([1.0] * 3, poses=[Pose((0, 1))])
    with pytest.raises(ValueError, match=r"pose columns \(0, 1, 5\) must exist among 3 parameters"):
        ModeSpace([1.0] * 3, poses=[Pose((0, 1, 5))])
    with pytest.raises(ValueError, match="belong to one part of one pose only"):
        ModeSpace([1.0] * 4, poses=[Pose((0, 1, 2)), Pose((), (2, 3))])
    with pytest.raises(ValueError, match=r"have tolerances \[1.0, 1.0, 2.0\]; give all of them the same one"):
        ModeSpace([1.0, 1.0, 2.0], poses=[Pose((0, 1, 2))])
    with pytest.raises(ValueError, match="leave their period at inf"):
        ModeSpace([1.0] * 3, period=[6.3] * 3, poses=[Pose((0, 1, 2))])


def test_bad_input_is_refused():
    space, found = ModeSpace([1.0]), [mode(0.0)]
    with pytest.raises(
        ValueError, match=r"references have shape \(3,\), expected \(references, parameters\)"
    ):
        match(found, torch.zeros(3), space)
    with pytest.raises(ValueError, match=r"references have shape \(3, 2\), but there are tolerances for 1"):
        match(found, torch.zeros(3, 2), space)
    with pytest.raises(ValueError, match="references: 1 of 2 values are NaN"):
        match(found, torch.tensor([[0.0], [torch.nan]]), space)
    with pytest.raises(ValueError, match="unknown assignment 'best'"):
        match(found, torch.zeros(1, 1), space, "best")
    with pytest.raises(ValueError, match=r"distance has shape \(2, 2\) and mass \(3,\)"):
        assign(torch.zeros(2, 2), torch.ones(3))
    with pytest.raises(ValueError, match="more than 3 turns; give radians, not degrees"):
        VECTOR.check(torch.tensor([[120.0, 0, 0, 0, 0, 0]]), "samples")
    with pytest.raises(ValueError, match="a quaternion is zero"):
        QUATERNION.check(torch.zeros(1, 7), "samples")
