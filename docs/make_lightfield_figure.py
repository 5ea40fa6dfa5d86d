"""Draw smoke over tissue, seen by a light-field camera: python docs/make_lightfield_figure.py [BUNDLE].

The tissue is the fundus photograph of ``Resources`` (CC0), the smoke is drawn. It trains without a bundle.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

import monai_inn
from monai_inn.problems import LightField
from monai_inn.transforms import read_multispectral

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from lightfield import trained  # noqa: E402

ROWS, COLUMNS, SHRINK = slice(60, 410), slice(110, 420), 3
TISSUE_PX, SMOKE_PX = -0.8, 1.0
SMOKE_BRIGHTNESS, SMOKE_CONTRAST, NOISE = 0.6, 0.25, 0.15  # over the tissue's mean, its contrast, both
DENSEST = 0.55


def tissue() -> np.ndarray:
    """Green light of the fundus, in blocks of 3 × 3 pixels, over its local mean."""
    image = read_multispectral(HERE.parent / "Resources" / "retina_fundus.hdr")[1, ROWS, COLUMNS].numpy()
    rows, columns = (n // SHRINK * SHRINK for n in image.shape)
    blocks = image[:rows, :columns].reshape(rows // SHRINK, SHRINK, columns // SHRINK, SHRINK).mean((1, 3))
    return blocks / ndimage.gaussian_filter(blocks, 12)


def smoke(shape: tuple[int, int], random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of a plume, and its brightness."""
    down, right = np.indices(shape)
    middle = 0.55 * shape[1] + 12 * np.sin(down / 18)
    width = 8 + 0.22 * (shape[0] - down)
    opacity = DENSEST * np.exp(-0.5 * ((right - middle) / width) ** 4)
    wisps = ndimage.gaussian_filter(random.normal(size=shape), 1.0)
    return opacity, SMOKE_BRIGHTNESS * (1 + SMOKE_CONTRAST * wisps / wisps.std())


def shifted(image: np.ndarray, columns: float) -> np.ndarray:
    """The image seen ``columns`` px further to the right: ``f(u + columns)``."""
    return ndimage.shift(image, (0, -columns), order=3, mode="nearest")


def light_field(views: int) -> tuple[torch.Tensor, np.ndarray]:
    """Views ``(S, rows, columns)`` with noise, and the opacity of the smoke in the middle one."""
    random = np.random.RandomState(0)
    ground = tissue()
    opacity, bright = smoke(ground.shape, random)
    made = []
    for s in range(-(views // 2), views // 2 + 1):
        a, over = shifted(opacity, SMOKE_PX * s), shifted(bright, SMOKE_PX * s)
        made.append(a * over + (1 - a) * shifted(ground, TISSUE_PX * s))
    noise = NOISE * ground.std() * random.normal(size=(views, *ground.shape))
    return torch.from_numpy(np.stack(made) + noise).float(), opacity


def main() -> None:
    """Write docs/images/lightfield.png."""
    problem = LightField()
    fitted = monai_inn.load(sys.argv[1]) if sys.argv[1:] else trained(problem, 800, 0)
    views, opacity = light_field(problem.views)
    image = problem.application.match(MetaTensor(views), "scene")
    maps = fitted.maps(image, samples=64)
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    shown = [
        (views[problem.views // 2], "middle view, with noise", "gray", None),
        (np.where(opacity > 0.1, 2, 1), "truth: layers (smoke of opacity above .1)", "viridis", (1, 3)),
        (maps["mode_count"][0], "modes of the posterior", "viridis", (1, 3)),
        (maps["median"][0], "median disparity, px per view", "coolwarm", (-2, 2)),
        (maps["interval_width"][0], "width of the 95 % interval, px per view", "magma", (0, 4)),
    ]
    for panel, (values, title, colours, limits) in zip(panels, shown, strict=False):
        low, high = limits or (None, None)
        drawn = panel.imshow(np.asarray(values), cmap=colours, vmin=low, vmax=high)
        panel.set(title=title, xticks=[], yticks=[])
        ticks = [1, 2, 3] if limits == (1, 3) else None
        figure.colorbar(drawn, ax=panel, shrink=0.85, ticks=ticks)
    _posteriors(problem, fitted, image, panels[0], panels[5])
    figure.savefig(HERE / "images" / "lightfield.png", dpi=100, facecolor="white")


def _posteriors(problem, fitted, image, picture, panel) -> None:
    """Posteriors of a pixel in the smoke and of one beside it, network and exact."""
    places = {"in the smoke": (60, 55), "beside it": (60, 15)}
    half = problem.columns // 2
    rows = torch.stack([image[:, r, c - half : c + half + 1].T.flatten() for r, c in places.values()])
    rows = rows.as_tensor() if isinstance(rows, MetaTensor) else rows
    exact = problem.layers(rows).log_disparity().exp()
    centres = (torch.arange(exact.shape[1]) + 0.5) / exact.shape[1] * 4 - 2
    with torch.no_grad():
        level = fitted.target_posterior(rows).log_prob(centres[:, None, None].expand(-1, len(rows), 1)).T
    for (name, (r, c)), colour, one, q in zip(places.items(), ("C1", "C0"), exact, level, strict=True):
        picture.plot(c, r, "o", color=colour, markersize=7, markeredgecolor="white")
        panel.plot(centres, one * len(centres) / 4, color=colour, linewidth=1.0, label=f"{name}, exact")
        panel.fill_between(centres, q.exp(), color=colour, alpha=0.35, label=f"{name}, network")
    for d, what in ((TISSUE_PX, "tissue"), (SMOKE_PX, "smoke")):
        panel.axvline(d, color="0.4", linestyle=":")
        panel.text(d, 1.0, what, ha="center", va="bottom", transform=panel.get_xaxis_transform(), fontsize=9)
    panel.set(xlim=(-2, 2), xlabel="disparity, px per view", ylabel="density, 1/px")
    panel.legend(fontsize=8, frameon=False, loc="upper center")


if __name__ == "__main__":
    main()
