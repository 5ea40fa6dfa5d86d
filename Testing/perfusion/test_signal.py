from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from osipi import rows
from scipy.stats import rice

from monai_inn.applications.perfusion.models.signal import (
    Echo,
    concentration_of,
    relative_signal,
    rician,
    t1_of_flip_angles,
)


def test_equals_the_reference_of_osipi():
    """Theirs takes the mean of the baseline without the first frame."""
    for row in rows("SI2Conc_data"):
        baseline = row["s"][1 : int(row["numbaselinepts"])].mean()
        echo = Echo(row["FA"], row["TR"], row["r1"])
        found = concentration_of(row["s"], baseline, row["T1base"], echo)
        torch.testing.assert_close(found, row["conc"], rtol=0, atol=1e-10)


@given(
    concentration=st.floats(-0.05, 20),
    t1=st.floats(0.2, 3),
    flip=st.floats(2, 60),
    tr=st.floats(0.002, 0.02),
    relaxivity=st.floats(3, 10),
)
def test_the_way_back_leads_to_the_same_concentration(concentration, t1, flip, tr, relaxivity):
    echo, given_ = Echo(flip, tr, relaxivity), torch.tensor([concentration], dtype=torch.float64)
    found = concentration_of(37 * relative_signal(given_, t1, echo), 37.0, t1, echo)
    torch.testing.assert_close(found, given_, rtol=1e-7, atol=1e-9)


def test_a_signal_is_that_of_the_textbook():
    """M0 sin α (1 − E) / (1 − E cos α), with E = exp(−TR (1 / T1 + r C))."""
    echo = Echo(15.0, 0.005, 4.0)

    def signal(concentration: float) -> float:
        decay = math.exp(-0.005 * (1 / 1.2 + 4 * concentration))
        return math.sin(math.radians(15)) * (1 - decay) / (1 - decay * math.cos(math.radians(15)))

    found = relative_signal(torch.tensor([0.0, 0.5, 8.0]).double(), 1.2, echo)
    expected = torch.tensor([1.0, signal(0.5) / signal(0.0), signal(8.0) / signal(0.0)]).double()
    torch.testing.assert_close(found, expected)


def test_a_signal_that_no_concentration_gives_is_missing():
    echo = Echo(20.0, 0.004, 4.5)
    most = float(relative_signal(torch.tensor(1e6), 1.0, echo))
    found = concentration_of(torch.tensor([0.99 * most, 1.01 * most, torch.nan]), 1.0, 1.0, echo)
    assert found.isnan().tolist() == [False, True, True]


@given(t1=st.floats(0.1, 4), m0=st.floats(1, 1e4), tr=st.floats(0.004, 0.02))
def test_flip_angles_tell_t1(t1, m0, tr):
    angles = torch.tensor([2.0, 5.0, 10.0, 20.0]).double()
    decay, angle = math.exp(-tr / t1), torch.deg2rad(angles)
    signal = m0 * angle.sin() * (1 - decay) / (1 - decay * angle.cos())
    found, level = t1_of_flip_angles(signal, angles, tr)
    assert float(found) == pytest.approx(t1, rel=1e-6)
    assert float(level) == pytest.approx(m0, rel=1e-6)


def test_t1_is_found_by_least_squares():
    """No other T1 fits better; the straight line, which only starts it, does."""
    angles, tr = torch.arange(2.0, 21.0, 2.0).double(), 0.008
    generator = torch.Generator().manual_seed(0)
    angle = torch.deg2rad(angles)

    def shape(t1: torch.Tensor) -> torch.Tensor:
        decay = torch.exp(-tr / t1).unsqueeze(-1)
        return angle.sin() * (1 - decay) / (1 - decay * angle.cos())

    def misfit(t1: torch.Tensor) -> torch.Tensor:
        s = shape(t1)
        m0 = (noisy * s).sum(-1, keepdim=True) / s.square().sum(-1, keepdim=True)
        return (noisy - m0 * s).square().sum(-1)

    true = torch.linspace(0.3, 2.5, 200).double()
    noisy = shape(true)
    noisy = noisy + 0.002 * torch.randn(noisy.shape, generator=generator, dtype=torch.float64)
    found, _ = t1_of_flip_angles(noisy, angles, tr)
    assert bool(found.isfinite().all())
    for other in (0.999 * found, 1.001 * found):
        assert bool((misfit(found) <= misfit(other)).all())


def test_signals_without_a_t1_are_missing():
    angles = torch.tensor([2.0, 10.0, 20.0])
    flat = torch.stack([torch.zeros(3), torch.tensor([1.0, 20.0, 80.0]), torch.full((3,), torch.nan)])
    assert bool(t1_of_flip_angles(flat, angles, 0.005)[0].isnan().all())


def test_noise_of_magnitudes_is_rician():
    generator = torch.Generator().manual_seed(1)
    n, sd = 40_000, 2.0
    drawn = rician(torch.full((n,), 3.0).double(), sd, generator)
    law = rice(3.0 / sd, scale=sd)
    assert float(drawn.mean()) == pytest.approx(law.mean(), abs=4 * law.std() / math.sqrt(n))
    assert float(drawn.var()) == pytest.approx(law.var(), rel=4 * math.sqrt(2 / n))
