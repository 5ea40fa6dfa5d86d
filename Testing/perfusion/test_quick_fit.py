"""The fit that the network sees, against the curves it was made from and a least-squares solver of scipy."""

from __future__ import annotations

import pytest
import torch

from monai_inn.applications.perfusion.fitting.least_squares import fit_extended_tofts
from monai_inn.applications.perfusion.fitting.quick_fit import NUM_FITTED, fitted_features
from monai_inn.applications.perfusion.models import kinetics
from monai_inn.applications.perfusion.problem import Perfusion

GRID = NUM_FITTED - 14
DELAY, RATE, TRANSFER, PLASMA = range(GRID, GRID + 4)


@pytest.fixture(scope="module")
def problem() -> Perfusion:
    return Perfusion(magnitude_share=0.0)


def test_finds_what_made_a_curve():
    times = torch.arange(0.0, 180.0, 2.0)
    since = ((times - 20) / 8).clamp_min(0)
    measured = 5 * since * (1 - since).exp() + 0.8 * (1 - (-since).exp())
    linear = kinetics.Artery(times, measured)
    true = torch.tensor([[0.25, 0.3, 0.05, 2.0], [0.05, 0.15, 0.02, -3.0], [1.0, 0.6, 0.2, 0.5]])
    ktrans, ve, vp, delay = true.unbind(-1)
    tissue = kinetics.tissue_curve(linear, kinetics.extended_tofts(ktrans, ve, vp), times, delay)
    found = fitted_features(tissue, measured.expand(3, -1), times.expand(3, -1))
    torch.testing.assert_close(found[:, DELAY] * 10, delay, rtol=0, atol=0.05)
    torch.testing.assert_close(found[:, RATE].exp() * 60, ktrans / ve, rtol=0.02, atol=0)
    torch.testing.assert_close(found[:, TRANSFER].exp() - 1e-3, ktrans, rtol=0.02, atol=0)
    torch.testing.assert_close(found[:, PLASMA].square(), vp, rtol=0.02, atol=0.002)


def test_leaves_no_more_than_scipy(problem):
    """Over curves whose model is the one that is fitted, the artery's noise apart."""
    _, y = problem.simulate(36, seed=5)
    tissue, blood, times = problem.curves(y[problem.is_valid(y)])
    found = fitted_features(tissue, blood, times)
    left = found[:, GRID + 10].exp()  # root mean square, mM
    ratios = []
    for row, frames in enumerate(times.isfinite()):
        curve, plasma, when = (part[row][frames].double() for part in (tissue, blood, times))
        if bool((curve + plasma).isfinite().all()):
            ratios.append(left[row] / fit_extended_tofts(curve[None], plasma, when).rms[0])
    assert len(ratios) > 20
    ratio = torch.stack(ratios)
    assert ratio.median() < 1.01
    assert ratio.quantile(0.8) < 1.1


def test_empty_frames_change_nothing(problem):
    _, y = problem.simulate(20, seed=6)
    tissue, blood, times = problem.curves(y[problem.is_valid(y)])
    more = [torch.nn.functional.pad(part, (0, 7), value=torch.nan) for part in (tissue, blood, times)]
    torch.testing.assert_close(
        fitted_features(*more), fitted_features(tissue, blood, times), rtol=1e-3, atol=1e-3
    )


def test_numbers_are_finite_whatever_is_missing(problem):
    _, y = problem.simulate(8, seed=7)
    tissue, blood, times = (part.clone() for part in problem.curves(y))
    tissue[0], blood[1], times[2] = torch.nan, torch.nan, torch.nan
    tissue[3], blood[4] = 0.0, 0.0
    tissue[5, 3:] = torch.nan
    assert fitted_features(tissue, blood, times).isfinite().all()
