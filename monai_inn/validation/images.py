"""Posterior samples and truth in NIfTI images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_inn.problems import Parameter
from monai_inn.transforms import read_multispectral
from monai_inn.validation.cases import Cases, describe, pixel_cases

__all__ = ["image_cases"]


def image_cases(
    folder: Path, truth_path: Path, given: tuple[Parameter, ...] | None, source: dict[str, Any]
) -> Cases:
    """Return the pixels of images of samples, one file a parameter, whose truth is known."""
    files = {f.name[len("samples_") : -len(".nii.gz")]: f for f in sorted(folder.glob("samples_*.nii.gz"))}
    stacks = {name: read_multispectral(file) for name, file in files.items()}
    known: dict[str, Any]
    if truth_path.is_dir():
        known = {name: read_multispectral(truth_path / f"{name}.nii.gz") for name in stacks
                 if (truth_path / f"{name}.nii.gz").exists()}  # fmt: skip
    else:
        image = read_multispectral(truth_path)
        labels = image.meta.get("channel_names") or list(stacks)[: len(image)]
        known = {name: image[i : i + 1] for i, name in enumerate(labels) if name in stacks}
    if not known:
        raise ValueError(f"{truth_path}: holds none of the parameters {', '.join(stacks)} of {folder}.")
    units = [stacks[name].meta.get("units") for name in known]
    described = describe(list(known), units, given, folder)
    sizes = {tuple(images[p.name].shape[1:]) for p in described for images in (known, stacks)}
    if len(sizes) != 1:
        raise ValueError(
            f"{truth_path} and {folder}: image sizes differ ({sorted(sizes)}); resample the truth."
        )
    for p in described:
        unit = known[p.name].meta.get("units")
        if unit and stacks[p.name].meta.get("units") not in (None, unit):
            raise ValueError(
                f"{truth_path}: {p.name} is in {unit!r}, the samples in {stacks[p.name].meta['units']!r}; "
                "convert one of them."
            )
    samples = torch.stack([stacks[p.name].as_tensor() for p in described], 1)[:, None]
    truth = torch.cat([known[p.name].as_tensor() for p in described])[None]
    return pixel_cases(samples, truth, described, source)
