"""A run of a scene as a result folder, in the form of `monai-inn infer`, for whatever else reads those."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer
from numpy.typing import NDArray

from .marks import itk_image, matrix_of
from .record import ResultError
from .result import MapFile
from .run import Run
from .samples import stacked

__all__ = ["save_result"]


def save_result(run: Run, folder: Path) -> None:
    """Write a run's maps as NIfTI files with their ``result.json``; maps that were deleted are left out.

    Maps lie where the image lies without its transform, as inference wrote them.

    Args:
        run: the run.
        folder: folder that is to appear, complete or not at all.

    Raises:
        ResultError: if it exists already, or cannot be written.
    """
    if folder.exists():
        raise ResultError(f"{folder}: exists already; choose another name.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ResultError(f"{folder}: cannot be written ({error.strerror}); choose another place.") from error
    try:
        kept = [file for file in run.result.files if _write(run, file, draft)]
        names = {file.path.name for file in kept}
        record = dict(run.result.record, pictures=[])
        record["files"] = [entry for entry in record["files"] if entry["file"] in names]
        (draft / "result.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        draft.chmod(0o755)
        draft.rename(folder)
    except (OSError, RuntimeError) as error:
        raise ResultError(f"{folder}: cannot be written; is there space left? ({error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(run: Run, file: MapFile, folder: Path) -> bool:
    """Write one file of the record, if its node is still there."""
    if file.kind in ("quantiles", "samples"):
        sequence = run.find(file.kind, file.parameter, "vtkMRMLSequenceNode")
        if sequence is None or not sequence.GetNumberOfDataNodes():
            return False
        array, like = stacked(sequence), sequence.GetNthDataNode(0)
    else:
        like = run.find(file.kind, file.parameter)
        array = run.array(file.kind, file.parameter)
        if like is None or array is None:
            return False
    sitk.WriteImage(_image(array, like), str(folder / file.path.name))
    return True


def _image(array: NDArray[Any], like: slicer.vtkMRMLVolumeNode) -> sitk.Image:
    """An image of ``(K, J, I)``, or of ``(K, J, I, C)`` with the last axis as the fourth."""
    parts = np.moveaxis(array, -1, 0) if array.ndim == 4 else [array]
    images = [itk_image(part, matrix_of(like)) for part in parts]
    return sitk.JoinSeries(images) if array.ndim == 4 else images[0]
