"""Two results of one quantity at two points in time, as a third one: the posterior of the difference."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.files import read_json, write_json
from monai_inn.folders import new_folder
from monai_inn.reading.orientation import same_grid
from monai_inn.reports.image_files import write_channels
from monai_inn.reports.records import made_with
from monai_inn.reports.schemas import RESULT
from monai_inn.reports.stored import StoredResult, read_stored
from monai_inn.viewer.display.numbers.differences import (
    change_levels,
    change_maps,
    change_quantiles,
    change_record,
    interval_places,
    share_apart,
)

__all__ = ["compare_results"]


def compare_results(
    before: str | PathLike[str],
    after: str | PathLike[str],
    out: str | PathLike[str],
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write the posterior of every parameter of a later result minus that of an earlier one.

    The errors of the two are taken as independent. A pixel is withheld where it is in either. The folder is a
    result like that of ``infer``, with parameters ``NAME_change``. Classes have no difference: they are left
    out, and a warning says so.

    Args:
        before: folder of the earlier result of ``infer``, with quantiles or samples.
        after: folder of the later one, by the same bundle on the same grid.
        out: folder to write; it has its record once it is complete.
        progress: called with the share that is done.

    Returns:
        The content of ``result.json``.

    Raises:
        ValueError: if a folder is not a complete result, or the two cannot be compared.
        OSError: if a file cannot be read or written.
    """
    first, second = read_stored(before), read_stored(after)
    shown, classes = _comparable(first, second)
    valid = first.valid & second.valid
    ood = valid & (first.withheld | second.withheld)
    levels = change_levels(first.record["settings"]["interval"])
    names = [stored.folder.resolve().name for stored in (first, second)]
    record = change_record([first.record, second.record], names, shown)
    if classes:
        record["warnings"] = [
            *record.get("warnings", []),
            f"{', '.join(classes)} left out: classes have no difference; compare the class_probability maps "
            "of the two results.",
        ]
    found: dict[str, Any] = {}
    _check_target(Path(out))
    with new_folder(out, RESULT, "a result of inference") as draft:
        write = partial(_write, draft, first.affine, levels, record.get("synthetic", ""))
        files = [
            write("ood", "ood", "1", np.where(valid, ood, np.nan)),
            write("valid", "valid", "1", valid),
            *_copied_photo(draft, first),
        ]
        for done, (name, row) in enumerate(zip(shown, record["parameters"], strict=True)):
            work = _work((first, second), name, valid, levels, row.get("turn", 0.0))
            quantiles = _finished(work, progress, done, len(shown))
            silent = first.uninformative(name) | second.uninformative(name)
            places = interval_places(levels, record["settings"]["interval"])
            files += [write(*entry) for entry in change_maps(row, quantiles, places, silent)]
            found[row["name"]] = {"unit": row["unit"], **_summary(quantiles[valid & ~ood][:, places])}
        usable = int(valid.sum())
        record |= {"command": "compare", **made_with(record["settings"]), "files": files, "pictures": []}
        record["summary"] = {
            "pixels": valid.size,
            "valid_pixels": usable,
            "share_untrusted": round(int(ood.sum()) / usable, 4) if usable else None,
            "trusted_pixels": found,
        }
        write_json(draft / RESULT, record)
    return record


def _check_target(out: Path) -> None:
    """Refuse to replace a result that `compare` did not write, which may be one of the two."""
    if (out / RESULT).is_file() and read_json(out / RESULT).get("command") != "compare":
        raise ValueError(
            f"{out}: holds a result of another kind than compare; choose another folder, or delete it."
        )


