"""Draw smoke, and a film of liquid, over tissue, seen by a light-field camera.

python docs/make_lightfield_figure.py [BUNDLE]

The tissue is the fundus photograph of ``Resources`` (CC0); smoke and film are drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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

ROWS, COLUMNS, SHRINK = slice(60, 410), slice(110, 420), 3
TISSUE_PX, NOISE = -0.8, 0.15  # noise over the contrast of the tissue
SMOKE_PX, DENSEST = 1.0, 0.55
SMOKE_BRIGHTNESS, SMOKE_CONTRAST = 0.6, 0.25  # over the tissue's mean
FILM_PX, FILM_SHARE, GLINTS = 0.3, 0.45, 0.22  # of the lamp's mirror image; contrast of its highlights
INSIDE = 0.1  # opacity from which a pixel counts as two layers


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


def film(shape: tuple[int, int], random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Share of the light that a wet film reflects, and the highlights in it: many small bright spots."""
    down, right = np.indices(shape)
    away = ((right - 0.45 * shape[1]) / (0.3 * shape[1])) ** 2 + (
        (down - 0.5 * shape[0]) / (0.33 * shape[0])
    ) ** 2
    waves = ndimage.gaussian_filter(random.normal(size=shape), 1.0)
    spots = np.exp(1.2 * waves / waves.std())
    return FILM_SHARE / (1 + np.exp(12 * (away - 1))), 1 + GLINTS * (spots - spots.mean()) / spots.std()


def light_field(
    views: int, layer: Callable[..., tuple[np.ndarray, np.ndarray]], disparity: float
) -> tuple[torch.Tensor, np.ndarray]:
    """Views ``(S, rows, columns)`` of a layer over tissue, with noise; the layer's share of the light."""
    random = np.random.RandomState(0)
    ground = tissue()
    opacity, bright = layer(ground.shape, random)
    made = []
    for s in range(-(views // 2), views // 2 + 1):
        a, over = shifted(opacity, disparity * s), shifted(bright, disparity * s)
        made.append(a * over + (1 - a) * shifted(ground, TISSUE_PX * s))
    noise = NOISE * ground.std() * random.normal(size=(views, *ground.shape))
    return torch.from_numpy(np.stack(made) + noise).float(), opacity


def main() -> None:
    """Write docs/images/lightfield.png."""
    problem = LightField()
    fitted = monai_inn.load(sys.argv[1] if sys.argv[1:] else "lightfield")
    figure = Figure(figsize=(21, 7), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12)
    rows = figure.subplots(2, 6)
    _scene(problem, fitted, figure, rows[0], ("smoke", smoke, SMOKE_PX))
    _scene(problem, fitted, figure, rows[1], ("film", film, FILM_PX))
    figure.legend(*rows[0][5].get_legend_handles_labels(), loc="outside lower right", ncols=4, fontsize=9)
    figure.savefig(HERE / "images" / "lightfield.png", dpi=80, facecolor="white")


def _scene(problem, fitted, figure, panels, scene) -> None:
    """One row of the figure."""
    name, layer, disparity = scene
    views, opacity = light_field(problem.views, layer, disparity)
    image = problem.application.match(MetaTensor(views), "scene")
    maps = fitted.maps(image, samples=64)
    truth = np.where(opacity > INSIDE, 2, 1)
    shown = [
        (views[problem.views // 2], f"{name} over tissue: middle view, with noise", "gray", None),
        (truth, f"truth: layers ({name} of more than {INSIDE:g})", "viridis", (1, 3)),
        (maps["mode_count"][0], "modes of the posterior", "viridis", (1, 3)),
        (maps["median"][0], "median disparity, px per view", "coolwarm", (-2, 2)),
        (maps["interval_width"][0], "95 % interval: width, px per view", "magma", (0, 4)),
    ]
    for panel, (values, title, colours, limits) in zip(panels, shown, strict=False):
        low, high = limits or (None, None)
        drawn = panel.imshow(np.asarray(values), cmap=colours, vmin=low, vmax=high)
        panel.set(xticks=[], yticks=[])
        panel.set_title(title, fontsize=10)
        ticks = [1, 2, 3] if limits == (1, 3) else None
        figure.colorbar(drawn, ax=panel, shrink=0.85, ticks=ticks)
    _posteriors(problem, fitted, image, (panels[0], panels[5]), (name, disparity))
    count = np.asarray(maps["mode_count"][0])
    right = [np.mean(count[truth == n] == n) for n in (1, 2)]
    outside = float(np.asarray(maps["ood"]).mean())
    print(
        f"{name}: one mode beside it {right[0]:.2f}, two inside {right[1]:.2f}, not explained {outside:.2f}"
    )


def _posteriors(problem, fitted, image, panels, scene) -> None:
    """Posteriors of a pixel in the layer and of one beside it, network and exact."""
    (picture, panel), (layer, disparity) = panels, scene
    places = {"orange point, in the layer": (60, 55), "blue point, beside it": (95, 14)}
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
    for d, what in ((TISSUE_PX, "tissue"), (disparity, layer)):
        panel.axvline(d, color="0.4", linestyle=":")
        panel.text(d, 1.0, what, ha="center", va="bottom", transform=panel.get_xaxis_transform(), fontsize=9)
    panel.set(xlim=(-2, 2), ylim=(0, None), xlabel="disparity, px per view", ylabel="density, 1/px")


if __name__ == "__main__":
    main()
