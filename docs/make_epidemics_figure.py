"""Draw what is known of an outbreak after each day: python docs/make_epidemics_figure.py BUNDLES."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

import monai_inn
from monai_inn.problems import Outbreak

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from epidemics import first_counts  # noqa: E402

TRUTH = (0.35, 0.12)
LEVELS = torch.tensor([0.05, 0.5, 0.95])
NUMBERS, EXACT = range(5, 71), range(5, 71, 5)
LABELS = ("contact rate, 1/day", "recovery rate, 1/day")
ENDS = ((0.18, 0.45), (0.06, 0.16))
DRAWS = 4000


def main(folder: str) -> None:
    """Write docs/images/epidemics.png."""
    problem = Outbreak()
    fitted = monai_inn.load(Path(folder) / problem.name)
    torch.manual_seed(3)
    y = problem.forward(torch.tensor(TRUTH))
    figure = Figure(figsize=(11.5, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    days = torch.arange(1, problem.most + 1)
    for events, label, colour in zip(
        y.reshape(-1, 2).T, ("infections", "recoveries"), ("k", "0.6"), strict=True
    ):
        axes[0].plot(days, events, color=colour, lw=1.2, label=label)
    axes[0].set(xlabel="day", title="people a day", xlim=(0, NUMBERS[-1]))
    axes[0].legend(fontsize=8)
    with torch.no_grad():
        rows = torch.stack([first_counts(problem, y, number) for number in NUMBERS])
        bands = fitted.posterior(rows).sample((DRAWS,)).quantile(LEVELS, 0)
    rows = torch.stack([first_counts(problem, y, number) for number in EXACT])
    points = problem.reference_posterior(rows).sample((DRAWS,)).quantile(LEVELS, 0)
    for d, axis in enumerate(axes[1:]):
        low, middle, high = bands[..., d]
        axis.fill_between(NUMBERS, low, high, color="#0072b2", alpha=0.25, lw=0, label="network, 90 %")
        axis.plot(NUMBERS, middle, color="#0072b2", lw=1.5)
        low, middle, high = points[..., d]
        errors = torch.stack([middle - low, high - middle])
        axis.errorbar(EXACT, middle, errors, fmt="o", ms=3, color="#d55e00", lw=1, label="exact, 90 %")
        axis.axhline(TRUTH[d], color="0.3", ls="--", lw=1)
        axis.set(xlabel="days seen", title=LABELS[d], ylim=ENDS[d])
    axes[1].legend(fontsize=8)
    figure.savefig(HERE / "images" / "epidemics.png", dpi=100, facecolor="white")


if __name__ == "__main__":
    main(*sys.argv[1:])
