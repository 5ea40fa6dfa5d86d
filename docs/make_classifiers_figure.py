"""Draw classified X-rays and the middles of their classes: python docs/make_classifiers_figure.py."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure

import monai_inn
from monai_inn.applications.classification.classifying import answers
from monai_inn.applications.classification.figures import draw_classes, draw_into

HERE = Path(__file__).resolve().parent
DPI, PANEL_IN = 110, 2.3


def main() -> None:
    """Draw a clear image of each class, the most doubtful one, and one with black and white exchanged."""
    fitted = monai_inn.load("chest_xray")
    theta, y = fitted.problem.simulate(524, seed=0)
    label, probability = theta[:, 0].long(), fitted.class_probability(y)
    clear = [int((probability[:, k] * (label == k)).argmax()) for k in range(2)]
    doubtful = int((probability.amax(1)).argmin())
    rows = [*y[[*clear, doubtful]], 255 - y[clear[1]]]
    entries = answers(fitted, torch.stack(rows))
    figure = Figure(figsize=(3 * PANEL_IN + 0.6, len(rows) * (PANEL_IN + 0.3)), layout="constrained")
    for axes, row, entry in zip(figure.subplots(len(rows), 3), rows, entries, strict=True):
        draw_into(axes, fitted, row, entry)
    figure.savefig(HERE / "images" / "classifiers.png", dpi=DPI, metadata={"Software": None})
    draw_classes(fitted, HERE / "images" / "classifiers_middles.png")


if __name__ == "__main__":
    main()
