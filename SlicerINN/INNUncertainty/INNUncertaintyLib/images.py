"""Images of the scene: what they hold, and how they are saved with it and written for a child process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer.util
from INNDisplayLib import itk_image, matrix_of
from numpy.typing import NDArray
from slicer.i18n import tr as _

__all__ = [
    "Channels",
    "channels_of",
    "file_name",
    "is_video",
    "make_savable",
    "number_of_bands",
    "write_image",
]

_SETTINGS = "monai_inn"
# Slicer makes attributes of the notes in the header of an NRRD. These are for the command.
_NOTES = ("wavelength_nm", _SETTINGS)


class Channels(NamedTuple):
    """How many channels an image has, what is known of each, such as its time, and how many slices it has."""

    number: int
    settings: frozenset[str] = frozenset()
    slices: int = 1


def channels_of(node: slicer.vtkMRMLNode) -> Channels:
    """The channels of an image."""
    try:
        said = json.loads(node.GetAttribute(_SETTINGS) or "{}")
        names = [name for name, value in said.items() if isinstance(value, list)]
    except (ValueError, AttributeError, RecursionError):  # a note of somebody else
        names = []
    return Channels(number_of_bands(node), frozenset(names), _number_of_slices(node))


def file_name(text: str) -> str:
    """A name without what a file's cannot have."""
    return re.sub(r"[^\w.-]+", "_", text).strip(".") or "image"


def is_video(node: slicer.vtkMRMLNode) -> bool:
    """Whether a sequence holds images of many bands, one a frame, and not one band an item."""
    first = node.GetNthDataNode(0) if node.IsA("vtkMRMLSequenceNode") else None
    return first is not None and first.IsA("vtkMRMLVolumeNode") and number_of_bands(first) > 1


def number_of_bands(node: slicer.vtkMRMLNode) -> int:
    """Channels of a scalar volume (1), of a vector volume, of a frame of a video, or items of a sequence."""
    if node.IsA("vtkMRMLSequenceNode"):
        return number_of_bands(node.GetNthDataNode(0)) if is_video(node) else node.GetNumberOfDataNodes()
    image = node.GetImageData()
    return 0 if image is None else image.GetNumberOfScalarComponents()


def _number_of_slices(node: slicer.vtkMRMLNode) -> int:
    """Slices of a volume; of a sequence those of its first item."""
    volume = node.GetNthDataNode(0) if node.IsA("vtkMRMLSequenceNode") else node
    image = volume.GetImageData() if volume is not None and volume.IsA("vtkMRMLVolumeNode") else None
    return 1 if image is None else image.GetDimensions()[2]


def make_savable(node: slicer.vtkMRMLNode) -> None:
    """Let a volume of many bands, or a video of such, be saved with the scene.

    The storage that Slicer gives a vector volume writes one or three components, and with any other number
    the whole scene cannot be saved; that for NRRD files writes all. That for sequences of volumes writes them
    and cannot read them again; that for sequences of any nodes can.
    """
    if not (node.IsA("vtkMRMLVectorVolumeNode") or is_video(node)) or number_of_bands(node) in (0, 1, 3):
        return
    if node.IsA("vtkMRMLVectorVolumeNode"):
        _store_by(node, "vtkMRMLNRRDStorageNode")
        return
    for number in range(node.GetNumberOfDataNodes()):
        make_savable(node.GetNthDataNode(number))
    _store_by(node, "vtkMRMLSequenceStorageNode")


def _store_by(node: slicer.vtkMRMLStorableNode, class_name: str) -> None:
    storage = node.GetStorageNode()
    if storage is None or not storage.IsA(class_name):
        made = node.GetScene().AddNewNodeByClass(class_name)
        node.SetAndObserveStorageNodeID(made.GetID())


def write_image(node: slicer.vtkMRMLNode, path: Path) -> None:
    """Write a volume or a sequence of volumes as NRRD, bands as the components of a voxel.

    What its own file said of wavelengths and settings goes with it.

    Raises:
        ValueError: if it has no voxels, or the items of a sequence do not lie on the same grid.
        OSError: if the file cannot be written.
    """
    array, matrix = _voxels(node)
    image = itk_image(array, matrix)
    for name in _NOTES:
        if node.GetAttribute(name):
            image.SetMetaData(name, node.GetAttribute(name))
    try:
        sitk.WriteImage(image, str(path), useCompression=False)
    except RuntimeError as error:
        text = _("{path} cannot be written; free space on the disk or choose another one.")
        raise OSError(text.format(path=path)) from error


def _voxels(node: slicer.vtkMRMLNode) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Voxels ``(K, J, I)`` or ``(K, J, I, C)``, and index to RAS millimeters."""
    if not node.IsA("vtkMRMLSequenceNode"):
        if node.GetImageData() is None:
            raise ValueError(_("The volume {name} has no voxels; load it again.").format(name=node.GetName()))
        return slicer.util.arrayFromVolume(node), matrix_of(node)
    items = [node.GetNthDataNode(n) for n in range(node.GetNumberOfDataNodes())]
    if not items or not all(i.IsA("vtkMRMLScalarVolumeNode") and i.GetImageData() for i in items):
        text = _("The sequence {name} holds no volumes; select one with a volume a channel.")
        raise ValueError(text.format(name=node.GetName()))
    arrays = [slicer.util.arrayFromVolume(item) for item in items]
    matrices = [matrix_of(item) for item in items]
    if len({a.shape for a in arrays}) > 1 or not np.allclose(matrices, matrices[0], atol=1e-4):
        text = _("The volumes of the sequence {name} lie on different grids; resample them first.")
        raise ValueError(text.format(name=node.GetName()))
    return np.stack(arrays, -1), matrices[0]
