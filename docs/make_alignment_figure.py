"""Draw where a small noisy image may lie along a spine: python docs/make_alignment_figure.py."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from alignment import simulate  # noqa: E402

from monai_inn.applications.rigid.results import align  # noqa: E402
from monai_inn.applications.rigid.volumes import load_volume  # noqa: E402

CT, L3 = ROOT / "Resources" / "ct" / "torso_ct.nii.gz", np.array([-4.0, 140.0, 315.0])
SIZE_MM, NOISE, SEED = np.array([45.0, 45.0, 32.0]), 1100.0, 0
OFF_MM = np.array([5.0, -6.0, 20.0])  # of the place that the header says
RANGES = {"right": (-15.0, 15.0), "anterior": (-15.0, 15.0), "superior": (-80.0, 80.0)}


def main() -> None:
    """Write docs/images/alignment.png."""
    moving, theta = simulate(load_volume(CT), L3, "cone-beam", SIZE_MM, NOISE, np.random.default_rng(SEED))
    affine = moving.affine.numpy().copy()
    affine[:3, 3] += theta[3:].numpy() - OFF_MM
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "small.nii.gz", Path(folder) / "aligned"
        nibabel.save(nibabel.Nifti1Image(moving.values.numpy(), affine), path)
        record = align(CT, path, out, ranges=RANGES)
        shutil.copyfile(out / "overview.png", Path(__file__).parent / "images" / "alignment.png")
    print([(mode["mass"], mode["centre_ras_mm"]) for mode in record["modes"]], record["trust"])


if __name__ == "__main__":
    main()
