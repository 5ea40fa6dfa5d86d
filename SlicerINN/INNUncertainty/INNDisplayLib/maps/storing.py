"""A result goes into a scene, in new nodes or those of an earlier run, and out of it into a result folder."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer
from numpy.typing import NDArray

from ..plan.regions import read_regions, region_labels
from ..results.result import MapFile, Result, ResultError
from ..results.run import Run
from ..results.sequences import stacked, store_samples, store_stack
from ..scene.marks import IMAGE, LEVELS, MAP, PARAMETER, SYNTHETIC, UNIT, itk_image, matrix_of, place
from ..translating import tr as _

__all__ = ["save_result", "store"]

_SCALARS = (
    "median", "interval_width", "mode_count", "uninformative", "waic", "ood", "p_value", "reason", "adequacy",
    "efficiency", "at_bound", "valid", "mean", "interval_low", "interval_high", "reference",
)  # fmt: skip
_NOTES = 79  # characters that the header of a NIfTI file holds
_DRAWN = (("withheld", ""), ("graded", ""))  # made anew whenever a run is shown


def store(
    scene: slicer.vtkMRMLScene,
    result: Result,
    name: str,
    image: slicer.vtkMRMLNode | None = None,
    run: Run | None = None,
) -> Run:
    """Put a result into a scene.

    Args:
        scene: the scene.
        result: what inference left.
        name: name of its folder.
        image: the volume or sequence that was inferred; maps follow a volume's transform.
        run: an earlier run that is to be replaced in place; what refers to its nodes goes on to work.

    Returns:
        The run.

    Raises:
        ResultError: if a file cannot be read; the scene is then as it was.
    """
    read = _read_all(result)  # all of it before the scene changes
    run = run or Run(scene, uuid.uuid4().hex)
    tree, folder = run.folder()
    tree.SetItemName(folder, name)
    record = run.node("record", "", "vtkMRMLTextNode")
    record.SetText(json.dumps(result.record))
    record.SetName(f"{name}: record")
    record.SetNodeReferenceID(IMAGE, image.GetID() if image is not None else None)
    kept = {("record", ""), *_DRAWN}
    for file, array, matrix in read:
        if file.kind == "samples":
            store_samples(run, file, array, matrix, image)
            kept |= {("browser", ""), ("sample", file.parameter)}
        elif file.kind == "quantiles":
            labels = [f"{level:.4g}" for level in file.levels]
            store_stack(run, file, array, matrix, labels).SetAttribute(LEVELS, json.dumps(file.levels))
        elif file.kind == "curve":  # by numbers, for a place along the axis may be there twice
            store_stack(run, file, array, matrix, [str(place + 1) for place in range(array.shape[-1])])
        elif file.kind in (*_SCALARS, "photo"):
            class_name = f"vtkMRML{'Vector' if array.ndim == 4 else 'Scalar'}VolumeNode"
            node = run.node(file.kind, file.parameter, class_name)
            node.SetAttribute(UNIT, file.unit)
            place(node, array, matrix, image)
        else:
            continue
        kept.add((file.kind, file.parameter))
    for node in [*run.nodes()]:
        if (node.GetAttribute(MAP), node.GetAttribute(PARAMETER)) not in kept:
            run.drop(node)
    return run


def _read_all(result: Result) -> list[tuple[MapFile, NDArray[Any], NDArray[np.float64]]]:
    """Files with their voxels and geometry.

    ITK reads NaN in NIfTI files as 0, which would be drawn as a value, so that it is put back here.
    """
    read = [(file, *file.load()) for file in result.files if file.kind != "curve"]
    matrix = read[0][2] if read else np.eye(4)
    read += [(file, file.mapped(), matrix) for file in result.files if file.kind == "curve"]
    if len({array.shape[:3] for _, array, _ in read}) > 1:
        raise ResultError(
            _("{folder}: its maps differ in size; copy the folder as a whole.").format(folder=result.folder)
        )
    missing = next((array < 0.5 for file, array, _ in read if file.kind == "valid"), None)
    for array in (part[1] for part in read):
        in_memory = array.flags.writeable  # others hold NaN as they are
        if missing is not None and in_memory and array.dtype.kind == "f" and array.shape[:3] == missing.shape:
            array[missing] = np.nan
    return read


def save_result(run: Run, folder: Path) -> None:
    """Write a run's maps as NIfTI files with their ``result.json``; maps that were deleted are left out.

    Regions of decision, if there are any, go with them: labels of voxels, and in the record what they mean.

    Maps lie where the image lies without its transform, as inference wrote them.

    Args:
        run: the run.
        folder: folder that is to appear, complete or not at all.

    Raises:
        ResultError: if it exists already, or cannot be written.
    """
    if folder.exists():
        raise ResultError(_("{folder}: exists already; choose another name.").format(folder=folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        text = _("{folder}: cannot be written ({why}); choose another place.")
        raise ResultError(text.format(folder=folder, why=error.strerror)) from error
    try:
        kept = [file for file in run.result.files if _write(run, file, draft)]
        names = {file.path.name for file in kept}
        record = dict(run.result.record, pictures=[])
        record["files"] = [entry for entry in record["files"] if entry["file"] in names]
        _write_regions(run, draft, record)
        (draft / "result.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        draft.chmod(0o755)
        draft.rename(folder)
    except (OSError, RuntimeError) as error:
        text = _("{folder}: cannot be written; is there space left? ({error})")
        raise ResultError(text.format(folder=folder, error=error)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(run: Run, file: MapFile, folder: Path) -> bool:
    """Write one file of the record, if its node is still there."""
    if file.kind in ("quantiles", "samples", "curve"):
        sequence = run.find(file.kind, file.parameter, "vtkMRMLSequenceNode")
        if sequence is None or not sequence.GetNumberOfDataNodes():
            return False
        array, like = stacked(sequence), sequence.GetNthDataNode(0)
    else:
        like = run.find(file.kind, file.parameter)
        array = run.array(file.kind, file.parameter)
        if like is None or array is None:
            return False
    image = _image(array, like)
    if said := like.GetAttribute(SYNTHETIC):
        image.SetMetaData("ITK_FileNotes", said[:_NOTES])
    sitk.WriteImage(image, str(folder / file.path.name))
    return True


def _write_regions(run: Run, folder: Path, record: dict[str, Any]) -> None:
    """Write the labels of the regions, and say in the record what they were made of."""
    regions, labels = read_regions(run), region_labels(run)
    if regions is None or labels is None:
        return
    name = "regions.nii.gz"
    sitk.WriteImage(
        itk_image(labels, matrix_of(run.find("median", regions["parameter"]))), str(folder / name)
    )
    entry = {"file": name, "map": "regions", "parameter": regions["parameter"], "unit": "1"}
    record["files"] = [*record["files"], entry]
    record["regions"] = regions


def _image(array: NDArray[Any], like: slicer.vtkMRMLVolumeNode) -> sitk.Image:
    """An image of ``(K, J, I)``, or of ``(K, J, I, C)`` with the last axis as the fourth."""
    parts = np.moveaxis(array, -1, 0) if array.ndim == 4 else [array]
    images = [itk_image(part, matrix_of(like)) for part in parts]
    return sitk.JoinSeries(images) if array.ndim == 4 else images[0]
