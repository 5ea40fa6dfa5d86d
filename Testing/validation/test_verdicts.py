"""Exact posteriors are called calibrated, spoilt ones are found, named and located."""

import numpy as np
import pytest
import torch
from known_cases import SEED, described, gaussian_cases
from scipy.stats import binom

from monai_inn.metrics.calibration.coverage import width_and_shift
from monai_inn.metrics.calibration.sbc import sbc_ranks
from monai_inn.metrics.verdicts import holm, overall
from monai_inn.problems import Parameter
from monai_inn.validation import Cases, Tolerance, validate
from monai_inn.validation.joint import resimulation


def report_of(cases, **options):
    return validate(cases, seed=SEED, **options)[0]


@pytest.mark.filterwarnings("error")
def test_an_exact_posterior_is_calibrated_everywhere():
    report = report_of(gaussian_cases(4000))
    assert report["status"] == "calibrated"
    assert all(entry["sbc_inside_envelope"] for entry in report["parameters"])
    assert not [entry for entry in report["conditional"] if entry["status"] == "miscalibrated"]
    assert report["joint"]["tarp"]["p"] > 0.001
    assert "calibrated within the tolerance (4,000 cases" in report["summary"]


@pytest.mark.parametrize(
    ("width", "shift", "words"),
    [
        (0.8, 0.0, "% too narrow"),
        (1.25, 0.0, "% too wide"),
        (1.0, 0.2, "sd too high"),
        (1.0, -0.2, "sd too low"),
    ],
)
def test_spoilt_posteriors_are_named(width, shift, words):
    report = report_of(gaussian_cases(width=width, shift=shift))
    assert report["status"] == "miscalibrated"
    for entry in report["parameters"]:
        assert words in entry["verdict"]
        # Four standard errors of 2000 cases; the ranks among 127 samples cost the tails a little.
        assert entry["width"]["value"] == pytest.approx(width, rel=4 / (2 * 2000) ** 0.5 + 0.03)
        assert entry["shift"]["value"] == pytest.approx(shift, abs=4 / width / 2000**0.5 + 0.03)


def test_a_small_deviation_is_measured_and_tolerated():
    cases = gaussian_cases(12_000, width=0.95)
    report = report_of(cases)
    assert report["status"] == "small deviation"
    assert all("too narrow (within the tolerance)" in entry["verdict"] for entry in report["parameters"])
    strict = report_of(cases, tolerance=Tolerance(0.02, 0.1))
    assert strict["status"] == "miscalibrated"


def test_few_cases_leave_it_open_and_tell_how_many_would_not():
    report = report_of(gaussian_cases(100))
    assert report["status"] == "undecided"
    assert report["needed_cases"] == 1537  # (2 · 1.96 / 0.1)²
    assert "100 cases do not exclude" in report["parameters"][0]["verdict"]


def test_the_promised_number_of_cases_shows_a_calibrated_parameter_to_be_so():
    repeats, needed = 200, Tolerance().needed_cases()
    exact = torch.randn(repeats * needed, 1, generator=torch.Generator().manual_seed(SEED))
    samples = torch.randn(127, repeats * needed, 1, generator=torch.Generator().manual_seed(SEED + 1))
    decided = 0
    for i in range(repeats):
        part = slice(i * needed, (i + 1) * needed)
        ranks = sbc_ranks(samples[:, part], exact[part])
        result = width_and_shift((ranks + 0.5) / 128)
        decided += bool((result.shift_low > -0.1) & (result.shift_high < 0.1))
    assert decided >= binom.ppf(0.001, repeats, 0.95)


def test_the_region_that_fails_is_found():
    cases = gaussian_cases(6000, width=0.7, where=lambda mean: mean[:, 0] > 0.6)
    report = report_of(cases)
    failing = [e for e in report["conditional"] if e["status"] == "miscalibrated" and e["parameter"] == "x1"]
    assert {(e["by"], e["bin"]) for e in failing} >= {("x1", 4)}
    assert all(e["bin"] >= 3 for e in failing if e["by"] == "x1")
    worst = next(e for e in failing if e["by"] == "x1" and e["bin"] == 4)
    assert "too narrow" in worst["verdict"]
    assert "where component 1 of the hidden vector is estimated above" in worst["verdict"]


def test_bins_of_the_estimate_raise_no_false_alarms_and_bins_of_the_truth_do():
    exact = 0
    for seed in range(40):
        report = report_of(gaussian_cases(600, samples=60, seed=seed))
        p = [e[name]["p_corrected"] for e in report["conditional"] for name in ("width", "shift")]
        exact += min(p) < 0.05
    assert exact <= binom.ppf(0.999, 40, 0.05)
    # Sorted by the truth, an exact posterior looks too high where the truth is low.
    cases = gaussian_cases(4000)
    low = cases.truth[:, 3] < cases.truth[:, 3].quantile(0.2)
    part = Cases(cases.samples[:, low], cases.truth[low], cases.parameters)
    assert report_of(part)["parameters"][3]["shift"]["value"] > 0.1


