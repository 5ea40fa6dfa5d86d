from __future__ import annotations

import argparse
import math

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from monai_inn.applications.perfusion.fitting.features import NUM_FEATURES, curve_features
from monai_inn.applications.perfusion.fitting.quick_fit import NUM_FITTED, fitted_features
from monai_inn.applications.perfusion.models import acquisition, kinetics
from monai_inn.applications.perfusion.models.arteries import artery
from monai_inn.applications.perfusion.models.magnitudes import SPOILED
from monai_inn.applications.perfusion.problem import MODELS, Perfusion
from monai_inn.problems import create

MOST = acquisition.DYNAMIC.most


@pytest.fixture(scope="module")
def problem() -> Perfusion:
    return Perfusion(MODELS)


@pytest.fixture(scope="module")
def simulated(problem) -> tuple[Tensor, Tensor]:
    return problem.simulate_clean(4096, seed=1)


def value(problem: Perfusion, theta: Tensor, name: str) -> Tensor:
    return theta[:, problem.space.index(name)]


def test_targets_are_those_of_the_models():
    assert Perfusion().targets == ("ktrans", "ve", "vp", "delay")
    assert Perfusion(["extended_tofts", "patlak"]).targets == ("model", "ktrans", "ve", "vp", "delay")
    assert Perfusion(["exchange"]).targets == ("ktrans", "ve", "vp", "delay", "extraction")
    assert create("perfusion", models=["patlak"]).models == ("patlak",)


@pytest.mark.parametrize("models", [[], ["dispersion"], ["patlak", "patlak"]])
def test_other_models_are_refused(models):
    with pytest.raises(
        ValueError, match=r"give one or more of extended_tofts, patlak, exchange, tofts, each once"
    ):
        Perfusion(models)


def test_a_share_is_not_above_one():
    with pytest.raises(ValueError, match=r"magnitude_share = 1.5; give a number from 0 to 1"):
        Perfusion(magnitude_share=1.5)


def test_models_are_an_option():
    parser = argparse.ArgumentParser()
    Perfusion.add_options(parser)
    assert Perfusion.from_options(parser.parse_args([])).models == ("extended_tofts",)
    given = parser.parse_args(["--models", "patlak", "exchange"])
    assert Perfusion.from_options(given).models == ("patlak", "exchange")


def test_acquisitions_are_those_that_are_described(simulated):
    times = Perfusion.curves(simulated[1])[2]
    number = times.isfinite().sum(1)
    assert sorted({*number.tolist()}) == list(range(acquisition.DYNAMIC.fewest, MOST + 1))
    assert bool((times[:, 0] == 0).all())
    assert bool((times.diff(dim=1).nan_to_num(1) > 0).all())
    assert torch.equal(times.isfinite(), torch.arange(MOST) < number[:, None])  # none is missing in between
    last = times.nan_to_num(0.0).amax(1)
    assert 59.99 < float(last.min()) < 62
    assert 1190 < float(last.max()) < 1200.01
    first = times[:, 1]
    assert float(first.min()) < 2.2
    assert float(first.max()) > 18


