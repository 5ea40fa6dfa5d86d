"""What ties the page of a classification to its images: the state that all tabs share."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import Any

from monai_inn.applications.classification.viewer import drawing
from monai_inn.applications.classification.viewer.page import build_classes
from monai_inn.viewer import display
from monai_inn.viewer.words import INTENDED_USE

__all__ = ["ClassSession"]

_LOOKS = ("image", "first", "second", "opacity", "slice")


class ClassSession:
    """The page of a classification.

    Texts that come out of the result's files reach the page as values of its state, never as part of its
    template, which the browser would evaluate.

    Args:
        server: trame's server, before it starts.
        result: images with what was said of them.
        name: what people call the result.
    """

    def __init__(self, server: Any, result: display.ClassResult, name: str) -> None:
        self.state, self.result = server.state, result
        self.shown = -1
        self._start(name)
        build_classes(server)
        self.state.change(*_LOOKS)(self.refresh)
        self.refresh()

    def _start(self, name: str) -> None:
        """First values of all that the page shows."""
        record, size = self.result.record, self.result.images.shape[1:-1]
        self.depth = size[2] if len(size) == 3 else 1
        self.state.update(
            trame__title=f"{name}: classes",
            name=name,
            intended_use=INTENDED_USE,
            images=[
                {"title": display.image_title(record, k), "value": k} for k in range(len(record["images"]))
            ],
            classes=list(record["classes"]),
            image=0,
            opacity=0.7,
            slices=self.depth,
            slice=1 + self.depth // 2,
            scale={"background": drawing.scale_colours()},
            facts=[
                f"Bundle {PureWindowsPath(record['bundle']).name}",
                display.classes_found(record),
                *record["warnings"],
            ],
            about_shares=display.class_shares(record),
        )

    def refresh(self, **_: Any) -> None:
        """Draw what the controls say, and say it in numbers with units."""
        state, record = self.state, self.result.record
        number = int(state.image)
        entry = record["images"][number]
        if number != self.shown:
            self.shown = number
            state.first, state.second = display.likeliest(entry)
        if state.first == state.second:
            state.second = next(name for name in record["classes"] if name != state.first)
        first, second = state.first, state.second
        evidence = self.result.evidence_for(number, first, second)
        total, limit = float(evidence.sum()), display.evidence_limit(evidence)
        image = self.result.images[number]
        if evidence.ndim == 3:
            place = min(int(state.slice), self.depth) - 1
            evidence, image = drawing.slice_of(evidence, place), drawing.slice_of(image, place)
        settings = record["settings"]
        chosen = f"evidence for {first} against {second}"
        state.update(
            others=[name for name in record["classes"] if name != first],
            seen=drawing.grey_picture(image),
            seen_text=f"image {display.image_title(record, number)}",
            map=drawing.evidence_picture(evidence, limit, image, float(state.opacity)),
            map_text=f"{chosen} at each pixel",
            map_caption=chosen.capitalize(),
            marks=drawing.evidence_legend(limit, first, second),
            opacity_text=f"{float(state.opacity):.0%}",
            slice_text=f"{int(state.slice)} of {self.depth}",
            rows=[{"name": name, "text": f"{p:.1%}"} for name, p in entry["probability"].items()],
            alarm=display.class_alarm(entry, settings["false_alarm"]),
            sets=display.class_sets(entry, settings["coverage"]),
            strange=display.class_p_value(entry),
            notes=entry["notes"],
            odds=display.class_odds(total, first, second),
        )
