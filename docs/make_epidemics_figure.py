"""Draw what is known of an outbreak after each day: python docs/make_epidemics_figure.py BUNDLES."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import monai_inn
from monai_inn.problems import ReportedCases

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from epidemics import first_counts, weighted  # noqa: E402

TRUTH = (0.35, 0.12, 0.4, 4.0)
LEVELS = torch.tensor([0.05, 0.5, 0.95])
NUMBERS, REFERENCE = range(5, 81), (10, 20, 30, 40, 50, 60, 70, 80)
SHOWN = {
    "contact_rate": "contact rate, 1/day",
    "recovery_rate": "recovery rate, 1/day",
    "reported": "share reported",
    "delay": "mean delay, days",
}
ENDS = ((0.15, 0.75), (0.06, 0.22), (0.0, 1.0), (0.0, 10.0))


def main(folder: str) -> None:
    """Write docs/images/epidemics.png."""
    problem = ReportedCases(particles=256)
    fitted = monai_inn.load(Path(folder) / problem.name)
    torch.manual_seed(5)
    days = torch.arange(1.0, problem.most + 1)
    y = problem.noise(torch.cat([problem.forward(torch.tensor(TRUTH)), days]))
    figure = Figure(figsize=(12.5, 3.1), layout="constrained")
    axes = figure.subplots(1, 5)
    axes[0].bar(days, y[: problem.most], width=1.0, color="0.6")
    axes[0].set(xlabel="day", title="reported cases")
    with torch.no_grad():
        rows = torch.stack([first_counts(problem, y, number) for number in NUMBERS])
        bands = fitted.posterior(rows).sample((4000,)).quantile(LEVELS, 0)
    exact = [_quantiles(*weighted(fitted, problem, first_counts(problem, y, n))) for n in REFERENCE]
    points = problem.space.inverse(torch.stack(exact, 1))
    for d, (axis, label) in enumerate(zip(axes[1:], SHOWN.values(), strict=True)):
        low, middle, high = bands[..., d]
        axis.fill_between(NUMBERS, low, high, color="#0072b2", alpha=0.25, lw=0, label="network, 90 %")
        axis.plot(NUMBERS, middle, color="#0072b2", lw=1.5)
        low, middle, high = points[..., d]
        errors = torch.stack([middle - low, high - middle])
        axis.errorbar(REFERENCE, middle, errors, fmt="o", ms=3, color="#d55e00", lw=1, label="particles")
        axis.axhline(TRUTH[d], color="0.3", ls="--", lw=1)
        axis.set(xlabel="days seen", title=label, ylim=ENDS[d])
    axes[1].legend(fontsize=8)
    figure.savefig(HERE / "images" / "epidemics.png", dpi=100, facecolor="white")


def _quantiles(latent: Tensor, weight: Tensor) -> Tensor:
    """Weighted quantiles ``(3, D)`` of rows ``(S, D)``."""
    order = latent.argsort(0)
    mass = weight[order].cumsum(0).T.contiguous()
    levels = LEVELS.to(mass).expand(len(mass), -1).contiguous()
    place = torch.searchsorted(mass, levels).clamp_max(len(weight) - 1)
    return latent.gather(0, order).gather(0, place.T)


if __name__ == "__main__":
    main(*sys.argv[1:])
