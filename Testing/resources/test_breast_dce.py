"""The example series of a breast is read for its problem and holds what its description says."""

import json
from pathlib import Path

import numpy as np

from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.reports.image_files import read_image

FOLDER = Path(__file__).resolve().parents[2] / "Resources"
REFERENCE = Path(__file__).resolve().parents[1] / "perfusion" / "references" / "breast_aif.csv"


def test_it_is_a_series_of_a_tumour():
    problem = Perfusion()
    image = read_image(FOLDER / "breast_dce.nii.gz", problem)
    assert image.shape == (len(problem.observation), 64, 64, 1)
    rows = image.as_tensor().movedim(0, -1)
    valid = problem.is_valid(rows)
    assert int((~valid).sum()) == 625
    tissue, artery, times = (part[valid][:, :25].numpy() for part in problem.curves(rows))
    reference = np.loadtxt(REFERENCE, delimiter=",", skiprows=2)
    np.testing.assert_allclose(times[0], reference[:, 0], atol=1e-3)
    np.testing.assert_allclose(artery[0], reference[:, 1], atol=1e-6)
    assert np.quantile(np.abs(tissue[:, :3].mean(1)), 0.9) < 0.01  # the baseline
    tumour = rows[22:28, 26:34, 0, 48:50:2]
    assert 0.1 < float(tumour.median()) < 0.5


def test_it_says_where_it_comes_from_and_what_was_assumed():
    said = json.loads((FOLDER / "breast_dce.json").read_text(encoding="utf-8"))["acquisition"]
    assert "DCEMRI.jl, MIT" in said["source"]
    assert (said["flip_deg"], said["baseline_frames"]) == (20, 3)
    assert "David S. Smith" in (FOLDER / "breast_dce_LICENSE.md").read_text(encoding="utf-8")
