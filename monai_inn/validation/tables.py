"""Posterior samples and truth in CSV tables."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.files import require_file
from monai_inn.problems import Parameter
from monai_inn.validation.cases import Cases, describe

__all__ = ["table_cases"]

Array = NDArray[Any]


def table_cases(
    path: Path, truth_path: Path, given: tuple[Parameter, ...] | None, source: dict[str, Any]
) -> Cases:
    """Return the cases of a table of samples and one of true values, matched by their column ``case``."""
    (names, case, values), (truth_names, truth_case, truth) = _read_table(path), _read_table(truth_path)
    missing = [name for name in names if name not in truth_names]
    if missing and given is None:
        raise ValueError(
            f"{truth_path}: has no column {', '.join(missing)}, which {path.name} has; name columns alike."
        )
    described = describe([n for n in names if n in truth_names], [None] * len(names), given, path)
    labels, counts = np.unique(case, return_counts=True)
    if len(set(counts.tolist())) != 1:
        raise ValueError(
            f"{path}: {counts.min()} to {counts.max()} samples a case; give every case the same number."
        )
    position = {label: row for row, label in enumerate(truth_case.tolist())}
    unknown = [label for label in labels.tolist() if label not in position]
    if unknown:
        raise ValueError(f"{truth_path}: no row for case {unknown[0]!r} of {path.name}.")
    order = np.argsort(case, kind="stable")
    columns = [names.index(p.name) for p in described]
    drawn = values[order][:, columns].reshape(len(labels), counts[0], len(columns)).swapaxes(0, 1)
    known = truth[[position[label] for label in labels.tolist()]][
        :, [truth_names.index(p.name) for p in described]
    ]
    return Cases(torch.from_numpy(np.ascontiguousarray(drawn)), torch.from_numpy(known), described, source)


def _read_table(path: Path) -> tuple[list[str], Array, Array]:
    """Parameter names, case labels and numbers of a CSV table."""
    require_file(path, "a CSV table")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        header = [name.strip() for name in header]
        column = header.index("case")
        numbers = [[float(v) for i, v in enumerate(row) if i != column] for row in rows]
        names = [name for name in header if name != "case"]
        return names, np.array([row[column] for row in rows]), np.array(numbers).reshape(-1, len(names))
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(
            f'{path}: expected a table with a column "case" and numbers in all others, equally many in every '
            f"row ({error})."
        ) from error
