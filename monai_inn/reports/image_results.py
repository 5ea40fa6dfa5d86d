"""The result of an unknown image: the same folder that ``infer`` leaves, with the image as its parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.files import write_json
from monai_inn.fitted import FittedPosterior
from monai_inn.reports import records
from monai_inn.reports.image_files import write_channels
from monai_inn.reports.schemas import FORMAT_VERSION, RESULT

__all__ = ["FALSE_ALARM", "ImageScale", "write_image_result"]

FALSE_ALARM = 0.05
"""Share of images like those of the training that may be called unlike them."""

_OF_VALUES = ("mean", "median", "interval_low", "interval_high", "interval_width", "samples")


class ImageScale(NamedTuple):
    """An unknown image as it is shown: its meaning, its unit, and the ends of scales.

    Attributes:
        name: short name, as in files.
        unit: of its values; ``"1"`` for a pure number.
        description: what it is.
        low: what is drawn black.
        high: what is drawn white.
        width: upper end of the colour scale of interval widths.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    width: float


def write_image_result(
    folder: Path,
    command: str,
    bundle: str | PathLike[str],
    fitted: FittedPosterior,
    *,
    scale: ImageScale,
    maps: Mapping[str, Tensor],
    references: Mapping[str, Tensor],
    affine: NDArray[np.float64],
    is_oriented: bool,
    settings: dict[str, Any],
    sources: Sequence[str | PathLike[str]],
    synthetic: str = "",
    warnings: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Write the posterior of an image, or of a volume, and ``result.json``; return the record.

    Args:
        folder: existing folder to write into.
        command: the verb that writes it.
        bundle: folder of the bundle.
        fitted: its posterior.
        scale: what the image is, and how it is shown.
        maps: ``mean``, ``median``, ``interval_low``, ``interval_high``, ``interval_width`` and ``ood``, which
            is 1 where the observation is unlike the training, each ``(X, Y, Z)`` and NaN where nothing is
            claimed; ``samples``, ``(S, X, Y, Z)``, which may be empty.
        references: images to compare with, by what they are in words, on the same scale and grid.
        affine: index to RAS millimetres, ``(4, 4)``.
        is_oriented: whether the files say how the patient lies.
        settings: what was asked for; ``interval`` is among it.
        sources: files that the observation was read from.
        synthetic: what an image that nobody acquired says of itself.
        warnings: what is doubtful about this observation, beside what the bundle's card says.
        **more: further entries of the record.

    Raises:
        OSError: if a file cannot be written.
    """
    claimed = maps["mean"].isfinite()
    flags = {"ood": maps["ood"], "valid": claimed}
    geometry = torch.as_tensor(affine)
    files = []
    for kind in (kind for kind in _OF_VALUES if maps[kind].numel()):
        stack = maps[kind] if kind == "samples" else maps[kind][None]
        labels = [f"{kind} {n + 1} {scale.name}" for n in range(len(stack))] if kind == "samples" else [kind]
        path = folder / f"{kind}_{scale.name}.nii.gz"
        entry = write_channels(path, stack, geometry, labels, kind, scale.name, scale.unit, synthetic)
        files.append(entry)
    for name, image in references.items():
        path = folder / f"reference_{name.replace(' ', '_')}.nii.gz"
        files.append(write_channels(path, image[None], geometry, [name], "reference", name, scale.unit))
    for kind, flag in flags.items():
        path = folder / f"{kind}.nii.gz"
        files.append(write_channels(path, flag[None], geometry, [kind], kind, kind, "1"))
    settings = settings | {"false_alarm": FALSE_ALARM}
    record = {
        "format_version": FORMAT_VERSION,
        "command": command,
        **({"synthetic": synthetic} if synthetic else {}),
        **(made := records.provenance(bundle, settings)),
        "warnings": [*made["warnings"], *warnings],
        "parameters": [scale._asdict() | {"scale": "linear"}],
        "trust": records.trust(fitted, FALSE_ALARM, []),
        "image": records.sources([Path(file) for file in sources], claimed, is_oriented=is_oriented),
        "summary": _summary(scale, maps, claimed),
        **more,
        "files": files,
        "pictures": [],
    }
    write_json(folder / RESULT, record)
    return record


def _summary(scale: ImageScale, maps: Mapping[str, Tensor], claimed: Tensor) -> dict[str, Any]:
    """A few numbers over the pixels that are claimed and may be trusted."""
    trusted = claimed & ~(maps["ood"] > 0.5)
    median, width = (maps[kind][trusted] for kind in ("median", "interval_width"))
    return {
        "pixels": claimed.numel(),
        "valid_pixels": int(claimed.sum()),
        "share_untrusted": records.share_of(maps["ood"][claimed] > 0.5),
        "trusted_pixels": {scale.name: records.middle(scale.unit, median, width)},
    }
