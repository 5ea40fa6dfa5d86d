"""The shipped torso and its X-ray, registered as the docs do it: what their pictures show."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
from PIL import Image

from monai_inn.cli import main

ROOT = Path(__file__).parents[2]
CT = ROOT / "Resources" / "ct" / "torso_ct.nii.gz"
VERTEBRAE = ROOT / "Resources" / "ct" / "torso_vertebrae.nii.gz"
ENTRY, TARGET, RADIUS_MM = (-30.0, 98.0, 320.0), (-8.0, 142.0, 318.0), 3.0
"""A screw through the left pedicle of L3, RAS in mm."""
NEIGHBOURS = {"L4": 28, "L2": 30}


def register_torso(folder: Path) -> Path:
    """Write the poses of the shipped X-ray; seconds."""
    xray = ROOT / "Resources" / "torso_xray.png"
    reading = ["--contrast", "intensity", "--spacing", "1.125"]
    _run("register", CT, xray, "-o", folder, *reading)
    return folder


def aim_torso(folder: Path) -> Path:
    """Write what the poses of a folder mean for the screw, into that folder."""
    plan = ["--entry", *ENTRY, "--target", *TARGET, "--radius", RADIUS_MM]
    _run("aim", folder, "-o", folder / "aim", *plan, "--labels", VERTEBRAE, "--avoid", *NEIGHBOURS.values())
    return folder / "aim"


def _run(*words: object) -> None:
    with redirect_stdout(StringIO()):
        assert main([str(word) for word in words]) == 0


def save_small(picture: Image.Image, path: Path) -> None:
    """Write a picture of gray images and few colors for the docs, in half the bytes."""
    full = picture.convert("RGB")
    palette = full.quantize(256, Image.Quantize.MAXCOVERAGE)  # which keeps colors of few pixels
    full.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``(K, J, I)`` of a file and their matrix from index to RAS."""
    import nibabel

    image = nibabel.load(path)
    return np.asarray(image.dataobj).transpose(2, 1, 0).astype(np.int16).copy(), image.affine
