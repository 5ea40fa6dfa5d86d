"""The MONAI metric is its function on everything seen: in batches, lists, masked images and strata."""

import math

import pytest
import torch
from monai.handlers import IgniteMetricHandler
from scipy.stats import binom

from monai_inn.metrics import (
    PosteriorMetric,
    calibration_error,
    coverage,
    coverage_of_counts,
    crps,
    ecdf_difference,
    energy_score,
    hds_length,
    interval_width,
    pit,
    posterior_sd,
    rank_counts,
    resimulation_error,
    sbc_ranks,
    sbc_uniformity,
)
from monai_inn.metrics.calibration.tarp import tarp_fractions
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0
SCALE, PERIOD = torch.tensor([1.0, 2.0]), torch.tensor([torch.inf, 6.0])
METRICS = {
    "calibration_error": ({"period": PERIOD}, lambda s, t: calibration_error(s, t, period=PERIOD)),
    "coverage": ({"period": PERIOD}, lambda s, t: coverage(s, t, period=PERIOD)),
    "ecdf_difference": ({}, lambda s, t: ecdf_difference(rank_counts(sbc_ranks(s, t), len(s)))),
    "sbc_uniformity": ({}, lambda s, t: sbc_uniformity(sbc_ranks(s, t), len(s))),
    "crps": ({"period": PERIOD}, lambda s, t: crps(s, t, period=PERIOD).mean(0)),
    "energy_score": (
        {"scale": SCALE, "period": PERIOD},
        lambda s, t: energy_score(s, t, SCALE, period=PERIOD).mean(),
    ),
    "interval_width": ({"level": 0.6}, lambda s, t: interval_width(s, 0.6).mean(0)),
    "hds_length": ({"level": 0.6}, lambda s, t: hds_length(s, 0.6).mean(0)),
    "posterior_sd": ({"period": PERIOD}, lambda s, t: posterior_sd(s, period=PERIOD).mean(0)),
    "resimulation_error": ({"noise_sd": SCALE}, lambda s, t: resimulation_error(s, t, SCALE).mean()),
}


def draws(*shape, seed=SEED):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images():
    """Samples, truth and mask of three images of two parameters; the second has no valid pixel."""
    samples, truth = draws(25, 3, 2, 6, 5), draws(3, 2, 6, 5, seed=1)
    mask = draws(3, 1, 6, 5, seed=2) < 1
    mask[1] = False
    return samples.masked_fill(~mask, torch.nan), truth.masked_fill(~mask, torch.nan), mask


