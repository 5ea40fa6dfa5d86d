"""One classification: the image goes to a file, a child process works, its answer comes into the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer.util
from INNDisplayLib import ClassRun, itk_image, matrix_of, read_classes, store_classes
from numpy.typing import NDArray
from slicer.i18n import tr as _

from .images import file_name
from .job import Job
from .parameters import PanelState

__all__ = ["Classification"]


class Classification(Job):
    """A running classification of an image; ask ``poll`` for news until it is over, then ``finish`` it.

    Raises:
        ValueError: if the image cannot be used.
        OSError: if no temporary folder can be written, or Python cannot be started.
    """

    def __init__(self, state: PanelState) -> None:
        self.name = f"{state.image.GetName()}, {Path(state.bundle).name}"
        super().__init__(state)

    def _arguments(self, state: PanelState) -> list[str]:
        path = _written_in_8_bits(state.image, self.folder)
        out = str(self.folder / "result")
        return ["classify", state.bundle, str(path), "-o", out, "--false-alarm", str(state.falseAlarm)]

    def preview(self) -> None:
        """Nothing is there before the end."""

    def _take(self) -> ClassRun:
        return store_classes(slicer.mrmlScene, read_classes(self.folder / "result"), self.name)


def _written_in_8_bits(volume: slicer.vtkMRMLNode, folder: Path) -> Path:
    """The file into which an image was written in 8 bits: a picture of one slice, or else a volume."""
    values = _eight_bits(volume)
    is_flat = values.shape[0] == 1
    path = folder / f"{file_name(volume.GetName())}{'.png' if is_flat else '.nrrd'}"
    # A picture has rows and columns alone: where they lie in the patient says nothing to the network.
    image = (
        sitk.GetImageFromArray(values[0], values.ndim == 4)
        if is_flat
        else itk_image(values, matrix_of(volume))
    )
    sitk.WriteImage(image, str(path))
    return path


def _eight_bits(volume: slicer.vtkMRMLNode) -> NDArray[np.uint8]:
    """Values ``(K, J, I)`` or ``(K, J, I, 3)``; those of other images than of 8 bits as they are shown.

    Raises:
        ValueError: if it is not a volume with voxels, or has colors of more than 8 bits.
    """
    if not volume.IsA("vtkMRMLScalarVolumeNode") or volume.GetImageData() is None:
        raise ValueError(_("{name} is not a volume with voxels; select one.").format(name=volume.GetName()))
    values = slicer.util.arrayFromVolume(volume)
    if values.dtype == np.uint8:
        return values
    if values.ndim == 4:
        text = _("{name} has colors of more than 8 bits; give a picture of 8 bits.")
        raise ValueError(text.format(name=volume.GetName()))
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    shown = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255
    return np.nan_to_num(shown).round().astype(np.uint8)
