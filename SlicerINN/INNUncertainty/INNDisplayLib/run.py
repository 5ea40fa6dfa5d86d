"""The nodes of one inference in a scene, found by what they are marked with, and its stacks as sequences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import slicer.util
from numpy.typing import NDArray

from .marks import IMAGE, LEVELS, RunNodes, display_of, follow, mark
from .result import MapFile, Result, Shown, parse_result

__all__ = [
    "Run",
    "number_of_samples",
    "numbered_sequence",
    "runs",
    "show_sample",
    "stacked",
    "store_samples",
    "store_stack",
]

_NAMES = {
    "adequacy": "adequacy, low = the model does not fit",
    "interval_width": "{interval:.0%} interval width",
    "mode_count": "number of modes",
    "ood": "out of distribution",
    "p_value": "p-value, low = not explained",
    "probability_below": "probability below",
    "reason": "reason",
    "uninformative": "not informative",
    "valid": "usable",
    "waic": "WAIC, high = out of distribution",
}
_MOST_COLORS = 3


class Run(RunNodes):
    """One inference in a scene.

    Args:
        scene: the scene.
        key: value of the attribute that its nodes carry.
    """

    internal = (
        "quantiles", "curve", "withheld", "graded", "valid", "ood", "p_value", "reason", "uninformative",
    )  # fmt: skip

    def __init__(self, scene: slicer.vtkMRMLScene, key: str) -> None:
        super().__init__(scene, key)
        self._stacks: dict[str, tuple[int, NDArray[np.float32]]] = {}

    @property
    def record_node(self) -> slicer.vtkMRMLTextNode | None:
        """The text node that holds the record, ``None`` once it was deleted."""
        return self.find("record", class_name="vtkMRMLTextNode")

    @property
    def result(self) -> Result:
        """The record without its files, which may be long gone."""
        return self.read("record", lambda record: parse_result(Path(), record))

    @property
    def parameters(self) -> tuple[Shown, ...]:
        """The parameters that it has maps of."""
        return self.result.parameters

    @property
    def interval(self) -> float:
        """The probability inside its intervals."""
        return self.result.record["settings"].get("interval", 0.95)

    def parameter(self, name: str) -> Shown:
        """The parameter of a name, or the first one."""
        known = self.parameters
        return next((p for p in known if p.name == name), known[0])

    @property
    def image(self) -> slicer.vtkMRMLNode | None:
        """The volume or sequence that was inferred, if it is still in the scene."""
        return self.record_node.GetNodeReference(IMAGE)

    @property
    def bundle_path(self) -> str:
        """The folder of the bundle that made it."""
        return self.result.record["bundle"]["path"]

    @property
    def background(self) -> slicer.vtkMRMLVolumeNode | None:
        """What maps are laid over: the image, or the photo that inference made of its many bands."""
        image = self.image
        if image is None or not image.IsA("vtkMRMLVolumeNode") or image.GetImageData() is None:
            return self.find("photo")
        if image.GetImageData().GetNumberOfScalarComponents() <= _MOST_COLORS:
            return image
        return self.find("photo") or image

    def title(self, kind: str, parameter: str = "") -> str:
        """What a map is called."""
        text = _NAMES.get(kind, kind)
        if "{" in text:
            text = text.format(interval=self.interval)
        known = self.parameters if self.record_node is not None else ()
        whole = f"{parameter} {text}" if any(p.name == parameter for p in known) else text
        return f"{self.name}: {whole}"

    def quantiles(self, parameter: str) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
        """Quantiles ``(K, J, I, L)`` of a parameter and their levels ``(L,)``; ``None`` without them."""
        node = self.find("quantiles", parameter, "vtkMRMLSequenceNode")
        if node is None:
            return None
        known = self._stacks.get(parameter)
        if known is None or known[0] != node.GetMTime():
            known = self._stacks[parameter] = node.GetMTime(), stacked(node)
        return known[1], np.array(json.loads(node.GetAttribute(LEVELS)))

    def withheld(self) -> NDArray[np.bool_]:
        """Where no number must be shown without a warning: out of distribution, or not usable at all."""
        return self.untrusted() | ~self.usable()

    def untrusted(self, at: Any = ...) -> NDArray[np.bool_]:
        """Usable voxels that are out of distribution; of one voxel, if its (k, j, i) is given."""
        return self._flag("ood", at=at)

    def uninformative(self, parameter: str, at: Any = ...) -> NDArray[np.bool_]:
        """Voxels whose interval of a parameter is hardly narrower than before the measurement."""
        return self._flag("uninformative", parameter, at)

    def reason(self, voxel: tuple[int, int, int]) -> str:
        """Why a voxel is not explained, in words; empty if that is not known."""
        number, texts = self.array("reason"), self.result.record["trust"].get("reasons", [])
        place = 0 if number is None else int(np.nan_to_num(number[voxel]))
        return texts[place] if 0 < place < len(texts) else ""

    def usable(self, at: Any = ...) -> NDArray[np.bool_]:
        """Voxels that could be inferred."""
        return self._flag("valid", at=at, missing=True)

    def _flag(
        self, kind: str, parameter: str = "", at: Any = ..., missing: bool = False
    ) -> NDArray[np.bool_]:
        """Where a map of 0 and 1 is 1; a reading of one voxel does not go through the whole volume."""
        found = self.array(kind, parameter)
        return np.full(self.shape, missing)[at] if found is None else np.nan_to_num(found[at]) > 0.5

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along K, J and I."""
        for kind in ("median", "valid", "waic"):
            if (array := self.array(kind)) is not None:
                return array.shape
        raise ValueError(f"{self.name}: all maps were deleted; apply the bundle again.")


