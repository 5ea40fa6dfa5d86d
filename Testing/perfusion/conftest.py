"""What the tests of perfusion share."""

from __future__ import annotations

import pytest
from dce_files import BESIDE, T1_S, signals, write_artery, write_nifti


@pytest.fixture
def files(tmp_path):
    """Series, map of T1, artery; and where to write."""
    return {
        "series": write_nifti(tmp_path / "dce.nii.gz", signals(), beside=BESIDE),
        "t1": write_nifti(tmp_path / "t1.nii.gz", T1_S),
        "aif": write_artery(tmp_path / "aif.csv"),
        "out": tmp_path / "conc.nii.gz",
    }
