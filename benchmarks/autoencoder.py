"""Invertible autoencoders beside principal components and ordinary autoencoders of equal size and time.

    python benchmarks/autoencoder.py digits [--seeds 2]
    python benchmarks/autoencoder.py xrays FOLDER
    python benchmarks/autoencoder.py cube Resources/organ_mosaic.hdr

Digits and X-rays: mean squared error of a pixel on test images against the size of the code, and of images
with noise against their clean ones. The folder holds `pneumonia_xray_28.npz`. Cube: bits a value at equal
error, of codes that JPEG 2000 packs and of its own lossy compression of every band.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from monai_inn.networks.autoencoder import InvertibleAutoencoder
from monai_inn.seeding import seeded
from monai_inn.training.engine import Stage, run_stage
from monai_inn.training.objectives.autoencoding import fit_autoencoder

BATCH, RATE = 128, 4e-3
LEAST_SECONDS = 5.0  # of an ordinary autoencoder beside an invertible one that has nothing to learn
NOISE = 0.2  # of the range of grey values
ERRORS = (0.002, 0.004, 0.008)  # of the reflectance, root mean square
_MOST = 65535
_FEW, _MORE = 10, 60  # steps that are timed


class Images(NamedTuple):
    """Grey values from 0 to 1, ``(N, side, side)``."""

    train: Tensor
    held_out: Tensor
    test: Tensor


def digits() -> Images:
    """Handwritten digits of scikit-learn, 8 × 8."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images).float() / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return Images(*images[order].split([1000, 297, 500]))


def xrays(folder: Path) -> Images:
    """Chest X-rays of children, 28 × 28; the validation split is kept for the test."""
    stored = np.load(folder / "pneumonia_xray_28.npz")
    train, test = (torch.from_numpy(stored[f"{part}_images"]).float() / 255 for part in ("train", "val"))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    return Images(train[order[500:]], train[order[:500]], test)


def by_soap(module: nn.Module, images: Images, steps: int, seed: int) -> None:
    """Train an ordinary autoencoder on its squared error as every part of this package is trained."""

    def error(rows: Tensor) -> Tensor:
        return (module(rows) - rows).square().mean() / images.train.var()

    def batches(first: int, last: int) -> Iterator[Tensor]:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            yield images.train[torch.randint(len(images.train), (BATCH,), generator=generator)]

    stage = Stage("ordinary", module, batches, error, lambda: error(images.held_out), steps, RATE)
    run_stage(stage, resumed=None, save=lambda _: None, tell=lambda _: None)


def by_adam(module: nn.Module, images: Images, steps: int, seed: int) -> None:
    """The same with AdamW, whose steps are quicker and tell less; the best of 25 states is kept."""
    generator, best = torch.Generator().manual_seed(seed), (math.inf, module.state_dict())
    optimiser = torch.optim.AdamW(module.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(1, steps + 1):
        rows = images.train[torch.randint(len(images.train), (BATCH,), generator=generator)]
        optimiser.zero_grad()
        (module(rows) - rows).square().mean().backward()
        optimiser.step()
        schedule.step()
        if step % max(1, steps // 25) == 0:
            with torch.no_grad():
                error = mean_squared(module(images.held_out), images.held_out)
            best = min(best, (error, deepcopy(module.state_dict())), key=lambda found: found[0])
    module.load_state_dict(best[1])


def trained(module: nn.Module, images: Images, seconds: float, seed: int) -> nn.Module:
    """An ordinary autoencoder after so many processor seconds, by the optimiser that suits it better."""
    found = []
    for train in (by_soap, by_adam):
        times = []
        for steps in (_FEW, _FEW, _MORE):  # the first is slower
            began = time.process_time()
            train(deepcopy(module), images, steps, seed)
            times.append(time.process_time() - began)
        each = (times[2] - times[1]) / (_MORE - _FEW)
        candidate = deepcopy(module)
        train(candidate, images, max(_FEW, _FEW + round((seconds - times[1]) / each)), seed)
        with torch.no_grad():
            found.append((mean_squared(candidate(images.held_out), images.held_out), candidate))
    return min(found, key=lambda one: one[0])[1]


def dense(side: int, k: int, width: int) -> nn.Module:
    """One hidden layer on each side of the code."""
    n = side * side
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(n, width), nn.SiLU(), nn.Linear(width, k)),
        *(nn.Linear(k, width), nn.SiLU(), nn.Linear(width, n)),
        nn.Unflatten(1, (side, side)),
    )


def convolutional(side: int, k: int, width: int) -> nn.Module:
    """Two strided convolutions and a linear layer on each side of the code."""
    small, wide = side // 4, 2 * width
    return nn.Sequential(
        nn.Unflatten(1, (1, side)),
        *(nn.Conv2d(1, width, 4, 2, 1), nn.SiLU(), nn.Conv2d(width, wide, 4, 2, 1), nn.SiLU()),
        *(nn.Flatten(), nn.Linear(wide * small**2, k), nn.Linear(k, wide * small**2), nn.SiLU()),
        nn.Unflatten(1, (wide, small, small)),
        *(nn.ConvTranspose2d(wide, width, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1)),
        nn.Flatten(1, 2),
    )


def of_size(make: Callable[[int, int, int], nn.Module], side: int, k: int, parameters: int) -> nn.Module:
    """The widest network that has no more parameters."""
    widths = itertools.takewhile(
        lambda width: sum(p.numel() for p in make(side, k, width).parameters()) <= parameters,
        itertools.count(2),
    )
    return make(side, k, max(widths, default=2))