def runs(scene: slicer.vtkMRMLScene) -> list[Run]:
    """All runs in a scene, oldest first."""
    return Run.all_of(scene, "record")


def numbered_sequence(run: RunNodes, kind: str, parameter: str, index: str) -> slicer.vtkMRMLSequenceNode:
    """An empty sequence of a run whose items have numbers."""
    sequence = run.node(kind, parameter, "vtkMRMLSequenceNode")
    sequence.SetIndexName(index)
    sequence.SetIndexUnit("")
    sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
    sequence.RemoveAllDataNodes()
    return sequence


def store_stack(
    run: Run, file: MapFile, array: NDArray[Any], matrix: NDArray[np.float64], labels: list[str]
) -> slicer.vtkMRMLSequenceNode:
    """Put a stack into a scene as a sequence; scenes cannot save volumes of more than three components.

    Args:
        run: whose it is.
        file: which map of which parameter.
        array: shape ``(K, J, I, N)``.
        matrix: index to RAS millimeters.
        labels: index value of each item.
    """
    index = {"quantiles": "level", "samples": "sample"}.get(file.kind, "place")
    sequence = numbered_sequence(run, file.kind, file.parameter, index)
    item = slicer.vtkMRMLScalarVolumeNode()  # outside the scene: the sequence copies it
    mark(item, run.key, "sample", file.parameter)
    item.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    for number, label in enumerate(labels):
        item.SetName(f"{run.name}: {file.parameter}, {sequence.GetIndexName()} {label}")
        slicer.util.updateVolumeFromArray(item, np.ascontiguousarray(array[..., number]))
        sequence.SetDataNodeAtValue(item, label)
    return sequence


def stacked(sequence: slicer.vtkMRMLSequenceNode) -> NDArray[Any]:
    """The items of a sequence of volumes, ``(K, J, I, N)``."""
    items = range(sequence.GetNumberOfDataNodes())
    return np.stack([slicer.util.arrayFromVolume(sequence.GetNthDataNode(n)) for n in items], -1)


def store_samples(run: Run, file: MapFile, array: NDArray[Any], matrix: Any, image: Any) -> None:
    """Put posterior samples ``(K, J, I, S)`` into a scene, with a volume that shows one of them."""
    browser = run.node("browser", "", "vtkMRMLSequenceBrowserNode")
    labels = [str(number + 1) for number in range(array.shape[-1])]
    sequence = store_stack(run, file, array, matrix, labels)
    volume = run.node("sample", file.parameter, "vtkMRMLScalarVolumeNode")
    follow(volume, image)
    if browser.GetProxyNode(sequence) is not volume:
        # This also makes the browser turn the sequence; asked the other way the logic adds another volume.
        browser.AddProxyNode(volume, sequence, False)
    show_sample(run, file.parameter, 0)


def number_of_samples(run: Run, parameter: str) -> int:
    """How many samples of a parameter are stored."""
    sequence = run.find("samples", parameter, "vtkMRMLSequenceNode")
    return 0 if sequence is None else sequence.GetNumberOfDataNodes()


def show_sample(run: Run, parameter: str, index: int) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Turn to a sample, counted from 0, and return the volume that shows it; ``None`` if there is none."""
    sequence = run.find("samples", parameter, "vtkMRMLSequenceNode")
    if sequence is None or not 0 <= index < sequence.GetNumberOfDataNodes():
        return None
    browser = run.find("browser", class_name="vtkMRMLSequenceBrowserNode")
    if browser is not None:
        browser.SetSelectedItemNumber(index)
    item = sequence.GetNthDataNode(index)
    volume = run.node("sample", parameter, "vtkMRMLScalarVolumeNode")
    # The logic of sequences does this too where an application has one. A copy: the volume must not share its
    # memory with the sequence, into which the next sample would then be written.
    volume.CopyOrientation(item)
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(item))
    volume.SetName(f"{run.title('sample', parameter)} {index + 1} of {sequence.GetNumberOfDataNodes()}")
    display_of(volume)
    return volume
