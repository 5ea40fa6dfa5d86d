"""Draw core and water of five planets, network against Markov chain: python docs/make_planets_figure.py.

It trains for some minutes, or takes a bundle: python docs/make_planets_figure.py BUNDLE.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from scipy.ndimage import gaussian_filter

import monai_inn
from monai_inn.applications.planets.catalogue import read_planets
from monai_inn.problems import Planets

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from planets import DATA, PLANETS, trained, with_chain  # noqa: E402

DRAWS = 200_000
CELLS, SMOOTH = 60, 1.3
INSIDE = (0.95, 0.68)
NETWORK, CHAIN = ("#bcd9ec", "#6aa9d4"), "#d55e00"


def density(planets, theta):
    """Smoothed density of core (columns) and water (rows) of posterior samples, on cells."""
    core, _, water = planets.fractions(theta).numpy().T
    edges = np.linspace(0, 1, CELLS + 1)
    counts = gaussian_filter(np.histogram2d(water, core, (edges, edges))[0], SMOOTH, mode="reflect")
    # Beyond the diagonal there are no planets, which must not make those beside it fewer.
    inside = np.tri(CELLS)[::-1] - 0.5 * np.eye(CELLS)[::-1]
    return counts / gaussian_filter(inside, SMOOTH, mode="reflect").clip(0.05)


def levels(values):
    """Densities above which the shares ``INSIDE`` of the mass lie."""
    ordered = np.sort(values.ravel())[::-1]
    mass = ordered.cumsum() / ordered.sum()
    return [ordered[np.searchsorted(mass, share)] for share in INSIDE]


def main() -> None:
    """Write docs/images/planets.png."""
    planets = Planets()
    fitted = monai_inn.load(sys.argv[1]) if sys.argv[1:] else trained()
    names, y = read_planets(DATA / "planets.csv")
    figure = Figure(figsize=(13, 3.3), layout="constrained")
    panels = figure.subplots(1, len(PLANETS), sharex=True, sharey=True)
    centres = (np.arange(CELLS) + 0.5) / CELLS
    for panel, name in zip(panels, PLANETS, strict=True):
        row = y[names.index(name)]
        torch.manual_seed(0)
        with torch.no_grad():
            drawn = fitted.target_posterior(row).sample((DRAWS,))
        shown = density(planets, drawn)
        areas = panel.contourf(centres, centres, shown, [*levels(shown), shown.max()], colors=NETWORK)
        shown = density(planets, with_chain(planets, row, seed=0)[0])
        lines = panel.contour(centres, centres, shown, levels(shown), colors=CHAIN, linewidths=1.3)
        for drawing in (areas, lines):
            drawing.set_clip_path(Polygon([(0, 0), (1, 0), (0, 1)], transform=panel.transData))
        panel.plot([0, 1], [1, 0], color="0.5", linewidth=0.8)
        panel.set_title(f"{name}\n{row[0]:.3g} ± {row[2]:.2g} M⊕, {row[1]:.3g} ± {row[3]:.2g} R⊕", fontsize=9)
        panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="iron core, share of the mass")
    panels[0].set_ylabel("water, share of the mass")
    marks = [
        Line2D([], [], color=NETWORK[1], linewidth=6, label="network, 68 and 95 %"),
        Line2D([], [], color=CHAIN, label="Markov chain"),
    ]
    panels[-1].legend(handles=marks, fontsize=8, frameon=False)
    figure.savefig(HERE / "images" / "planets.png", dpi=100, facecolor="white")


if __name__ == "__main__":
    main()
