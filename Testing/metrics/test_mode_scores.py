"""Modes as detected objects: by hand, on posteriors spoilt in known ways, and in a MONAI loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from monai_inn.metrics.calibration.error import calibration_error, calibration_noise_floor
from monai_inn.metrics.calibration.sbc import sbc_ranks, sbc_uniformity
from monai_inn.metrics.modes import Mode, ModeSpace, find_modes_batch, mode_scores
from monai_inn.metrics.resimulation import resimulation_error
from monai_inn.metrics.scores import crps

SEED = 0
UNIT = ModeSpace([1.0])
CASES, SAMPLES, NOISE = 368, 999, 0.1


def found(*pairs):
    """Modes of one case at given places, with given masses."""
    return [
        Mode(torch.tensor([float(place)]).double(), mass, torch.ones(1).double(), None)
        for place, mass in pairs
    ]


def known(*places):
    return torch.tensor([[float(place)] for place in places]).reshape(-1, 1)


HAND_MODES = [found((0, 0.7), (5, 0.3)), found((0, 0.6), (3, 0.4)), found((1, 1.0))]
HAND_REFERENCES = [known(0, 9), known(3), known(1, 4)]


def test_three_cases_by_hand():
    # By mass: 1.0 hit, 0.7 hit, 0.6 false, 0.4 hit, 0.3 false; five references. Interpolated precision at
    # recall 1/5, 2/5 and 3/5 is 1, 1 and 3/4.
    scores = mode_scores(HAND_MODES, HAND_REFERENCES, UNIT, exhaustive=True, bootstrap=0)
    expected = {
        "precision": 3 / 5,
        "recall": 3 / 5,
        "f1": 3 / 5,
        "macro_precision": (1 / 2 + 1 / 2 + 1) / 3,
        "macro_recall": (1 / 2 + 1 + 1 / 2) / 3,
        "macro_f1": (1 / 2 + 2 / 3 + 2 / 3) / 3,
        "average_precision": (1 + 1 + 3 / 4) / 5,
        "distance_median": 0.0,
        "distance_95": 0.0,
        "all_found": 1 / 3,
        "rank": (1 + 2 + 1) / 3,
        "modes_per_case": 5 / 3,
    }
    for name, value in expected.items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-12), name
    assert (scores.num_cases, scores.num_modes, scores.num_references) == (3, 5, 5)
    assert scores.mass_error is None
    assert scores.mass_divergence is None
    assert scores.intervals == {}
    assert scores.withheld == ""


def test_errors_after_matching_by_hand():
    modes = [found((0.1, 0.7), (5.3, 0.3)), found((0, 1.0))]
    references = [known(0, 5), known(0.2, 8)]
    masses = [torch.tensor([0.5, 0.5]), torch.tensor([0.4, 0.6])]
    scores = mode_scores(modes, references, UNIT, True, masses, bootstrap=0)
    # Distances 0.1, 0.2, 0.3; mass errors 0.2, 0.2, 0.6, and 0.6 of the reference that is missed.
    assert scores.distance_median == pytest.approx(0.2, abs=1e-6)
    assert scores.distance_95 == pytest.approx(0.3, abs=1e-6)
    assert scores.mass_error == pytest.approx(0.4, abs=1e-6)
    complete = 0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3)
    partial = 0.4 * math.log(0.4) - 0.4 + 1
    assert scores.mass_divergence == pytest.approx((complete + partial) / 2, abs=1e-6)


def test_assignments_and_tolerances_reach_the_scores():
    modes, references = [found((0, 0.6), (0.9, 0.4))], [known(0.4, -0.8)]
    for assignment, recall in (("greedy", 0.5), ("hungarian", 1.0)):
        scores = mode_scores(modes, references, UNIT, True, assignment=assignment, bootstrap=0)
        assert scores.recall == scores.precision == recall
    assert mode_scores(modes, references, ModeSpace([1e-3]), True, bootstrap=0).recall == 0


def test_references_that_are_not_all_solutions_withhold_precision():
    scores = mode_scores(HAND_MODES, HAND_REFERENCES, UNIT, exhaustive=False)
    for name in ("precision", "f1", "macro_precision", "macro_f1", "average_precision"):
        assert getattr(scores, name) is None
        assert name not in scores.intervals
    assert "not all solutions" in scores.withheld
    assert scores.recall == pytest.approx(3 / 5)
    assert set(scores.intervals) >= {"recall", "rank", "modes_per_case", "all_found"}


def test_cases_without_a_reference_count_as_false_modes_only():
    with_empty = mode_scores(
        [*HAND_MODES, found((7, 1.0))], [*HAND_REFERENCES, known()], UNIT, True, bootstrap=0
    )
    plain = mode_scores(HAND_MODES, HAND_REFERENCES, UNIT, True, bootstrap=0)
    assert with_empty.precision == pytest.approx(3 / 6)
    for name in ("recall", "macro_recall", "all_found", "rank", "distance_median"):
        assert getattr(with_empty, name) == getattr(plain, name)


def test_no_hit_at_all_leaves_nothing_to_measure():
    scores = mode_scores([found((0, 1.0))], [known(9)], UNIT, True, [torch.ones(1)])
    assert scores.precision == scores.recall == scores.f1 == scores.average_precision == 0
    assert scores.distance_median is scores.rank is scores.mass_divergence is None
    assert scores.mass_error == 1
    assert "rank" not in scores.intervals


CASE = st.tuples(
    st.lists(st.integers(-20, 20), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(-20, 20), min_size=1, max_size=4, unique=True),
)


@settings(max_examples=60)
@given(
    st.lists(CASE, min_size=1, max_size=8), st.integers(0, 2**31), st.sampled_from(["greedy", "hungarian"])
)
def test_order_labels_shifts_and_turns_do_not_matter(cases, seed, assignment):
    rng = np.random.default_rng(seed)
    space = ModeSpace([1.0], [60.0])
    modes, references, masses = [], [], []
    for places, truths in cases:
        weight = rng.dirichlet(np.ones(len(places)))
        modes.append(found(*zip(places, weight.tolist(), strict=True)))
        references.append(known(*truths) + 0.25)
        masses.append(torch.as_tensor(rng.dirichlet(np.ones(len(truths)))))

    def scores(modes, references, masses):
        return mode_scores(modes, references, space, True, masses, assignment, bootstrap=0)._asdict()

    plain = scores(modes, references, masses)
    order = rng.permutation(len(cases))
    shuffles = [rng.permutation(len(modes[i])) for i in order]
    labels = [rng.permutation(len(references[i])) for i in order]
    moved = [
        [modes[i][k]._replace(parameters=modes[i][k].parameters + 13 + 60 * rng.integers(-2, 3)) for k in s]
        for i, s in zip(order, shuffles, strict=True)
    ]
    shifted = [references[i][r] + 13 for i, r in zip(order, labels, strict=True)]
    again = scores(moved, shifted, [masses[i][r] for i, r in zip(order, labels, strict=True)])
    for name, value in plain.items():
        assert again[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value), name
    # And against plain counting.
    hits = sum(len({t for t in truths if t in places or t + 1 in places}) > 0 for places, truths in cases)
    assert (plain["recall"] > 0) == (hits > 0)


def test_average_precision_against_a_plain_loop():
    rng = np.random.default_rng(SEED)
    modes, references = [], []
    for _ in range(40):
        number = rng.integers(2, 5)
        weight = rng.dirichlet(np.ones(number))
        modes.append(found(*zip(rng.integers(0, 4, number) * 5, weight.tolist(), strict=True)))
        references.append(known(*rng.choice(4, rng.integers(1, 4), replace=False) * 5))
    flags, total = [], sum(len(reference) for reference in references)
    for case, reference in zip(modes, references, strict=True):
        left = set(reference.flatten().tolist())
        for mode in sorted(case, key=lambda mode: -mode.mass):
            place = float(mode.parameters)
            flags.append((mode.mass, place in left))
            left.discard(place)
    flags.sort(reverse=True)
    hits = np.cumsum([hit for _, hit in flags])
    precision = hits / np.arange(1, len(flags) + 1)
    area = sum(precision[i:].max() for i, (_, hit) in enumerate(flags) if hit) / total
    scores = mode_scores(modes, references, UNIT, True, bootstrap=0)
    assert scores.average_precision == pytest.approx(area, abs=1e-12)


def random_cases(rng, number):
    """Cases of two solutions: both found, one, or none; expected recall 0.65."""
    modes, references = [], []
    for outcome in rng.choice(3, number, p=[0.2, 0.3, 0.5]):
        modes.append([found((9, 1.0)), found((0, 1.0)), found((0, 0.5), (5, 0.5))][outcome])
        references.append(known(0, 5))
    return modes, references


def test_bootstrap_intervals_cover_as_they_say():
    rng, repeats, covered = np.random.default_rng(SEED), 100, 0
    for repeat in range(repeats):
        modes, references = random_cases(rng, 60)
        scores = mode_scores(modes, references, UNIT, True, bootstrap=200, seed=repeat)
        low, high = scores.intervals["recall"]
        assert low <= scores.recall <= high
        covered += low <= 0.65 <= high
    # Between 93 and 97 %, within what so many repetitions tell.
    assert binom.ppf(0.005, repeats, 0.93) <= covered <= binom.ppf(0.995, repeats, 0.97)


def test_whole_patients_are_resampled():
    # Four copies of each case are one patient each: no narrower than the cases alone.
    modes, references = random_cases(np.random.default_rng(SEED), 50)
    alone = mode_scores(modes, references, UNIT, True)
    copies = [case for case in modes for _ in range(4)], [r for r in references for _ in range(4)]
    patients = np.repeat(np.arange(50), 4) * 7 + 3
    grouped = mode_scores(*copies, UNIT, True, groups=torch.as_tensor(patients))
    naive = mode_scores(*copies, UNIT, True)
    for name in ("recall", "precision", "average_precision", "f1"):
        assert grouped.intervals[name] == pytest.approx(alone.intervals[name])
        assert np.diff(naive.intervals[name]) < 0.7 * np.diff(alone.intervals[name])


@pytest.fixture(scope="module")
def world():
    """Exact posteriors of ``y = x² + 0.1 n`` with ``|x| > 0.5``: two modes at ±√y."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=20 * CASES)
    x = x[np.abs(x) > 0.5][:CASES]
    y = x**2 + NOISE * rng.normal(size=CASES)
    grid = np.arange(0.5, 5, 1e-3) + 5e-4
    size = np.empty((SAMPLES, CASES))
    centre = np.empty(CASES)
    for case in range(CASES):
        log_density = -(grid**2) / 2 - (grid**2 - y[case]) ** 2 / (2 * NOISE**2)
        share = np.exp(log_density - log_density.max())
        centre[case] = grid[share.argmax()]
        steps = rng.uniform(-5e-4, 5e-4, SAMPLES)
        size[:, case] = rng.choice(grid, SAMPLES, p=share / share.sum()) + steps
    sign = rng.choice([-1.0, 1.0], (SAMPLES, CASES))
    prior = rng.normal(size=(4 * SAMPLES, CASES))
    prior = np.stack([column[np.abs(column) > 0.5][:SAMPLES] for column in prior.T], 1)
    extra = rng.random((SAMPLES, CASES)) < 0.15
    mean = size.mean(0)
    posteriors = {
        "exact": sign * size,
        "only +": size,
        "one at random": rng.choice([-1.0, 1.0], CASES) * size,
        "extra": np.where(extra, 3.5 + 0.05 * rng.normal(size=size.shape), sign * size),
        "shifted": sign * size + 0.1,
        "wide": sign * (mean + 2 * (size - mean)),
        "narrow": sign * (mean + 0.5 * (size - mean)),
        "prior": prior,
        "masses": np.where(rng.random(size.shape) < 0.8, 1.0, -1.0) * size,
    }
    truth, observation = torch.as_tensor(x)[:, None], torch.as_tensor(y)[:, None]
    references = [torch.tensor([[c], [-c]], dtype=torch.float64) for c in centre]
    return (
        {name: torch.as_tensor(p)[..., None] for name, p in posteriors.items()},
        truth,
        observation,
        references,
    )


