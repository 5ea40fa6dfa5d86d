"""Images of files as a classifier sees them, and collections of them with their classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from monai_inn.applications.classification.collections import Collection
from monai_inn.applications.registration.xrays.reading import read_xray
from monai_inn.files import BadFileError, damage_named
from monai_inn.physics.tables import read_table
from monai_inn.reading.arrays import read_npz
from monai_inn.reading.pictures import open_picture

__all__ = ["read_collection", "read_image"]

_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr")
_ARRAYS = ("images", "labels", "groups", "classes", "slide_image")
_SPLITS = ("train_images", "train_labels", "val_images", "val_labels")
_DIM = 0.1  # of the range of a file's numbers, below which nothing is white


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
        levels: values that are black and white; by default 0 and 255, or the range of 16-bit pictures.

    Returns:
        Grey levels from 0 to 255, shape ``(*size, channels)``, whole numbers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of another kind, has fewer pixels than ``size``, or what is white is not
            known.
    """
    source = Path(path)
    values = _volume(source) if len(size) == 3 else _plane(source, channels)
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
    grey = _levelled(source, values, levels)
    if len(size) == 2:
        made = interpolate(grey[None], size=tuple(size), mode="bilinear", antialias=True)[0]
    else:
        made = interpolate(grey[None], size=tuple(size), mode="area")[0]
    return made.movedim(0, -1).clamp(0, 255).round()


def _plane(path: Path, channels: int) -> Tensor:
    """Values of an image, ``(C, rows, columns)``."""
    if channels == 1:
        return read_xray(path).values.unsqueeze(0)
    if not path.name.lower().endswith((".png", ".jpg", ".jpeg")):
        raise BadFileError(f"{path}: this network sees colours; give a PNG or JPEG.")
    advice = "the file is damaged, truncated or of another format. Copy it again."
    with damage_named(path, "picture", advice), open_picture(path) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise BadFileError(f"{path}: colour mode {image.mode}; this network sees colours, 8 bits each.")
        array = np.asarray(image.convert("RGB"))
    return torch.from_numpy(array.astype(np.float32)).movedim(-1, 0)


def _volume(path: Path) -> Tensor:
    """Values of a volume, ``(1, x, y, z)``."""
    from monai_inn.transforms.readers import read_multispectral

    if not path.name.lower().endswith(_VOLUMES):
        raise BadFileError(f"{path}: this network sees volumes; give a NIfTI or NRRD.")
    image = read_multispectral(path).as_subclass(Tensor)
    if image.ndim != 4 or len(image) != 1:
        raise BadFileError(f"{path}: shape {tuple(image.shape)}, expected one channel of (x, y, z).")
    return image


def _levelled(path: Path, values: Tensor, levels: tuple[float, float] | None) -> Tensor:
    """Values as grey levels from 0 to 255."""
    if not bool(values.isfinite().all()):
        raise BadFileError(f"{path}: holds values that are not finite; fill or crop what was not measured.")
    low, high = float(values.min()), float(values.max())
    if levels is None:
        if low < 0 or high > 65535 or (high <= 1 and high > low):
            raise BadFileError(
                f"{path}: values from {low:g} to {high:g} are not grey levels of 8 or 16 bits; say which "
                "values are black and white: --levels BLACK WHITE."
            )
        levels = (0.0, 255.0 if high <= 255 else 65535.0)
        if high < _DIM * levels[1]:
            raise BadFileError(
                f"{path}: the brightest value is {high:g} of {levels[1]:g}; say what is white: --levels 0 "
                f"{2 ** math.ceil(math.log2(high + 1)) - 1}."
            )
    black, white = levels
    if not black < white:
        raise ValueError(f"levels {black:g} and {white:g}; black must be below white.")
    return (values - black) / (white - black) * 255


def read_collection(
    source: str | PathLike[str], labels: str | PathLike[str] | None = None, size: int | Sequence[int] = 28
) -> Collection:
    """Return images with their classes from an NPZ file or a folder.

    An NPZ holds ``images (n, rows, columns[, 3])``, ``labels (n,)``, and maybe ``groups (n,)`` and
    ``classes``; or, as those of MedMNIST, ``train_images``, ``train_labels``, ``val_images`` and
    ``val_labels``. A folder holds one folder of images for each class, or images that a table names.

    Args:
        source: NPZ file or folder.
        labels: table with the columns ``file`` and ``class``, and maybe ``group``; files are relative to the
            folder.
        size: pixels of each side, or of each axis, that images of files are brought to.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if something in it does not fit; one line that says what.
    """
    path = Path(source)
    if path.is_dir():
        return _of_folder(path, labels, (size, size) if isinstance(size, int) else tuple(size))
    if labels is not None:
        raise ValueError(f"{labels}: a table of classes goes with a folder of images, not with {path}.")
    with damage_named(path, "NPZ", "the file is damaged or truncated. Copy it again."):
        arrays, names = read_npz(path, (*_ARRAYS, *_SPLITS))
    if set(_SPLITS) <= set(arrays):
        train, val = (
            (arrays[f"{part}_images"], arrays[f"{part}_labels"].ravel()) for part in ("train", "val")
        )
        classes = _classes(arrays, train[1])
        return Collection.of(*train, classes, measured=val)
    missing = [name for name in ("images", "labels") if name not in arrays]
    if missing:
        raise BadFileError(f"{path}: has no array {' and '.join(missing)}; it has {', '.join(names)}.")
    groups = arrays.get("groups", arrays.get("slide_image"))
    return Collection.of(arrays["images"], arrays["labels"], _classes(arrays, arrays["labels"]), groups)


def _classes(arrays: dict[str, Any], labels: Any) -> tuple[str, ...]:
    if "classes" in arrays:
        return tuple(str(name) for name in arrays["classes"])
    return tuple(f"class {k}" for k in range(int(np.max(labels, initial=0)) + 1))


def _of_folder(path: Path, labels: str | PathLike[str] | None, size: tuple[int, ...]) -> Collection:
    if labels is None:
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != ".")
        rows = [(file, one.name, "") for one in folders for file in sorted(one.iterdir()) if file.is_file()]
    else:
        entries = read_table(labels).records("file", "class")
        rows = [(path / e["file"], e["class"], e.get("group", "")) for e in entries]
    if not rows:
        raise ValueError(f"{path}: holds no folder of images; give one folder a class, or --labels CSV.")
    classes = tuple(sorted({name for _, name, _ in rows}))
    channels = 3 if len(size) == 2 and all(_is_coloured(file) for file, *_ in rows[:20]) else 1
    images = torch.stack([read_image(file, size, channels) for file, *_ in rows])
    has_groups = all(group for *_, group in rows)
    named = [group if has_groups else str(file) for file, _, group in rows]
    number = {name: i for i, name in enumerate(sorted(set(named)))}
    found = torch.tensor([classes.index(name) for _, name, _ in rows])
    return Collection.of(images, found, classes, torch.tensor([number[name] for name in named]))


def _is_coloured(path: Path) -> bool:
    """Whether a picture has colours that differ."""
    if not path.name.lower().endswith((".png", ".jpg", ".jpeg")):
        return False
    with damage_named(path, "picture", "the file is damaged. Copy it again."), open_picture(path) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            return False
        array = np.asarray(image.convert("RGB"))
    return bool((array != array[..., :1]).any())
