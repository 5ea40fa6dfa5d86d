"""What the pointer does in the views of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trame_slicer.app.logic import get_view_trame_id
from vtk import vtkCommand

if TYPE_CHECKING:
    from monai_inn.viewer.stage import Stage

__all__ = ["Pointer"]

_SLIP = 4  # pixels that the pointer may move between press and release of a click
_ROUNDING = 2  # pixels by which a size may differ
_ZOOM = 0.1


class Pointer:
    """Clicks in the views of a stage, whichever tab they come from.

    Positions reach the server as pixels of the tab's own view, and the views have the size of the tab that
    spoke last. A click of a tab with another size would read another voxel than the one under the pointer.
    So a tab claims the views when the pointer enters them, and a press that finds them in another size
    reads nothing.

    Args:
        stage: the scene and its views.
        server: trame's server.
    """

    def __init__(self, stage: Stage, server: Any) -> None:
        self.stage, self.server = stage, server
        self.stale = False
        self.pressed: tuple[int, int] | None = None
        for view in stage.views:
            self._observe(view)

    def claim(self, sizes: list[dict[str, float]], pressed: bool) -> None:
        """Give the views the size that a tab shows them in.

        Args:
            sizes: of each view, width `w` and height `h` in the page's pixels, each `p` of the screen's wide.
            pressed: whether a button was pressed there, rather than the pointer moved in.
        """
        self.stale = False
        for view, size in zip(self.stage.views, sizes, strict=False):
            wanted = (size["w"] * size["p"], size["h"] * size["p"])
            if any(
                abs(a - b) > _ROUNDING for a, b in zip(view.render_window().GetSize(), wanted, strict=True)
            ):
                self.stale = pressed
                name = get_view_trame_id(self.server, view)
                self.server.protocol_call("trame.rca.size", name, "claim", size)

    def _observe(self, view: Any) -> None:
        events = view.interactor()
        events.AddObserver(vtkCommand.LeftButtonPressEvent, self._press)
        events.AddObserver(vtkCommand.LeftButtonReleaseEvent, lambda *_: self._release(view))
        events.AddObserver(vtkCommand.WindowResizeEvent, lambda *_: self.stage.fit(view))
        if self.stage.flat:  # no slices to browse through
            events.AddObserver(vtkCommand.MouseWheelForwardEvent, lambda *_: view.zoom(_ZOOM))
            events.AddObserver(vtkCommand.MouseWheelBackwardEvent, lambda *_: view.zoom(-_ZOOM))

    def _press(self, events: Any, _: str) -> None:
        self.pressed = None if self.stale else events.GetEventPosition()

    def _release(self, view: Any) -> None:
        x, y = view.interactor().GetEventPosition()
        if self.pressed is None or max(abs(x - self.pressed[0]), abs(y - self.pressed[1])) > _SLIP:
            return
        right, anterior, superior, _ = view.get_view_node().GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))
        self.stage.pick((right, anterior, superior))