# Recall, precision, average precision, mass error, matched distance; then whether calibration and SBC pass,
# ρ, and CRPS over that of the exact posterior. Sheet C.1 of the reference.
EXPECTED = {
    "exact": (1.00, 1.00, 1.00, 0.012, 0.005, True, 0.99, 1.00),
    "only +": (0.50, 1.00, 0.50, 0.50, 0.005, False, 0.99, 2.04),
    "one at random": (0.50, 1.00, 0.50, 0.50, 0.005, False, 0.99, 1.86),
    "extra": (1.00, 0.67, 1.00, 0.075, 0.005, False, 1767.0, 1.13),
    "shifted": (1.00, 1.00, 1.00, 0.012, 0.100, False, 7.0, 1.045),
    "wide": (1.00, 1.00, 1.00, 0.012, 0.010, False, 3.9, 1.00),
    "narrow": (1.00, 1.00, 1.00, 0.012, 0.002, False, 0.27, 1.00),
    "prior": (0.32, 0.32, 0.11, 0.34, 0.091, True, 452.0, 1.22),
    "masses": (1.00, 1.00, 1.00, 0.30, 0.005, False, 0.99, 1.39),
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_every_metric_sees_what_it_can_and_nothing_else(name, world):
    posteriors, truth, observation, references = world
    samples = posteriors[name]
    recall, precision, average, mass, distance, calibrated, rho, relative_crps = EXPECTED[name]
    modes = find_modes_batch(samples, ModeSpace([0.2]))
    half = [torch.tensor([0.5, 0.5])] * CASES
    scores = mode_scores(modes, references, ModeSpace([0.2]), True, half, bootstrap=0)
    # 368 cases; where not every case is alike the rate has a standard error of 0.025.
    slack = 0.1 if name == "prior" else 0.02
    assert scores.recall == pytest.approx(recall, abs=slack)
    assert scores.precision == pytest.approx(precision, abs=slack)
    assert scores.average_precision == pytest.approx(average, abs=slack)
    # E|ŵ − w| of 999 draws is 0.0126; a reference that is missed adds its whole mass.
    assert scores.mass_error == pytest.approx(mass, abs=0.05 if name == "prior" else 0.005)
    observed = 0.2 * scores.distance_median
    assert observed == pytest.approx(distance, abs=0.03 if name in ("shifted", "prior") else 0.005)

    floor = calibration_noise_floor(CASES)
    error = float(calibration_error(samples, truth))
    p_value = float(sbc_uniformity(sbc_ranks(samples, truth), SAMPLES).p_value)
    if calibrated:
        # The floor is passed once in twenty, 1/√n once in a thousand.
        assert error < 1 / math.sqrt(CASES)
        assert p_value > 1e-3
    else:
        # 15 % of mass far away moves coverage by little more than chance does; ranks see it well.
        assert error > (floor.mean if name == "extra" else floor.upper)
        assert p_value < 1e-6
    observed = float(resimulation_error(samples**2, observation, NOISE).mean())
    if name == "narrow":
        # The few cases whose observation lies beyond the prior's bound make most of its spread.
        assert observed < 0.6
    else:
        assert observed == pytest.approx(rho, rel=0.35 if rho > 2 else 0.15)
    ratio = float(crps(samples, truth).mean()) / float(crps(posteriors["exact"], truth).mean())
    # The score of a lost mode has a standard error of 0.1 over these cases; it hardly sees a shift or width.
    assert ratio == pytest.approx(relative_crps, abs=0.02 if relative_crps < 1.1 else 0.4)
    assert (ratio > 1.07) == (relative_crps > 1.07)


def test_bad_input_is_refused():
    modes, references = [found((0, 1.0))], [known(0)]
    with pytest.raises(
        ValueError, match=r"numbers of cases differ or are zero: \{'modes': 1, 'references': 2"
    ):
        mode_scores(modes, references * 2, UNIT, True)
    with pytest.raises(ValueError, match="are zero"):
        mode_scores([], [], UNIT, True)
    with pytest.raises(ValueError, match="case 0 has no mode"):
        mode_scores([[]], references, UNIT, True)
    with pytest.raises(ValueError, match=r"masses of the modes of case 0 sum to 0\.9, expected 1"):
        mode_scores([found((0, 0.9))], references, UNIT, True)
    with pytest.raises(ValueError, match=r"reference masses of case 0 are \[0\.5\]"):
        mode_scores(modes, references, UNIT, True, [torch.tensor([0.5])])
    with pytest.raises(ValueError, match=r"case 0 has 1 references, but masses of shape \(2,\)"):
        mode_scores(modes, references, UNIT, True, [torch.tensor([0.5, 0.5])])
    with pytest.raises(ValueError, match="no case has a reference"):
        mode_scores(modes, [known()], UNIT, True)
    with pytest.raises(ValueError, match=r"bootstrap = -1, confidence = 0\.95"):
        mode_scores(modes, references, UNIT, True, bootstrap=-1)
    with pytest.raises(ValueError, match="'groups': 3"):
        mode_scores(modes, references, UNIT, True, groups=[0, 1, 2])
