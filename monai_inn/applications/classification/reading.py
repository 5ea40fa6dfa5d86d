"""Collections of images with their classes, from files."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_inn.applications.classification.collections import Collection
from monai_inn.applications.classification.image_files import is_coloured, read_image
from monai_inn.applications.classification.truth import check_groups
from monai_inn.files import BadFileError, damage_named
from monai_inn.physics.tables import read_table
from monai_inn.reading.arrays import read_npz

__all__ = ["read_collection"]

_ARRAYS = ("images", "labels", "groups", "classes", "slide_image")
_SPLITS = ("train_images", "train_labels", "val_images", "val_labels")


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
        size: pixels of each side of a picture, or of each axis, three of volumes, that images of files are
            brought to.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if something in it does not fit; one line that says what.
    """
    path, axes = Path(source), (size, size) if isinstance(size, int) else tuple(size)
    if len(axes) not in (2, 3) or min(axes) < 1:
        raise ValueError(
            f"size {' '.join(map(str, axes))}: give one number of pixels for all sides, two for pictures or "
            "three for volumes."
        )
    if path.is_dir():
        return _of_folder(path, labels, axes)
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
    channels = 3 if len(size) == 2 and all(is_coloured(file) for file, *_ in rows[:20]) else 1
    images = torch.stack([read_image(file, size, channels) for file, *_ in rows])
    if any(group for *_, group in rows):
        check_groups(labels or path, [group for *_, group in rows])
    named = [group or str(file) for file, _, group in rows]
    number = {name: i for i, name in enumerate(sorted(set(named)))}
    found = torch.tensor([classes.index(name) for _, name, _ in rows])
    return Collection.of(images, found, classes, torch.tensor([number[name] for name in named]))
