"""Pictures as they looked when a person last looked at them.

After a change that is wanted: INN_GOLDEN=1 pytest Testing/slicer -k golden, and look at the pictures.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parent / "golden"


def check_looks(picture: np.ndarray, name: str) -> None:
    """Compare a picture, at half its size, with the one of a name."""
    picture = picture[::2, ::2]
    path = GOLDEN / f"{name}.png"
    if os.environ.get("INN_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path, optimize=True)
    golden = np.asarray(Image.open(path).convert("RGB"), int)
    difference = np.abs(picture.astype(int) - golden)
    # Rounding moves a color by one or two; a voxel's edge may move by a pixel.
    assert difference.mean() < 0.5
    assert (difference.max(-1) > 6).mean() < 0.005
