"""From NIfTI files of the observed contrasts to maps of the one that was not acquired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.applications.contrast.measures import report, strata
from monai_inn.applications.contrast.problem import ContrastTranslation
from monai_inn.applications.contrast.scans import WHITE, Scan, read_volume
from monai_inn.fitted.reading import load
from monai_inn.folders import new_folder
from monai_inn.reading.orientation import places_patient, same_grid
from monai_inn.reports.image_results import FALSE_ALARM, ImageScale, write_image_result
from monai_inn.reports.scales import prior_scale
from monai_inn.reports.schemas import RESULT

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior

__all__ = ["SYNTHETIC", "translate", "translated", "what_is_said"]

SYNTHETIC = "SYNTHETIC: computed from other contrasts, not acquired. Lesions may be missing."
"""What every file of a translated image says."""


def translate(
    bundle: str | PathLike[str],
    files: Mapping[str, str | PathLike[str]],
    out: str | PathLike[str],
    *,
    samples: int = 64,
    interval: float = 0.9,
    keep: int = 16,
    truth: str | PathLike[str] | None = None,
    lesions: str | PathLike[str] | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write maps of the contrast that a bundle translates to, and return their record, ``result.json``.

    Args:
        bundle: folder of a bundle of ``contrast_translation``.
        files: NIfTI file of each observed contrast, brain only, by its name.
        out: folder to write: NIfTI files on the grid of the first file, NaN where nothing is claimed.
        samples: posterior samples.
        interval: probability inside the mapped interval, voxel by voxel.
        keep: coherent samples to write.
        truth: NIfTI file of the contrast itself, if it is known, to measure the translation with.
        lesions: NIfTI file that is not zero inside lesions; the figures of lesions stand by themselves.
        seed: seed of the samples.
        temperature: what latents are multiplied by; the record and each file state another one than 1.
        device: where to compute.
        progress: called with the share that is done.

    Raises:
        ValueError: if the bundle is of another problem, a contrast is missing, or a file does not fit.
        OSError: if the folder cannot be written.
    """
    fitted = load(bundle).to(device)
    problem = fitted.problem
    if not isinstance(problem, ContrastTranslation):
        raise ValueError(f"{bundle} is a bundle of {problem.name!r}, expected one of contrast translation.")
    if set(files) != set(problem.given):
        raise ValueError(
            f"files of {', '.join(files) or 'nothing'} were given; this bundle translates "
            f"{' and '.join(problem.given)} to {problem.target}: give a file of each."
        )
    ordered = {contrast: files[contrast] for contrast in problem.given}
    if truth is not None:
        ordered[problem.target] = truth
    name = str(ordered[problem.given[0]])
    scan = Scan.read(ordered, problem.spacing_mm, name, extra=len(ordered) - len(problem.given))
    problem.check_contrasts(scan)
    with new_folder(out, RESULT, "a result of inference", source=name) as draft:
        settings = {
            "samples": samples,
            "interval": interval,
            "keep": keep,
            "seed": seed,
            "temperature": temperature,
        }
        maps, trust = translated(fitted, scan, **settings, progress=progress)
        images = scan.harmonised(problem.peaks[: len(ordered)])
        names = [*problem.given, f"true {problem.target}"][: len(ordered)]
        found = None
        if truth is not None:
            there = None if lesions is None else _lesions(lesions, scan, problem.spacing_mm)
            found = strata(maps, images[-1], there, maps["mean"].isfinite())
        return write_image_result(
            draft,
            "translate",
            bundle,
            fitted,
            scale=_scale(problem),
            maps={key: scan.as_in_file(value) if value.numel() else value for key, value in maps.items()},
            references=dict(zip(names[::-1], scan.as_in_file(images.flip(0)), strict=True)),
            affine=scan.affine,
            is_oriented=places_patient(scan.affine),
            settings=settings,
            sources=list(ordered.values()),
            synthetic=what_is_said(temperature),
            translation={"from": list(problem.given), "to": problem.target} | trust,
            measured=found,
            measured_in_words=report(found or {"lesions": None}, interval),
        )


def translated(
    fitted: FittedPosterior, scan: Scan, **options: Any
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return maps ``(X, Y, Z)`` and samples ``(keep, X, Y, Z)`` of a scan, and what may be trusted.

    The map ``ood`` is 1 in slices that are unlike those of the training. Whole slices are drawn, so that
    samples have no seams. Voxels outside the brain, and slices with hardly any brain, are NaN.

    Args:
        fitted: posterior of a ``ContrastTranslation``.
        scan: the observed contrasts, and maybe more behind them.
        **options: of ``FittedPosterior.images``.
    """
    problem = fitted.problem
    assert isinstance(problem, ContrastTranslation)
    given = len(problem.given)
    whole = problem.window(scan, scan.harmonised(problem.peaks[: len(scan.values)])[:given])
    brain = (whole > 0).all(-1)
    chosen = problem.is_enough(brain)
    rows = whole[chosen].flatten(1)
    maps = fitted.images(rows, **options)
    strange = fitted.guard.is_out(fitted.waic(rows), FALSE_ALARM).cpu()
    maps["ood"] = strange[:, None, None].float().expand_as(brain[chosen])
    placed = {}
    for name, value in maps.items():
        flat = value if name == "ood" else value.squeeze(-3)
        images = torch.where(brain[chosen], flat, torch.nan)
        placed[name] = problem.placed(scan, images, chosen)
    claimed = placed["mean"].isfinite()
    return placed, {
        "slices": int(chosen.sum()),
        "strange_slices": int(strange.sum()),
        "share_of_brain_translated": round(float(claimed.sum() / scan.brain.sum()), 4),
    }


def what_is_said(temperature: float) -> str:
    """Return what a translated image says of itself."""
    if temperature == 1:
        return SYNTHETIC
    return f"{SYNTHETIC} Temperature {temperature:g}: samples and intervals are not those of the posterior."


def _scale(problem: ContrastTranslation) -> ImageScale:
    """How the target is shown."""
    about = (
        f"{problem.target} image, the most frequent grey level of the brain is {float(problem.peaks[-1]):.0f}"
    )
    width = prior_scale(problem.parameters[0]).width
    return ImageScale(problem.target, "grey level", about, 0.0, WHITE, width)


def _lesions(path: str | PathLike[str], scan: Scan, spacing_mm: float) -> Tensor:
    values, affine, _ = read_volume(path, spacing_mm)
    if values.shape != tuple(scan.brain.shape):
        raise ValueError(f"{path}: shape {values.shape}, expected {tuple(scan.brain.shape)}, as the images.")
    if not same_grid(affine, scan.affine, values.shape):
        raise ValueError(
            f"{path}: the lesions lie on another grid than the images; resample them to the images."
        )
    return torch.from_numpy(values) > 0
