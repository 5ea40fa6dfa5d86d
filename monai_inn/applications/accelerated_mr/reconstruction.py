"""From a file of k-space to the posterior of its images: summaries of their brightness, and samples."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.accelerated_mr.kspace_files import Measured, read_kspace
from monai_inn.applications.accelerated_mr.low_resolution import is_image, read_half
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.applications.accelerated_mr.reading import low_resolution_observation, observation_of
from monai_inn.fitted.reading import load
from monai_inn.folders import new_folder
from monai_inn.reports.image_results import FALSE_ALARM, ImageScale, write_image_result
from monai_inn.reports.schemas import RESULT

__all__ = ["reconstruct", "size_warnings"]

_MOST_TIMES = 1.5  # of the training's pixel
_USUAL_NOISE = 0.02  # of white
_LEAST_FILLED = 0.12  # of a slice above 0, as in training
_UNTOLD = "The level of the noise was not given (noise_sd): 2 % of white was taken."
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
    noise_sd: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write the posterior of the images of undersampled k-space, and return its record, ``result.json``.

    Samples agree with what was measured to within its noise. The image that zeros in place of what is missing
    make is written beside them. An image of half the resolution is the centre of k-space: samples are then
    those of the Gaussian posterior in closed form, and slices that show hardly anything are NaN.

    Args:
        bundle: folder of a bundle of ``accelerated_mr``.
        kspace: ISMRMRD file, or NPZ file with ``samples`` and ``mask``, see ``read_kspace``; or NIfTI file of
            magnitude images of half the resolution, see ``read_half``.
        out: folder to write.
        samples: posterior samples.
        interval: probability inside the mapped interval, pixel by pixel.
        keep: samples to write.
        noise_sd: standard deviation of the noise of such an image, in its unit; 2 % of white by default.
            K-space tells its own.
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
    measured, y, white, is_shown, doubts = _read(kspace, problem, noise_sd)
    share = (white / white.max()).view(-1, 1, 1)  # one scale for all slices
    with new_folder(out, RESULT, "a result of inference", source=kspace) as draft:
        found = fitted.images(y, samples=samples, interval=interval, keep=keep, seed=seed, progress=progress)
        is_strange = fitted.guard.is_out(fitted.waic(y), FALSE_ALARM).cpu()
        maps = {name: _as_volume(share * image.squeeze(-3), is_shown) for name, image in found.items()}
        maps["ood"] = _as_volume(is_strange.view(-1, 1, 1).float().expand(-1, *problem.size), is_shown)
        acquisition = problem.acquisition(y[:, problem.observation.num_values :])
        zero_filled = acquisition.adjoint(problem.kspace(y)).abs()
        return write_image_result(
            draft,
            "reconstruct",
            bundle,
            fitted,
            scale=_SCALE,
            maps=maps,
            references={"zero-filled": _as_volume(share * zero_filled, is_shown)},
            affine=measured.affine(problem.size),
            is_oriented=measured.has_mm,
            settings={"samples": samples, "interval": interval, "keep": keep, "seed": seed},
            sources=[kspace],
            warnings=[*size_warnings(measured, problem), *doubts],
            reconstruction={
                "slices": len(y),
                "pixels": list(problem.size),
                "pixels_measured": list(measured.mask.shape[1:]),
                "strange_slices": int(is_strange.sum()),
                "acceleration": [round(float(v), 3) for v in 1 / acquisition.mask.mean((1, 2))],
                "coils": measured.kspace.shape[1],
                "coils_used": problem.coils,
                "noise_sd": [float(f"{float(v):.4g}") for v in acquisition.noise_sd * share.flatten()],
                "brightness_1_in_kspace": float(f"{float(white.max()):.6g}"),
            },
        )


def _read(
    path: str | PathLike[str], problem: AcceleratedMR, noise_sd: float | None
) -> tuple[Measured, Tensor, Tensor, Tensor, list[str]]:
    """What was measured; observations and white as below; which slices they are of; what is doubtful."""
    if not is_image(path):
        if noise_sd is not None:
            raise ValueError(f"noise_sd = {noise_sd} is for images; k-space tells its own, leave it out.")
        measured = read_kspace(path)
        return measured, *_observations(path, measured, problem), measured.mask.any(2).any(1), []
    measured, slices = read_half(path, problem)
    is_shown = (slices > 0).float().mean((1, 2)) >= _LEAST_FILLED
    if not bool(is_shown.any()):
        raise ValueError(f"{path}: no slice shows enough; {_LEAST_FILLED:.0%} of its pixels must be above 0.")
    doubts = [] if noise_sd is not None else [_UNTOLD]
    if noise_sd is None:
        noise_sd = _USUAL_NOISE * float(slices[slices > 0].quantile(0.995))
    made = [low_resolution_observation(image, noise_sd, problem) for image in slices[is_shown]]
    return measured, torch.cat([y for y, _ in made]), torch.tensor([w for _, w in made]), is_shown, doubts


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


def _as_volume(images: Tensor, is_shown: Tensor) -> Tensor:
    """Volumes ``(…, columns, rows, slices)`` of some slices ``(…, n, rows, columns)``; others are NaN."""
    every = images.new_full((*images.shape[:-3], len(is_shown), *images.shape[-2:]), torch.nan)
    every[..., is_shown, :, :] = images
    return every.transpose(-3, -1).contiguous()
