"""Modes of samples from densities whose modes are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from monai_inn.metrics.modes import ModeSpace, Pose, find_modes, find_modes_batch
from monai_inn.metrics.modes.valleys import SIGNIFICANT, deepest_valley

SEED = 0
ANGLE = ModeSpace([5.0], period=[360.0])


def unit(dimension, scale=1.0):
    return ModeSpace([scale] * dimension)


def mixture(rng, number, dimension, separation, mass):
    """Two standard normal modes, the second of the given mass, apart on the first axis."""
    samples = rng.normal(size=(number, dimension))
    samples[rng.random(number) < mass, 0] += separation
    return torch.as_tensor(samples)


def count(draw, space, repeats, **options):
    return np.array([len(find_modes(draw(), space, **options)) for _ in range(repeats)])


def true_dip(separation, mass):
    """Density of two standard normal modes at the saddle over that at the lower peak; 1 if they are one."""
    x = np.linspace(-3, separation + 3, 20_001)
    density = (1 - mass) * norm.pdf(x) + mass * norm.pdf(x, separation)
    inner = density[1:-1]
    peaks = np.flatnonzero((inner > density[:-2]) & (inner > density[2:])) + 1
    if len(peaks) < 2:
        return 1.0
    return density[peaks[0] : peaks[1]].min() / density[peaks].min()


@pytest.mark.parametrize(("dimension", "number", "repeats"), [(1, 500, 150), (1, 2000, 80), (2, 500, 80)])
def test_one_normal_mode_is_one_mode(dimension, number, repeats):
    rng = np.random.default_rng(SEED)
    for scale in (1.0, 0.05):
        found = count(lambda: mixture(rng, number, dimension, 0, 0.5), unit(dimension, scale), repeats)
        # At most 5 % false second modes: more than this happen once in a thousand at that rate.
        assert (found > 1).sum() <= binom.ppf(0.999, repeats, 0.05)


@pytest.mark.parametrize(("dimension", "number"), [(2, 2000), (4, 500), (4, 2000)])
def test_one_normal_mode_of_several_parameters_is_one_mode(dimension, number):
    rng = np.random.default_rng(SEED)
    found = count(lambda: mixture(rng, number, dimension, 0, 0.5), unit(dimension), 20)
    assert (found > 1).sum() <= binom.ppf(0.999, 20, 0.05)


@pytest.mark.parametrize("shape", ["uniform", "exponential", "student", "triangle", "integers"])
def test_other_shapes_without_a_valley_are_one_mode(shape):
    rng = np.random.default_rng(SEED)
    draws = {
        "uniform": lambda: rng.uniform(0, 30, 1000),
        "exponential": lambda: 10 * rng.exponential(size=1000),
        "student": lambda: rng.standard_t(2, 1000),
        "triangle": lambda: rng.triangular(0, 1, 8, 1000),
        "integers": lambda: rng.poisson(15, 1000).astype(float),
    }
    found = count(lambda: torch.as_tensor(draws[shape]())[:, None], unit(1, 2.0), 60)
    assert (found > 1).sum() <= binom.ppf(0.999, 60, 0.05)


def test_integers_beside_another_parameter_are_one_mode():
    rng = np.random.default_rng(SEED)
    for number in (1, 2):
        steps = rng.poisson(15, 1000) + 40 * (number - 1) * rng.integers(0, 2, 1000)
        samples = torch.as_tensor(np.column_stack([steps.astype(float), rng.normal(size=1000)]))
        assert len(find_modes(samples, ModeSpace([2.0, 1.0]))) == number


def test_sweep_of_separation_and_mass():
    # One mode where the density has one (equal masses: below 2 sd, in closed form), two where the valley is
    # clear, and more the further the modes are apart.
    rng, repeats = np.random.default_rng(SEED), 25
    assert true_dip(1.99, 0.5) == 1
    assert true_dip(2.1, 0.5) < 1
    clear = {0.5: 4, 0.3: 5, 0.1: 6, 0.05: 7, 0.02: 10}
    for mass, needed in clear.items():
        rates = []
        for separation in range(11):
            draw = lambda s=separation, m=mass: mixture(rng, 1000, 1, s, m)  # noqa: E731
            found = count(draw, unit(1), repeats, min_mass=0.01)
            assert found.max() <= 2
            rates.append((found == 2).mean())
            if true_dip(separation, mass) == 1:
                assert rates[-1] <= binom.ppf(0.999, repeats, 0.05) / repeats
            if separation >= needed:
                assert rates[-1] >= binom.ppf(0.001, repeats, 0.95) / repeats
        # Two rates that differ by four standard errors of their difference do not come from a rising curve.
        falls = np.maximum.accumulate(rates) - rates
        assert falls.max() <= 4 * math.sqrt(2 * 0.25 / repeats)


@pytest.mark.parametrize(("dimension", "number", "mass", "separation"), [
    (2, 500, 0.5, 4), (2, 1000, 0.1, 6), (4, 1000, 0.5, 4), (4, 1000, 0.1, 7), (4, 2000, 0.3, 5),
])  # fmt: skip
def test_separate_modes_of_several_parameters_are_found(dimension, number, mass, separation):
    rng = np.random.default_rng(SEED)
    found = count(lambda: mixture(rng, number, dimension, separation, mass), unit(dimension), 20)
    assert (found == 2).sum() >= binom.ppf(0.001, 20, 0.95)


@pytest.mark.parametrize("dimension", [1, 2])
def test_with_the_flows_density_no_noise_hides_a_valley(dimension):
    # At 4 sd and 10 % the density falls to 0.66 of the lower peak: no count of 500 samples shows that.
    assert true_dip(4, 0.1) == pytest.approx(0.66, abs=0.01)
    torch.manual_seed(SEED)
    expected = {(0.5, 0.0): 1, (0.5, 1.9): 1, (0.5, 4.0): 2, (0.1, 5.0): 2}
    for (mass, separation), number in expected.items():
        place = torch.zeros(2, dimension, dtype=torch.float64)
        place[1, 0] = separation
        share = torch.tensor([1 - mass, mass], dtype=torch.float64)
        density = MixtureSameFamily(Categorical(share), Independent(Normal(place, 1.0), 1))
        for _ in range(5):
            modes = find_modes(density.sample((500,)), unit(dimension), log_prob=density.log_prob)
            assert len(modes) == number
            for mode in modes:
                assert mode.log_prob == pytest.approx(float(density.log_prob(mode.parameters)))


def test_eight_modes_their_places_and_masses():
    a, b, number = 1.0, 2.4142, 1000
    centres = np.array([(s * x, t * y) for x, y in ((a, b), (b, a)) for s in (-1, 1) for t in (-1, 1)])
    rng = np.random.default_rng(SEED)
    for _ in range(4):
        which = rng.integers(0, 8, number)
        samples = torch.as_tensor(centres[which] + 0.2 * rng.normal(size=(number, 2)))
        modes = find_modes(samples, unit(2, 0.5))
        assert len(modes) == 8
        assert sum(mode.mass for mode in modes) == pytest.approx(1)
        for mode in modes:
            nearest = np.linalg.norm(centres - mode.parameters.numpy(), axis=1).argmin()
            # The modes are 10 sd apart: masses are counts (but for a stray sample), spreads have 125 samples.
            assert mode.mass == pytest.approx((which == nearest).mean(), abs=1.5 / number)
            assert abs(mode.mass - 1 / 8) < 2 / math.sqrt(number)
            np.testing.assert_allclose(mode.spread, 0.2, rtol=4 / math.sqrt(2 * 100))
            # The maximum of a kernel density has twice the error of a mean; four of those.
            np.testing.assert_allclose(mode.parameters, centres[nearest], atol=4 * 2 * 0.2 / math.sqrt(100))


def test_modes_of_unequal_width_are_found_at_their_own_scale():
    rng = np.random.default_rng(SEED)
    broad = rng.normal(size=(600, 2)) * 10
    fine = [rng.normal(size=(200, 2)) * 0.1 + place for place in ([60.0, 0.0], [61.5, 0.0])]
    modes = find_modes(torch.as_tensor(np.concatenate([broad, *fine])), unit(2, 0.5))
    assert [mode.mass for mode in modes] == pytest.approx([0.6, 0.2, 0.2])


@pytest.mark.parametrize("order", [2, 3, 4])
def test_complex_roots_have_as_many_modes_of_equal_mass(order):
    rng = np.random.default_rng(SEED)
    x, y = np.meshgrid(np.linspace(-2.5, 2.5, 401), np.linspace(-2.5, 2.5, 401))
    root = x + 1j * y
    for angle in (0.3, 2.0, 3.1):
        observed = 1.5 * np.exp(1j * angle)
        log_density = -(np.abs(root) ** 2) / 2 - np.abs(root**order - observed) ** 2 / (2 * 0.2**2)
        share = np.exp(log_density - log_density.max()).ravel()
        picked = rng.choice(share.size, 1000, p=share / share.sum())
        step = rng.uniform(-0.5, 0.5, (1000, 2)) * (5 / 400)
        samples = torch.as_tensor(np.column_stack([x.ravel()[picked], y.ravel()[picked]]) + step)
        modes = find_modes(samples, unit(2, 0.3))
        truth = 1.5 ** (1 / order) * np.exp(1j * (angle + 2 * np.pi * np.arange(order)) / order)
        assert len(modes) == order
        for mode in modes:
            assert abs(mode.mass - 1 / order) < 2 / math.sqrt(1000)
            assert np.abs(complex(*mode.parameters.tolist()) - truth).min() < 0.2


def test_a_ridge_and_a_banana_are_one_mode():
    # Blood volume and scattering scaled together leave a spectrum the same: the posterior is a noisy line.
    rng = np.random.default_rng(SEED)
    for length in (10, 40):
        for dimension in (2, 4):
            found = []
            for _ in range(8):
                samples = 0.2 * rng.normal(size=(1000, dimension))
                samples[:, :2] += length * rng.random((1000, 1))
                found.append(find_modes(torch.as_tensor(samples), unit(dimension)))
            assert sum(len(modes) == 1 for modes in found) >= binom.ppf(0.001, 8, 0.95)
            assert all(modes[0].mass == 1 for modes in found if len(modes) == 1)
    x = 3 * rng.normal(size=1000)
    banana = torch.as_tensor(np.column_stack([x, 0.3 * x**2 + 0.5 * rng.normal(size=1000)]))
    assert len(find_modes(banana, unit(2))) == 1


def test_a_cluster_across_the_end_of_a_turn_is_one_mode():
    rng = np.random.default_rng(SEED)
    angles = np.concatenate([rng.normal(180, 6, 600), rng.normal(0, 6, 400)])
    wrapped = torch.as_tensor((angles + 180) % 360 - 180)[:, None]
    other = torch.as_tensor(rng.normal(size=(1000, 1)))
    for samples, space in (
        (wrapped, ANGLE),
        (torch.cat([wrapped, other], 1), ModeSpace([5.0, 5.0], [360.0, math.inf])),
    ):
        modes = find_modes(samples, space)
        assert [mode.mass for mode in modes] == pytest.approx([0.6, 0.4])
        assert abs(float(modes[0].parameters[0])) == pytest.approx(180, abs=4 * 2 * 6 / math.sqrt(600))
        np.testing.assert_allclose([float(m.spread[0]) for m in modes], 6, rtol=4 / math.sqrt(2 * 400))
    assert len(find_modes(torch.as_tensor(rng.uniform(0, 360, (1000, 1))), ANGLE)) == 1


def test_an_unknown_angle_is_one_mode_and_opposite_ones_are_two():
    rng = np.random.default_rng(SEED)
    space = ModeSpace([5.0, 1.0], [360.0, math.inf])
    for number, spread in ((1, None), (2, 20), (3, 15)):
        found = []
        for _ in range(8):
            centre = 360 / number * rng.integers(0, number, 500)
            angle = rng.uniform(0, 360, 500) if spread is None else rng.normal(centre, spread) % 360
            samples = torch.as_tensor(np.column_stack([angle, rng.normal(size=500)]))
            found.append(len(find_modes(samples, space)))
        assert found.count(number) >= binom.ppf(0.001, 8, 0.95)


@pytest.mark.parametrize("columns", [3, 4])
def test_two_poses_half_a_turn_apart(columns):
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(SEED)
    space = ModeSpace(
        [5.0] * columns + [5.0] * 3, poses=[Pose(tuple(range(columns)), tuple(range(columns, columns + 3)))]
    )
    noise = Rotation.from_rotvec(np.radians(2) * rng.normal(size=(1000, 3)))
    half = Rotation.from_rotvec(np.outer(rng.random(1000) < 0.3, [0, math.pi, 0]))
    turn = noise * half
    values = turn.as_rotvec() if columns == 3 else np.roll(turn.as_quat(), 1, axis=1)
    if columns == 4:
        values *= rng.choice([-1, 1], (1000, 1))
    samples = torch.as_tensor(np.hstack([values, 2 * rng.normal(size=(1000, 3))]))
    modes = find_modes(samples, space)
    assert [mode.mass for mode in modes] == pytest.approx([0.7, 0.3], abs=2 / math.sqrt(1000))
    still = torch.zeros(columns + 3, dtype=torch.float64)
    still[0] = float(columns == 4)
    # A kernel's maximum in six dimensions: within half a standard deviation, which is 2° and 2 mm.
    assert float(space.distance(modes[0].parameters, still)) < 1 / 2
    if columns == 3:
        np.testing.assert_allclose(modes[0].spread[:3], math.radians(2), rtol=0.2)


def test_log_densities_of_samples_place_the_mode_at_the_best_one():
    rng = np.random.default_rng(SEED)
    samples = mixture(rng, 1000, 2, 8, 0.3)
    first = 0.7 * torch.exp(-samples.square().sum(1) / 2)
    second = 0.3 * torch.exp(-(samples - torch.tensor([8, 0])).square().sum(1) / 2)
    log_prob = (first + second).log()
    modes = find_modes(samples, unit(2), log_prob=log_prob)
    for mode, left in zip(modes, (True, False), strict=True):
        own = (samples[:, 0] < 4) == left
        assert mode.log_prob == float(log_prob[own].max())
        assert torch.equal(mode.parameters, samples[own][log_prob[own].argmax()])
    batch = find_modes_batch(
        samples[:, None].expand(-1, 2, -1), unit(2), log_prob=log_prob[:, None].expand(-1, 2)
    )
    assert [[m.log_prob for m in found] for found in batch] == [[m.log_prob for m in modes]] * 2


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_order_and_shifts_do_not_matter(seed, dimension):
    rng = np.random.default_rng(seed)
    samples = mixture(rng, 300, dimension, 9, 0.4)
    plain = find_modes(samples, unit(dimension))
    shuffled = find_modes(samples[rng.permutation(300)], unit(dimension))
    shifted = find_modes(samples + 64, unit(dimension))
    scaled = find_modes(samples * 4, unit(dimension, 4.0))
    assert len(plain) == 2
    for other, move, factor in ((shuffled, 0, 1), (shifted, 64, 1), (scaled, 0, 4)):
        assert [m.mass for m in other] == [m.mass for m in plain]
        for one, two in zip(plain, other, strict=True):
            torch.testing.assert_close(two.parameters, one.parameters * factor + move, rtol=0, atol=1e-6)
            torch.testing.assert_close(two.spread, one.spread * factor, rtol=1e-6, atol=0)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.floats(-180, 180), st.integers(-1, 1))
def test_the_origin_of_an_angle_does_not_matter(seed, shift, turns):
    rng = np.random.default_rng(seed)
    angles = np.where(rng.random(400) < 0.4, 100, 0) + rng.normal(0, 6, 400)
    plain = find_modes(torch.as_tensor(angles)[:, None], ANGLE)
    moved = find_modes(torch.as_tensor((angles + shift) % 360 + 360 * turns)[:, None], ANGLE)
    assert [m.mass for m in plain] == [m.mass for m in moved]
    for one, two in zip(plain, moved, strict=True):
        assert float(ANGLE.distance(one.parameters + shift, two.parameters)) < 0.05


def test_few_and_constant_samples():
    for samples in (torch.zeros(1, 2), torch.full((500, 2), 3.0), torch.zeros(7, 2)):
        (mode,) = find_modes(samples, unit(2))
        assert mode.mass == 1
        assert torch.equal(mode.parameters, samples[0].double())
        assert torch.equal(mode.spread, torch.zeros(2, dtype=torch.float64))
    # Half the samples on each of two points.
    for dimension in (1, 2):
        values = torch.zeros(200, dimension)
        values[:100, 0] = 5
        modes = find_modes(values, unit(dimension))
        assert [mode.mass for mode in modes] == [0.5, 0.5]
        assert sorted(float(mode.parameters[0]) for mode in modes) == pytest.approx([0, 5])


def test_finer_structure_than_half_the_tolerance_is_one_mode():
    rng = np.random.default_rng(SEED)
    for dimension in (1, 2):
        samples = mixture(rng, 1000, dimension, 10, 0.5)
        assert len(find_modes(samples, unit(dimension, 1.0))) == 2
        assert len(find_modes(samples, unit(dimension, 40.0))) == 1


def test_more_samples_than_the_kernel_takes():
    rng = np.random.default_rng(SEED)
    modes = find_modes(mixture(rng, 20_000, 2, 8, 0.3), unit(2))
    assert [mode.mass for mode in modes] == pytest.approx([0.7, 0.3], abs=2 / math.sqrt(20_000))


def test_the_deepest_valley_by_hand():
    # Humps of 60 and 40 samples, nothing between: √2 √40 standard errors, less the price of 100 / 40 windows.
    ordered = np.concatenate([np.linspace(0, 1, 60), np.linspace(9, 10, 40)])
    valley = deepest_valley(ordered)
    assert valley.significance == pytest.approx(math.sqrt(80) - math.sqrt(2 * math.log(100 / 40)))
    assert valley.significance > SIGNIFICANT
    assert 1 < valley.position < 9
    assert valley.left < 1.5
    assert valley.right > 8.5
    assert deepest_valley(np.linspace(0, 1, 100)).significance == -math.inf
    assert deepest_valley(ordered, low=20).significance == -math.inf


def test_bad_input_is_refused():
    space, samples = unit(2), torch.zeros(30, 2)
    with pytest.raises(
        ValueError, match=r"samples have shape \(30, 4, 2\), expected \(samples, parameters\)"
    ):
        find_modes(torch.zeros(30, 4, 2), space)
    with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
        find_modes(torch.zeros(0, 2), space)
    with pytest.raises(ValueError, match="samples: 1 of 60 values are NaN"):
        find_modes(samples.index_put((torch.tensor(3), torch.tensor(1)), torch.tensor(torch.nan)), space)
    with pytest.raises(ValueError, match="there are tolerances for 2 parameters"):
        find_modes(torch.zeros(30, 3), space)
    for share in (0, -0.1, 0.6):
        with pytest.raises(ValueError, match=f"min_mass = {share}; give a share"):
            find_modes(samples, space, min_mass=share)
    with pytest.raises(
        ValueError, match=r"log_prob has shape \(29,\), expected one value per sample, \(30,\)"
    ):
        find_modes(samples, space, log_prob=torch.zeros(29))
    for bad in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(ValueError, match="give log densities in nats"):
            find_modes(samples, space, log_prob=torch.full((30,), bad))
    with pytest.raises(ValueError, match=r"samples have shape \(30, 2\) and log_prob None"):
        find_modes_batch(samples, space)
    with pytest.raises(ValueError, match=r"log_prob \(30, 3\), expected \(samples, cases, parameters\)"):
        find_modes_batch(torch.zeros(30, 2, 2), space, log_prob=torch.zeros(30, 3))