def _comparable(first: StoredResult, second: StoredResult) -> tuple[list[str], list[str]]:
    """Names of the parameters of two results, which are checked to be of one kind, and those of classes."""
    rows = [{row["name"]: row["unit"] for row in stored.record["parameters"]} for stored in (first, second)]
    shown = [name for name in rows[0] if name in rows[1]]
    if not shown:
        raise ValueError(
            f"{second.folder}: has {', '.join(rows[1])}, but {first.folder} has {', '.join(rows[0])}; give "
            "two results of the same parameters."
        )
    of_class = {row["name"] for row in first.record["parameters"] if row.get("is_class")}
    classes, shown = [n for n in shown if n in of_class], [n for n in shown if n not in of_class]
    if not shown:
        raise ValueError(
            f"{second.folder}: has nothing but the class {', '.join(classes)}, and classes have no "
            "difference; compare the class_probability maps of the two results."
        )
    for name in (name for name in shown if rows[0][name] != rows[1][name]):
        raise ValueError(
            f"{second.folder}: {name} is in {rows[1][name]}, but in {first.folder} in {rows[0][name]}; give "
            "two results in one unit."
        )
    bundles = [stored.record["bundle"] for stored in (first, second)]
    if any(bundles[0].get(key) != bundles[1].get(key) for key in ("name", "version", "weights_sha256")):
        was, now = (f"{b.get('name', 'unknown')} {b.get('version', '')}".strip() for b in bundles)
        raise ValueError(
            f"{second.folder}: was inferred by another bundle ({now}) than {first.folder} ({was}), so that "
            "the networks would be compared too; infer both images by one bundle."
        )
    shape = first.valid.shape
    if second.valid.shape != shape or not same_grid(second.affine, first.affine, shape):
        raise ValueError(
            f"{second.folder}: {second.valid.shape} pixels on another grid than {first.folder}, "
            f"{shape}; resample the later image to the grid of the earlier one, then infer it."
        )
    return shown, classes


def _work(
    both: tuple[StoredResult, StoredResult],
    parameter: str,
    valid: NDArray[np.bool_],
    levels: NDArray[np.floating],
    turn: float,
) -> Generator[float, None, NDArray[np.floating]]:
    """What computes quantiles of the change of a parameter, ``(i, j, k, L)``."""
    posteriors = [stored.posterior(parameter) for stored in both]
    layers = [([*np.moveaxis(values, -1, 0)], own) for values, own in posteriors]
    return change_quantiles(*layers, (np.nonzero(valid),) * 2, levels, turn)


def _finished(
    work: Generator[float, None, NDArray[np.floating]],
    progress: Callable[[float], None],
    done: int,
    total: int,
) -> NDArray[np.floating]:
    """What comes of the next of several equal parts of the work."""
    while True:
        try:
            progress((done + next(work)) / total)
        except StopIteration as end:
            return end.value


def _write(
    folder: Path,
    affine: NDArray[np.float64],
    levels: NDArray[np.floating],
    synthetic: str,
    kind: str,
    name: str,
    unit: str,
    values: NDArray[Any],
) -> dict[str, Any]:
    """Write one map as ``infer`` would, and return what the file holds."""
    stem, geometry = kind if kind == name else f"{kind}_{name}", torch.as_tensor(affine)
    if kind != "quantiles":
        one, path = torch.from_numpy(values)[None], folder / f"{stem}.nii.gz"
        return write_channels(path, one, geometry, [name], kind, name, unit, synthetic)
    stack, labels = torch.from_numpy(np.moveaxis(values, -1, 0)), [f"{name} at {u:.4g}" for u in levels]
    written = write_channels(folder / f"{stem}.nii", stack, geometry, labels, kind, name, unit)
    return written | {"levels": levels.tolist()}


def _copied_photo(folder: Path, first: StoredResult) -> Iterator[dict[str, Any]]:
    """Maps are laid over the photo of the earlier image."""
    for entry in (entry for entry in first.record["files"] if entry["map"] == "photo"):
        path = first.files["photo", entry["parameter"]]
        shutil.copyfile(path, folder / path.name)
        yield entry


def _summary(ends: NDArray[np.floating]) -> dict[str, Any]:
    """A few numbers of low end, median and high end of the trusted pixels, ``(N, 3)``."""
    lower, higher = share_apart(ends[:, 0], ends[:, 2])
    middle = np.median([ends[:, 1], ends[:, 2] - ends[:, 0]], 1).tolist() if len(ends) else (None, None)
    rounded = [None if value is None else float(f"{value:.5g}") for value in middle]
    return {
        "median_of_medians": rounded[0],
        "median_interval_width": rounded[1],
        "share_lower": round(lower, 4),
        "share_higher": round(higher, 4),
    }