def compared(
    images: Images, k: int, steps: int, seed: int, coupled: int | None, hidden: int
) -> dict[str, Any]:
    """Errors of one size of the code; the ordinary ones take as much time as the invertible one."""
    side = images.train.shape[1]
    net = InvertibleAutoencoder((side, side), k, coupled, num_blocks=2, hidden_channels=(hidden,), seed=seed)
    start = InvertibleAutoencoder((side, side), k, num_blocks=0)
    start.initialise(images.train)
    began = time.process_time()
    fit_autoencoder(net, images.train, images.held_out, steps=steps, batch_size=BATCH, rate=RATE, seed=seed)
    seconds = time.process_time() - began
    parameters = sum(p.numel() for p in net.subnets.parameters()) + net.axes[:, :k].numel()
    models: dict[str, Callable[[Tensor], Tensor]] = {
        "principal components": lambda x: start.decode(start.encode(x)),
        "invertible": lambda x: net.decode(net.encode(x)),
    }
    for name, make in (("dense", dense), ("convolutional", convolutional)):
        with seeded(seed):
            module = of_size(make, side, k, parameters)
        models[name] = trained(module, images, max(seconds, LEAST_SECONDS), seed)
    cleaner = InvertibleAutoencoder(
        (side, side), k, coupled, num_blocks=2, hidden_channels=(hidden,), seed=seed
    )
    options = {"steps": steps, "batch_size": BATCH, "rate": RATE, "seed": seed, "noise_sd": NOISE}
    fit_autoencoder(cleaner, images.train, images.held_out, **options)
    models["invertible, trained with noise"] = lambda x: cleaner.decode(cleaner.encode(x))
    noise = NOISE * torch.randn(images.test.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        errors = {name: mean_squared(model(images.test), images.test) for name, model in models.items()}
        cleaned = {
            name: mean_squared(model(images.test + noise), images.test) for name, model in models.items()
        }
        whole = mean_squared(net.decode(net.coordinates(images.test)), images.test)
    figures = {"k": k, "seed": seed, "parameters": parameters, "seconds": round(seconds, 1)}
    return figures | {"error": errors, "denoised": cleaned, "all coordinates": whole}


def mean_squared(one: Tensor, other: Tensor) -> float:
    return float(f"{(one - other).square().mean():.3g}")


def cube(header: Path) -> dict[str, Any]:
    """Bits a value at three errors; the upper half of the cube trains what codes the lower one."""
    from monai_inn.transforms import LoadMultispectral

    image = torch.as_tensor(np.asarray(LoadMultispectral()(header))).float()  # (bands, lines, samples)
    lines = image.shape[1] // 2
    known, coded = (part.flatten(1).T for part in image.split([lines, image.shape[1] - lines], 1))
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
    known = known[order[(known[order] > 0).all(1)]]
    shape = (coded.shape[1], image.shape[1] - lines, image.shape[2])
    found: dict[str, list[tuple[float, float]]] = {"JPEG 2000 of each band": lossy(coded.T.reshape(shape))}
    for name, blocks in (("principal components", 0), ("invertible", 2)):
        found[name] = []
        for k in (2, 4, 8, 16):
            net = InvertibleAutoencoder((len(image),), k, 32, num_blocks=blocks, hidden_channels=(64,))
            fit_autoencoder(net, known[500:], known[:500], steps=200, batch_size=BATCH, rate=RATE)
            found[name] += packed(net, coded, shape)
    return {
        name: {
            str(limit): min((bits for error, bits in pairs if error <= limit), default=None)
            for limit in ERRORS
        }
        for name, pairs in found.items()
    }


@torch.no_grad()
def packed(net: InvertibleAutoencoder, rows: Tensor, shape: tuple[int, ...]) -> list[tuple[float, float]]:
    """Error and bits a value, with codes rounded more and more coarsely, in one lossless JPEG 2000."""
    code, pairs = net.encode(rows) * net.units[: net.kept], []
    low = code.min(0).values
    for step in (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08):
        whole = ((code - low) / step).round().clamp(max=_MOST)
        back = net.decode((whole * step + low) / net.units[: net.kept])
        planes = whole.T.reshape(-1, shape[2]).numpy().astype(np.uint16)
        bits = 8 * len(jpeg2000(planes, irreversible=False)) / rows.numel()
        pairs.append((float((back - rows).square().mean().sqrt()), round(bits, 4)))
    return pairs


def lossy(image: Tensor) -> list[tuple[float, float]]:
    """Error and bits a value of all bands side by side in one lossy JPEG 2000."""
    from PIL import Image

    planes = image.reshape(-1, image.shape[2]).clamp(0, 1)
    whole, pairs = (planes * _MOST).round().numpy().astype(np.uint16), []
    for rate in (10, 15, 20, 30, 40, 60, 80, 120, 160, 240):
        data = jpeg2000(whole, irreversible=True, quality_mode="rates", quality_layers=[rate])
        back = torch.from_numpy(np.asarray(Image.open(io.BytesIO(data))).astype(np.float32) / _MOST)
        pairs.append((float((back - planes).square().mean().sqrt()), round(8 * len(data) / whole.size, 4)))
    return pairs


def jpeg2000(planes: np.ndarray, **options: Any) -> bytes:
    """One grey image of 16 bits, as bytes."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(planes).save(file, "JPEG2000", no_jp2=True, **options)
    return file.getvalue()


def main() -> None:
    """Print one JSON object a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=["digits", "xrays", "cube"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--codes", default="2,4,8,16,32,64", help="sizes of the code")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data == "cube":
        print(json.dumps(cube(options.path)))
        return
    images, coupled, hidden = (
        (digits(), None, 96) if options.data == "digits" else (xrays(options.path), 160, 128)
    )
    for k in map(int, options.codes.split(",")):
        for seed in range(options.seeds):
            print(json.dumps(compared(images, k, options.steps, seed, coupled, hidden)), flush=True)


if __name__ == "__main__":
    main()
