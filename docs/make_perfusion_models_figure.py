"""Weigh four models in a tumour of the breast, and draw that.

python docs/make_perfusion_models_figure.py [FOLDER]    # which keeps the maps; some ten minutes
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from monai_inn.reports import infer_image

HERE = Path(__file__).resolve().parent
IMAGE = HERE.parent / "Resources/breast_dce.nii.gz"
MODELS = ("tofts", "extended_tofts", "exchange", "patlak")
LEAST_KTRANS, MARGIN = 0.05, 2  # 1/min, and voxels around the tumour


def tumour(folder: Path) -> np.ndarray:
    """The largest island of voxels whose median Ktrans is above the least, and its mask in a file."""
    infer_image("perfusion", IMAGE, folder / "maps", has_picture=False)
    found = nibabel.load(folder / "maps/median_ktrans.nii.gz")
    label, _ = ndimage.label(found.get_fdata() > LEAST_KTRANS)
    mask = label == 1 + np.bincount(label.ravel())[1:].argmax()
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), found.affine), folder / "mask.nii.gz")
    return mask.squeeze()


def main(folder: Path) -> None:
    """Write docs/images/perfusion_models.png and say what the page says of it."""
    mask = tumour(folder)
    result = infer_image(
        "perfusion",
        IMAGE,
        folder / "models",
        mask=str(folder / "mask.nii.gz"),
        adequacy=19,
        evidence=int(mask.sum()),
        has_picture=False,
    )
    shown = tuple(slice(max(0, place.min() - MARGIN), place.max() + 1 + MARGIN) for place in np.nonzero(mask))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, len(MODELS))
    for panel, name in zip(axes, MODELS, strict=True):
        probability = nibabel.load(folder / f"models/model_probability_{name}.nii.gz").get_fdata().squeeze()
        panel.imshow(np.where(mask, 1.0, 0.78)[shown].T, cmap="gray", vmin=0, vmax=1, origin="lower")
        drawn = panel.imshow(probability[shown].T, cmap="cividis", vmin=0, vmax=1, origin="lower")
        panel.set(title=name.replace("_", " ").replace("tofts", "Tofts").replace("patlak", "Patlak"))
        panel.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axes, label="probability of the model", shrink=0.9)
    figure.savefig(HERE / "images/perfusion_models.png", dpi=100, facecolor="white")
    adequacy = nibabel.load(folder / "models/adequacy.nii.gz").get_fdata().squeeze()[mask]
    # Of 19 simulations the p-value is a multiple of .05.
    told, fits = int(np.isfinite(probability[mask]).sum()), float((adequacy > 0.075).mean())
    print(
        f"{mask.sum()} voxels in {result['seconds']:.0f} s, {told} told, {fits:.0%} fitted by the first model"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(sys.argv[1] if sys.argv[1:] else made))
