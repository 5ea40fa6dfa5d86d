"""Classified images go into a scene, and one of them is shown with what speaks for its class."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..scene.colors import color_node, graded, table
from ..scene.legend import Legend, ticks
from ..scene.marks import UNIT, RunNodes, hide_legends, place, set_layers, show_legend, span
from ..scene.patterns import hatch_all
from ..translating import tr as _
from .result import ClassResult, evidence_limit, pair_of, parse_classes
from .words import image_title

__all__ = ["ClassRun", "class_runs", "evidence_legend", "show_class_image", "store_classes"]

_COLORS = "INN difference"
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # rows downward, columns to the right; pixels of 1 mm


def _names() -> dict[str, str]:
    """What nodes are called."""
    return {
        "classification": _("record"),
        "evidence": _("evidence of the shown image"),
        "evidences": _("evidence of all images"),
        "graded": _("evidence in colors"),
        "image": _("shown image"),
        "images": _("all images"),
        "withheld": _("not explained"),
    }


class ClassRun(RunNodes):
    """Classified images in a scene; they lie one behind the other in two volumes that are saved with it.

    Args:
        scene: the scene.
        key: value of the attribute that its nodes carry.
    """

    internal = ("evidences", "graded", "images", "withheld")
    image = None  # the files of its images are not in the scene

    def title(self, kind: str, parameter: str = "") -> str:
        """What a node is called."""
        return f"{self.name}: {_names()[kind]}"

    @property
    def record(self) -> dict[str, Any]:
        """What was said of the images."""
        return self.read("classification", lambda record: parse_classes("", record))

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """What the network saw of an image, ``(K, J, I)``, or ``(K, J, I, 3)`` of colors."""
        return self._part("images", len(self.record["images"]), number)

    def evidence(self, number: int, first: str, second: str) -> NDArray[np.float32]:
        """Evidence of an image for one class against another, nats, ``(K, J, I)``."""
        pairs = len(self.record["pairs"])
        pair, sign = pair_of(self.record, first, second)
        return sign * self._part("evidences", len(self.record["images"]) * pairs, number * pairs + pair)

    def _part(self, kind: str, parts: int, number: int) -> NDArray[Any]:
        stack = self.array(kind)
        return stack.reshape(parts, -1, *stack.shape[1:])[number]


def class_runs(scene: slicer.vtkMRMLScene) -> list[ClassRun]:
    """All classifications in a scene, oldest first; those whose images somebody has deleted are left out."""
    found = ClassRun.all_of(scene, "classification")
    return [run for run in found if run.find("images") is not None and run.find("evidences") is not None]


def store_classes(scene: slicer.vtkMRMLScene, result: ClassResult, name: str) -> ClassRun:
    """Put classified images into a scene; a result that is there already is not stored twice.

    Args:
        scene: the scene.
        result: what classification left.
        name: name of its folder.
    """
    known = next((run for run in class_runs(scene) if run.record == result.record), None)
    if known is not None:
        return known
    images, evidence = result.images, result.evidence
    images = images[..., 0] if images.shape[-1] == 1 else images
    run = ClassRun(scene, uuid.uuid4().hex)
    tree, folder = run.folder()
    tree.SetItemName(folder, name)
    run.node("classification", "", "vtkMRMLTextNode").SetText(json.dumps(result.record))
    for kind, values in (("images", images), ("evidences", evidence.reshape(-1, *evidence.shape[2:]))):
        if result.images.ndim == 5:  # x, y, z of a file are I, J, K of a scene
            values = values.swapaxes(1, 3).reshape(-1, *values.shape[2:0:-1])
        place(run.node(kind, "", _class_of(values)), values, _TO_RAS, None)
    return run


def show_class_image(
    run: ClassRun, number: int, first: str, second: str, opacity: float, has_legend: bool = True
) -> None:
    """Show an image in all slice views, with its evidence for one class against another laid over it.

    Weak evidence fades, so that the image stays visible where nothing speaks for a class. Stripes cover an
    image that is of no class; no setting hides them.

    Args:
        run: the classification.
        number: which image, counted from 0.
        first: the class that positive evidence speaks for.
        second: the class that negative evidence speaks for.
        opacity: of the evidence, 0 to 1.
        has_legend: whether the views show the color scale themselves.
    """
    pixels, evidence = run.pixels(number), run.evidence(number, first, second)
    limit, title = evidence_limit(evidence), image_title(run.record, number)
    image = run.node("image", "", _class_of(pixels))
    over = run.node("evidence", "", "vtkMRMLScalarVolumeNode")
    place(image, pixels, _TO_RAS, None)
    span(image.GetDisplayNode(), 0, 255)
    place(over, evidence, _TO_RAS, None)
    over.SetAttribute(UNIT, "nat")
    over.GetDisplayNode().SetAndObserveColorNodeID(color_node(run.scene, _COLORS).GetID())
    span(over.GetDisplayNode(), -limit, limit)
    for node, name in (
        (image, title),
        (over, _("{title}: for {first} against {second}").format(title=title, first=first, second=second)),
    ):
        node.SetName(f"{run.name}: {name}")
        node.GetDisplayNode().InterpolateOff()
    share = np.clip(evidence / limit, -1, 1)
    layer = graded(run, over, (1 + share) / 2, np.abs(share))
    covered = hatch_all(run, image) if run.record["images"][number]["is_of_no_class"] else None
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", run.scene):
        set_layers(view, image, layer, opacity, over, covered)
    hide_legends(run.scene)
    if has_legend:
        short = _("evidence\nfor {first}\n[nat]").format(first=first)
        show_legend(over, short, "%.2f" if limit < 10 else "%.0f", 5).SetVisibility(True)


def evidence_legend(run: ClassRun, number: int, first: str, second: str, size: int) -> Legend:
    """Return the color scale of what is shown, in so many colors, to be drawn beside the views."""
    limit = evidence_limit(run.evidence(number, first, second))
    title = _("Evidence of each pixel [nat]: positive for {first}, negative for {second}")
    return Legend(
        title=title.format(first=first, second=second),
        low=-limit,
        high=limit,
        is_log=False,
        colors=(255 * table(_COLORS, size)).round().astype(np.uint8),
        marks=tuple((value, f"{value:.3g}") for value in ticks(-limit, limit)),
        hidden=0.0,
        limit=None,
    )


def _class_of(values: NDArray[Any]) -> str:
    """Class of the volume that holds values ``(K, J, I)`` or ``(K, J, I, 3)``."""
    return f"vtkMRML{'Vector' if values.ndim == 4 else 'Scalar'}VolumeNode"
