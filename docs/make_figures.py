"""Draw the picture of the architecture: python docs/make_figures.py."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, PAPER = "#1f2d3d", "white"
COLOURS = {"training": "#dbe9f6", "image": "#e5f2e1", "trust": "#fde8d3"}
# name: (x, y, text, kind)
BOXES = {
    "prior": (0.4, 3.6, "prior\nparameters, units, bounds", "training"),
    "forward": (3.1, 3.6, "forward model\nadding–doubling, camera", "training"),
    "noise": (5.8, 3.6, "noise\nfresh at every step", "training"),
    "fit": (8.5, 3.6, "fit\nmaximum likelihood, nats", "training"),
    "image": (0.4, 1.9, "image\n(C, *spatial), affine", "image"),
    "features": (3.1, 1.9, "features\nlog-ratios, valid mask", "image"),
    "flow": (5.8, 1.9, "conditional flow\none latent for all pixels", "image"),
    "summary": (8.5, 1.9, "maps\nmedian, interval, modes", "image"),
    "groups": (3.1, 0.2, "density features\n√(band group / mean)", "trust"),
    "ensemble": (5.8, 0.2, "flow ensemble\nWAIC = Var − mean", "trust"),
    "ood": (8.5, 0.2, "trust map\nknown false-alarm rate", "trust"),
}
ARROWS = [
    ("prior", "forward"),
    ("forward", "noise"),
    ("noise", "fit"),
    ("image", "features"),
    ("features", "flow"),
    ("flow", "summary"),
    ("image", "groups"),
    ("groups", "ensemble"),
    ("ensemble", "ood"),
]
WIDTH, HEIGHT = 2.2, 0.95


def main() -> None:
    """Write docs/images/architecture.png."""
    figure = Figure(figsize=(11.2, 4.9), layout="constrained")
    axes = figure.add_subplot()
    for x, y, text, kind in BOXES.values():
        box = FancyBboxPatch(
            (x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.05", fc=COLOURS[kind], ec=INK, lw=1.1
        )
        axes.add_patch(box)
        title, rest = text.split("\n")
        axes.text(x + WIDTH / 2, y + 0.64, title, ha="center", va="center", weight="bold", color=INK, size=11)
        axes.text(x + WIDTH / 2, y + 0.27, rest, ha="center", va="center", color=INK, size=9)
    for start, end in ARROWS:
        _arrow(axes, BOXES[start], BOXES[end])
    dashed = {"color": INK, "ls": "--", "lw": 1.1}
    axes.plot([8.75, 8.75, 7.6], [3.54, 3.28, 3.28], **dashed)
    axes.plot([8.25, 8.25, 7.6], [3.28, 1.42, 1.42], **dashed)
    for high, low in ((3.28, 2.92), (1.42, 1.2)):
        axes.annotate("", (7.6, low), (7.6, high), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.1})
    axes.text(8.85, 3.2, "weights", color=INK, size=9, style="italic")
    for x, y, text in ((0.36, 4.75, "once, on simulations"), (0.36, 3.05, "for every image")):
        axes.text(x, y, text, color=INK, size=10, style="italic")
    axes.text(3.06, 1.35, "may it be believed?", color=INK, size=10, style="italic")
    axes.set(xlim=(0.2, 10.9), ylim=(0, 5.1), aspect="equal")
    axes.axis("off")
    figure.savefig(Path(__file__).parent / "images" / "architecture.png", dpi=110, facecolor=PAPER)


def _arrow(axes, start, end) -> None:
    """A straight arrow between the facing sides of two boxes, an elbow between rows."""
    same_row = start[1] == end[1]
    begin = (
        (start[0] + WIDTH + 0.06, start[1] + HEIGHT / 2)
        if same_row
        else (start[0] + WIDTH / 2, start[1] - 0.06)
    )
    finish = (end[0] - 0.06, end[1] + HEIGHT / 2)
    style = "arc3" if same_row else "angle,angleA=-90,angleB=180,rad=8"
    arrow = FancyArrowPatch(
        begin, finish, arrowstyle="-|>", mutation_scale=12, color=INK, lw=1.2, connectionstyle=style
    )
    axes.add_patch(arrow)


if __name__ == "__main__":
    main()
