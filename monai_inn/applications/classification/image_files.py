"""Images of files as a classifier sees them: grey levels of its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from monai_inn.files import BadFileError, damage_named
from monai_inn.reading.grey_dicom import read_displayed
from monai_inn.reading.pictures import open_picture
from monai_inn.reading.volumes import VOLUMES
from monai_inn.transforms.planes import format_of_plane, read_planes

__all__ = ["is_coloured", "read_image"]

_DIM = 0.1  # of the range of a file's numbers, below which nothing is white
_ADVICE = "the file is damaged, truncated or of another format. Copy it again."


def read_image(
    path: str | PathLike[str],
    size: Sequence[int],
    channels: int = 1,
    levels: tuple[float, float] | None = None,
) -> Tensor:
    """Return an image of any size as a network sees it.

    It is cut to the proportions of ``size`` around its middle and averaged down to it.

    Args:
        path: PNG, JPEG, TIFF, DICOM, NIfTI or NRRD; of colours PNG or JPEG.
        size: pixels along each axis; three of volumes.
        channels: 1 of grey images, 3 of colours.
        levels: values that are black and white; by default 0 and 255, or the range of 16-bit pictures. DICOM
            images are read as screens show them: with their window, or with these levels in its place, and
            inverted if they say so.

    Returns:
        Grey levels from 0 to 255, shape ``(*size, channels)``, whole numbers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of another kind, has fewer pixels than ``size``, or what is white is not
            known.
    """
    source = Path(path)
    if levels is not None and not levels[0] < levels[1]:
        raise ValueError(f"levels {levels[0]:g} and {levels[1]:g}; black must be below white.")
    values = _volume(source, levels) if len(size) == 3 else _plane(source, channels, levels)
    spatial = values.shape[1:]
    if any(n < m for n, m in zip(spatial, size, strict=True)):
        raise BadFileError(
            f"{path}: has {' × '.join(map(str, spatial))} pixels, and the network sees "
            f"{' × '.join(map(str, size))}; give the original image."
        )
    scale = min(n / m for n, m in zip(spatial, size, strict=True))
    for axis, (n, m) in enumerate(zip(spatial, size, strict=True), start=1):
        kept = min(n, max(m, round(m * scale)))
        values = values.narrow(axis, (n - kept) // 2, kept)
    if len(size) == 2:
        made = interpolate(values[None], size=tuple(size), mode="bilinear", antialias=True)[0]
    else:
        made = interpolate(values[None], size=tuple(size), mode="area")[0]
    return made.movedim(0, -1).round()


def _plane(path: Path, channels: int, levels: tuple[float, float] | None) -> Tensor:
    """Grey levels of a picture, ``(C, rows, columns)``."""
    if channels == 3:
        colours = _colours(path)
        if colours is None:
            raise BadFileError(f"{path}: this network sees colours; give a PNG or JPEG of 8 bits a colour.")
        return _levelled(path, torch.from_numpy(colours.astype(np.float32)).movedim(-1, 0), levels)
    kind = format_of_plane(path, "one image")
    with damage_named(path, kind, _ADVICE):
        if kind == "DICOM":
            return _displayed(path, levels)
        planes = read_planes(path, kind)
    if len(planes) > 1:
        raise BadFileError(
            f"{path}: holds {len(planes)} slices or frames, and this network sees one picture; save one of "
            "them as a file, or fit a network with --size X Y Z."
        )
    plane = np.ascontiguousarray(planes.values(0), np.float32)
    return _levelled(path, torch.from_numpy(plane)[None], levels)


def _displayed(path: Path, levels: tuple[float, float] | None) -> Tensor:
    """Grey levels of a DICOM image as screens show it, ``(1, rows, columns)``."""
    shown = read_displayed(path, levels)
    if shown.window is None:
        raise BadFileError(
            f"{path}: has signed numbers and no window; say what is black and white: --levels BLACK WHITE."
        )
    grey = _levelled(path, torch.from_numpy(shown.values).float()[None], shown.window)
    if levels is None and float(grey.max()) < 255 * _DIM:
        raise BadFileError(
            f"{path}: is black almost everywhere in its window; say which values are black and white: "
            "--levels BLACK WHITE."
        )
    return 255 - grey if shown.is_inverted else grey


def _colours(path: Path) -> NDArray[np.uint8] | None:
    """Red, green and blue of a PNG or JPEG, ``(rows, columns, 3)``; ``None`` of any other file."""
    if not path.name.lower().endswith((".png", ".jpg", ".jpeg")):
        return None
    with damage_named(path, "picture", _ADVICE), open_picture(path) as image:
        return np.asarray(image.convert("RGB")) if image.mode in ("RGB", "RGBA", "P") else None


def _volume(path: Path, levels: tuple[float, float] | None) -> Tensor:
    """Grey levels of a volume, ``(1, x, y, z)``."""
    from monai_inn.transforms.readers import read_multispectral

    if not path.name.lower().endswith((*VOLUMES["NIfTI"], *VOLUMES["NRRD"])):
        raise BadFileError(f"{path}: this network sees volumes; give a NIfTI or NRRD.")
    image = read_multispectral(path).as_subclass(Tensor)
    if image.ndim != 4 or len(image) != 1:
        raise BadFileError(f"{path}: shape {tuple(image.shape)}, expected one channel of (x, y, z).")
    return _levelled(path, image, levels)


def _levelled(path: Path, values: Tensor, levels: tuple[float, float] | None) -> Tensor:
    """Values as grey levels from 0, which is black, to 255, which is white."""
    if not bool(values.isfinite().all()):
        raise BadFileError(f"{path}: holds values that are not finite; fill or crop what was not measured.")
    black, white = _usual_levels(path, values) if levels is None else levels
    return ((values - black) / (white - black) * 255).clamp(0, 255)


def _usual_levels(path: Path, values: Tensor) -> tuple[float, float]:
    """Black and white of 8 or 16 bits, where values can be such."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535 or (high <= 1 and high > low):
        raise BadFileError(
            f"{path}: values from {low:g} to {high:g} are not grey levels of 8 or 16 bits; say which "
            "values are black and white: --levels BLACK WHITE."
        )
    white = 255.0 if high <= 255 else 65535.0
    if high < _DIM * white:
        raise BadFileError(
            f"{path}: the brightest value is {high:g} of {white:g}; say what is white: --levels 0 "
            f"{2 ** math.ceil(math.log2(high + 1)) - 1}."
        )
    return 0.0, white


def is_coloured(path: Path) -> bool:
    """Whether a picture has colours that differ."""
    colours = _colours(path)
    return colours is not None and bool((colours != colours[..., :1]).any())
