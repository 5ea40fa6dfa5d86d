"""Draw the example slice and the errors by depth: python docs/make_photoacoustic_figure.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import monai_inn
from monai_inn.transforms import read_multispectral

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from photoacoustics import by_depth, unmixed  # noqa: E402

VESSELS = 10_000
PIXEL_MM, FIRST_MM = 0.5, 1.0


def main() -> None:
    """Write docs/images/photoacoustics.png."""
    fitted = monai_inn.load("photoacoustics")
    image = read_multispectral(HERE.parent / "Resources" / "photoacoustic_slice.hdr")
    with np.load(HERE.parent / "Resources" / "photoacoustic_slice_truth.npz") as content:
        truth = content["so2"]
    maps = fitted.maps(image, batched=False)
    pixels = torch.as_tensor(np.asarray(image)).permute(1, 2, 0).flatten(0, 1)
    plain = unmixed(fitted.problem, pixels).reshape(truth.shape).numpy()
    withheld = np.asarray(maps["ood"][0]) > 0.5
    mean = np.asarray(image).mean(0)
    bright = mean > 4 * np.median(mean, 1, keepdims=True)  # vessels, as a person would outline them
    panels = {
        "truth": truth,
        "linear unmixing": np.where(bright, plain, np.nan),
        "posterior median": np.where(bright & ~withheld, maps["median"][0], np.nan),
        "width of the 95 % interval": np.where(bright & ~withheld, maps["interval_width"][0], np.nan),
    }
    figure = Figure(figsize=(11.5, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1, 1, 0.95))
    extent = (0, truth.shape[1] * PIXEL_MM, FIRST_MM + truth.shape[0] * PIXEL_MM, FIRST_MM)
    for k, (title, values) in enumerate(panels.items()):
        axis = figure.add_subplot(grid[k // 2, k % 2])
        axis.imshow(np.zeros_like(truth), cmap=ListedColormap(["0.93"]), extent=extent)
        shown = axis.imshow(values, vmin=0, vmax=1, cmap="cividis" if k == 3 else "viridis", extent=extent)
        axis.contour(bright, levels=[0.5], colors="0.4", linewidths=0.7, extent=extent, origin="upper")
        axis.set(title=title, xlabel="mm", ylabel="depth, mm")
        if k % 2:
            figure.colorbar(shown, ax=axis, label="width" if k == 3 else "oxygen saturation", shrink=0.8)
    _errors(figure.add_subplot(grid[:, 2]), by_depth(fitted, VESSELS, seed=1)["table"])
    figure.savefig(HERE / "images" / "photoacoustics.png", dpi=100, facecolor="white")


def _errors(axis, table) -> None:
    """Median error of unmixing and of the posterior by depth, with bounds."""
    places = np.arange(len(table))
    for name, colour, mark in (("unmixing", "#d55e00", "s"), ("posterior", "#0072b2", "o")):
        values, low, high = np.array([row[name] for row in table.values()]).T
        axis.errorbar(
            places, values, [values - low, high - values], marker=mark, color=colour, capsize=3, label=name
        )
    axis.set_xticks(places, [name.removesuffix(" mm") for name in table])
    axis.set(
        ylim=(0, None), xlabel="depth of the vessel, mm", ylabel="median |error| of oxygen saturation",
        title=f"{VESSELS:,} fresh simulated vessels",
    )  # fmt: skip
    axis.grid(axis="y", color="0.9")
    axis.legend()


if __name__ == "__main__":
    main()