def test_curves_are_those_of_each_model(problem, simulated):
    """Against the functions that make them, in double precision, row by row."""
    theta, y = (part[:60].double() for part in simulated)
    tissue, blood, times = Perfusion.curves(y)
    named = dict(zip(problem.space.names, theta.unbind(-1), strict=True))
    ktrans, ve, vp = (named[name] for name in ("ktrans", "ve", "vp"))
    responses = {
        "extended_tofts": kinetics.extended_tofts(ktrans, ve, vp),
        "patlak": kinetics.patlak(ktrans, vp),
        "exchange": kinetics.exchange(ktrans, named["extraction"], ve, vp),
        "tofts": kinetics.extended_tofts(ktrans, ve, 0 * vp),
    }
    curve = artery(named)
    since = times - named["arrival"][:, None]
    expected = torch.zeros_like(tissue)
    for which, name in enumerate(MODELS):
        rows = named["model"].long() == which
        assert int(rows.sum()) > 5
        expected[rows] = kinetics.tissue_curve(curve, responses[name], since, named["delay"])[rows]
    torch.testing.assert_close(tissue, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(
        blood, kinetics.concentration_at(curve, since), rtol=1e-4, atol=1e-5, equal_nan=True
    )


def test_parameters_that_a_model_lacks_change_nothing(problem, simulated):
    theta, y = simulated
    others = theta.clone()
    for name in ("ve", "extraction"):
        others[:, problem.space.index(name)] = value(problem, theta, name).flip(0)
    again = problem.simulate_again(others, y)
    rows = value(problem, theta, "model").long() == MODELS.index("patlak")
    torch.testing.assert_close(again[rows], y[rows], equal_nan=True)
    assert float((again - y)[~rows].nan_to_num(0.0).abs().max()) > 1


def test_the_usual_frames(problem):
    theta, _ = problem.simulate_clean(3)
    times = 5.0 * torch.arange(MOST).expand(3, -1)
    torch.testing.assert_close(problem.forward(theta), problem.forward_with_context(theta, times))
    with pytest.raises(ValueError, match=r"expected \(…, 20\): model, ktrans"):
        problem.forward(theta[:, 1:])


def test_noise_is_white_and_of_any_level():
    """Standardised by what is known, its level is log-uniform; the artery's is relative to its peak."""
    n, generator = 3000, torch.Generator().manual_seed(0)
    tissue = torch.zeros(n, 2000).double()
    blood = torch.linspace(0, 4, 2000).double().expand(n, -1)
    noisy = acquisition.noisy_curves(tissue[:, :50], blood[:, -50:], 0.0, generator, SPOILED.draw)
    for left, (low, high), scale in (
        (noisy[0], acquisition.TISSUE_NOISE, 1.0),
        (noisy[1] - blood[:, -50:], acquisition.ARTERY_NOISE, 4.0),
    ):
        level = left.square().nanmean(1).sqrt() / scale
        share = (level / low).log() / math.log(high / low)
        assert kstest(share.clamp(0, 1).numpy(), "uniform").statistic < 0.04
        white = left / (scale * level[:, None])
        assert abs(float(white[:, 1:].mul(white[:, :-1]).nanmean())) < 0.015
    lost = noisy[0].isnan()
    assert float(lost.any(1).float().mean()) == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / n))
    assert float(lost.float().mean()) == pytest.approx(0.01, abs=0.003)


def test_noise_of_magnitudes_has_no_bias_but_grows_with_concentration():
    generator = torch.Generator().manual_seed(0)
    tissue = torch.cat([torch.zeros(4000, 20), torch.full((4000, 20), 2.0)], 1).double()
    blood = tissue.clone()
    noisy, _ = acquisition.noisy_curves(tissue, blood, 1.0, generator, SPOILED.draw)
    before, after = noisy.split(20, 1)
    level = before.square().nanmean(1).sqrt()
    quiet = level < 0.004
    ratio = (after[quiet] - 2.0).square().nanmean(1).sqrt() / level[quiet]
    assert float(ratio.median()) > 1.5
    assert float((after[quiet] - 2.0).nanmean(1).median()) == pytest.approx(0, abs=0.003)
    share = (level.clamp(0.0001) / 0.001).log() / math.log(100)
    assert kstest(share.numpy(), "uniform").statistic < 0.1


def test_noise_leaves_times_and_what_is_missing(problem, simulated):
    _, clean = simulated
    noisy = problem.noise(clean, torch.Generator().manual_seed(3))
    assert torch.equal(noisy[:, 2 * MOST :].nan_to_num(-1), clean[:, 2 * MOST :].nan_to_num(-1))
    assert bool(noisy[clean.isnan()].isnan().all())
    # In 4.9 % of 10,000 the bolus comes after the last frame.
    assert 0 < float((~problem.is_valid(noisy)).float().mean()) < 0.09


