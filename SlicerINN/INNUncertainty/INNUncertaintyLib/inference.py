"""One inference: the image goes to a file, a child process works, its result comes into the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer.util
from INNDisplayLib import Run, itk_image, matrix_of, read_result, store
from numpy.typing import NDArray
from slicer.i18n import tr as _

from .job import Job
from .parameters import PanelState

__all__ = [
    "Inference",
    "is_video",
    "load_organs",
    "make_savable",
    "number_of_bands",
    "register_sample_data",
    "write_image",
]


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

    Raises:
        ValueError: if it has no voxels, or the items of a sequence do not lie on the same grid.
        OSError: if the file cannot be written.
    """
    array, matrix = _voxels(node)
    image = itk_image(array, matrix)
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


def register_sample_data():
    """Tell Slicer's Sample Data module of the organs; nothing is downloaded for them."""
    import SampleData

    folder = _sample_data()
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="INN Uncertainty",
        sampleName="INNOrganMosaic",
        uris=(folder / "organ_mosaic.nrrd").as_uri(),
        fileNames="organ_mosaic.nrrd",
        nodeNames="organs",
        thumbnailFileName=str(folder / "organ_mosaic.png"),
    )


def load_organs() -> slicer.vtkMRMLVolumeNode:
    """Load the organs, without the module Sample Data."""
    return slicer.util.loadVolume(str(_sample_data() / "organ_mosaic.nrrd"), {"name": "organs"})


def _sample_data() -> Path:
    return Path(__file__).parents[1] / "Resources" / "SampleData"


_QUANTILES = 16


class Inference(Job):
    """A running inference; ask ``poll`` for news until it says that it is over, then ``finish`` it.

    A quick result from the network's preview head is there first. It is not shown in the place of an earlier
    run, whose numbers are better.

    Args:
        state: image, bundle and options.
        run: an earlier run that the result replaces in place.

    Raises:
        ValueError: if the image cannot be used.
        OSError: if no temporary folder can be written, or Python cannot be started.
    """

    def __init__(self, state: PanelState, run: Run | None = None) -> None:
        self.image_id, self.run = state.image.GetID(), run
        self._has_earlier = run is not None
        self.name = f"{state.image.GetName()}, {Path(state.bundle).name}"
        super().__init__(state)

    def _arguments(self, state: PanelState) -> list[str]:
        path = self.folder / "image.nrrd"
        make_savable(state.image)
        write_image(state.image, path)
        arguments = self._command(state, str(path))
        return arguments if self._has_earlier else [*arguments, "--preview", str(self.folder / "preview")]

    def _command(self, state: PanelState, path: str) -> list[str]:
        """Words of the command for a file or a pattern of files."""
        return [
            "infer", state.bundle, path, "-o", str(self.folder / "result"),
            "--samples", str(state.samples), "--save-samples", str(state.storedSamples),
            "--save-quantiles", str(min(_QUANTILES, state.samples)),
            "--false-alarm", str(state.falseAlarm), "--adequacy", str(state.adequacy),
            "--adaptive", "--no-picture",
        ]  # fmt: skip

    def preview(self) -> Run | None:
        """Put the quick result into the scene, once, when it is there; ``None`` before and after that."""
        folder = self.folder / "preview"
        if self.run is not None or not (folder / "result.json").is_file():
            return None
        self.run = self._store(folder, _("{name} (preview)").format(name=self.name))
        return self.run

    def finish(self) -> Run:
        """Put the result into the scene.

        Raises:
            RuntimeError: if the child failed or was canceled.
            ResultError: if its result cannot be read.
        """
        try:
            self.child.result()
            return self._store(self.folder / "result", self.name)
        except BaseException:
            self._forget_preview()
            raise
        finally:
            self._clean()

    def cancel(self) -> None:
        """End it and leave nothing behind."""
        super().cancel()
        self._forget_preview()

    def _store(self, folder: Path, name: str) -> Run:
        image = slicer.mrmlScene.GetNodeByID(self.image_id)  # may have been deleted meanwhile
        return store(slicer.mrmlScene, read_result(folder), name, image, self.run)

    def _forget_preview(self) -> None:
        if self.run is not None and not self._has_earlier:
            self.run.remove()
