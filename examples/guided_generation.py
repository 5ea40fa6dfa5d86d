"""Digits of a chosen class: diverse samples, one style in all classes, ways between digits, temperature.

    pip install "monai_inn[peers]"
    python examples/guided_generation.py [--steps 300] [--picture digits.png]

The 1,797 digits of 8 × 8 pixels that come with scikit-learn; trained in under a minute of processor time. It
prints what is measured of the images, and draws them.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor

from monai_inn.networks import ImageFlow
from monai_inn.networks.images.distribution import ImageDistribution

CLASSES, PIXELS, TRAINING = 10, 64, 1400
_GREY, _SCALE = 8.0, 6.0  # bring grey levels of 0 to 16 to about unit variance
_BATCH, _RATE = 128, 5e-3


class Digits:
    """Images ``(N, 1, 8, 8)`` of grey levels 0 to 16, and their classes ``(N,)``."""

    def __init__(self, seed: int = 0) -> None:
        found = load_digits()
        order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(seed))
        images = torch.as_tensor(found.images, dtype=torch.float32)[order].unsqueeze(1)
        labels = torch.as_tensor(found.target)[order]
        self.images, self.labels = images[:TRAINING], labels[:TRAINING]
        self.new, self.new_labels = images[TRAINING:], labels[TRAINING:]


def scaled(grey: Tensor) -> Tensor:
    """Grey levels as numbers that have a density: each is spread over the step to the next."""
    return (grey + torch.rand_like(grey) - _GREY) / _SCALE


def grey_levels(images: Tensor) -> Tensor:
    """Undo ``scaled``."""
    return (images * _SCALE + _GREY).floor().clamp(0, 16)


def given(flow: ImageFlow, labels: Tensor) -> ImageDistribution:
    """The distribution of digits ``(1, 8, 8)`` of classes ``(N,)``.

    Images of a flow have 16 pixels at least, so a digit is the coarse image of one. The class is all that is
    known, and the observation is empty.
    """
    return flow(torch.zeros(len(labels), 1, *flow.size), labels).coarse(1)


def trained(digits: Digits, steps: int, seed: int = 0) -> ImageFlow:
    """A flow of digits: a Gaussian of each class in closed form, then couplings."""
    torch.manual_seed(seed)
    widths = {"hidden_channels": 32, "features": (4, 8, 8, 8, 8), "num_blocks": 3}
    flow = ImageFlow(2, 1, 1, (16, 16), levels=3, classes=CLASSES, seed=seed, **widths)  # type: ignore[arg-type]
    large = scaled(digits.images).repeat_interleave(2, -1).repeat_interleave(2, -2)
    flow.initialise([(large, torch.zeros_like(large), digits.labels)])
    optimiser = torch.optim.Adam([p for p in flow.parameters() if p.requires_grad], _RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(TRAINING, (_BATCH,))
        log_prob = given(flow, digits.labels[rows]).log_prob(scaled(digits.images[rows]))
        optimiser.zero_grad()
        (-log_prob.mean() / PIXELS).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimiser.step()
        schedule.step()
    return flow.eval()


@torch.no_grad()
def measured(flow: ImageFlow, digits: Digits, each: int = 100) -> dict[str, float]:
    """What is measured: bits, whether a classifier sees the class that was asked for, and diversity.

    Diversity is the mean distance of two generated digits of a class over that of two real ones.
    """
    judge = SVC(gamma=1e-3, C=10).fit(digits.images.flatten(1).numpy(), digits.labels.numpy())

    def share(images: Tensor, labels: Tensor) -> float:
        return float(judge.score(images.flatten(1).numpy(), labels.numpy()))

    nats = -given(flow, digits.new_labels).log_prob(scaled(digits.new)).mean() / PIXELS
    asked = torch.arange(CLASSES).repeat_interleave(each)
    made = grey_levels(given(flow, asked).sample())
    ratios = [
        float(torch.pdist(made[asked == k].flatten(1)).mean() / torch.pdist(_of_class(digits, k)).mean())
        for k in range(CLASSES)
    ]
    # The latents of a digit are its style: with them, another class is drawn.
    other = (digits.new_labels + 1) % CLASSES
    style = given(flow, digits.new_labels).latent(scaled(digits.new))
    moved = grey_levels(given(flow, other).push(style.unsqueeze(0))[0])
    return {
        "bits per pixel": float(nats) / math.log(2) + math.log2(_SCALE),
        "real digits in their class": share(digits.new, digits.new_labels),
        "generated digits in their class": share(made, asked),
        "diversity over the real one, least": min(ratios),
        "diversity over the real one, mean": sum(ratios) / CLASSES,
        "diversity over the real one, most": max(ratios),
        "moved to the next class, in it": share(moved, other),
    }


def _of_class(digits: Digits, label: int) -> Tensor:
    images = torch.cat([digits.images, digits.new])[torch.cat([digits.labels, digits.new_labels]) == label]
    return images.flatten(1)


@torch.no_grad()
def drawn(flow: ImageFlow, digits: Digits, path: Path) -> None:
    """Draw four rows: samples of a class, one style in all classes, a way, temperatures."""
    from matplotlib.figure import Figure

    three, eight = torch.tensor([3]), torch.tensor([8])
    q = given(flow, eight)
    style = given(flow, three).latent(scaled(digits.new[digits.new_labels == 3][:1]))
    ends = q.sample((2,))
    latent = torch.randn(1, 1, PIXELS)
    rows = {
        "eights": q.sample((10,))[:, 0],
        "the style of a three": given(flow, torch.arange(10)).push(style.unsqueeze(0).expand(1, 10, -1))[0],
        "from one eight to another": q.between(ends[0], ends[1], torch.linspace(0, 1, 10))[:, 0],
        "temperature 0.1 to 1.4": torch.cat(
            [q.tempered(0.1 + t * 1.3 / 9).push(latent)[0] for t in range(10)]
        ),
    }
    figure = Figure(figsize=(7, 3.4), dpi=90, layout="constrained")
    for panel, (title, images) in zip(figure.subplots(4, 1), rows.items(), strict=True):
        panel.imshow(torch.cat(list(images[:, 0]), 1), cmap="gray_r", vmin=-1.3, vmax=1.3)
        panel.set(xticks=[], yticks=[])
        panel.set_title(title, fontsize=8, loc="left")
    figure.savefig(path)


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="steps of the training (300)")
    parser.add_argument("--picture", type=Path, help="file to draw images to, .png")
    options = parser.parse_args()
    digits = Digits()
    flow = trained(digits, options.steps)
    for name, value in measured(flow, digits).items():
        print(f"{name}: {value:.3f}")
    if options.picture is not None:
        drawn(flow, digits, options.picture)


if __name__ == "__main__":
    main()
