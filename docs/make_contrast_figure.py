"""Draw a translated slice: python docs/make_contrast_figure.py FOLDER [BUNDLE].

The folder holds the files that `benchmarks/contrast.py` reads. Without a bundle the shipped one is used.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import monai_inn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from contrast import SAMPLES, files  # noqa: E402

from monai_inn.applications.contrast.scans import Scan, read_volume  # noqa: E402
from monai_inn.reading.orientation import slice_view  # noqa: E402

HELD_OUT, GIVEN, TARGET = "26", ("t1", "t2"), "flair"
DPI, PANEL_IN = 110, 2.1
OUTLINE = "#e69f00"


def drawn(fitted, folder: Path, path: Path) -> None:
    """Draw the slice with the most lesions of the patient that was left out."""
    problem = fitted.problem
    scan = Scan.read(files(folder, HELD_OUT, (*GIVEN, TARGET)), problem.spacing_mm, HELD_OUT, extra=1)
    lesions, _, _ = read_volume(folder / f"patient{HELD_OUT}_lesions.nii.gz", problem.spacing_mm)
    whole = problem.window(scan, torch.cat([scan.harmonised(problem.peaks), torch.from_numpy(lesions)[None]]))
    row = whole[int(whole[..., -1].sum((1, 2)).argmax())]
    found = fitted.images(row[..., :-2].flatten(), samples=SAMPLES, interval=0.9, keep=3)
    brain, top = row[..., 0] > 0, 1.3 * float(problem.peaks[-1])
    grey = {"cmap": "gray", "vmin": 0, "vmax": top}
    panels = [
        *((f"given: {n.upper()}", row[..., i], {"cmap": "gray"}) for i, n in enumerate(problem.given)),
        (f"true {TARGET.upper()}", row[..., -2], grey),
        ("mean, synthetic", found["mean"][0], grey),
        (
            "90 % interval: width, grey levels",
            found["interval_width"][0],
            {"cmap": "viridis", "vmin": 0},
        ),
        *((f"sample {i + 1}, synthetic", sample[0], grey) for i, sample in enumerate(found["samples"])),
    ]
    view = slice_view(tuple(brain.shape), np.eye(4))  # axes to the right and front
    figure = Figure(figsize=(4 * PANEL_IN, 2.45 * PANEL_IN), dpi=DPI, layout="constrained")
    for axes, (title, image, style) in zip(figure.subplots(2, 4).flat, panels, strict=True):
        shown = axes.imshow(view.plane(np.where(brain, image, np.nan)), **style)
        axes.contour(view.plane(row[..., -1].numpy()), [0.5], colors=OUTLINE, linewidths=0.7)
        axes.set_title(title, fontsize=8)
        axes.set_facecolor("black")
        axes.set_xticks([])
        axes.set_yticks([])
        for letter, x, side in zip(view.letters[:2], (0.02, 0.98), ("left", "right"), strict=True):
            axes.text(x, 0.5, letter, color="white", fontsize=7, ha=side, transform=axes.transAxes)
        if style["cmap"] == "viridis":
            bar = figure.colorbar(shown, cax=axes.inset_axes((0.94, 0.03, 0.03, 0.34)))
            bar.ax.tick_params(labelsize=6, colors="white", length=2, pad=1)
            bar.ax.yaxis.tick_left()
    figure.savefig(path)


def main() -> None:
    """Draw the figure of `docs/contrast.md`."""
    folder = Path(sys.argv[1])
    fitted = monai_inn.load(sys.argv[2] if len(sys.argv) > 2 else "contrast_translation")
    drawn(fitted, folder, HERE / "images" / "contrast.png")


if __name__ == "__main__":
    main()
