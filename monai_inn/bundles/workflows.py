"""What configs of a bundle name as ``_target_`` to infer, evaluate and export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from monai_inn.drafts import replacing
from monai_inn.fitted.reading import describe, find, load, making, problem_and_weights, read_weights

if TYPE_CHECKING:
    from monai_inn.inferers import MapNetwork, SampleNetwork

__all__ = ["BundleEvaluator", "BundleExporter", "image_items", "map_network", "sample_network"]

_NO_BANDS = (".dat", ".img", ".raw", ".bsq", ".bil", ".bip")  # read through their header


def map_network(
    bundle: str | PathLike[str],
    samples: int = 64,
    interval: float = 0.95,
    false_alarm: float = 0.05,
    seed: int = 0,
) -> MapNetwork:
    """Return a bundle's network as an image-to-image module with its weights loaded.

    Args:
        bundle: folder of the bundle.
        samples: posterior samples per pixel.
        interval: probability inside the interval.
        false_alarm: share of in-distribution pixels that the out-of-distribution map may flag.
        seed: seed of the latents.

    Raises:
        ValueError: as for ``load``.
    """
    from monai_inn.inferers import MapNetwork

    folder = find(bundle)
    metadata = describe(folder)
    header, tensors = read_weights(folder, metadata)
    with making(folder, metadata):
        problem, weights = problem_and_weights(header, tensors)
    problem.require_maps()
    with making(folder, metadata):
        network = MapNetwork(problem, header["network"], samples, interval, false_alarm, seed)
        network.network.load_state_dict(weights)
    return network.eval()


def sample_network(bundle: str | PathLike[str], samples: int = 64, seed: int = 0) -> SampleNetwork:
    """Return a bundle's network of whole images as a module that gives posterior samples, weights loaded.

    Args:
        bundle: folder of the bundle.
        samples: posterior samples of an image.
        seed: seed of the latents.

    Raises:
        ValueError: as for ``load``.
    """
    from monai_inn.inferers import SampleNetwork

    return SampleNetwork(load(bundle), samples, seed).eval()


def image_items(path: str | PathLike[str]) -> list[dict[str, str]]:
    """Return ``{"image": file}`` for an image file, or for every image of a folder, in order of the names.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if no path is given, or a folder holds no image of a known format.
    """
    from monai_inn.transforms import READABLE

    if not str(path):
        raise ValueError(
            "dataset_dir is empty; give an image file or a folder of images: --dataset_dir PATH."
        )
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder; check dataset_dir.")
    if source.is_file():
        return [{"image": str(source)}]
    endings = tuple(e for e in READABLE if e not in _NO_BANDS)
    files = sorted(f for f in source.iterdir() if f.is_file() and f.name.lower().endswith(endings))
    if not files:
        raise ValueError(f"{source}: holds no image; expected files that end in {', '.join(endings)}.")
    return [{"image": str(file)} for file in files]


@dataclass(eq=False)
class BundleEvaluator:
    """Measure a bundle on fresh simulations: calibration, SBC, likelihood, false alarms.

    Args:
        bundle: folder of the bundle.
        output_dir: where ``evaluation.json`` is written.
        cases: fresh simulations.
        seed: their seed.
        device: where to evaluate.
    """

    bundle: str | PathLike[str]
    output_dir: str | PathLike[str]
    cases: int = 4000
    seed: int = 0
    device: str | torch.device = "cpu"

    def run(self) -> dict[str, Any]:
        """Measure, write ``evaluation.json`` and return its content."""
        from monai_inn.training.measure import measure

        result = measure(load(self.bundle, str(self.device)), self.cases, self.seed)
        target = Path(self.output_dir) / "evaluation.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as draft:
            draft.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return result


@dataclass(eq=False)
class BundleExporter:
    """Write a bundle's map network as a program of ``torch.export``, which runs without this package.

    Args:
        bundle: folder of the bundle.
        path: file to write, by convention ending in ``.pt2``.
        samples: posterior samples per pixel.
    """

    bundle: str | PathLike[str]
    path: str | PathLike[str]
    samples: int = 64

    def run(self) -> Path:
        """Export for images ``(1, C, rows, columns)`` of any size, check it, and return the path.

        Raises:
            RuntimeError: if the exported program gives other maps.
        """
        network = map_network(self.bundle, self.samples)
        _, y = network.problem.simulate(12 * 9, seed=0)
        image = y[:, : network.problem.observation.channels].T.reshape(1, -1, 12, 9)
        free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
        with torch.no_grad():
            network(image)  # what a problem computes once and keeps does not belong into the record
            program = torch.export.export(network, (image,), dynamic_shapes=(free,))
            smaller = image[:, :, :5, :7]
            found, expected = program.module()(smaller), network(smaller)
        if not torch.allclose(found, expected, rtol=1e-3, atol=1e-2, equal_nan=True):
            raise RuntimeError("the exported program does not give the maps of the network; do not use it.")
        with replacing(self.path) as draft:
            torch.export.save(program, draft)
        return Path(self.path)