def test_angles_are_validated_across_the_cut():
    generator = torch.Generator().manual_seed(SEED)
    mean = 2 * torch.pi * torch.rand(3000, 1, generator=generator)
    truth = mean + 0.3 * torch.randn(3000, 1, generator=generator)
    samples = mean + 0.3 * torch.randn(127, 3000, 1, generator=generator)
    angle = (Parameter("alpha", "rad", 0.0, 2 * torch.pi, is_periodic=True),)
    wrapped = [torch.remainder(values, 2 * torch.pi) for values in (samples, truth)]
    assert report_of(Cases(*wrapped, angle))["status"] == "calibrated"
    narrow = torch.remainder(mean + 0.7 * (samples - mean), 2 * torch.pi)
    report = report_of(Cases(narrow, wrapped[1], angle))
    assert "too narrow" in report["parameters"][0]["verdict"]


def test_resimulation_of_exact_draws_is_as_good_as_the_truth():
    generator = torch.Generator().manual_seed(SEED)
    residuals = torch.randn(2, 4000, 5, generator=generator)
    exact = resimulation(*residuals)
    assert exact["low"] < 1 < exact["high"]
    assert exact["p"] > 0.001
    wide = resimulation(1.3 * residuals[0], residuals[1])
    # The mean of 4000 · 5 squares is known to 1 %.
    assert wide["ratio"] == pytest.approx(1.69, rel=4 * 2 * (2 / 20_000) ** 0.5)
    assert wide["low"] > 1
    assert wide["p"] < 1e-6


def test_holm_is_its_definition():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    # Sorted .005 .01 .03 .04, times 4 3 2 1, never falling.
    assert np.allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    assert np.allclose(holm([[0.5], [0.9]]), [[1.0], [1.0]])


def test_the_worst_status_counts():
    assert overall(["calibrated", "undecided", "small deviation"]) == "undecided"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, t: (s[:, :39], t[:39]), "39 cases are too few"),
        (lambda s, t: (s[:1], t), "1 posterior sample"),
        (lambda s, t: (s, t[:, :1]), "2 parameters .* but the truth has 1"),
        (lambda s, t: (s[..., :1], t), "samples have shape"),
        (lambda s, t: (s.where(torch.rand_like(s) > 0.5, torch.nan), t), "cases hold NaN"),
        (lambda s, t: (s[:1].expand_as(s), t), "equal samples of a; a point estimate is not a posterior"),
        (lambda s, t: (s, torch.cat([torch.ones(200, 1), t[:, 1:]], 1)), "the truth of a is 1 in all cases"),
    ],
)
def test_bad_cases_are_refused(change, message):
    torch.manual_seed(SEED)
    samples, truth = change(torch.randn(20, 200, 2), torch.randn(200, 2))
    with pytest.raises(ValueError, match=message):
        Cases(samples, truth, described("a", "b"))


def test_degrees_instead_of_radians_are_refused():
    angle = (Parameter("alpha", "rad", 0.0, 2 * torch.pi, is_periodic=True),)
    with pytest.raises(ValueError, match="degrees where radians are expected"):
        Cases(360 * torch.rand(20, 200, 1), 360 * torch.rand(200, 1), angle)


@pytest.mark.parametrize("tolerance", [(0.0, 0.1), (1.5, 0.1), (0.1, -1.0)])
def test_tolerances_must_be_positive(tolerance):
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        Tolerance(*tolerance)


def test_modes_are_compared_with_the_truth():
    generator = torch.Generator().manual_seed(SEED)
    n, side = 300, 3.0

    def draw(*shape):
        sign = torch.randint(2, shape, generator=generator) * 2 - 1
        return side * sign + 0.3 * torch.randn(*shape, generator=generator)

    truth, samples = draw(n, 1), draw(400, n, 1)
    exact = report_of(Cases(samples, truth, described("x")), mode_tolerance={"x": 1.0})["modes"]
    assert exact["cases"] == 200
    # 0.3 around the mode: one in a thousand truths lies farther than the tolerance.
    assert exact["recall"]["value"] >= 0.98
    assert exact["recall_of_heaviest"]["low"] < 0.5 < exact["recall_of_heaviest"]["high"]
    assert exact["share_with_several"]["value"] == 1
    assert exact["modes_per_case"] == 2
    half = report_of(Cases(samples.abs(), truth, described("x")), mode_tolerance={"x": 1.0})["modes"]
    assert half["recall"]["low"] < 0.5 < half["recall"]["high"]
    assert half["modes_per_case"] == 1
    with pytest.raises(ValueError, match="unknown parameter 'y'"):
        report_of(Cases(samples, truth, described("x")), mode_tolerance={"y": 1.0})
