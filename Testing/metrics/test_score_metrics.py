"""The MONAI metrics are the functions on everything seen, in batches, lists and masked images."""

import math

import pytest
import torch

from monai_inn.metrics.grid import grid_divergence, posterior_grid
from monai_inn.metrics.resimulation import resimulation_error, resimulation_test
from monai_inn.metrics.score_metrics import (
    Crps,
    EnergyScore,
    GridDivergence,
    HighestDensityLength,
    LogScore,
    ResimulationError,
    Sharpness,
)
from monai_inn.metrics.scores import crps, energy_score, log_score
from monai_inn.metrics.sharpness import contraction, hds_length, interval_width, posterior_sd
from monai_inn.metrics.two_sample import c2st, mmd
from monai_inn.metrics.two_sample_metrics import ClassifierTwoSample, MaximumMeanDiscrepancy
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0
SCALE, PERIOD = torch.tensor([1.0, 2.0]), torch.tensor([torch.inf, 6.0])
METRICS = {
    "crps": (lambda: Crps(PERIOD), lambda s, t: crps(s, t, period=PERIOD).mean(0)),
    "energy score": (
        lambda: EnergyScore(SCALE, PERIOD),
        lambda s, t: energy_score(s, t, SCALE, period=PERIOD).mean(),
    ),
    "sharpness": (
        lambda: Sharpness(SCALE, 0.6, PERIOD),
        lambda s, t: interval_width(s, 0.6, period=PERIOD).mean(0),
    ),
    "densest set": (
        lambda: HighestDensityLength(0.6, PERIOD),
        lambda s, t: hds_length(s, 0.6, period=PERIOD).mean(0),
    ),
    "resimulation": (lambda: ResimulationError(SCALE), lambda s, t: resimulation_error(s, t, SCALE).mean()),
}


def draws(*shape, seed=SEED):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images():
    """Samples, truth and mask of three images of two parameters; invalid pixels are NaN."""
    samples, truth = draws(25, 3, 2, 4, 5), draws(3, 2, 4, 5, seed=1)
    mask = draws(3, 1, 4, 5, seed=2) < 0.3
    return samples.masked_fill(~mask, torch.nan), truth.masked_fill(~mask, torch.nan), mask


@pytest.mark.parametrize("name", METRICS)
def test_batches_lists_and_images_are_the_function_at_once(name):
    make, function = METRICS[name]
    samples, truth = draws(25, 40, 2), draws(40, 2, seed=1)
    batches = make()
    for s, t in zip(samples.split(13, dim=1), truth.split(13), strict=True):
        batches(y_pred=s, y=t)
    torch.testing.assert_close(batches.aggregate(), function(samples, truth), rtol=1e-10, atol=1e-10)
    batches.reset()
    with pytest.raises(RuntimeError, match="has seen no batch"):
        batches.aggregate()

    samples, truth, mask = images()
    keep = mask[:, 0]
    expected = function(samples.movedim(2, -1)[:, keep], truth.movedim(1, -1)[keep])
    image, items = make(), make()
    image(y_pred=samples, y=truth, mask=mask)
    items(y_pred=list(samples.unbind(1)), y=list(truth), mask=list(mask))
    torch.testing.assert_close(image.aggregate(), expected)
    torch.testing.assert_close(items.aggregate(), expected)


def test_contraction_and_law_are_gathered_too():
    samples, truth = draws(25, 40, 2), draws(40, 2, seed=1)
    sharp, again = Sharpness(SCALE), ResimulationError(SCALE)
    for s, t in zip(samples.split(13, dim=1), truth.split(13), strict=True):
        sharp(y_pred=s, y=t)
        again(y_pred=s, y=t)
    for value, expected in zip(sharp.contraction(), contraction(samples, SCALE), strict=True):
        torch.testing.assert_close(value, expected)
    expected = resimulation_test(resimulation_error(samples, truth, SCALE), 2)
    assert again.test().mean_interval == pytest.approx(expected.mean_interval)
    assert again.test()[2:] == pytest.approx(expected[2:])


def test_log_score_of_batches_lists_and_images():
    log_prob = draws(3, 1, 4, 5)
    mask = draws(3, 1, 4, 5, seed=2) < 0.3
    log_prob[~mask] = torch.nan
    expected = log_score(log_prob[mask])
    image, items = LogScore(), LogScore()
    image(y_pred=log_prob, mask=mask)
    items(y_pred=list(log_prob), mask=list(mask))
    for metric in (image, items):
        assert float(metric.aggregate()) == pytest.approx(expected.mean)
        assert metric.standard_error() == pytest.approx(expected.standard_error)
    image(y_pred=torch.full((1, 1), -torch.inf))
    assert float(image.aggregate()) == image.standard_error() == math.inf


def test_grid_divergence_of_batches_lists_and_images():
    points, volume = posterior_grid(torch.tensor([-4.0]), torch.tensor([4.0]), 30)
    centre = draws(3, 1, 2, 2)
    log_p = -0.5 * (points[:, 0].float().reshape(1, 30, 1, 1) - centre).square()
    log_q = -0.5 * (points[:, 0].float().reshape(1, 30, 1, 1) - 0.3 - centre).square()
    mask = torch.tensor([True, False, True, True]).reshape(1, 1, 2, 2).expand(3, 1, 2, 2)
    log_p = log_p.masked_fill(~mask, torch.nan)
    keep = mask[:, 0]
    exact = grid_divergence(log_q.movedim(1, -1)[keep], log_p.movedim(1, -1)[keep], volume)
    expected = torch.stack([exact.kl.mean(), exact.tv.mean()])
    image, items = GridDivergence(volume), GridDivergence(volume)
    image(y_pred=log_q, y=log_p, mask=mask)
    items(y_pred=list(log_q), y=list(log_p), mask=list(mask))
    torch.testing.assert_close(image.aggregate(), expected)
    torch.testing.assert_close(items.aggregate(), expected)
    assert float(expected[0]) == pytest.approx(0.045, abs=0.004)


