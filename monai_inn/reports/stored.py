"""Reading the folder that ``infer`` leaves: its record and its maps, checked against one another."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, own_file
from monai_inn.reading.limits import check_affine
from monai_inn.reading.orientation import same_grid
from monai_inn.reading.volumes import load_nifti, scaled, synthetic_mark
from monai_inn.reports.schemas import RESULT, RESULT_RECORD, read_record

__all__ = ["StoredResult", "file_name", "read_stored", "read_volume"]

_READ = (
    "mean", "median", "interval_width", "mode_count", "probability_below", "uninformative", "ood", "adequacy",
    "regions", "valid",
)  # fmt: skip
_AGAIN = "run the inference again"
_OF_VALUES = ("mean", "median", "interval_width")


@dataclass(frozen=True)
class StoredResult:
    """Posterior maps of one image as they lie in a folder, index order ``(i, j, k)`` of the NIfTI files.

    Args:
        folder: where they lie.
        record: content of ``result.json``.
        affine: index to RAS millimetres, shape ``(4, 4)``.
        maps: arrays ``(i, j, k)`` in the parameter's unit, by kind of map and parameter.
        bounds: ends of the interval ``(2, i, j, k)`` by parameter, where quantiles are stored.
        files: the file of each map, by kind and parameter.
    """

    folder: Path
    record: dict[str, Any]
    affine: NDArray[np.float64]
    maps: dict[tuple[str, str], NDArray[Any]]
    bounds: dict[str, NDArray[np.float32]]
    files: dict[tuple[str, str], Path]

    @property
    def synthetic(self) -> str:
        """What an image that nobody acquired says of itself; empty for all others."""
        return str(self.record.get("synthetic", ""))

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Pixels with a usable measurement."""
        return self.maps["valid", "valid"] > 0.5

    @property
    def withheld(self) -> NDArray[np.bool_]:
        """Usable pixels that are out of distribution."""
        return self.valid & (self.maps["ood", "ood"] > 0.5)

    def uninformative(self, parameter: str) -> NDArray[np.bool_]:
        """Trusted pixels whose interval of a parameter is hardly narrower than before the measurement."""
        found = self.maps.get(("uninformative", parameter))
        return np.zeros_like(self.trusted) if found is None else self.trusted & (found > 0.5)

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """Usable pixels whose values may be interpreted."""
        return self.valid & ~self.withheld

    def posterior(self, parameter: str) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Return what is stored of a posterior: quantiles and their levels, else samples and ``None``.

        Shape ``(i, j, k, L)``. Quantiles come first, for they stand for all samples of an inference.

        Raises:
            ValueError: if neither is stored, or a file is damaged; one sample is not a posterior.
        """
        if ("quantiles", parameter) in self.files:
            return _quantiles(self.record, self.files, self.valid.shape, parameter)
        if path := self.files.get(("samples", parameter)):
            samples = read_volume(path)[0]
            if samples.ndim == 4 and samples.shape[:3] == self.valid.shape and samples.shape[3] > 1:
                return samples, None
        raise ValueError(
            f"{self.folder}: neither quantiles nor samples of {parameter} are stored; infer its image again "
            "with --save-quantiles 16."
        )

    @property
    def image_name(self) -> str:
        """File name of the image, without its folder."""
        return file_name(self.record["image"]["path"])


def file_name(path: str) -> str:
    """Return the last part of a path of any operating system."""
    return re.split(r"[\\/]", path)[-1]


def read_stored(folder: str | PathLike[str]) -> StoredResult:
    """Read the result of ``infer``.

    Raises:
        ValueError: if the folder holds none, or a file is missing, damaged or of another size.
        OSError: if a file cannot be read.
        ImportError: if nibabel is missing.
    """
    home = Path(folder)
    record = read_record(home, RESULT, RESULT_RECORD, "monai-inn infer")
    files = _files(home, record)
    is_synthetic = {kind: "synthetic" in record for kind in _OF_VALUES}
    read = {
        key: read_volume(path, is_synthetic.get(key[0])) for key, path in files.items() if key[0] in _READ
    }
    shape, affine = read["valid", "valid"][0].shape, read["valid", "valid"][1]
    for key, (array, own) in read.items():
        if array.shape != shape or not same_grid(own, affine, shape):
            raise ValueError(
                f"{files[key]}: {array.shape} pixels or a geometry other than that of valid.nii.gz, {shape}; "
                f"the maps are of different images. {_AGAIN.capitalize()}."
            )
    if len(shape) != 3:
        raise ValueError(f"{files['valid', 'valid']}: shape {shape}, expected (i, j, k); {_AGAIN}.")
    maps = {key: array for key, (array, _) in read.items()}
    return StoredResult(home, record, affine, maps, _bounds(record, files, shape), files)


def _files(folder: Path, record: dict[str, Any]) -> dict[tuple[str, str], Path]:
    """Files by kind and parameter, once the record has all that an export needs."""
    files = {
        (entry["map"], entry["parameter"]): _inside(folder, file_name(entry["file"]))
        for entry in record["files"]
    }
    names = [row["name"] for row in record["parameters"]]
    wanted = [
        ("ood", "ood"),
        ("valid", "valid"),
        *((k, n) for k in ("median", "interval_width") for n in names),
    ]
    missing = [f"{kind} of {name}" for kind, name in wanted if (kind, name) not in files]
    missing += [f"setting {key}" for key in ("interval", "false_alarm") if key not in record["settings"]]
    if missing:
        raise ValueError(f"{folder}: the result has no {', '.join(missing)}; run `monai-inn infer`.")
    return files


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; one that is missing is told when it is read."""
    with suppress(FileNotFoundError):
        own_file(folder, name)
    return folder / name


