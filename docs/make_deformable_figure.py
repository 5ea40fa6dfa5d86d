"""Draw what an image tells of a deformation and what it does not: python docs/make_deformable_figure.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from monai_inn.problems import DeformableRegistration

SEED, SAMPLES = 5, 4000
GRID, TRUTH = "#ffb000", "#40c4ff"
EVERY, MARGIN_MM = 2, 5.0


def main() -> None:
    """Write docs/images/deformable.png."""
    torch.manual_seed(SEED)
    problem = DeformableRegistration()
    theta = problem.prior.sample((1,))
    y = problem.noise(problem.forward(theta))
    samples = problem.reference_posterior(y).sample((SAMPLES,))[:, 0]
    prior = problem.displacement_maps(problem.prior.sample((SAMPLES,)))["sd"]
    sd = problem.displacement_maps(samples)["sd"]
    figure = Figure(figsize=(13.4, 6.8), layout="constrained")
    panels = figure.subplots(2, 4).flatten()
    for axes, image, title in (
        (panels[0], problem.moving, "moving image: vertebra and rod"),
        (panels[1], y.reshape(problem.observation_shape), "observation: deformed, with noise"),
    ):
        shown = _show(axes, image, title, problem, cmap="gray", vmin=-0.1, vmax=1.0)
    figure.colorbar(shown, ax=panels[1], label="brightness", shrink=0.8)
    for axis, name in ((0, "axis 0, across the rod"), (1, "axis 1, along the rod")):
        title = f"posterior sd along {name}\n(prior: {_range(prior[axis])} mm)"
        shown = _show(
            panels[2 + axis], sd[axis], title, problem, cmap="viridis", vmin=0, vmax=float(sd.max())
        )
    figure.colorbar(shown, ax=panels[2:4], label="sd / mm", shrink=0.8)
    fields = [(theta[0], "true deformation (grid of 4 mm)", TRUTH)]
    fields += [(samples[i], f"posterior sample {i + 1}", GRID) for i in range(3)]
    for axes, (row, title, colour) in zip(panels[4:], fields, strict=True):
        _show(axes, problem.moving, title, problem, cmap="gray", vmin=-0.1, vmax=1.8)
        _grid(axes, problem, problem.displacement(row), colour)
    path = Path(__file__).parent / "images" / "deformable.png"
    figure.savefig(path, dpi=150)
    print(path)


def _range(values: Tensor) -> str:
    return f"{float(values.min()):.1f}–{float(values.max()):.1f}"


def _show(axes: Axes, image: Tensor, title: str, problem: DeformableRegistration, **style: Any) -> Any:
    """Draw an image with its axes in mm."""
    (rows, columns), (down, right) = image.shape, problem.spacing_mm
    extent = (-right / 2, (columns - 0.5) * right, (rows - 0.5) * down, -down / 2)
    axes.set_title(title, fontsize=9.5)
    axes.set_xlabel("axis 1 / mm", fontsize=8)
    axes.set_ylabel("axis 0 / mm", fontsize=8)
    axes.tick_params(labelsize=8)
    return axes.imshow(image, extent=extent, **style)


def _grid(axes: Axes, problem: DeformableRegistration, displacement: Tensor, colour: str) -> None:
    """Draw where the lines of the observation's grid lie in the moving image."""
    axis_mm = [torch.arange(n) * s for n, s in zip(problem.moving.shape, problem.spacing_mm, strict=True)]
    down, right = torch.stack(torch.meshgrid(*axis_mm, indexing="ij")) + displacement
    for lines in ((right[::EVERY].T, down[::EVERY].T), (right[:, ::EVERY], down[:, ::EVERY])):
        axes.plot(*lines, color=colour, lw=0.8)
    (rows, columns), (step_down, step_right) = problem.moving.shape, problem.spacing_mm
    axes.set_xlim(-MARGIN_MM, (columns - 1) * step_right + MARGIN_MM)
    axes.set_ylim((rows - 1) * step_down + MARGIN_MM, -MARGIN_MM)


if __name__ == "__main__":
    main()