def test_features_are_frame_by_frame(problem, simulated):
    _, y = simulated
    features = problem.features(y)
    values, times, fitted = features.split([NUM_FEATURES * MOST, MOST, NUM_FITTED], 1)
    values, curves = values.unflatten(1, (MOST, -1)), problem.curves(y)
    tissue, blood, seconds = curves
    assert torch.equal(fitted, fitted_features(*curves))
    torch.testing.assert_close(values[..., 0], torch.asinh(tissue / 0.02), equal_nan=True)
    torch.testing.assert_close(values[..., 1], torch.asinh(blood / 0.2), equal_nan=True)
    torch.testing.assert_close(times, seconds / 60, equal_nan=True)
    assert torch.equal(values.isnan().any(-1), tissue.isnan())
    assert float(features.nan_to_num(0.0).abs().max()) < 25


def test_areas_are_those_of_trapezoids():
    """Also where a value is missing, which counts as the one before, and beyond the last frame."""
    nan = torch.nan
    tissue = torch.tensor([0.0, 0.1, nan, 0.3, nan, nan])
    blood = torch.tensor([0.0, 4.0, 2.0, 1.0, nan, nan])
    times = torch.tensor([0.0, 6.0, 12.0, 24.0, nan, nan])
    found = curve_features(tissue, blood, times)
    tissue_area = torch.tensor([0.0, 0.3, nan, 0.3 + 0.6 + 2.4, nan, nan]) / 60
    blood_area = torch.tensor([0.0, 12.0, 30.0, 48.0, nan, nan]) / 60
    torch.testing.assert_close(found[:, 2], torch.asinh(tissue_area / 0.02), equal_nan=True)
    torch.testing.assert_close(found[:, 3], torch.asinh(blood_area / 0.2), equal_nan=True)


def test_relative_features_do_not_change_with_the_dose(problem, simulated):
    tissue, blood, times = problem.curves(simulated[1])
    strong = blood.nan_to_num(0.0).amax(1) > 0.2
    one, other = (curve_features(k * tissue, k * blood, times)[strong, :, 4:] for k in (1, 3))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def usable_row() -> Tensor:
    row = torch.full((3 * MOST,), torch.nan)
    row[: 2 * 6] = torch.tensor([0.0, 0.0, 0.1, 2.0, 0.2, 3.0, 0.2, 2.0, 0.3, 1.5, 0.3, 1.2])
    row[2 * MOST : 2 * MOST + 6] = 5.0 * torch.arange(6)
    return row


def test_rows_that_cannot_be_inferred_are_told():
    problem = Perfusion()
    good = usable_row()
    short, backward, twice, dark, timeless, infinite, gap = (good.clone() for _ in range(7))
    short[2 * 3 : 2 * MOST] = torch.nan
    backward[2 * MOST + 3] = 2.0
    twice[2 * MOST + 3] = twice[2 * MOST + 2]
    dark[1 : 2 * MOST : 2] = -dark[1 : 2 * MOST : 2].abs()
    timeless[2 * MOST + 3] = torch.nan
    infinite[4] = torch.inf
    gap[4] = torch.nan
    rows = torch.stack([good, short, backward, twice, dark, timeless, infinite, gap])
    assert problem.is_valid(rows).tolist() == [True, *[False] * 6, True]
    left_out = good.clone()
    left_out[4:6] = torch.nan
    left_out[2 * MOST + 2] = torch.nan  # a frame that was left out has no time either
    assert bool(problem.is_valid(left_out))


def test_people_see_units():
    application = Perfusion().application
    channels = application.input_format()["channel_def"]
    assert channels["1"] == "concentration of contrast agent in the plasma of the artery, in mM, frame 1"
    assert channels["179"] == "time since the first frame, in s, frame 60"
    assert "Ktrans" in application.task
    assert any("haematocrit" in sentence for sentence in application.limits)
