"""Tracer that stays in the vessels: its residues, and curves of tissues behind an artery."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from osipi import rows
from scipy.integrate import quad

from monai_inn.applications.perfusion.models.kinetics import (
    Artery,
    Response,
    concentration_at,
    passage_curve,
    tissue_curve,
)

SPREADS = (0.05, 0.3, 0.8, 1.0, 1.2, 1.5)
STEP = Artery(torch.tensor([0.0, 1.0]).double(), torch.ones(2).double())  # 1 mM from 0 s on


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def residue(time: float, mtt: float, spread: float) -> float:
    """Share of the tracer that is still there, as it is written down."""
    if spread <= 1:
        wait = (1 - spread) * mtt
        return 1.0 if time < wait else math.exp(-(time - wait) / (spread * mtt))
    share = 0.5 + 0.5 * math.sqrt((spread**2 - 1) / (spread**2 + 1))
    return sum(s * math.exp(-2 * s * time / mtt) for s in (share, 1 - share))


@pytest.mark.parametrize("spread", SPREADS)
def test_transit_times_have_their_mean_and_their_standard_deviation(spread):
    """Behind a step the tissue holds the integral of the residue; what is left to come tells E[t²] / 2."""
    mtt = numbers(6.0)
    times = torch.linspace(0, 600, 60_001).double()
    held = passage_curve(STEP, mtt, numbers(spread), times)[0]
    assert float(held[-1]) == pytest.approx(6.0, abs=1e-9)
    second = 2 * float(torch.trapezoid(6.0 - held, times))
    assert second == pytest.approx(6.0**2 * (1 + spread**2), rel=1e-5)


@pytest.mark.parametrize("spread", SPREADS)
def test_equals_a_numerical_integral(spread):
    generator = torch.Generator().manual_seed(7)
    knots = (0.1 + 8 * torch.rand(9, generator=generator).double()).cumsum(0)
    artery = Artery(knots, 5 * torch.rand(9, generator=generator).double())
    mtt, delay = 4.3, -2.1
    times = numbers(1.0, 9.5, 20.0, 33.3, 70.0)
    made = passage_curve(artery, numbers(mtt), numbers(spread), times, numbers(delay))[0]

    def integrand(u: float, end: float) -> float:
        return float(concentration_at(artery, numbers(u))) * residue(end - u, mtt, spread)

    for time, value in zip((times - delay).tolist(), made.tolist(), strict=True):
        breaks = [*knots.tolist(), time - (1 - spread) * mtt]
        inside = [u for u in breaks if float(knots[0]) < u < time]
        edges = [min(float(knots[0]), time), *sorted(inside), time]
        # What flows in at a knot belongs to the piece behind it.
        expected = sum(quad(integrand, a + 1e-12, b, args=(time,))[0] for a, b in pairwise(edges))
        assert value == pytest.approx(expected, abs=1e-7)


def test_a_well_mixed_space_and_plug_flow_are_limits():
    knots = torch.arange(12).double()
    artery = Artery(knots, torch.rand(12, generator=torch.Generator().manual_seed(1)).double())
    times = torch.linspace(-1, 40, 83).double()
    mtt, none = numbers(5.0), numbers(0.0)
    mixed = tissue_curve(artery, Response(none, numbers(1.0)[:, None], 1 / mtt[:, None]), times)
    torch.testing.assert_close(passage_curve(artery, mtt, numbers(1.0), times), mixed)
    # Just above and below, both ways of writing the residue agree.
    torch.testing.assert_close(
        passage_curve(artery, mtt, numbers(1 + 1e-7), times), mixed, rtol=1e-4, atol=1e-6
    )
    entered = Response(none, numbers(1.0)[:, None], none[:, None])
    plug = tissue_curve(artery, entered, times) - tissue_curve(artery, entered, times, mtt)
    torch.testing.assert_close(passage_curve(artery, mtt, numbers(1e-6), times), plug, rtol=0, atol=1e-5)


def test_single_precision_is_enough():
    """Minutes after the bolus the curve is the small difference of two large integrals."""
    knots = torch.linspace(0, 400, 80).double()
    artery = Artery(knots, 5 * torch.exp(-knots / 200))
    times = torch.linspace(0, 390, 131).double()
    mtt, spread = numbers(2.0, 10.0, 30.0), numbers(0.2, 0.9, 1.4)
    exact = passage_curve(artery, mtt, spread, times)
    curve = Artery(*(part.float() for part in artery))
    short = passage_curve(curve, mtt.float(), spread.float(), times.float())
    torch.testing.assert_close(short.double() / mtt[:, None], exact / mtt[:, None], rtol=0, atol=5e-4)


def test_equals_the_curves_of_osipi_but_for_their_noise():
    """These were convolved by the rectangle rule, which counts half a frame of the artery too much."""
    left, sd = [], []
    for row in rows("dsc_data"):
        times = row["tr"] * torch.arange(len(row["C_aif"])).double()
        artery = Artery(times, row["C_aif"])
        mtt = 60 * row["cbv"] / row["cbf"]
        passed = passage_curve(artery, mtt, numbers(1.0), times)[0] + row["tr"] / 2 * row["C_aif"]
        left.append(row["C_tis"] - row["cbf"] / 6000 * passed)
        sd.append(row["C_tis"][-40:].square().mean())  # long after the bolus there is noise only
    n = torch.stack(left).numel()
    ratio = float(torch.stack(left).std() / torch.stack(sd).mean().sqrt())
    assert ratio == pytest.approx(1, abs=4 / math.sqrt(2 * 14 * 40))
    assert abs(float(torch.stack(left).mean())) < 4 * float(np.sqrt(np.mean(sd))) / n**0.5
