"""Reading posterior samples and truth that others made: NPZ, Zarr, CSV tables, NIfTI images."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.files import BadFileError, read_json, require_file
from monai_inn.problems import Parameter
from monai_inn.reading.arrays import Arrays, read_npz, read_zarr
from monai_inn.reports.schemas import RESULT
from monai_inn.validation.cases import Cases, describe, pixel_cases

__all__ = ["read_cases", "read_parameters"]

_ARRAYS = ("samples", "truth", "names", "units", "log_prob")


def read_cases(
    samples: str | PathLike[str],
    truth: str | PathLike[str] | None = None,
    parameters: str | PathLike[str] | None = None,
) -> Cases:
    """Read posterior samples and truth.

    Formats of ``samples``:

    - NPZ file or Zarr group with arrays ``samples (S, N, D)`` and ``truth (N, D)``, and optionally
      ``names``, ``units`` (text, ``D`` each) and ``log_prob (N,)``; with image axes behind, ``samples
      (S, B, D, *spatial)`` and ``truth (B, D, *spatial)``, every pixel whose truth is not NaN is a case;
    - CSV table with a column ``case`` and one column a parameter, one row a posterior sample; the truth is a
      second CSV table with one row a case;
    - folder that ``monai-inn infer --save-samples`` wrote (``samples_NAME.nii.gz``); the truth is a NIfTI
      file with one channel a parameter, or a folder of files ``NAME.nii.gz``, NaN where nothing is known.

    Args:
        samples: where the samples are.
        truth: where the truth is, unless beside the samples.
        parameters: JSON file with a list of parameters (``name``, ``unit``, and optionally ``low``, ``high``,
            ``is_periodic``, ``description``), whose names select and order columns.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or shapes, names or units do not belong together.
    """
    path = Path(samples)
    if not path.is_dir():
        require_file(path, "an NPZ file, a Zarr group, a CSV table or a folder of results")
    given = None if parameters is None else read_parameters(parameters)
    source = {"kind": "files", "samples": path.name, "truth": None if truth is None else Path(truth).name}
    try:
        if path.suffix.lower() == ".csv":
            return _table_cases(path, _needed(truth, path), given, source)
        if path.is_dir() and any(path.glob("samples_*.nii.gz")):
            return _image_cases(path, _needed(truth, path), given, source)
        if (path / RESULT).is_file():
            raise ValueError("a result without posterior samples; write it with --save-samples 100, say.")
        if path.suffix.lower() == ".npz" or path.is_dir():
            return _from_arrays(_open_arrays(path), given, source, path)
    except (TypeError, ValueError) as error:
        message = str(error).replace("\n", " ")
        raise ValueError(message if str(path) in message else f"{path}: {message}") from error
    raise ValueError(
        f"{path}: expected an NPZ file, a Zarr group, a CSV table or a result folder with samples_*.nii.gz."
    )


def read_parameters(path: str | PathLike[str]) -> tuple[Parameter, ...]:
    """Read names, units and bounds of parameters from a JSON file.

    Raises:
        ValueError: if the file is not such a list.
    """
    try:
        entries = read_json(path)
        return tuple(Parameter(**{"low": -math.inf, "high": math.inf} | _given(entry)) for entry in entries)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: expected a JSON list such as [{{"name": "alpha", "unit": "rad"}}] ({error}).'
        ) from error


def _given(entry: Any) -> dict[str, Any]:
    """What an entry of the description says; ``null`` says nothing."""
    if not isinstance(entry, Mapping):
        raise TypeError(f"{entry!r} is not an object")
    if missing := [key for key in ("name", "unit") if entry.get(key) is None]:
        raise ValueError(f"{dict(entry)} has no {' and no '.join(missing)}")
    return {key: value for key, value in entry.items() if value is not None}


def _needed(truth: str | PathLike[str] | None, path: Path) -> Path:
    if truth is None:
        raise ValueError(f"{path} holds samples only; give the true values with --truth FILE.")
    return Path(truth) if Path(truth).is_dir() else require_file(truth, "a file of true values")


def _open_arrays(path: Path) -> tuple[Arrays, list[str]]:
    try:
        return (read_zarr if path.is_dir() else read_npz)(path, _ARRAYS)
    except BadFileError:
        raise
    except Exception as error:  # on a damaged file each library raises types of its own
        raise ValueError(f"{path}: cannot be read ({error}); the file is damaged or truncated.") from error


def _from_arrays(
    found: tuple[Arrays, list[str]],
    given: tuple[Parameter, ...] | None,
    source: dict[str, Any],
    path: Path,
) -> Cases:
    arrays, present = found
    missing = [name for name in ("samples", "truth") if name not in arrays]
    if missing:
        raise ValueError(
            f"{path}: has {', '.join(sorted(present)) or 'no arrays'}, but no {' and no '.join(missing)}."
        )
    samples, truth = (torch.as_tensor(np.asarray(arrays[name])) for name in ("samples", "truth"))
    if samples.ndim != truth.ndim + 1 or samples.shape[1:] != truth.shape or truth.ndim < 2:
        raise ValueError(
            f"{path}: samples have shape {tuple(samples.shape)} and truth {tuple(truth.shape)}, expected "
            "(samples, cases, parameters[, *spatial]) and (cases, parameters[, *spatial])."
        )
    names = _labels(arrays, "names", truth.shape[1], path) or [f"theta{i + 1}" for i in range(truth.shape[1])]
    units: Sequence[str | None] = _labels(arrays, "units", truth.shape[1], path) or [None] * truth.shape[1]
    described = describe(names, units, given, path)
    columns = [names.index(p.name) for p in described]
    log_prob = torch.as_tensor(np.asarray(arrays["log_prob"])) if "log_prob" in arrays else None
    if truth.ndim == 2:
        return Cases(samples[..., columns], truth[:, columns], described, source, log_prob=log_prob)
    return pixel_cases(samples[:, :, columns], truth[:, columns], described, source)


def _labels(arrays: Arrays, key: str, count: int, path: Path) -> list[str] | None:
    if key not in arrays:
        return None
    labels = [str(value) for value in np.asarray(arrays[key]).ravel()]
    if len(labels) != count:
        raise ValueError(f"{path}: {len(labels)} {key} for {count} parameters; give one for each.")
    return labels


def _image_cases(
    folder: Path, truth_path: Path, given: tuple[Parameter, ...] | None, source: dict[str, Any]
) -> Cases:
    """Return the pixels of images of samples, one file a parameter, whose truth is known."""
    from monai_inn.transforms import read_multispectral  # with MONAI, which simulations do not need

    files = {f.name[len("samples_") : -len(".nii.gz")]: f for f in sorted(folder.glob("samples_*.nii.gz"))}
    stacks = {name: read_multispectral(file) for name, file in files.items()}
    known: dict[str, Any]
    if truth_path.is_dir():
        known = {name: read_multispectral(truth_path / f"{name}.nii.gz") for name in stacks
                 if (truth_path / f"{name}.nii.gz").exists()}  # fmt: skip
    else:
        image = read_multispectral(truth_path)
        labels = image.meta.get("channel_names") or list(stacks)
        if len(labels) != len(image):
            raise ValueError(
                f"{truth_path}: {len(image)} channels without names, for the parameters {', '.join(stacks)} "
                f"of {folder}; give a folder with a file NAME.nii.gz for each that is known."
            )
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


def _table_cases(
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


def _read_table(path: Path) -> tuple[list[str], NDArray[Any], NDArray[Any]]:
    """Parameter names, case labels and numbers of a CSV table."""
    require_file(path, "a CSV table")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        header = [name.strip() for name in header]
        column = header.index("case")
        lengths = {len(row) for row in rows}
        if lengths != {len(header)}:
            found = " and ".join(map(str, sorted(lengths))) or "no"
            raise ValueError(f"{found} values in a row below {len(header)} names")
        numbers = [[float(v) for i, v in enumerate(row) if i != column] for row in rows]
        names = [name for name in header if name != "case"]
        return names, np.array([row[column] for row in rows]), np.array(numbers).reshape(-1, len(names))
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(
            f'{path}: expected a table with a column "case" and numbers in all others, equally many in every '
            f"row ({error})."
        ) from error
