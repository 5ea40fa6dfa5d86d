"""Metrics per stratum equal the metric of that stratum's cases, over batches, images and lists."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_inn.metrics.calibration import calibration_error
from monai_inn.metrics.coverage import coverage
from monai_inn.metrics.rank_metrics import Pit, PosteriorCalibration
from monai_inn.metrics.sbc import pit, sbc_ranks
from monai_inn.metrics.strata import StratifiedMetric, bins_of, by_stratum
from monai_inn.metrics.tarp import tarp_fractions

SEED = 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(12, 200))
def test_quantile_bins_hold_equally_many(seed, num_bins, n):
    values = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    strata = bins_of(values, num_bins)
    counts = strata.labels.bincount(minlength=num_bins)
    assert len(counts) == len(strata.names) == num_bins
    assert int(counts.max() - counts.min()) <= 1
    assert float(strata.edges[0]) == float(values.min())
    assert float(strata.edges[-1]) == float(values.max())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40))
def test_edges_are_those_of_a_histogram(values):
    edges = [-5, -1, 0, 4, 5]
    strata = bins_of(torch.tensor(values, dtype=torch.float32), edges)
    assert strata.labels.bincount(minlength=4).tolist() == np.histogram(values, edges)[0].tolist()
    for value, label in zip(values, strata.labels.tolist(), strict=True):
        assert edges[label] <= value <= edges[label + 1]


def test_names_open_ends_and_unknown_values():
    strata = bins_of(torch.tensor([-1e9, 0.25, math.nan, 0.5, 7.0]), [-math.inf, 0.25, 0.5, math.inf])
    assert strata.labels.tolist() == [0, 1, -1, 2, 2]
    assert strata.names == ("-inf to 0.25", "0.25 to 0.5", "0.5 to inf")
    assert bins_of(torch.tensor([3.0, math.nan, 1.0, 2.0, 4.0]), 2).labels.tolist() == [1, -1, 0, 0, 1]


def test_by_stratum_is_the_function_of_each_subset():
    generator = torch.Generator().manual_seed(SEED)
    samples, truth = torch.randn(19, 300, 2, generator=generator), torch.randn(300, 2, generator=generator)
    labels = torch.randint(-1, 3, (300,), generator=generator)
    mask = torch.rand(300, generator=generator) < 0.7
    truth[~mask] = torch.nan
    result = by_stratum(sbc_ranks, samples, truth, labels, mask)
    assert list(result) == [0, 1, 2]
    for label, ranks in result.items():
        keep = mask & (labels == label)
        assert torch.equal(ranks, (samples < truth).sum(0)[keep])
    covered = by_stratum(coverage, samples, truth, labels, mask, level=[0.5], confidence=0.8)
    assert covered[1].low.shape == (1, 2)
    references = torch.zeros(300, 2)
    fractions = by_stratum(tarp_fractions, samples, truth, labels, mask, references=references)
    assert sum(map(len, fractions.values())) == int((mask & (labels >= 0)).sum())
    assert by_stratum(sbc_ranks, samples, truth, torch.full((300,), -1)) == {}


def test_a_fault_that_the_average_hides_is_seen_per_stratum():
    # Central 68 % hold 51 % where the signal is weak and 85 % where it is strong: 68 % on average.
    generator = torch.Generator().manual_seed(SEED)
    n = 4000
    weak = torch.rand(n, generator=generator) < 0.5
    truth = torch.randn(n, 1, generator=generator)
    factor = torch.where(weak, 0.7, 1.435)[:, None]
    samples = factor * torch.randn(99, n, 1, generator=generator)
    overall = coverage(samples, truth, [0.68], confidence=0.999)
    assert float(overall.low) < 0.68 < float(overall.high)
    parts = by_stratum(coverage, samples, truth, weak.long(), level=[0.68], confidence=0.999)
    assert float(parts[1].high) < 0.68 < float(parts[0].low)


def test_metric_over_batches_images_and_lists_is_the_metric_of_each_subset():
    generator = torch.Generator().manual_seed(SEED)
    samples = torch.randn(19, 4, 2, 6, 5, generator=generator)
    truth = torch.randn(4, 2, 6, 5, generator=generator)
    strata = torch.randint(-1, 2, (4, 1, 6, 5), generator=generator)
    strata[1] = 7  # one image is a stratum of its own
    mask = torch.rand(4, 1, 6, 5, generator=generator) < 0.8
    flat = samples.movedim(2, -1).flatten(1, 3), truth.movedim(1, -1).flatten(0, 2)

    at_once = by_stratum(calibration_error, *flat, strata.flatten(), mask.flatten())
    transforms = by_stratum(pit, *flat, strata.flatten(), mask.flatten())
    batches, items, kept = (
        StratifiedMetric(make) for make in (PosteriorCalibration, PosteriorCalibration, Pit)
    )
    for half in (slice(0, 1), slice(1, 4)):
        batch = (samples[:, half], truth[half], strata[half], mask[half])
        batches(*batch)
        kept(*batch)
    items(list(samples.unbind(1)), list(truth), strata=list(strata), mask=list(mask))
    assert list(at_once) == [0, 1, 7]
    for metric, expected in ((batches, at_once), (items, at_once), (kept, transforms)):
        result = metric.aggregate()
        assert list(result) == list(expected)
        for label, values in expected.items():
            torch.testing.assert_close(result[label], values, rtol=0, atol=1e-12)

    whole = StratifiedMetric(PosteriorCalibration)
    whole(samples, truth, torch.zeros(4, 1, 6, 5, dtype=torch.int64))
    torch.testing.assert_close(whole.aggregate()[0], calibration_error(*flat), rtol=0, atol=1e-12)
    whole.reset()
    with pytest.raises(RuntimeError, match="has seen no case"):
        whole.aggregate()


def test_bad_input_is_named():
    samples, truth = torch.zeros(9, 5, 1), torch.zeros(5, 1)
    with pytest.raises(ValueError, match=r"values have shape \(5, 1\), expected one number per case"):
        bins_of(truth, 2)
    with pytest.raises(ValueError, match="7 bins of 5 values"):
        bins_of(truth[:, 0], 7)
    with pytest.raises(ValueError, match="values repeat too often for 2 bins"):
        bins_of(truth[:, 0], 2)
    with pytest.raises(ValueError, match=r"edges are \[1.0, 0.0\], expected at least two numbers that rise"):
        bins_of(truth[:, 0], [1.0, 0.0])
    with pytest.raises(ValueError, match="2 of 3 values lie outside the edges 0 to 1"):
        bins_of(torch.tensor([-0.1, 0.5, math.inf]), [0.0, 1.0])
    with pytest.raises(TypeError, match=r"strata are torch\.float32, expected integers"):
        by_stratum(sbc_ranks, samples, truth, torch.zeros(5))
    with pytest.raises(ValueError, match=r"strata have shape \(4,\), expected \(5,\)"):
        by_stratum(sbc_ranks, samples, truth, torch.zeros(4, dtype=torch.int64))
    labels, metric = torch.zeros(5, 1, dtype=torch.int64), StratifiedMetric(PosteriorCalibration)
    with pytest.raises(TypeError, match=r"mask is torch\.int64, expected a boolean"):
        metric(samples, truth, labels, labels)
    with pytest.raises(ValueError, match=r"mask has shape \(5, 2\), expected that of strata, \(5, 1\)"):
        metric(samples, truth, labels, torch.ones(5, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="5 items of samples, 5 of truth, 4 of strata"):
        metric(list(samples.unbind(1)), list(truth), list(labels[:4]))