def assert_same(ours, theirs):
    for a, b in zip(*(v if isinstance(v, tuple) else (v,) for v in (ours, theirs)), strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_batches_lists_and_images_are_the_function_at_once(name):
    options, function = METRICS[name]
    samples, truth = draws(25, 60, 2), draws(60, 2, seed=1)
    batches = PosteriorMetric(name, **options)
    for s, t in zip(samples.split(13, dim=1), truth.split(13), strict=True):
        batches(y_pred=s, y=t)
    assert_same(batches.aggregate(), function(samples, truth))
    batches.reset()
    with pytest.raises(RuntimeError, match=f"PosteriorMetric {name} has seen no case that counts"):
        batches.aggregate()

    samples, truth, mask = images()
    keep = mask[:, 0]
    expected = function(samples.movedim(2, -1)[:, keep], truth.movedim(1, -1)[keep])
    image, items = PosteriorMetric(name, **options), PosteriorMetric(name, **options)
    image(y_pred=samples, y=truth, mask=mask)
    items(y_pred=list(samples.unbind(1)), y=list(truth), mask=list(mask))
    assert_same(image.aggregate(), expected)
    assert_same(items.aggregate(), expected)


def test_any_function_and_any_reduction_will_do():
    samples, truth = draws(25, 40, 2), draws(40, 2, seed=1)
    worst = PosteriorMetric(lambda s, t: (s.mean(0) - t).abs(), lambda values: values.amax(0))
    own = PosteriorMetric("coverage", lambda counts: coverage_of_counts(counts.sum(0), [0.3], 0.9))
    for s, t in zip(samples.split(7, dim=1), truth.split(7), strict=True):
        worst(s, t)
        own(s, t)
    torch.testing.assert_close(worst.aggregate(), (samples.mean(0) - truth).abs().amax(0))
    assert_same(own.aggregate(), coverage(samples, truth, [0.3], confidence=0.9))
    # Transforms of every case in order; they are spread anew in every call.
    kept = PosteriorMetric(pit, lambda values: values)
    kept(samples, truth)
    assert torch.equal((kept.aggregate() * 26).long(), sbc_ranks(samples, truth))


def test_it_works_in_a_monai_engine():
    samples, truth = draws(25, 12, 1, 4), draws(12, 1, 4, seed=1)

    def step(engine, index):
        return list(samples[:, index : index + 3].unbind(1)), list(truth[index : index + 3])

    ignite = pytest.importorskip("ignite.engine", reason="ignite is missing: install the extra `bundle`")
    engine = ignite.Engine(step)
    IgniteMetricHandler(PosteriorMetric("crps")).attach(engine, "crps")
    engine.run(range(0, 12, 3), max_epochs=2)
    flat = samples.movedim(2, -1).flatten(1, 2), truth.movedim(1, -1).flatten(0, 1)
    assert engine.state.metrics["crps"] == pytest.approx(float(crps(*flat).mean()))


def test_strata_are_the_metric_of_each_subset():
    samples, truth, mask = images()
    strata = torch.randint(-1, 2, mask.shape, generator=torch.Generator().manual_seed(SEED))
    strata[2] = 7  # one image is a stratum of its own
    flat = samples.movedim(2, -1).flatten(1, 3), truth.movedim(1, -1).flatten(0, 2)
    batches, items = PosteriorMetric("calibration_error"), PosteriorMetric("calibration_error")
    for part in (slice(0, 1), slice(1, 3)):
        batches(samples[:, part], truth[part], strata=strata[part], mask=mask[part])
    items(list(samples.unbind(1)), list(truth), strata=list(strata), mask=list(mask))
    for metric in (batches, items):
        result = metric.aggregate()
        assert list(result) == [0, 1, 7]
        for label, values in result.items():
            keep = (mask & (strata == label)).flatten()
            torch.testing.assert_close(values, calibration_error(flat[0][:, keep], flat[1][keep]))


def test_a_fault_that_the_average_hides_is_seen_per_stratum():
    # Central 68 % hold 51 % where the signal is weak and 85 % where it is strong: 68 % on average.
    generator = torch.Generator().manual_seed(SEED)
    weak = torch.rand(4000, 1, generator=generator) < 0.5
    truth = torch.randn(4000, 1, generator=generator)
    samples = torch.where(weak, 0.7, 1.435) * torch.randn(99, 4000, 1, generator=generator)
    whole, parts = (
        PosteriorMetric("coverage", lambda counts: coverage_of_counts(counts.sum(0), [0.68], 0.999))
        for _ in range(2)
    )
    whole(samples, truth)
    parts(samples, truth, strata=weak.long())
    assert float(whole.aggregate().low) < 0.68 < float(whole.aggregate().high)
    assert float(parts.aggregate()[1].high) < 0.68 < float(parts.aggregate()[0].low)


def test_ties_are_not_broken_alike_in_every_batch():
    metric, again = (PosteriorMetric("calibration_error", lambda counts: counts.sum(0)) for _ in range(2))
    for _ in range(200):
        metric(y_pred=torch.zeros(3, 1, 1), y=torch.zeros(1, 1))
        again(y_pred=torch.zeros(3, 1, 1), y=torch.zeros(1, 1))
    counts = metric.aggregate()[0]
    assert bool(
        (binom.ppf(1e-4, 200, 0.25) <= counts).all() & (counts <= binom.ppf(1 - 1e-4, 200, 0.25)).all()
    )
    assert torch.equal(again.aggregate()[0], counts)


def test_width_shift_and_tarp_of_a_posterior_that_is_too_narrow():
    problem = LinearGaussian()
    truth, y = problem.simulate(2000, seed=SEED)
    posterior = problem.reference_posterior(y)
    torch.manual_seed(SEED)
    right = posterior.sample((99,))
    pool = torch.randn(500, 4, generator=torch.Generator().manual_seed(SEED + 1))
    for factor in (1.0, 0.8):
        width, tarp = PosteriorMetric("width_and_shift"), PosteriorMetric("tarp", references=pool)
        samples = posterior.mean + factor * (right - posterior.mean)
        for s, t in zip(samples.split(700, dim=1), truth.split(700), strict=True):
            width(y_pred=s, y=t)
            tarp(y_pred=s, y=t)
        torch.testing.assert_close(
            width.aggregate().width, torch.full((4,), factor).double(), rtol=0.08, atol=0
        )
        assert (tarp.aggregate().p_value > 0.001) == (factor == 1)


def test_tarp_of_one_point_keeps_the_ranks_of_the_function():
    samples, truth, mask = images()
    keep, point = mask[:, 0], torch.tensor([[0.5, -1.0]])
    metric = PosteriorMetric("tarp", lambda counts: counts.sum(0)[0], references=point, scale=SCALE)
    metric(y_pred=list(samples.unbind(1)), y=list(truth), mask=list(mask))
    references = point.expand(int(keep.sum()), -1)
    flat = samples.movedim(2, -1)[:, keep], truth.movedim(1, -1)[keep]
    expected = (tarp_fractions(*flat, references, scale=SCALE) * 26).long()
    assert metric.aggregate().tolist() == expected.bincount(minlength=26).tolist()


def test_joint_tests_see_a_posterior_that_ignores_the_observation():
    problem = LinearGaussian()
    truth, y = problem.simulate(2000, seed=SEED)
    torch.manual_seed(SEED)
    exact = problem.reference_posterior(y).sample((5,))
    prior = torch.randn(5, 2000, 4)
    for name in ("c2st", "mmd"):
        p = []
        for seed in range(3):
            right, wrong, blind = (PosteriorMetric(name, seed=seed) for _ in range(3))
            for part in (slice(0, 900), slice(900, 2000)):
                right(y_pred=exact[:, part], y=truth[part], condition=y[part])
                wrong(y_pred=prior[:, part], y=truth[part], condition=y[part])
                blind(y_pred=prior[:, part], y=truth[part])
            assert wrong.aggregate().p_value == pytest.approx(1 / 201)
            p.append([right.aggregate().p_value, blind.aggregate().p_value])
        # Without the condition the prior is as good as the posterior.
        assert min(max(column) for column in zip(*p, strict=True)) > 0.02


def test_joint_tests_take_masked_images():
    samples, truth, mask = images()
    condition = draws(3, 1, 6, 5, seed=3).masked_fill(~mask, torch.nan)
    for name in ("c2st", "mmd"):
        metric = PosteriorMetric(name, period=PERIOD)
        metric(y_pred=samples, y=truth, mask=mask, condition=condition)
        metric(y_pred=list(samples.unbind(1)), y=list(truth), mask=list(mask), condition=list(condition))
        assert len(metric) == 2 * int(mask.sum())
        assert math.isfinite(metric.aggregate()[0])


def test_bad_input_is_refused():
    samples, truth = draws(25, 10, 2), draws(10, 2)
    metric = PosteriorMetric("crps")
    metric(y_pred=samples, y=truth, mask=torch.zeros(10, 1, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="PosteriorMetric crps has seen no case that counts"):
        metric.aggregate()
    with pytest.raises(ValueError, match="unknown metric 'dice'; choose one of calibration_error, coverage"):
        PosteriorMetric("dice")
    with pytest.raises(ValueError, match=r"\(25, 10, 2\) and y \(10, 3\)"):
        metric(y_pred=samples, y=draws(10, 3))
    with pytest.raises(ValueError, match="10 items of samples, 9 of truth; give as many"):
        metric(y_pred=list(samples.unbind(1)), y=list(truth[:9]))
    with pytest.raises(ValueError, match="10 items of samples, 10 of truth, 4 of mask"):
        metric(y_pred=list(samples.unbind(1)), y=list(truth), mask=[None] * 4)
    with pytest.raises(ValueError, match=r"mask has shape \(10, 2\), expected \(10, 1\)"):
        metric(samples, truth, mask=torch.ones(10, 2) > 0)
    with pytest.raises(TypeError, match=r"mask is torch\.float32, expected a boolean"):
        metric(samples, truth, mask=torch.ones(10, 1))
    with pytest.raises(TypeError, match=r"strata are torch\.float32, expected integers"):
        metric(samples, truth, strata=torch.zeros(10, 1))
    with pytest.raises(ValueError, match=r"condition has shape \(9, 3\), expected \(10, 3\)"):
        PosteriorMetric("c2st")(samples, truth, condition=draws(9, 3))
    with pytest.raises(ValueError, match=r"references have shape \(4, 3\), expected \(points, 2\)"):
        PosteriorMetric("tarp", references=draws(4, 3))(samples, truth)
    with pytest.raises(ValueError, match=r"scale of parameter 1 is 0\.0"):
        PosteriorMetric("energy_score", scale=torch.tensor([1.0, 0.0]))(samples, truth)
    with pytest.raises(ValueError, match=r"condition has shape .* without NaN"):
        PosteriorMetric("c2st")(samples, truth, condition=torch.full((10, 1), torch.nan))
    few = PosteriorMetric("c2st")
    few(y_pred=samples, y=truth)
    with pytest.raises(ValueError, match="5 and 5 points; give at least 20 in each set"):
        few.aggregate()
