"""Deconvolution by singular values against the matrix itself, and against curves whose flow is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from osipi import rows

from monai_inn.applications.perfusion.dsc import PLASMA_G_PER_ML

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from deconvolution import deconvolve

INTERVAL_S = 1.2
TIMES_S = INTERVAL_S * np.arange(60)
ARTERY = 5 * ((TIMES_S - 12).clip(0) / 5) ** 2 * np.exp(2 - 2 * (TIMES_S - 12).clip(0) / 5)


def tissue(flow, mtt, delay=0):
    """By the rectangle rule; ``flow`` in 1/s, a delay in frames."""
    residue = np.exp(-TIMES_S / mtt)
    return np.roll(flow * INTERVAL_S * np.convolve(ARTERY, residue)[:60], delay)


def by_the_matrix(curve):
    """Flow in 1/s by the decomposition of the circulant matrix as it is written down."""
    padded = np.r_[ARTERY, np.zeros(60)]
    matrix = INTERVAL_S * np.stack([np.roll(padded, k) for k in range(120)], 1)
    left, singular, right = np.linalg.svd(matrix)
    projected = left.T @ np.r_[curve, np.zeros(60)]
    for threshold in np.arange(0, 1, 0.01):
        kept = singular >= threshold * singular[0]
        residue = right.T[:, kept] @ (projected[kept] / singular[kept])
        if np.abs(np.diff(residue, 2)).sum() / (120 * residue.max()) <= 0.095:
            break
    return residue.max()


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_equals_the_decomposition_of_the_matrix(noise):
    generator = np.random.default_rng(3)
    curves = np.stack([tissue(0.01, 4.0), tissue(0.004, 12.0), tissue(0.01, 4.0, 3)])
    curves += noise * generator.normal(size=curves.shape)
    found = deconvolve(torch.from_numpy(curves), torch.from_numpy(ARTERY), INTERVAL_S)
    expected = 6000 / PLASMA_G_PER_ML * np.array([by_the_matrix(curve) for curve in curves])
    np.testing.assert_allclose(found.cbf, expected, rtol=1e-6)
    torch.testing.assert_close(found.mtt_s, 60 * found.cbv / found.cbf)


def test_a_delay_changes_nothing():
    curves = np.stack([tissue(0.01, 4.0, delay) for delay in (0, 2, -2)])
    found = deconvolve(torch.from_numpy(curves), torch.from_numpy(ARTERY), INTERVAL_S)
    torch.testing.assert_close(found.cbf, found.cbf[:1].expand(3), rtol=1e-3, atol=0)


def test_volumes_are_ratios_of_areas():
    flow, mtt = 0.01, 4.0
    found = deconvolve(torch.from_numpy(tissue(flow, mtt)[None]), torch.from_numpy(ARTERY), INTERVAL_S)
    area = INTERVAL_S / (1 - np.exp(-INTERVAL_S / mtt))  # of the residue, by the rectangle rule
    assert float(found.cbv) == pytest.approx(100 / PLASMA_G_PER_ML * flow * area, rel=1e-4)


def test_flows_of_osipi_come_out_too_small_as_is_known():
    """Leaving out waves rounds the peak of the residue off, the more the higher the flow."""
    table = rows("dsc_data")
    for row in (table[0], table[6]):
        found = deconvolve(row["C_tis"][None], row["C_aif"] / PLASMA_G_PER_ML, float(row["tr"]))
        assert 0.4 < float(found.cbf) / float(row["cbf"]) < 1.1
        assert 1.0 < float(found.cbv) / float(row["cbv"]) < 1.25  # by the rectangle rule


@pytest.mark.parametrize("artery", [np.full(60, np.nan), np.zeros(60)])
def test_what_cannot_be_deconvolved_is_refused(artery):
    with pytest.raises(ValueError, match="needs every value of tissues and artery, and tracer"):
        deconvolve(torch.from_numpy(tissue(0.01, 4.0)[None]), torch.from_numpy(artery), INTERVAL_S)
