"""From a file of k-space to the posterior of its images: summaries of their brightness, and samples."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.accelerated_mr.kspace_files import Measured, read_kspace
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.applications.accelerated_mr.reading import observation_of
from monai_inn.fitted.reading import load
from monai_inn.folders import new_folder
from monai_inn.reports.image_results import FALSE_ALARM, ImageScale, write_image_result
from monai_inn.reports.schemas import RESULT

__all__ = ["reconstruct", "size_warnings"]

_MOST_TIMES = 1.5  # of the training's pixel
_SCALE = ImageScale("brightness", "1", "brightness of the image, 1 is white", 0.0, 1.2, 0.5)


@torch.no_grad()
def reconstruct(
    bundle: str | PathLike[str],
    kspace: str | PathLike[str],
    out: str | PathLike[str],
    *,
    samples: int = 64,
    interval: float = 0.95,
    keep: int = 16,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write the posterior of the images of undersampled k-space, and return its record, ``result.json``.

    Samples agree with what was measured to within its noise. The image that zeros in place of what is missing
    make is written beside them.

    Args:
        bundle: folder of a bundle of ``accelerated_mr``.
        kspace: ISMRMRD file, or NPZ file with ``samples`` and ``mask``, see ``read_kspace``.
        out: folder to write.
        samples: posterior samples.
        interval: probability inside the mapped interval, pixel by pixel.
        keep: samples to write.
        seed: seed of the samples.
        device: where to compute.
        progress: called with the share that is done.

    Raises:
        ValueError: if the bundle is of another problem, or the file is damaged or does not fit.
        OSError: if the folder cannot be written.
        ImportError: if the package ``ismrmrd`` is missing.
    """
    fitted = load(bundle).to(device)
    problem = fitted.problem
    if not isinstance(problem, AcceleratedMR):
        raise ValueError(f"{bundle} is a bundle of {problem.name!r}, expected one of accelerated MR.")
    measured = read_kspace(kspace)
    y, white = _observations(kspace, measured, problem)
    share = (white / white.max()).view(-1, 1, 1)  # one scale for all slices
    with new_folder(out, RESULT, "a result of inference", source=kspace) as draft:
        found = fitted.images(y, samples=samples, interval=interval, keep=keep, seed=seed, progress=progress)
        is_strange = fitted.guard.is_out(fitted.waic(y), FALSE_ALARM).cpu()
        maps = {name: _as_volume(share * image.squeeze(-3)) for name, image in found.items()}
        maps["ood"] = _as_volume(is_strange.view(-1, 1, 1).float().expand(-1, *problem.size))
        acquisition = problem.acquisition(y[:, problem.observation.num_values :])
        zero_filled = acquisition.adjoint(problem.kspace(y)).abs()
        return write_image_result(
            draft,
            "reconstruct",
            bundle,
            fitted,
            scale=_SCALE,
            maps=maps,
            references={"zero-filled": _as_volume(share * zero_filled)},
            affine=measured.affine(problem.size),
            is_oriented=measured.has_mm,
            settings={"samples": samples, "interval": interval, "keep": keep, "seed": seed},
            sources=[kspace],
            reconstruction={
                "slices": len(y),
                "pixels": list(problem.size),
                "pixels_measured": list(measured.mask.shape[1:]),
                "strange_slices": int(is_strange.sum()),
                "acceleration": [round(float(v), 3) for v in 1 / acquisition.mask.mean((1, 2))],
                "coils": measured.kspace.shape[1],
                "coils_used": problem.coils,
                "noise_sd": [float(f"{float(v):.4g}") for v in acquisition.noise_sd * share.flatten()],
                "warnings": size_warnings(measured, problem),
                "brightness_1_in_kspace": float(f"{float(white.max()):.6g}"),
            },
        )


def _observations(
    path: str | PathLike[str], measured: Measured, problem: AcceleratedMR
) -> tuple[Tensor, Tensor]:
    """Observations ``(slices, C)``, and what a brightness of 1 is in each slice, in the unit of k-space."""
    rows, white = [], []
    for number, (kspace, mask) in enumerate(zip(measured.kspace, measured.mask, strict=True), start=1):
        try:
            y, scale = observation_of(kspace, mask, problem)
        except ValueError as error:
            where = f"slice {number}: " if len(measured.mask) > 1 else ""
            raise ValueError(f"{path}: {where}{error}") from error
        rows.append(y)
        white.append(scale)
    return torch.cat(rows), torch.tensor(white)


def size_warnings(measured: Measured, problem: AcceleratedMR) -> list[str]:
    """Return, in words, whether pixels have another size than those of the training, or an unknown one."""
    if not measured.has_mm:
        return ["The file does not say the size of a pixel, so that it was not compared with the training's."]
    pixel = measured.pixel_mm(problem.size)
    times = max(max(mm / problem.pixel_mm, problem.pixel_mm / mm) for mm in pixel)
    if times <= _MOST_TIMES:
        return []
    return [
        f"Pixels of {pixel[0]:.3g} × {pixel[1]:.3g} mm, the training had {problem.pixel_mm:.3g} mm: "
        "intervals are not proven at this size."
    ]


def _as_volume(images: Tensor) -> Tensor:
    """Volumes ``(…, columns, rows, slices)`` of slices ``(…, slices, rows, columns)``."""
    return images.transpose(-3, -1).contiguous()
