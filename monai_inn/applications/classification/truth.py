"""The true classes of image files, from a table, and how good answers are against them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_inn.metrics import classification_figures
from monai_inn.metrics.calibration.coverage import rate_of
from monai_inn.physics.tables import read_table

__all__ = ["Truth", "check_groups", "measured", "read_truth"]


class Truth(NamedTuple):
    """What a table says of images, in their order.

    Attributes:
        label: number of the class of each, int64, ``(n,)``.
        groups: what each belongs to, such as a site; empty if the table has no such column.
    """

    label: Tensor
    groups: tuple[str, ...]


def read_truth(path: str | PathLike[str], names: Sequence[str], classes: Sequence[str]) -> Truth:
    """Return the true classes of images.

    A row of the table is of the image whose path is its ``file``, relative to the folder of the table, or
    ends with it, folder by folder.

    Args:
        path: table with the columns ``file`` and ``class``, and maybe ``group``.
        names: paths of the images.
        classes: names of the classes.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if an image has no row or several, a row is of several images, or a class is unknown.
    """
    entries = read_table(path).records("file", "class")
    rows = _rows_of(path, [entry["file"] for entry in entries], names)
    found = [entries[row] for row in rows]
    unseen = sorted({entry["class"] for entry in found} - set(classes))
    if unseen:
        raise ValueError(
            f"{path}: this network does not know {', '.join(unseen)}; its classes are {', '.join(classes)}."
        )
    groups = tuple(entry["group"] for entry in found if "group" in entry)
    check_groups(path, groups)
    return Truth(torch.tensor([classes.index(entry["class"]) for entry in found]), groups)


def check_groups(path: str | PathLike[str], groups: Sequence[str]) -> None:
    """Refuse a column ``group`` with cells that are empty.

    Raises:
        ValueError: if there is one.
    """
    empty = sum(not group for group in groups)
    if empty:
        raise ValueError(
            f"{path}: {empty} of {len(groups)} images have no group; give each one, or leave the column out."
        )


def _rows_of(table: str | PathLike[str], files: Sequence[str], names: Sequence[str]) -> list[int]:
    """Number of the row of each image."""
    by_path: dict[tuple[str, ...], set[int]] = {}
    for row, file in enumerate(files):
        for path in (os.path.normpath(file), os.path.abspath(Path(table).parent / file)):
            by_path.setdefault(Path(path).parts, set()).add(row)
    rows, images = [], dict[int, str]()
    for name in names:
        full = os.path.abspath(name)
        parts = Path(full).parts
        found = sorted(set().union(*(by_path.get(parts[start:], set()) for start in range(len(parts)))))
        if len(found) != 1:
            said = f" ({', '.join(files[row] for row in found)})" if found else ""
            raise ValueError(
                f"{table}: has {len(found) or 'no'} rows of {name}{said}; write one for each image."
            )
        if images.setdefault(found[0], full) != full:
            raise ValueError(
                f"{table}: {files[found[0]]} is of {images[found[0]]} and of {full}; write their folders in "
                "the column file."
            )
        rows += found
    return rows


def measured(found: Sequence[Mapping[str, Any]], truth: Truth, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return how good answers are, JSON-ready; with groups also in each of these.

    Args:
        found: entries of ``answers``.
        truth: of the same images.
        classes: names of the classes.
    """
    probability = torch.tensor([list(entry["probability"].values()) for entry in found])
    right = probability.argmax(1) == truth.label
    in_set = torch.tensor(
        [classes[k] in entry["set"] for entry, k in zip(found, truth.label.tolist(), strict=True)]
    )
    strange = torch.tensor([entry["is_of_no_class"] for entry in found])
    shares = {
        "in_set": float(in_set.double().mean()),
        "of_no_class": float(strange.double().mean()),
    }
    of_group = {}
    for name in sorted(set(truth.groups)):
        inside = torch.tensor([group == name for group in truth.groups])
        of_group[name] = {
            "cases": int(inside.sum()),
            **{
                figure: rate_of(int(hit[inside].sum()), int(inside.sum()))
                for figure, hit in (("accuracy", right), ("in_set", in_set), ("of_no_class", strange))
            },
        }
    return {**classification_figures(probability, truth.label, classes), **shares, "groups": of_group}
