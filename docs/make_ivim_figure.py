"""Draw what is known of diffusion and perfusion at three levels of noise: python docs/make_ivim_figure.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import monai_inn
from monai_inn.applications.perfusion.models.signal import rician

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from ivim import row, tissues  # noqa: E402

RATIOS = {20: "#d55e00", 50: "#0072b2", 100: "#009e73"}
ENDS = {"d": (0.0, 2.5), "f": (0.0, 0.5), "d_star": (4.0, 500.0)}
SYMBOLS = {"d": "D, 10⁻³ mm²/s", "f": "f", "d_star": "D*, 10⁻³ mm²/s"}
SHOWN = {"Liver": "generic", "Gray matter": "generic_brain"}
DRAWS = 4000


def main(bundle: str = "ivim") -> None:
    """Write docs/images/ivim.png."""
    fitted = monai_inn.load(bundle)
    problem = fitted.problem
    torch.manual_seed(0)
    figure = Figure(figsize=(11.5, 5.6), layout="constrained")
    axes = figure.subplots(2, 4, width_ratios=(1.4, 1, 1, 1))
    for line, (tissue, protocol) in zip(axes, SHOWN.items(), strict=True):
        known, b = tissues(protocol)
        theta = known[tissue]
        for ratio, colour in RATIOS.items():
            noise = torch.Generator().manual_seed(4)
            signal = rician(problem.forward_with_context(theta, b), 1 / ratio, noise)
            with torch.no_grad():
                drawn = fitted.posterior(row(signal, b, problem.observation.places)).sample((DRAWS,))
            line[0].plot(b, signal, "o", ms=4, color=colour, label=f"{ratio}")
            _band(line[0], problem, drawn, float(b.max()), colour)
            for axis, values, p in zip(line[1:], drawn.T, problem.parameters, strict=True):
                spaced = np.geomspace if p.scale == "log" else np.linspace
                axis.hist(values, bins=spaced(*ENDS[p.name], 60), histtype="step", color=colour, lw=1.5)
                axis.set_xscale("log" if p.scale == "log" else "linear")
                axis.set(yticks=[], xlabel=SYMBOLS[p.name], xlim=ENDS[p.name])
        for axis, value in zip(line[1:], theta, strict=True):
            axis.axvline(float(value), color="0.3", ls="--", lw=1)
        line[0].set(xlabel="b-value, s/mm²", ylabel="signal over that at b = 0", title=tissue)
        line[0].legend(title="signal-to-noise ratio", fontsize=8, title_fontsize=8)
        line[2].set_title("posteriors; dashed: truth")
    figure.savefig(HERE / "images" / "ivim.png", dpi=100, facecolor="white")


def _band(axis, problem, drawn, largest: float, colour: str) -> None:
    """Where 95 % of the signals of posterior samples lie."""
    b = torch.linspace(0, largest, 80)
    curves = problem.forward_with_context(drawn[:500], b.expand(500, -1))
    low, high = curves.quantile(torch.tensor([0.025, 0.975]), 0)
    axis.fill_between(b, low, high, color=colour, alpha=0.25, lw=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
