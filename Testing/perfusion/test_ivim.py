"""Intravoxel incoherent motion: its signals, their scale that is unknown, exact posteriors."""

import gzip
import json
import math
from pathlib import Path

import pytest
import torch

from monai_inn.applications.perfusion.ivim import IntravoxelMotion
from monai_inn.applications.perfusion.models.signal import rician

PROBLEM = IntravoxelMotion()
MOST = PROBLEM.observation.places
REFERENCES = Path(__file__).parent / "references"


def row(signal, b):
    """An observation of signals at b-values."""
    whole = torch.full((2 * MOST,), torch.nan)
    whole[: len(signal)], whole[MOST : MOST + len(b)] = torch.as_tensor(signal), torch.as_tensor(b)
    return whole


@pytest.mark.parametrize("name", ["generic", "generic_brain"])
def test_signals_are_those_of_osipi(name):
    tissues = json.loads(gzip.decompress((REFERENCES / f"osipi_ivim_{name}.json.gz").read_bytes()))
    b = torch.tensor(tissues.pop("config")["bvalues"])
    for tissue in tissues.values():
        theta = torch.tensor([1e3 * tissue["D"], tissue["f"], 1e3 * tissue["Dp"]])
        made = PROBLEM.forward_with_context(theta, b)
        measured = torch.tensor(tissue["data"])
        # Their noise has the standard deviation that each tissue states; the largest of 18 is within 4 of it.
        assert (made - measured).abs().max() < 4 * tissue["noise"]


def test_b_values_hold_zero_and_few_or_many():
    b = PROBLEM.draw_context(4096, torch.Generator().manual_seed(0))
    number = b.isfinite().sum(1)
    assert (number.min(), number.max()) == (4, MOST)
    assert ((b == 0).sum(1) >= 1).all()
    assert b.nan_to_num().max() <= 1500
    assert (b.diff(dim=1).nan_to_num() >= 0).all()


def test_neither_posterior_nor_features_know_the_scale():
    _, y = PROBLEM.simulate(50, seed=3)
    louder = torch.cat([437 * y[:, :MOST], y[:, MOST:]], 1)
    assert torch.allclose(PROBLEM.features(louder), PROBLEM.features(y), rtol=1e-5, equal_nan=True)
    theta = PROBLEM.prior.sample((20,))
    level, other = (PROBLEM.log_likelihood(theta, rows[0]) for rows in (y, louder))
    assert torch.allclose(other - other[0], level - level[0], atol=1e-4)


def test_the_likelihood_finds_the_parameters_and_its_curvature_those_of_least_squares():
    """With little noise a Rician magnitude is normal: D has the error of a regression."""
    b = torch.linspace(0, 1000, 30)
    theta = torch.tensor([1.2, 0.0, 50.0])
    y = row(rician(PROBLEM.forward_with_context(theta, b), 0.01, torch.Generator().manual_seed(1)), b)
    d = torch.linspace(1.1, 1.3, 401, dtype=torch.float64)
    rows = torch.stack([d, torch.full_like(d, 1e-9), torch.full_like(d, 50.0)], 1)
    density = PROBLEM.log_likelihood(rows, y).softmax(0)
    mean = (density * d).sum()
    sd = (density * (d - mean).square()).sum().sqrt()
    clean = torch.exp(-1.2e-3 * b)
    design = torch.stack([clean, -1e-3 * b * clean], 1)  # scale, D
    error = 0.01 * torch.linalg.inv(design.T @ design)[1, 1].sqrt()
    assert abs(sd / error - 1) < 0.3  # the level of the noise is known from 30 signals to an eighth
    assert abs(mean - 1.2) < 4 * error


@pytest.mark.parametrize(
    ("signal", "b", "is_usable"),
    [
        ([5.0, 4, 3, 2], [0.0, 100, 400, 800], True),
        ([5.0, 4, 3, 2], [10.0, 100, 400, 800], False),  # none without weighting
        ([5.0, 4, 3], [0.0, 100, 400], False),
        ([0.0, 0, 0, 0], [0.0, 100, 400, 800], False),
        ([5.0, -4, 3, 2], [0.0, 100, 400, 800], False),
        ([5.0, 4, math.nan, 3, 2], [0.0, 50, 100, 400, 800], True),
    ],
)
def test_what_can_be_inferred(signal, b, is_usable):
    assert bool(PROBLEM.is_valid(row(signal, b))) == is_usable
