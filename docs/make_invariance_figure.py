"""Draw the picture of docs/invariance.md from the JSON file that `benchmarks/invariance.py xrays` wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PLACES = {"training": ("sites of the training", "C0", -0.15), "unseen": ("unseen site", "C3", 0.15)}


def main(path: str) -> None:
    """Draw the accuracies of all methods and seeds, and how often each feature is used."""
    found = json.loads(Path(path).read_text())
    methods = list(found["results"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), width_ratios=(3, 2), layout="constrained")
    for place, (label, color, shift) in PLACES.items():
        for k, method in enumerate(methods):
            dots = [seed[place]["accuracy"] for seed in found["results"][method]]
            left.plot([k + shift] * len(dots), dots, "o", ms=4, alpha=0.7, color=color,
                      label=None if k else label)  # fmt: skip
    left.set_xticks(range(len(methods)), methods)
    left.set_ylabel("share of right answers")
    left.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
    left.set_ylim(bottom=0.89)
    used = [sum(column) / len(column) for column in zip(*(g.values() for g in found["gates"]), strict=True)]
    right.plot(used[:-2], ".", color="C0", label="48 blocks of the image")
    right.plot(len(used) - 2, used[-2], "s", color="C3", label="brightness")
    right.plot(len(used) - 1, used[-1], "^", color="C1", label="sharpness")
    right.set_ylim(-0.05, 1.3)
    right.set_xlabel("feature")
    right.set_ylabel("share of seeds that use it")
    right.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    figure.savefig(Path(__file__).parent / "images" / "invariance.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
