"""Images that k-space is simulated of, and the prior that they are draws from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from monai_inn.applications.accelerated_mr.acquisition import smooth_phase
from monai_inn.problems.drawing import Prior, SampleShape
from monai_inn.reading.volumes import load_nifti

__all__ = ["ImagePrior", "read_slices"]

_GAIN = (0.7, 1.3)
_PHASE_RAD = 0.2
_SHIFT = 4  # pixels
_BRIGHT = 0.995  # quantile of the voxels above 0 that has the brightness 1
_LEAST_FILLED = 0.12  # share of a slice above 0
_LEAST_POWER = 1e-6  # of the mean power


class ImagePrior(Prior):
    """Images of real and imaginary part; event shape ``(D,)``, both parts of a pixel beside each other.

    Draws are images of the given magnitudes, flipped, shifted, brighter or darker, with a small smooth phase.

    Args:
        magnitudes: images of brightness about 0 to 1, ``(n, *size)``.
    """

    def __init__(self, magnitudes: Tensor) -> None:
        self.magnitudes = magnitudes
        super().__init__(torch.Size(), torch.Size([2 * magnitudes[0].numel()]), validate_args=False)

    def sample(self, sample_shape: SampleShape = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw images ``(*sample_shape, D)``."""
        shape = torch.Size(sample_shape)
        channels = self._changed(shape.numel(), generator)
        return channels.movedim(1, -1).reshape(*shape, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Refuse: there are only draws.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("of images that are drawn from others no density is known.")

    def spectrum(self) -> Tensor:
        """Return the mean power of draws, the same at ``k`` and ``−k``, of real and imaginary part."""
        draws = self._changed(1024, torch.Generator().manual_seed(0))
        power = torch.fft.fft2(draws.double(), norm="ortho").abs().square().mean(0)
        power = (power + power.flip(1, 2).roll((1, 1), (1, 2))) / 2
        return power.clamp_min(_LEAST_POWER * float(power.mean())).float()

    def _changed(self, n: int, generator: torch.Generator | None) -> Tensor:
        magnitudes, size = self.magnitudes, self.magnitudes.shape[1:]
        images = magnitudes[torch.randint(len(magnitudes), (n,), generator=generator)]
        for axis in (1, 2):
            is_flipped = torch.rand(n, 1, 1, generator=generator) < 0.5
            images = torch.where(is_flipped, images.flip(axis), images)
            shift = torch.randint(-_SHIFT, _SHIFT + 1, (n, 1), generator=generator)
            place = (torch.arange(size[axis - 1]) + shift) % size[axis - 1]
            place = place.unsqueeze(3 - axis).expand(images.shape)
            images = images.gather(axis, place)
        low, high = _GAIN
        gain = low + (high - low) * torch.rand(n, 1, 1, generator=generator)
        image = torch.polar(images * gain, smooth_phase((n,), size, _PHASE_RAD, generator))
        return torch.stack([image.real, image.imag], 1)


def read_slices(paths: Iterable[str | PathLike[str]], size: Sequence[int], binned: int = 1) -> Tensor:
    """Return the axial slices of NIfTI volumes as magnitudes, ``(n, *size)``, brightness about 0 to 1.

    Args:
        paths: files.
        size: rows and columns of the result; slices are padded with zeros.
        binned: voxels along each axis that are averaged to a pixel.

    Raises:
        ValueError: if a slice is larger than ``size``, holds NaN, or no slice shows enough.
    """
    kept = []
    for path in paths:
        volume = torch.from_numpy(load_nifti(Path(path))[1].astype(np.float32)).clamp_min(0)
        if volume.ndim != 3 or not bool(volume.isfinite().all()):
            raise ValueError(f"{path}: shape {tuple(volume.shape)}; give a volume without NaN.")
        volume = volume / np.quantile(volume[volume > 0].numpy(), _BRIGHT)
        slices = functional.avg_pool2d(volume.movedim(2, 0), binned, ceil_mode=True)
        missing = [n - m for n, m in zip(size, slices.shape[1:], strict=True)]
        if min(missing) < 0:
            raise ValueError(
                f"{path}: slices of {tuple(slices.shape[1:])} pixels do not fit in {tuple(size)}; average "
                "more voxels to a pixel (binned)."
            )
        before = [n // 2 for n in missing]
        pads = (before[1], missing[1] - before[1], before[0], missing[0] - before[0])
        whole = functional.pad(slices, pads)
        kept.append(whole[(whole > 0).float().mean((1, 2)) > _LEAST_FILLED])
    if not kept or not sum(map(len, kept)):
        raise ValueError("no volume has a slice that shows enough; give volumes of a head.")
    return torch.cat(kept)
