"""Masses of two poses of a nearly symmetric spine, against a grid over the same likelihood."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.ct import materials
from monai_inn.applications.registration.poses.draws import draw_posterior
from monai_inn.applications.registration.poses.fit import Level, Unknowns, climb, loss_at
from monai_inn.applications.registration.poses.mixture import smoothed, systematic
from monai_inn.applications.registration.projection import AttenuationVolume, spine_phantom
from monai_inn.applications.registration.radiograph import Radiograph
from monai_inn.applications.registration.raycasting import RayCaster
from monai_inn.applications.registration.whitening import Whitening

FAR_MM = 4e6  # rays as good as parallel: only then both poses cast the same image
NOISE = 0.03
DETECTOR = Detector(32, 32, 6.0, source_detector_mm=1.2 * FAR_MM, source_isocentre_mm=FAR_MM)
TRUTH = torch.tensor([35.0, 10.0, 0, 0, 0, 0], dtype=torch.float64)
MIRRORED = torch.tensor([145.0, -10.0, 0, 0, 0, 0], dtype=torch.float64)


def unknowns() -> Unknowns:
    """Two angles; what the X-ray unit does is known."""
    both = Unknowns.of({"lao": (-180.0, 180.0), "cra": (-30.0, 30.0)}, {})
    return both._replace(free=both.free & (torch.arange(len(both.free)) < 6))


def seen(asymmetry: float, seed: int) -> Level:
    """A noisy X-ray of the spine."""
    spine = spine_phantom(asymmetry, 5.0)  # the size of a pixel: resampling would not be symmetric
    ct = AttenuationVolume((spine.values / 0.0192 - 1) * 1000, spine.affine)
    caster = RayCaster(materials(ct, DETECTOR.spacing_at_isocentre_mm), DETECTOR, torch.zeros(3))
    radiograph = Radiograph(caster)
    image = radiograph(TRUTH[None], unknowns().mean[None, 6:])[0]
    noise = NOISE * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    ones = torch.ones_like(image)
    return Level(radiograph, image + noise, Whitening(ones, NOISE**2 * ones, ones))


def on_grid(level: Level, x: torch.Tensor, temper: float) -> torch.Tensor:
    """Log of the prior mean of a widened likelihood in boxes about some poses."""
    axis = torch.linspace(-3, 3, 41, dtype=torch.float64)
    cells = torch.cartesian_prod(axis, axis)
    rows = x[:, None].repeat(1, len(cells), 1)
    rows[..., :2] += cells
    loss = torch.cat([loss_at(level, unknowns(), part) for part in rows.flatten(0, 1).split(512)])
    cell = float(axis[1] - axis[0]) ** 2 / (360 * 60)
    return (-loss.view(len(x), -1) / temper).logsumexp(1) + math.log(cell)


@pytest.mark.parametrize("seed", range(4))
def test_masses_are_those_of_the_grid(seed):
    level = seen(0.02 * seed, seed)
    starts = torch.cat([torch.stack([TRUTH, MIRRORED]), unknowns().mean[6:].expand(2, -1)], 1)
    fit = climb(level, unknowns(), starts, 20)
    draws = draw_posterior(level, unknowns(), fit, 1000, seed)
    evidence = on_grid(level, draws.fit.x, max(draws.inflation, 1.0) ** 2)
    assert draws.log_evidence == pytest.approx(float(evidence.logsumexp(0)), abs=0.05)
    exact = evidence.softmax(0)
    assert draws.masses.tolist() == pytest.approx(exact.tolist(), abs=0.02)
    if not seed:  # without a spur the two are equal, whatever the noise is
        assert exact.tolist() == pytest.approx([0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_smoothed_draws_all_differ_and_have_the_claimed_covariance(sharpness):
    """Few of 32 draws of each mode count, and those to one side; samples of them are as wide as a normal."""
    generator = torch.Generator().manual_seed(0)
    z = 1.2 * torch.randn(64, 6, generator=generator, dtype=torch.float64)
    label = torch.arange(2).repeat_interleave(32)
    share = (sharpness * z[:, 0]).softmax(0)
    chosen = systematic(share, 4000)
    found = smoothed(z, label, share, chosen, generator)
    assert len(found.unique(dim=0)) == len(found)
    for k in label[chosen].unique():
        own = found[label[chosen] == k]
        # The second moment of n normal draws is known to (2 / n)^1/2 of itself.
        near = 5 * (2 / len(own)) ** 0.5
        torch.testing.assert_close(own.T @ own / len(own), torch.eye(6).double(), rtol=0, atol=near)
        assert own[:, 0].mean() > 0.1  # towards the heavier side, as the draws are


def test_samples_agree_with_the_record_where_few_draws_count(monkeypatch):
    monkeypatch.setattr("monai_inn.applications.registration.poses.draws._ALIKE", 1.0)
    level = seen(0.1, 0)
    start = torch.cat([TRUTH[None], unknowns().mean[None, 6:]], 1)
    draws = draw_posterior(level, unknowns(), climb(level, unknowns(), start, 20), 2000, 0)
    assert len(draws.samples.unique(dim=0)) == 2000
    assert draws.independent < 64
    away = draws.samples[:, :2] - draws.fit.x[0, :2]
    found = torch.linalg.solve(draws.covariance[0], away.T @ away / 2000)
    torch.testing.assert_close(found, torch.eye(2).double(), rtol=0, atol=0.15)