def joint(samples, truth, condition, seed=SEED):
    """The two sets that the metrics compare, made by hand."""
    index = torch.randint(len(samples), (len(truth),), generator=torch.Generator().manual_seed(seed))
    chosen = torch.cat([samples[index, torch.arange(len(truth))], condition], 1)
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(seed))
    half = len(truth) // 2
    return chosen[order[:half]], torch.cat([truth, condition], 1)[order[half : 2 * half]]


def test_joint_tests_of_batches_lists_and_images_are_the_functions_at_once():
    samples, truth, condition = draws(9, 90, 2), draws(90, 2, seed=1), draws(90, 3, seed=2)
    x, y = joint(samples, truth, condition)
    period = torch.cat([PERIOD, torch.full((3,), torch.inf)])
    scale = posterior_sd(torch.cat([x, y]).unsqueeze(1), period=period)[0]
    expected = (c2st(x, y, period=period), mmd(x, y, permutations=200, period=period, scale=scale))
    batches = (ClassifierTwoSample(PERIOD), MaximumMeanDiscrepancy(PERIOD))
    lists = (ClassifierTwoSample(PERIOD), MaximumMeanDiscrepancy(PERIOD))
    for many, single, result in zip(batches, lists, expected, strict=True):
        for s, t, c in zip(samples.split(25, 1), truth.split(25), condition.split(25), strict=True):
            many(y_pred=s, y=t, condition=c)
        single(y_pred=list(samples.unbind(1)), y=list(truth), condition=list(condition))
        assert many.test() == single.test() == pytest.approx(result)
        assert float(many.aggregate()) == pytest.approx(result[0])
        many.reset()
        for s, t, c in zip(samples.split(50, 1), truth.split(50), condition.split(50), strict=True):
            many(y_pred=s, y=t, condition=c)
        assert many.test() == single.test()


def test_joint_tests_take_masked_images():
    samples, truth, mask = images()
    condition = draws(3, 1, 4, 5, seed=3).masked_fill(~mask, torch.nan)
    for metric in (ClassifierTwoSample(), MaximumMeanDiscrepancy()):
        for _ in range(2):
            metric(y_pred=samples, y=truth, mask=mask, condition=condition)
        metric(y_pred=list(samples.unbind(1)), y=list(truth), mask=list(mask), condition=list(condition))
        assert len(metric) == 3 * int(mask.sum())
        assert math.isfinite(float(metric.aggregate()))


def test_joint_tests_see_a_posterior_that_ignores_the_observation():
    problem = LinearGaussian()
    truth, y = problem.simulate(2000, seed=SEED)
    torch.manual_seed(SEED)
    exact = problem.reference_posterior(y).sample((5,))
    prior = torch.randn(5, 2000, 4)
    for make in (ClassifierTwoSample, MaximumMeanDiscrepancy):
        p = []
        for seed in range(3):
            right, wrong, blind = make(seed=seed), make(seed=seed), make(seed=seed)
            right(y_pred=exact, y=truth, condition=y)
            wrong(y_pred=prior, y=truth, condition=y)
            blind(y_pred=prior, y=truth)
            assert wrong.test().p_value == pytest.approx(1 / 201)
            p.append([right.test().p_value, blind.test().p_value])
        # Without the condition the prior is as good as the posterior.
        assert min(max(column) for column in zip(*p, strict=True)) > 0.02


def test_bad_input_is_refused():
    samples, truth = draws(25, 10, 2), draws(10, 2)
    nobody = torch.zeros(10, 1, dtype=torch.bool)
    metric = Crps()
    metric(y_pred=samples, y=truth, mask=nobody)
    with pytest.raises(ValueError, match="Crps has seen no case that counts"):
        metric.aggregate()
    with pytest.raises(ValueError, match=r"prior_sd of parameter 1 is 0\.0"):
        Sharpness(torch.tensor([1.0, 0.0]))(y_pred=samples, y=truth)
    with pytest.raises(ValueError, match="y_pred has 2 channels, expected one log density"):
        LogScore()(y_pred=truth)
    with pytest.raises(ValueError, match=r"condition has shape \(9, 3\), expected \(10, 'features'\)"):
        ClassifierTwoSample()(y_pred=samples, y=truth, condition=draws(9, 3))
    with pytest.raises(ValueError, match=r"\(25, 10, 2\) and y \(10, 3\)"):
        MaximumMeanDiscrepancy()(y_pred=samples, y=draws(10, 3))
    with pytest.raises(ValueError, match="10 items of samples, 9 of truth"):
        ClassifierTwoSample()(y_pred=list(samples.unbind(1)), y=list(truth[:9]))
    with pytest.raises(ValueError, match="max_points = 1"):
        ClassifierTwoSample(max_points=1)
    few = ClassifierTwoSample()
    few(y_pred=samples, y=truth)
    with pytest.raises(ValueError, match="5 and 5 points; give at least 20 in each set"):
        few.aggregate()
    with pytest.raises(ValueError, match="1 of 10 cases hold NaN"):
        few(y_pred=samples, y=truth, condition=draws(10, 1).index_fill(0, torch.tensor([2]), torch.nan))
