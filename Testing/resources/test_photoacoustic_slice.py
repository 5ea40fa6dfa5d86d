from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import monai_inn
from monai_inn.transforms import read_multispectral

FOLDER = Path(__file__).resolve().parents[2] / "Resources"
sys.path.insert(0, str(FOLDER))

import make_photoacoustic as maker  # noqa: E402

NAME = "photoacoustic_slice"


@pytest.fixture(scope="module")
def answers():
    """Maps of the slice, and the truth behind it."""
    image = read_multispectral(FOLDER / f"{NAME}.hdr")
    with np.load(FOLDER / f"{NAME}_truth.npz") as content:
        truth = torch.from_numpy(content["so2"])
    return monai_inn.load("photoacoustics").maps(image, batched=False), truth


def pixels(vessel: maker.Vessel) -> torch.Tensor:
    depth = (np.arange(maker.ROWS) + 2)[:, None] * maker.PIXEL_MM
    across = np.arange(maker.COLUMNS) * maker.PIXEL_MM
    return torch.from_numpy(np.hypot(across - vessel.column_mm, depth - vessel.depth_mm) <= vessel.radius_mm)


def test_slice_comes_from_its_script(tmp_path, monkeypatch):
    monkeypatch.setattr(maker, "HERE", tmp_path)
    maker.main()
    shipped, again = (read_multispectral(place / f"{NAME}.hdr") for place in (FOLDER, tmp_path))
    assert float((shipped - again).abs().max()) <= 1  # of 30,000 counts: rounding differs by processor
    assert shipped.meta["wavelength_nm"] == tuple(range(700, 901, 10))


def test_arteries_and_veins_are_told_apart_at_every_depth(answers):
    maps, truth = answers
    plain = [v for v in maker.VESSELS if not v.dye]
    for artery, vein in zip(plain[::2], plain[1::2], strict=True):
        medians = [float(maps["median"][0][pixels(v)].nanmedian()) for v in (artery, vein)]
        assert medians[0] > medians[1] + 0.1
    low, high = maps["interval_low"][0], maps["interval_high"][0]
    known = truth.isfinite()
    inside = (low <= truth) & (truth <= high)
    # One slice shares its gains and its tissue: its pixels are no independent cases.
    assert float(inside[known].float().mean()) > 0.8


def test_intervals_grow_with_depth(answers):
    maps, _ = answers
    arteries = [v for v in maker.VESSELS if not v.dye][::2]
    widths = [float(maps["interval_width"][0][pixels(v)].nanmedian()) for v in arteries]
    assert widths[-1] > 1.5 * widths[0]


def test_a_vessel_with_a_dye_is_not_explained(answers):
    maps, _ = answers
    dyed, *_ = [v for v in maker.VESSELS if v.dye]
    assert float(maps["ood"][0][pixels(dyed)].float().mean()) > 0.95
    others = torch.stack([pixels(v) for v in maker.VESSELS if not v.dye]).any(0)
    assert float(maps["ood"][0][others].float().mean()) < 0.2
