"""What ties the controls of the page to the scene. The state is the server's: all tabs share it."""

from __future__ import annotations

import math
from typing import Any

from monai_inn.viewer import images, words
from monai_inn.viewer.charts import axis_label, draw, draw_legend
from monai_inn.viewer.curve_chart import draw_curve
from monai_inn.viewer.display import (
    WITHHELD,
    Appearance,
    Shown,
    drawn_text,
    nothing_to_see,
    number_of_samples,
    pictures,
)
from monai_inn.viewer.page import build
from monai_inn.viewer.regions import CONTROLS, Regions
from monai_inn.viewer.stage import Stage

__all__ = ["Session"]

_STEPS = 200  # of the threshold slider
_LOOKS = (
    "kind", "parameter", "opacity", "hide_below", "graded", "threshold", "sample", "picture", "side_by_side",
)  # fmt: skip


class Session:
    """The page of a result.

    Texts that come out of the result's files reach the page as values of its state, never as part of its
    template, which the browser would evaluate.

    Args:
        server: trame's server, before it starts.
        stage: the scene.
        name: what people call the result.
    """

    def __init__(self, server: Any, stage: Stage, name: str) -> None:
        self.server, self.stage, self.state = server, stage, server.state
        self.record = stage.run.result.record
        self.parameters = {shown.name: shown for shown in stage.run.parameters}
        self.samples = number_of_samples(stage.run, next(iter(self.parameters)))
        self.pictures = pictures(stage.run)
        self.is_side_by_side = False
        asked = self.record["settings"].get("below") or {}
        self.thresholds = {
            name: float(asked.get(name, _middle(shown))) for name, shown in self.parameters.items()
        }
        self._start(name)
        self.regions = Regions(stage, self.state)
        build(server, stage.layout)
        stage.layout.set_layout("slices")
        stage.on_pick = self.read
        self.state.change(*_LOOKS, *CONTROLS)(self.refresh)
        server.trigger("toggle_overlay")(self.toggle)
        server.trigger("play")(self.play)
        server.trigger("next_sample")(self.next_sample)
        server.trigger("step")(stage.step)
        server.trigger("claim")(stage.pointer.claim)
        self.refresh()

    def _start(self, name: str) -> None:
        """First values of all that the page shows."""
        run, first = self.stage.run, next(iter(self.parameters))
        kinds = self._kinds()
        kind = self.shown_kind = "interval_width" if "interval_width" in kinds else kinds[-1]
        self.state.update(
            trame__title=f"{name}: posterior maps",
            name=name,
            intended_use=words.INTENDED_USE,
            facts=words.facts(self.record),
            kinds=[{"title": words.title(k), "value": k} for k in kinds],
            parameters=[{"title": p.label, "value": p.name} for p in self.parameters.values()],
            kind=kind,
            parameter=first,
            opacity=0.6,
            hide_below=0.0,
            graded=False,
            threshold=self.thresholds[first],
            sample=1,
            samples=self.samples,
            pictures=list(self.pictures),
            picture=next(iter(self.pictures), ""),
            side_by_side=False,
            playing=False,
            captions={},
            edges={},
            synthetic=self.stage.run.synthetic,
            modes_head="",
            hint=words.hint(self.stage.flat, bool(self.pictures) or run.layers(first) is not None),
        )
        self._threshold_range(first)

    def _kinds(self) -> list[str]:
        """The kinds of map that this result has."""
        run, first = self.stage.run, next(iter(self.parameters))
        there = {
            "off": True,
            "probability_below": run.layers(first) is not None,
            "probability_above": bool(self.pictures) and self.samples > 0,
            "sample": self.samples > 0,
        }
        if self.pictures:  # which lie below the map
            there |= {"median": False, "sample": False}
        return [kind for kind in words.KINDS if there.get(kind, run.find(kind) is not None)]

    def refresh(self, **_: Any) -> None:
        """Draw what the controls say, and say it in numbers with units."""
        state = self.state
        if state.parameter != self.ranged:
            self._threshold_range(state.parameter)
        self.thresholds[state.parameter] = float(state.threshold)
        if state.kind != "off":
            self.shown_kind = state.kind
        if bool(state.side_by_side) != self.is_side_by_side:
            self.is_side_by_side = bool(state.side_by_side)
            self.stage.put_side_by_side(self.is_side_by_side)
        look = self._appearance()
        self.stage.show(look)
        shown = self.parameters[state.parameter]
        state.update(
            about_kind=" ".join(
                [words.describe(state.kind, self.record), nothing_to_see(self.stage.run, look)]
            ).strip(),
            about_parameter=f"{shown.description} ({'no unit' if shown.unit == '1' else shown.unit})",
            calibration=words.calibration(self.record, shown),
            threshold_text=f"{shown.label} {_side(look.kind)} {shown.text(look.threshold)}",
            captions=self._captions(look),
            edges=self.stage.edges(),
            opacity_text=f"{look.opacity:.0%}",
            hide_text="" if look.kind == "off" else drawn_text(self.stage.overlay, look),
            legend=draw_legend(self.stage.overlay, look),
            sample_text=f"sample {look.sample + 1} of {self.samples}",
        )
        self.regions.ask()
        self.read()

    def _appearance(self) -> Appearance:
        state = self.state
        return Appearance(
            kind=state.kind,
            parameter=state.parameter,
            opacity=float(state.opacity),
            hide_below=float(state.hide_below),
            graded=bool(state.graded),
            threshold=float(state.threshold),
            sample=int(state.sample) - 1,
            pictures=images.compared(self.pictures, state.picture)
            if self.is_side_by_side
            else (state.picture,) * bool(self.pictures),
        )

    def _captions(self, look: Appearance) -> dict[str, str]:
        """What the corner of each view says: which image it shows."""
        names = [view.get_singleton_tag() for view in self.stage.views]
        shown = look.pictures if len(look.pictures) > 1 else look.pictures * len(names)
        run = self.stage.run
        said = [images.caption(run, name, look.sample + 1, self.samples) for name in shown]
        return dict(zip(names, said or [""] * len(names), strict=False))

    def _threshold_range(self, parameter: str) -> None:
        """Let the threshold slider span a parameter's bounds, and come back to where it was left."""
        shown, self.ranged = self.parameters[parameter], parameter
        self.state.update(
            threshold_low=shown.low,
            threshold_high=shown.high,
            threshold_step=(shown.high - shown.low) / _STEPS,
            threshold=self.thresholds[parameter],
        )

    def toggle(self) -> None:
        """Switch the map off, to see the image alone, and on again."""
        with self.state as state:
            state.kind = self.shown_kind if state.kind == "off" else "off"

    def play(self) -> None:
        """Begin to turn samples, or stop; the tab asks for each of them."""
        with self.state as state:
            state.playing = not state.playing
            if state.playing and not state.side_by_side:
                state.picture = "sample"

    def next_sample(self) -> None:
        """Turn to the next sample, after the last to the first."""
        with self.state as state:
            state.sample = int(state.sample) % self.samples + 1

    def read(self) -> None:
        """Put what is known of the picked voxel on the page."""
        with self.state as state:
            threshold = float(state.threshold) if state.kind.startswith("probability") else None
            reading = self.stage.read(state.parameter, threshold)
            if reading is None:
                state.update(picked=False, warning="", line="", where="", curve="", modes=[], series="")
                state.values = []
                return
            withheld = reading.state == WITHHELD
            shown, measured = reading.parameter, self.stage.curve(reading)
            state.update(
                picked=True,
                # Numbers that must not be trusted are part of the warning, and nowhere without it.
                warning=reading.text if withheld else "",
                line="" if withheld else reading.text,
                where=self.stage.where(reading.voxel),
                curve=draw(reading, not withheld),
                modes=[
                    {"value": shown.text(mode.value), "mass": f"{mode.mass:.0%}"} for mode in reading.modes
                ],
                values=[] if withheld else [shown.text(value) for value in reading.samples],
                modes_head=f"Mode, {axis_label(shown)}",
                series="" if measured is None else draw_curve(measured, not withheld),
            )


def _side(kind: str) -> str:
    """The side of the threshold whose probability is shown."""
    return "above" if kind == "probability_above" else "below"


def _middle(shown: Shown) -> float:
    """Where a threshold starts: the middle of a parameter's bounds, on its scale."""
    middle = math.sqrt(shown.low * shown.high) if shown.scale == "log" else (shown.low + shown.high) / 2
    step = (shown.high - shown.low) / _STEPS
    return shown.low + round((middle - shown.low) / step) * step
