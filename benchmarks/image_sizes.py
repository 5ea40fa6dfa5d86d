"""A flow of images at twice the size of its training, beside tiles of that size: T2 given T1.

Learned from crops of 32 × 32 pixels of two patients, tested on slices of 64 × 64 of the third. Nats a pixel,
lower is better.

python benchmarks/image_sizes.py DATA --steps 400
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from monai_inn.applications.accelerated_mr.images import read_slices
from monai_inn.networks import ImageFlow

SIDE, WHOLE, BINNED = 32, 64, 2  # pixels of 3 mm
TRAINED, TESTED = ("07", "19"), ("26",)
NOISE = 0.02  # of white, for the background is zero
BATCH = 24


class Slices:
    """T1 and T2 of the same slices, with noise."""

    def __init__(self, folder: Path, patients: tuple[str, ...]) -> None:
        files = [[folder / f"patient{p}_{c}.nii.gz" for p in patients] for c in ("t1", "t2")]
        t1, t2 = (read_slices(paths, (WHOLE, WHOLE), BINNED) for paths in files)
        self.images = torch.stack([t2, t1], 1)  # unknown, observed
        self.generator = torch.Generator().manual_seed(0)

    def noisy(self, images: Tensor) -> tuple[Tensor, Tensor, None]:
        """Unknown and observed images with noise, in the form that ``initialise`` takes."""
        unknown, observed = (images + NOISE * torch.randn(images.shape, generator=self.generator)).split(1, 1)
        return unknown, observed, None

    def crops(self, number: int, side: int) -> tuple[Tensor, Tensor, None]:
        """Crops at random places, half of them flipped."""
        which = torch.randint(len(self.images), (number,), generator=self.generator)
        corner = torch.randint(WHOLE - side + 1, (number, 2), generator=self.generator)
        cut = [
            self.images[i, :, r : r + side, c : c + side]
            for i, (r, c) in zip(which.tolist(), corner.tolist(), strict=True)
        ]
        is_flipped = torch.rand(number, 1, 1, 1, generator=self.generator) < 0.5
        crops = torch.stack(cut)
        return self.noisy(torch.where(is_flipped, crops.flip(-1), crops))


@torch.no_grad()
def nats(flow: ImageFlow, unknown: Tensor, observed: Tensor) -> float:
    """Mean negative log density, nats a pixel."""
    parts = zip(unknown.split(16), observed.split(16), strict=True)
    return -float(torch.cat([flow(b).log_prob(a) for a, b in parts]).mean()) / unknown[0].numel()


def tiles(images: Tensor) -> Tensor:
    """The quarters of images."""
    return torch.cat([images[..., i : i + SIDE, j : j + SIDE] for i in (0, SIDE) for j in (0, SIDE)])


def report(name: str, flow: ImageFlow, unknown: Tensor, observed: Tensor) -> None:
    apart = nats(flow, tiles(unknown), tiles(observed))
    whole = nats(flow.resized((WHOLE, WHOLE)), unknown, observed)
    print(f"{name}: tiles {apart:.3f}, resized {whole:.3f} nats a pixel")


def main() -> None:
    """Print one line before the training and one after it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with patientNN_*.nii.gz")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    slices, test = Slices(options.data, TRAINED), Slices(options.data, TESTED)
    unknown, observed, _ = test.noisy(test.images)
    start = ImageFlow(2, 1, 1, (WHOLE, WHOLE), num_blocks=0)
    start.initialise([slices.crops(1500, WHOLE)])
    print(f"start fitted at the whole size: {nats(start, unknown, observed):.3f} nats a pixel")
    widths = {"num_blocks": 1, "hidden_channels": 24, "features": (12, 12, 24, 24, 24)}
    flow = ImageFlow(2, 1, 1, (SIDE, SIDE), **widths)  # type: ignore[arg-type]
    flow.initialise([slices.crops(4000, SIDE)])
    report("start", flow, unknown, observed)
    trained = [parameter for parameter in flow.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, 2e-3)
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 30) * (1 - step / options.steps)
    )
    for _ in range(options.steps):
        image, seen, _ = slices.crops(BATCH, SIDE)
        optimiser.zero_grad()
        (-flow(seen).log_prob(image).mean() / SIDE**2).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        decay.step()
    report("trained", flow, unknown, observed)


if __name__ == "__main__":
    main()
