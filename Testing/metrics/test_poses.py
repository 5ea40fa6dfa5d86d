"""Target registration error and the spread of a point, against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.metrics import point_spread, registration_error

TARGET = torch.tensor([10.0, -20.0, 30.0], dtype=torch.float64)


def cameras(*poses):
    return camera_to_world(torch.tensor(poses, dtype=torch.float64), Detector(), TARGET)


def test_shifts_move_every_point_by_themselves():
    truth, beside, behind = cameras([30, 5, 0, 0, 0, 0], [30, 5, 0, 3, 4, 0], [30, 5, 0, 0, 0, 12])
    points = torch.randn(9, 3, dtype=torch.float64) * 40
    assert float(registration_error(beside, truth, points)) == pytest.approx(5)
    assert float(registration_error(behind, truth, points)) == pytest.approx(12)
    assert float(registration_error(beside, truth, points, in_plane=True)) == pytest.approx(5)
    assert float(registration_error(behind, truth, points, in_plane=True)) == pytest.approx(0, abs=1e-9)


def test_a_turn_moves_points_on_a_chord():
    truth, turned = cameras([0, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0])
    beside = TARGET + torch.tensor([[50.0, 0.0, 0.0]], dtype=torch.float64)
    chord = 2 * 50 * math.sin(math.radians(4))
    assert float(registration_error(turned, truth, beside)) == pytest.approx(chord)
    assert registration_error(torch.stack([truth, turned]), truth, beside).shape == (2,)


def test_spread_of_known_shifts():
    """Poses that differ along the beam alone spread a point along it alone, by the same variance."""
    away = torch.linspace(-6, 6, 41, dtype=torch.float64)
    poses = torch.zeros(41, 6, dtype=torch.float64)
    poses[:, 5] = away
    found = point_spread(camera_to_world(poses, Detector(), TARGET), cameras([0] * 6)[0], TARGET)
    # Without turns the beam runs from back to front.
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[1, 1] = away.var()
    assert torch.allclose(found.covariance, expected, atol=1e-9)
    assert torch.allclose(found.mean, TARGET, atol=1e-9)


def test_the_benchmark_sums_up_a_ct_of_which_no_pose_is_found(monkeypatch):
    pytest.importorskip("nanodrr")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from registration_real import summary, verdicts

    row = {"in_plane_mm": 40.0, "mtre_mm": 50.0, "distance": 99.0, "effective": 0.1, "kind": "open"}
    missed = [row | {"seconds": 4.0, "trusted": False}]
    told = summary(Path("ct.nii.gz"), missed, 20.0) | verdicts(missed, [])
    assert told["within 1 mm in plane"] == 0
    assert told["truth inside the 90 % region, of those found"] is None
    assert told["false alarms, of those found"] is None
