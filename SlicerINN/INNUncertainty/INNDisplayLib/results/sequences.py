"""Stacks of a run as sequences: quantiles and curves, and samples with a volume that shows one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..scene.marks import SYNTHETIC, RunNodes, arrays_of, display_of, follow, mark
from ..translating import tr as _
from .result import MapFile

if TYPE_CHECKING:
    from .run import Run

__all__ = [
    "number_of_samples",
    "numbered_sequence",
    "posterior_layers",
    "sample_arrays",
    "show_sample",
    "stacked",
    "store_samples",
    "store_stack",
]

_PLAYED_HZ = 5.0


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
        item.SetName(f"{run.title(file.kind, file.parameter)}, {sequence.GetIndexName()} {label}")
        item.SetAttribute(SYNTHETIC, sequence.GetAttribute(SYNTHETIC))
        slicer.util.updateVolumeFromArray(item, np.ascontiguousarray(array[..., number]))
        sequence.SetDataNodeAtValue(item, label)
    return sequence


def stacked(sequence: slicer.vtkMRMLSequenceNode) -> NDArray[Any]:
    """The items of a sequence of volumes, ``(K, J, I, N)``."""
    return np.stack(arrays_of(sequence), -1)


def store_samples(run: Run, file: MapFile, array: NDArray[Any], matrix: Any, image: Any) -> None:
    """Put posterior samples ``(K, J, I, S)`` into a scene, with a volume that shows one of them."""
    browser = run.node("browser", "", "vtkMRMLSequenceBrowserNode")
    browser.SetPlaybackRateFps(_PLAYED_HZ)
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


def sample_arrays(run: Run, parameter: str) -> list[NDArray[Any]]:
    """The stored samples of a parameter, ``(K, J, I)`` each, views on the sequence's own memory."""
    sequence = run.find("samples", parameter, "vtkMRMLSequenceNode")
    return [] if sequence is None else arrays_of(sequence)


def posterior_layers(run: Run, parameter: str) -> tuple[list[NDArray[Any]], NDArray[np.float64] | None]:
    """What is stored of a posterior: quantiles and their levels, or samples and ``None``.

    Arrays are ``(K, J, I)``. Quantiles come first, for they stand for all samples of an inference.

    Raises:
        ValueError: if neither is stored; one sample is not a posterior.
    """
    if (stored := run.layers(parameter)) is not None:
        return stored
    samples = sample_arrays(run, parameter)
    if len(samples) > 1:
        return samples, None
    text = _("{run}: neither quantiles nor samples of {parameter} are stored; apply the bundle again.")
    raise ValueError(text.format(run=run.name, parameter=run.parameter(parameter).label))


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
