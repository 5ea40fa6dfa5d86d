"""Masses of two poses of a nearly symmetric spine, against a grid over the same likelihood."""

from __future__ import annotations

import pytest
import torch

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.ct import materials
from monai_inn.applications.registration.pose_draws import draw_posterior
from monai_inn.applications.registration.pose_fit import Level, Unknowns, climb, loss_at
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
    """Shares of a widened likelihood in boxes about some poses."""
    axis = torch.linspace(-3, 3, 41, dtype=torch.float64)
    cells = torch.cartesian_prod(axis, axis)
    rows = x[:, None].repeat(1, len(cells), 1)
    rows[..., :2] += cells
    loss = torch.cat([loss_at(level, unknowns(), part) for part in rows.flatten(0, 1).split(512)])
    return (-loss.view(len(x), -1) / temper).logsumexp(1).softmax(0)


@pytest.mark.parametrize("seed", range(4))
def test_masses_are_those_of_the_grid(seed):
    level = seen(0.02 * seed, seed)
    starts = torch.cat([torch.stack([TRUTH, MIRRORED]), unknowns().mean[6:].expand(2, -1)], 1)
    fit = climb(level, unknowns(), starts, 20)
    draws = draw_posterior(level, unknowns(), fit, 1000, seed)
    exact = on_grid(level, draws.fit.x, max(draws.inflation, 1.0) ** 2)
    assert draws.masses.tolist() == pytest.approx(exact.tolist(), abs=0.02)
    if not seed:  # without a spur the two are equal, whatever the noise is
        assert exact.tolist() == pytest.approx([0.5, 0.5], abs=0.01)
