"""Pictures of the views on their way to the page: one after the other, all sharp, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from trame.app.asynchronous import create_task
from trame_rca.encoders import RcaImageEncoder
from trame_slicer import views
from trame_slicer.core import LayoutManager
from trame_slicer.rca_view import RemoteViewFactory

__all__ = ["show_views"]

_QUALITY = 90  # of a JPEG file
_PAUSE_S = 1 / 30


def show_views(
    app: Any, server: Any, layouts: Mapping[str, views.Layout], over: Callable[[Any, str, Any], None]
) -> Any:
    """Make the views of layouts, and draw those of the chosen one for the page.

    The server's state counts the pictures of all views: ``pictures_asked`` is how many were asked for,
    ``pictures_drawn`` up to which of them the page has got. The page shows what its controls say when the two
    are equal.

    Args:
        app: Slicer without its window.
        server: trame's server, before it starts.
        layouts: which views there are, and where, by the name of the layout.
        over: puts what lies over a view on the page; called with server, name and view.

    Returns:
        The manager of the layouts.
    """
    # A view that is being built would draw itself dozens of times, for nobody.
    silent = {"scheduled_render_strategy": views.NoScheduleRendering()}
    factories = [
        RemoteViewFactory(server, partial(view, **silent), kind, populate_view_ui_f=over)
        for view, kind in (
            (views.SliceView, views.ViewType.SLICE_VIEW),
            (views.ThreeDView, views.ViewType.THREE_D_VIEW),
        )
    ]
    for factory in factories:
        app.view_manager.register_factory(factory)
    manager = LayoutManager(app.scene, app.view_manager, server)
    manager.register_layout_dict(dict(layouts))
    drawings: list[_Drawing] = []

    def count() -> None:
        server.state.pictures_asked = sum(drawing.asked for drawing in drawings)
        server.state.pictures_drawn = sum(drawing.drawn for drawing in drawings)

    for factory in factories:
        for view in factory.get_views():
            adapter = factory.get_factory_view(view.get_singleton_tag()).view_adapter
            drawings.append(_Drawing(adapter, server.state, count))
            view.set_scheduled_render(drawings[-1])
    count()
    return manager


class _Drawing(views.ScheduledRenderStrategy):  # type: ignore[misc]
    """Draws a view whenever it was asked to, and counts what was asked for and what was sent.

    It takes the place of trame's scheduler. That one sends a coarse picture first and the sharp one half a
    second later, encodes several at once, and drops a picture that another one has overtaken. Nobody could
    tell whether the page shows what its controls say.

    Args:
        adapter: what ties the view's window to an area of the page.
        state: the server's state.
        count: writes the counts of all views into the state.
    """

    def __init__(self, adapter: Any, state: Any, count: Callable[[], None]) -> None:
        super().__init__()
        self.asked = self.drawn = 0
        self._adapter, self._state, self._count = adapter, state, count
        self._window = adapter._scheduler.rca
        self._wanted = asyncio.Event()
        create_task(adapter._scheduler.close())
        adapter._scheduler = self  # which views to draw is chosen by name; how to draw them cannot be chosen
        self._task = create_task(self._draw())

    def schedule_render(self) -> None:
        """Ask for a picture of the view as it is from now on."""
        self.asked += 1
        self._count()
        self._wanted.set()

    def reset(self) -> None:
        """Start anew for a new page; nothing is kept between pictures."""

    async def _draw(self) -> None:
        encode = RcaImageEncoder.TURBO_JPEG.encode
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            with self._state:  # the page is told that a picture is on its way
                number = self.asked
            image, columns, rows = self._window.img_cols_rows
            content, metadata, _ = await asyncio.to_thread(encode, image, columns, rows, _QUALITY)
            self._adapter.push(content, metadata)
            with self._state:
                self.drawn = number
                self._count()
            await asyncio.sleep(_PAUSE_S)
