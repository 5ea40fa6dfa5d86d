"""Regions of decision in the viewer: what is certain, what is possible, and what is not trusted."""

from __future__ import annotations

import asyncio
from typing import Any

from trame.app.asynchronous import create_task

from monai_inn.viewer.display import Division, ThresholdStep, find_regions, read_regions, regions_text
from monai_inn.viewer.stage import Stage

__all__ = ["CONTROLS", "Regions"]

CONTROLS = ("regions", "is_above", "certain", "possible", "smallest")
"""What of the page's state the regions follow, beside parameter and threshold."""

_REST_S = 0.25  # a slider that has not moved for so long counts as released


class Regions:
    """The regions of a result as the page wants them, computed beside it.

    Args:
        stage: the scene.
        state: the server's state.
    """

    def __init__(self, stage: Stage, state: Any) -> None:
        self._stage, self._state = stage, state
        self._asked: list[Any] = []
        self._wanted = asyncio.Event()
        usual = Division()
        state.update(
            has_regions=stage.run.layers(stage.run.parameters[0].name) is not None,
            regions=False,
            is_above=usual.is_above,
            certain=round(100 * usual.certain),
            possible=round(100 * usual.possible),
            smallest=usual.smallest,
            size_unit="mm²" if stage.flat else "mm³",
            segments=[],
            regions_text="",
        )
        create_task(self._follow())

    def ask(self) -> None:
        """Follow what the controls say, once they have come to rest."""
        asked = [self._state[name] for name in (*CONTROLS, "parameter", "threshold")]
        if asked == self._asked:
            return
        self._asked = asked
        if self._state.regions:
            self._wanted.set()
        else:
            self._show()

    async def _follow(self) -> None:
        """Compute one step after the other, of which the latest that was asked for counts."""
        while True:
            await self._wanted.wait()
            while self._wanted.is_set():
                self._wanted.clear()
                await asyncio.sleep(_REST_S)
            try:
                step = self._step()
                if step.is_needed:
                    with self._state as state:
                        state.regions_text = "Computing the regions ..."
                    await asyncio.to_thread(step.compute)
                if not self._wanted.is_set():
                    step.place()
                    self._show()
            except (MemoryError, ValueError) as error:
                with self._state as state:
                    state.update(regions_text=str(error), segments=[])

    def _step(self) -> Any:
        state = self._state
        certain, possible = float(state.certain) / 100, float(state.possible) / 100
        division = Division(bool(state.is_above), certain, possible, float(state.smallest or 0))
        return ThresholdStep(self._stage.run, state.parameter, float(state.threshold), division=division)

    def _show(self) -> None:
        """Show the regions, or hide them, and say what they mean."""
        run, is_on = self._stage.run, bool(self._state.regions)
        node, segments, text = find_regions(run), [], ""
        if node is not None:
            node.GetDisplayNode().SetVisibility(is_on)
        if node is not None and is_on:
            segmentation = node.GetSegmentation()
            parts = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
            segments = [{"name": part.GetName(), "color": _css(part.GetColor())} for part in parts]
            text = regions_text(run, read_regions(run))
        with self._state as state:
            state.update(segments=segments, regions_text=text)
        self._stage.redraw()


def _css(color: tuple[float, ...]) -> str:
    return f"rgb({','.join(f'{255 * part:.0f}' for part in color)})"
