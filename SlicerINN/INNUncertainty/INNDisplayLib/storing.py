"""A result goes into a scene: nodes are made, or those of an earlier run refreshed in place."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from .marks import IMAGE, LEVELS, MAP, PARAMETER, UNIT, place
from .record import ResultError
from .result import MapFile, Result
from .run import Run
from .samples import store_samples, store_stack

__all__ = ["store"]

_SCALARS = ("median", "interval_width", "mode_count", "waic", "ood", "valid")
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
    read = [(file, *file.load()) for file in result.files]
    if len({array.shape[:3] for _, array, _ in read}) > 1:
        raise ResultError(f"{result.folder}: its maps differ in size; copy the folder as a whole.")
    missing = next((array < 0.5 for file, array, _ in read if file.kind == "valid"), None)
    for _, array, _ in read:
        if missing is not None and array.dtype.kind == "f" and array.shape[:3] == missing.shape:
            array[missing] = np.nan
    return read
