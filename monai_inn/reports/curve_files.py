"""Curves of all pixels as NIfTI files, written a piece at a time: they need no memory of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.inferers.curves import PARTS, Curves, band_interval, curve_axis
from monai_inn.problems import InverseProblem
from monai_inn.reports.image_files import write_channels

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

__all__ = ["CurveFiles"]


class CurveFiles:
    """One file for each of ``PARTS``, float32, uncompressed, places along the axis last, NaN where missing.

    They take 16 bytes for each pixel and place. A problem without curves has no files.

    Args:
        folder: existing folder to write into.
        problem: says what is a curve.
        image: shape ``(C, *spatial)``; NaN in pixels that are not to be inferred.
        interval: probability that is wanted inside the band.

    Attributes:
        curves: what ``FittedPosterior.maps`` takes; ``None`` if there are no curves.
        files: entries of the files for the result's record.

    Raises:
        OSError: if they cannot be written.
    """

    def __init__(self, folder: Path, problem: InverseProblem, image: MetaTensor, interval: float) -> None:
        found = curve_axis(problem, image)
        self.curves: Curves | None = None
        self.files: list[dict[str, Any]] = []
        if found is None:
            return
        self._about, (columns, self._axis) = problem.application.curve, found
        assert self._about is not None
        labels = [f"{self._about.axis} {place:g} {self._about.axis_unit}".strip() for place in self._axis]
        # All of the disk that they need is taken now: a mapped file that finds none later ends the process.
        nothing = torch.full((1,) * image.ndim, torch.nan).expand(len(labels), *image.shape[1:])
        for part in PARTS:
            path = folder / f"curve_{part}.nii"
            try:
                made = write_channels(path, nothing, image.affine, labels, "curve", part, self._about.unit)
            except OSError as error:
                size = len(PARTS) * nothing.numel() * nothing.itemsize / 1e6
                reason = f"cannot be written ({error.strerror}); curves of this image need {size:.0f} MB, "
                raise OSError(error.errno, f"{reason}free space or leave adequacy out", str(path)) from error
            self.files.append(made)
        self._arrays = [_mapped(folder / entry["file"]) for entry in self.files]
        self.curves = Curves(columns, interval, self._write)

    def _write(self, pixels: Tensor, curves: Tensor) -> None:
        for array, values in zip(self._arrays, curves.unbind(1), strict=True):
            array[np.unravel_index(pixels.numpy(), array.shape[:3])] = values.numpy()

    def finish(self, samples: int) -> Mapping[str, Any]:
        """Close the files and return what the result's record says of them, made of so many simulations."""
        if self.curves is None or self._about is None:
            return {}
        size = sum(array.nbytes for array in self._arrays)
        self._arrays.clear()  # which closes them, before the folder gets its name
        known = {"positions": [float(f"{place:.7g}") for place in self._axis], "bytes": size}
        return {
            "curves": self._about._asdict()
            | known
            | {"interval": band_interval(self.curves.interval, samples)}
        }


def _mapped(path: Path) -> np.memmap[Any, Any]:
    import nibabel

    image: Any = nibabel.load(path)
    proxy = image.dataobj
    return np.memmap(path, proxy.dtype, "r+", proxy.offset, proxy.shape, order="F")