def read_volume(path: Path, is_synthetic: bool | None = None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return array and affine (index to RAS millimetres) of a NIfTI file.

    Args:
        path: the file.
        is_synthetic: whether its header has to say, or must not say, that nobody acquired its image.

    Raises:
        ValueError: if it is missing or damaged, or its header says something else.
    """
    try:
        image, stored = load_nifti(path)
        affine = np.asarray(image.affine, np.float64)
        check_affine(path, affine)
        array = scaled(image, stored)
        if is_synthetic is not None:
            _check_mark(path, image.header, is_synthetic)
        if array.dtype.kind not in "biuf":
            raise ValueError("voxels that are not numbers")
        return array, affine
    except FileNotFoundError as error:
        raise ValueError(f"{path}: is missing; copy the folder as a whole.") from error
    except (BadFileError, ImportError, PermissionError):
        raise
    except Exception as error:  # on a damaged file the library raises types of its own
        raise ValueError(f"{path}: cannot be read, it is truncated or damaged; {_AGAIN}.") from error


def _check_mark(path: Path, header: Any, is_synthetic: bool) -> None:
    said = bool(synthetic_mark(header))
    if said != is_synthetic:
        here, there = ("says", "does not") if said else ("does not say", "does")
        raise BadFileError(
            f"{path}: {here} that its image is synthetic, and {RESULT} {there}; one of them was changed, so "
            "that it is not used. Write the result again."
        )


def _bounds(
    record: dict[str, Any], files: dict[tuple[str, str], Path], shape: tuple[int, ...]
) -> dict[str, NDArray[np.float32]]:
    """Ends of the interval of each parameter, from maps of them or from stored quantiles."""
    tail = (1 - record["settings"]["interval"]) / 2
    found = {}
    for name in (name for kind, name in files if kind == "interval_low"):
        ends = [read_volume(files[kind, name])[0] for kind in ("interval_low", "interval_high")]
        found[name] = np.stack(ends).astype(np.float32)
    for name in (name for kind, name in files if kind == "quantiles"):
        stack, levels = _quantiles(record, files, shape, name)
        nearest = [int(np.abs(levels - level).argmin()) for level in (tail, 1 - tail)]
        if np.allclose(levels[nearest], (tail, 1 - tail), atol=1e-6):
            found[name] = np.moveaxis(stack[..., nearest], -1, 0)
    return found


def _quantiles(
    record: dict[str, Any], files: dict[tuple[str, str], Path], shape: tuple[int, ...], parameter: str
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Stored quantiles of a parameter ``(i, j, k, L)`` and their levels."""
    wanted = "quantiles", parameter
    entry = next(entry for entry in record["files"] if (entry["map"], entry["parameter"]) == wanted)
    stack, levels = read_volume(files[wanted])[0], np.asarray(entry.get("levels", ()), float)
    if not len(levels) or stack.shape != (*shape, len(levels)):
        raise ValueError(f"{files[wanted]}: shape {stack.shape}, expected {(*shape, len(levels))}; {_AGAIN}.")
    return stack, levels
