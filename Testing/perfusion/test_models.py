"""Which model a tissue follows: evidence beside a sum over the prior, behind a known artery."""

from __future__ import annotations

import json
import math

import nibabel
import numpy as np
import pytest
import torch
from dce_files import ARTERY, CONCENTRATION, TIMES_S, write_nifti
from torch import Tensor

from monai_inn.applications.perfusion.problem import MODELS, Perfusion
from monai_inn.cli import main
from monai_inn.inferers.likelihood.evidence import model_probability
from monai_inn.inferers.summaries import shared_latents
from monai_inn.reports import results

PROBLEM = Perfusion(magnitude_share=0)
RIVALS = PROBLEM.rivals
NUMBER = len(RIVALS.targets)
TIMES = torch.full((60,), torch.nan)
TIMES[:25] = 12.0 * torch.arange(25)
TISSUES = {
    "extended_tofts": {"ktrans": 0.3, "ve": 0.25, "vp": 0.1},
    "patlak": {"ktrans": 0.1, "vp": 0.05},
    "exchange": {"ktrans": 0.1, "ve": 0.3, "vp": 0.15, "extraction": 0.15},
    "tofts": {"ktrans": 0.3, "ve": 0.25},
}


def usual_artery() -> Tensor:
    """Parameters of the artery, those of the middle of the prior but for arrival and peak."""
    theta = RIVALS.space.inverse(torch.zeros(1, len(RIVALS.parameters), dtype=torch.float64))[0]
    theta[RIVALS.space.index("arrival")], theta[RIVALS.space.index("peak")] = 20.0, 5.0
    return theta


def measured(theta: Tensor, sd: float, seed: int = 0) -> Tensor:
    """Curves ``(n, C)`` of tissues and their artery with white noise."""
    times = TIMES.expand(len(theta), -1)
    clean = RIVALS.forward_with_context(theta.float(), times)
    generator = torch.Generator().manual_seed(seed)
    noisy = clean + sd * torch.randn(clean.shape, generator=generator)
    noisy[:, 1::2] = clean[:, 1::2]
    return torch.cat([noisy, times], -1)


def tissue(model: str) -> Tensor:
    theta = usual_artery()
    given = {"model": MODELS.index(model) + 0.5, "delay": 1.0} | TISSUES[model]
    for name, value in given.items():
        theta[RIVALS.space.index(name)] = value
    return theta


@pytest.fixture
def fitted(fit_without_training, monkeypatch):
    """A network that nobody trained, behind an artery that is known."""
    known = RIVALS.space.subset(RIVALS.space.names[NUMBER:]).forward(usual_artery()[None, NUMBER:])[0]
    monkeypatch.setattr(Perfusion, "draw_nuisances", lambda self, y, n, seed, start: known.repeat(n, 1))
    return fit_without_training(PROBLEM, {**PROBLEM.encoder, "context": 1, "layers": 1})


def summed(y: Tensor, model: int) -> float:
    """Log evidence as the mean likelihood of a curve over points that fill the prior evenly."""
    latents = shared_latents(2**14, NUMBER - 1, 5)[:, 0].double()
    free = RIVALS.space.subset(RIVALS.targets[1:]).inverse(latents)
    which = torch.full_like(free[:, :1], model + 0.5)
    theta = torch.cat([which, free, usual_artery()[NUMBER:].expand(len(free), -1)], -1).float()
    log_likelihood = RIVALS.log_likelihoods(theta.unsqueeze(1), y.unsqueeze(0))[:, 0]
    return float(log_likelihood.logsumexp(0)) - math.log(len(theta))


def test_probabilities_are_those_of_a_sum_over_the_prior(fitted):
    y = measured(torch.stack([tissue("exchange"), tissue("tofts")]), 0.1)
    found = model_probability(fitted, y).double()
    expected = torch.tensor([[summed(row, k) for k in range(len(MODELS))] for row in y]).softmax(1)
    assert float((found - expected).abs().max()) < 0.1
    assert float(expected.max()) < 0.9  # so that there is something to compare


def test_curves_choose_their_own_model_and_the_simpler_of_two_that_fit(fitted):
    """Extended Tofts and exchange fit the curve of a Tofts tissue just as well."""
    y = measured(torch.stack([tissue(model) for model in MODELS]), 0.02)
    found = model_probability(fitted, y)
    assert found.argmax(1).tolist() == list(range(len(MODELS)))
    of_tofts = found[MODELS.index("tofts")]
    assert of_tofts[MODELS.index("tofts")] > 2 * of_tofts[MODELS.index("extended_tofts")]


@pytest.mark.slow  # half a second a curve
def test_a_model_is_right_as_often_as_it_is_probable(fitted):
    number, generator = 60, torch.Generator().manual_seed(4)
    theta = usual_artery().repeat(number, 1)
    theta[:, :NUMBER] = RIVALS.prior.sample((number,), generator)[:, :NUMBER].double()
    p = model_probability(fitted, measured(theta, 0.03)).double()
    is_known = p.isfinite().all(1)
    assert float(is_known.float().mean()) > 0.7
    p, truth = p[is_known], theta[is_known, 0].long()
    is_true = torch.nn.functional.one_hot(truth, len(MODELS)).double()
    for part in p.flatten().argsort().chunk(4):
        said, so = p.flatten()[part], is_true.flatten()[part]
        bound = 4 * math.sqrt(float((said * (1 - said)).sum())) / len(part)
        assert abs(float((so - said).mean())) < bound + 0.02


def test_a_network_that_weighs_models_is_compared_by_these():
    assert Perfusion(["patlak", "tofts"]).rivals.models == ("patlak", "tofts")
    assert Perfusion(["patlak"]).rivals.models == MODELS


def test_a_result_maps_how_probable_each_model_is(tmp_path, capsys, monkeypatch):
    """In as many voxels as were asked for; the figure stands in the record and in words."""
    row = torch.tensor([0.5, 0.25, 0.25, 0.0])
    monkeypatch.setattr(results, "model_probability", lambda fitted, y, seed: row.expand(len(y), -1))
    settings = {"time": TIMES_S.tolist(), "artery": ARTERY.tolist()}
    path = write_nifti(tmp_path / "scan.nii.gz", CONCENTRATION, beside=settings)
    out = tmp_path / "out"
    command = ["infer", "perfusion", str(path), "-o", str(out), "--samples", "8", "--no-picture"]
    assert main([*command, "--evidence", "10"]) == 0
    for name, value in zip(MODELS, row.tolist(), strict=True):
        found = nibabel.load(out / f"model_probability_{name}.nii.gz").get_fdata()
        assert np.isfinite(found).sum() == 10
        assert np.nanmean(found) == value
    models = json.loads((out / "result.json").read_text())["summary"]["models"]
    assert models["mean_probability"] == dict(zip(MODELS, row.tolist(), strict=True))
    assert f"models, on average over {models['pixels']} pixels: extended_tofts 50%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bundle", "number", "message"),
    [("ivim", "5", "'ivim' knows no several models"), ("perfusion", "-1", "evidence = -1; give the number")],
)
def test_evidence_that_cannot_be_is_refused_first(tmp_path, capsys, bundle, number, message):
    command = ["infer", bundle, str(tmp_path / "none.nii.gz"), "-o", str(tmp_path / "out")]
    assert main([*command, "--evidence", number]) == 2
    assert message in capsys.readouterr().err
