"""A planned target and line under poses of known spread: closed forms of their ellipsoid, tube and breach."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from monai_inn.applications.registration.carm import POSE, Detector, camera_to_world
from monai_inn.applications.registration.results.aiming import aim
from monai_inn.applications.registration.results.files import write_detector_image, write_samples

DETECTOR, CENTRE = Detector(32, 32, 7.2), torch.zeros(3)
SHIFT, DEPTH, COUNT = 1.5, 6.0, 4000
SPACING = 0.5


def write_folder(folder, poses, mode=None, trusted=True, **more):
    """What `register` would have written for poses, the first of which is shown."""
    folder.mkdir()
    cameras = camera_to_world(poses, DETECTOR, CENTRE)
    labels = torch.ones(len(poses), dtype=torch.long) if mode is None else mode
    list(write_samples(folder, poses, cameras, labels, torch.zeros(len(poses))))
    named = dict.fromkeys(POSE, 0.0)
    modes = [
        {"number": number, "mass": 1.0, "pose": named, "spread": named, "files": {"drr": "drr_1.nii.gz"},
         "camera_to_world": camera_to_world(shown, DETECTOR, CENTRE).tolist(),
         "mtre_mm": {"low": 0.0, "median": 1.0, "high": 2.0}, "similarity": {"ncc": 0.9}}
        for number, shown in enumerate([torch.zeros(6).double()] * int(labels.max()), start=1)
    ]  # fmt: skip
    parameters = [{"name": n, "unit": u, "description": d, "is_free": True} for n, (u, d) in POSE.items()]
    record = {
        "format_version": 1, "ambiguity": {"statement": "One pose."}, "detector": DETECTOR.to_config(),
        "bundle": {"name": "CT a.nii.gz", "path": "a"}, "differences": [], "intended_use": "Research only.",
        "modes": modes, "parameters": parameters, "target_ras_mm": [0.0, 0.0, 0.0], "xray": {},
        "trust": {"is_trusted": trusted, "statement": "It may be."},
    } | more  # fmt: skip
    (folder / "registration.json").write_text(json.dumps(record))
    return folder


def shifted(seed=0):
    """Poses that differ by shifts in the image and along the beam."""
    draws = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    poses = torch.zeros(COUNT, 6, dtype=torch.float64)
    poses[:, 3:] = draws * torch.tensor([SHIFT, SHIFT, DEPTH])
    return poses


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("aim") / "poses", shifted())


def test_ellipsoid_and_errors_have_their_closed_forms(folder, tmp_path):
    found = aim(folder, tmp_path / "out", target=(10, 20, 30))["target"]
    # The 95 % quantile of 4,000 draws is known to 2 % of a normal's width; 5 of those.
    assert found["in_plane_mm"]["high"] == pytest.approx(SHIFT * math.sqrt(5.991), rel=0.08)
    assert found["depth_mm"]["high"] == pytest.approx(1.96 * DEPTH, rel=0.08)
    axes = sorted(found["ellipsoid"]["half_axes_mm"])
    assert axes == pytest.approx([SHIFT * math.sqrt(7.815)] * 2 + [DEPTH * math.sqrt(7.815)], rel=0.08)
    assert (tmp_path / "out" / "aim.png").stat().st_size > 10_000


def test_a_target_outside_of_the_ct_is_refused(tmp_path):
    box = [[-100.0, -80.0, -200.0], [100.0, 80.0, 200.0]]
    poses = write_folder(tmp_path / "poses", shifted(), volume_ras_mm=box)
    with pytest.raises(ValueError, match=r"lies 400 mm outside of the registered volume, R -100 to 100"):
        aim(poses, tmp_path / "out", target=(0, 0, 600))
    assert not (tmp_path / "out").exists()
    assert aim(poses, tmp_path / "out", target=(0, 0, 230))["target"]


@pytest.mark.parametrize("worth", [COUNT, 25.0])
def test_a_line_has_a_tube_and_touches_what_is_beside_it(tmp_path, worth):
    """Along the beam, 3 mm beside a block: it is touched where the shift to that side is larger."""
    size = np.array([40, 240, 40])
    values, affine = np.zeros(size, np.uint8), np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = [3.0 + SPACING / 2, -SPACING * (size[1] - 1) / 2, -SPACING * (size[2] - 1) / 2]
    values[:] = 7
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "labels.nii.gz")
    weights = {"independent_samples": worth}
    folder = write_folder(tmp_path / "poses", shifted(), weights=weights)
    found = aim(folder, tmp_path / "out", target=(0, 25, 0), entry=(0, -25, 0),
                labels=tmp_path / "labels.nii.gz", avoid=[7], radius_mm=1.0)  # fmt: skip
    line = found["line"]
    assert line["length_mm"] == 50
    assert line["tube_radius_mm"]["high"] == pytest.approx(SHIFT * math.sqrt(5.991), rel=0.08)
    assert line["turned_deg"]["high"] < 0.1
    # Voxels are half a millimetre: the distance is right to a half of that.
    low, high = (0.5 * math.erfc((3 - 1 + off) / SHIFT / math.sqrt(2)) for off in (0.3, -0.3))
    assert low - 0.02 < line["breaches"][0]["probability"] < high + 0.02
    probability, error = (line["breaches"][0][name] for name in ("probability", "standard_error"))
    assert error == pytest.approx(math.sqrt(probability * (1 - probability) / worth), abs=1e-4)
    assert "touches the structure with label 7" in found["statement"]


def test_all_modes_count(tmp_path):
    poses, mode = shifted(), torch.ones(COUNT, dtype=torch.long)
    poses[: COUNT // 2, 3] += 40
    mode[: COUNT // 2] = 2
    found = aim(write_folder(tmp_path / "two", poses, mode), tmp_path / "out", target=(0, 0, 0))
    assert found["target"]["in_plane_mm"]["high"] > 40
    assert "2 poses explain the X-ray" in found["statement"]


def test_a_distrusted_registration_is_no_basis(tmp_path):
    folder = write_folder(tmp_path / "poses", shifted(), trusted=False)
    assert "Do not use this" in aim(folder, tmp_path / "out", target=(0, 0, 0))["statement"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": (0, 0, float("nan"))}, "not three numbers"),
        ({"target": (0, 0, 0), "avoid": [7]}, "need their segmentation"),
        ({"target": (0, 0, 0), "radius_mm": -1.0}, "radius of -1 mm"),
        ({"target": (4, -30, 120), "entry": (4, -30, 120)}, "entry and target are the same point"),
    ],
)
def test_what_cannot_be_aimed_at_is_refused(folder, tmp_path, given, said):
    with pytest.raises(ValueError, match=said):
        aim(folder, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("view", ["detector", "source"])
def test_right_in_the_figure_is_right_in_the_image(tmp_path, view, monkeypatch):
    drawn = {}

    def figure(plan, places, axes, mode, record, path):
        drawn["right"] = axes[:, 0]
        path.touch()

    monkeypatch.setattr("monai_inn.applications.registration.results.figures.aim_figure", figure)
    seen = replace(DETECTOR, view=view)
    poses = torch.zeros(9, 6, dtype=torch.float64)
    aim(
        write_folder(tmp_path / "poses", poses, detector=seen.to_config()), tmp_path / "out", target=(0, 0, 0)
    )
    write_detector_image(tmp_path / "image.nii", torch.ones(32, 32), seen)
    columns = nibabel.load(tmp_path / "image.nii").affine[:3, 0]  # as Slicer shows it before the camera
    columns = camera_to_world(poses[0], seen, CENTRE)[:3, :3].numpy() @ columns
    assert drawn["right"].numpy() @ columns == pytest.approx(np.linalg.norm(columns))


def test_a_label_that_is_not_there_is_named(folder, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), 3, np.uint8), np.eye(4)), tmp_path / "l.nii.gz")
    with pytest.raises(ValueError, match="has no label 7"):
        aim(
            folder,
            tmp_path / "out",
            target=(0, 0, 5),
            entry=(0, 0, 0),
            labels=tmp_path / "l.nii.gz",
            avoid=[7],
        )


def test_damaged_samples_are_named(tmp_path):
    folder = write_folder(tmp_path / "poses", shifted())
    (folder / "samples.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"samples\.npz: is damaged"):
        aim(folder, tmp_path / "out", target=(0, 0, 0))
