"""What ties the controls of the page to the scene. The state is the server's: all tabs share it."""

from __future__ import annotations

import math
from typing import Any

from monai_inn.viewer import words
from monai_inn.viewer.charts import axis_label, draw, draw_legend
from monai_inn.viewer.curve_chart import draw_curve
from monai_inn.viewer.display import WITHHELD, Appearance, Shown, number_of_samples
from monai_inn.viewer.page import build
from monai_inn.viewer.stage import Stage

__all__ = ["Session"]

_STEPS = 200  # of the threshold slider
_LOOKS = ("kind", "parameter", "opacity", "hide_below", "graded", "threshold", "sample")


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
        asked = self.record["settings"].get("below") or {}
        self.thresholds = {
            name: float(asked.get(name, _middle(shown))) for name, shown in self.parameters.items()
        }
        self._start(name)
        build(server, stage.layout)
        stage.layout.set_layout("slices")
        stage.on_pick = self.read
        self.state.change(*_LOOKS)(self.refresh)
        server.trigger("toggle_overlay")(self.toggle)
        server.trigger("step")(stage.step)
        server.trigger("claim")(stage.pointer.claim)
        self.refresh()

    def _start(self, name: str) -> None:
        """First values of all that the page shows."""
        first = next(iter(self.parameters))
        kinds = self._kinds()
        kind = self.shown_kind = "interval_width" if "interval_width" in kinds else kinds[-1]
        self.state.update(
            trame__title=f"{name}: posterior maps",
            name=name,
            intended_use=words.INTENDED_USE,
            facts=words.facts(self.record),
            kinds=[{"title": words.title(k), "value": k} for k in kinds],
            parameters=list(self.parameters),
            kind=kind,
            parameter=first,
            opacity=0.6,
            hide_below=0.0,
            graded=False,
            threshold=self.thresholds[first],
            sample=1,
            samples=self.samples,
            modes_head="",
            hint=words.hint(self.stage.flat, self.stage.run.quantiles(first) is not None),
        )
        self._threshold_range(first)

    def _kinds(self) -> list[str]:
        """The kinds of map that this result has."""
        run, first = self.stage.run, next(iter(self.parameters))
        there = {
            "off": True,
            "probability_below": run.quantiles(first) is not None,
            "sample": self.samples > 0,
        }
        return [kind for kind in words.KINDS if there.get(kind, run.find(kind) is not None)]

    def refresh(self, **_: Any) -> None:
        """Draw what the controls say, and say it in numbers with units."""
        state = self.state
        if state.parameter != self.ranged:
            self._threshold_range(state.parameter)
        self.thresholds[state.parameter] = float(state.threshold)
        if state.kind != "off":
            self.shown_kind = state.kind
        look = self._appearance()
        self.stage.show(look)
        shown = self.parameters[state.parameter]
        state.update(
            about_kind=words.describe(state.kind, self.record),
            about_parameter=f"{shown.description} ({'no unit' if shown.unit == '1' else shown.unit})",
            calibration=words.calibration(self.record, state.parameter),
            threshold_text=f"{shown.name} below {shown.text(look.threshold)}",
            opacity_text=f"{look.opacity:.0%}",
            hide_text=self._hide_text(look),
            legend=draw_legend(self.stage.overlay, look),
            sample_text=f"sample {look.sample + 1} of {self.samples}",
        )
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
        )

    def _threshold_range(self, parameter: str) -> None:
        """Let the threshold slider span a parameter's bounds, and come back to where it was left."""
        shown, self.ranged = self.parameters[parameter], parameter
        self.state.update(
            threshold_low=shown.low,
            threshold_high=shown.high,
            threshold_step=(shown.high - shown.low) / _STEPS,
            threshold=self.thresholds[parameter],
        )

    def _hide_text(self, look: Appearance) -> str:
        """The limit below which the map is not drawn, as a value of the map."""
        if look.kind == "off" or not look.hide_below:
            return "nothing hidden"
        low, high = self.stage.overlay.scale(look)
        value = low + look.hide_below * (high - low)
        if look.kind == "probability_below":
            return f"{value:.0%}"
        if look.kind == "mode_count":
            return f"{value:.2g} modes"
        if look.kind == "waic":
            return f"{value:.3g} nat"
        return self.parameters[look.parameter].text(value)

    def toggle(self) -> None:
        """Switch the map off, to see the image alone, and on again."""
        with self.state as state:
            state.kind = self.shown_kind if state.kind == "off" else "off"

    def read(self) -> None:
        """Put what is known of the picked voxel on the page."""
        with self.state as state:
            threshold = float(state.threshold) if state.kind == "probability_below" else None
            reading = self.stage.read(state.parameter, threshold)
            if reading is None:
                state.update(picked=False, warning="", line="", where="", curve="", modes=[], series="")
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
                modes_head=f"Mode, {axis_label(shown)}",
                series="" if measured is None else draw_curve(measured, not withheld),
            )


def _middle(shown: Shown) -> float:
    """Where a threshold starts: the middle of a parameter's bounds, on its scale."""
    middle = math.sqrt(shown.low * shown.high) if shown.scale == "log" else (shown.low + shown.high) / 2
    step = (shown.high - shown.low) / _STEPS
    return shown.low + round((middle - shown.low) / step) * step
