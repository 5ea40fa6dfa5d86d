"""From NIfTI files of the observed contrasts to maps of the one that was not acquired."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.applications.contrast.measures import report, strata
from monai_inn.applications.contrast.problem import ContrastTranslation
from monai_inn.applications.contrast.scans import Scan
from monai_inn.bundles.reading import load
from monai_inn.folders import new_folder
from monai_inn.transforms.volumes import write_map

if TYPE_CHECKING:
    from monai_inn.inferers import FittedPosterior

__all__ = ["RECORD", "SYNTHETIC", "translate", "translated", "what_is_said"]

RECORD = "translation.json"
SYNTHETIC = "SYNTHETIC: computed from other contrasts, not acquired. Lesions may be missing."
"""What every file of a translated image says."""


def translate(
    bundle: str | PathLike[str],
    files: Mapping[str, str | PathLike[str]],
    out: str | PathLike[str],
    *,
    samples: int = 64,
    interval: float = 0.9,
    keep: int = 3,
    truth: str | PathLike[str] | None = None,
    lesions: str | PathLike[str] | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write maps of the contrast that a bundle translates to, and return their record, JSON-ready.

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
    with new_folder(out, RECORD, "a translation") as draft:
        settings = {
            "samples": samples,
            "interval": interval,
            "keep": keep,
            "seed": seed,
            "temperature": temperature,
        }
        maps, trust = translated(fitted, scan, **settings, progress=progress)
        found = None
        if truth is not None:
            there = None if lesions is None else _lesions(lesions, scan, problem.spacing_mm)
            true = scan.harmonised(problem.peaks)[-1]
            found = strata(maps, true, there, maps["mean"].isfinite())
        said = what_is_said(temperature)
        entries = [
            _written(draft, key, value, scan, problem.target, said)
            for key, value in maps.items()
            if value.numel()
        ]
        record = {
            "synthetic": said,
            "intended_use": "Research only. Not a medical device; not for diagnosis or treatment.",
            "from": {contrast: str(path) for contrast, path in files.items()},
            "to": problem.target,
            "unit": f"grey level; the most frequent one of the brain is {float(problem.peaks[-1]):.0f}",
            "settings": settings,
            "trust": trust,
            "measured": found,
            "measured_in_words": report(found or {"lesions": None}, interval),
            "warnings": fitted.warnings,
            "files": entries,
        }
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        (draft / RECORD).write_text(text + "\n", encoding="utf-8")
    return record


def translated(
    fitted: FittedPosterior, scan: Scan, **options: Any
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return maps ``(X, Y, Z)`` and samples ``(keep, X, Y, Z)`` of a scan, and what may be trusted.

    Whole slices are drawn, so that samples have no seams. Voxels outside the brain, and slices with hardly
    any brain, are NaN.

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
    score = fitted.waic(rows)
    strange = (score > fitted.guard.threshold(0.05)).cpu()
    placed = {}
    for name, value in maps.items():
        images = torch.where(brain[chosen], value.squeeze(-3), torch.nan)
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


def _lesions(path: str | PathLike[str], scan: Scan, spacing_mm: float) -> Tensor:
    from monai_inn.applications.contrast.scans import read_volume

    values, _, _ = read_volume(path, spacing_mm)
    if values.shape != tuple(scan.brain.shape):
        raise ValueError(f"{path}: shape {values.shape}, expected {tuple(scan.brain.shape)}, as the images.")
    return torch.from_numpy(values) > 0


def _written(folder: Path, name: str, value: Tensor, scan: Scan, target: str, said: str) -> dict[str, Any]:
    """Write one map, or the samples as channels, with the axes of the file that was read."""
    volumes = scan.as_in_file(value if value.ndim == 4 else value.unsqueeze(0))
    file = f"{name}_{target}.nii.gz"
    count = len(volumes)
    labels = [f"{name} {target}"] if count == 1 else [f"{name} {i + 1} {target}" for i in range(count)]
    meta = {"affine": scan.affine, "units": "grey level", "synthetic": said, "channel_names": labels}
    write_map(folder / file, volumes, meta)
    return {"file": file, "map": name, "unit": "grey level"}
