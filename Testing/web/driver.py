"""Steps that the browser tests share: start the viewer, move its controls, look at the picture."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Page

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIMIT = 300
"""Seconds after which a state that does not come is a failure. No test waits for a time."""
_NOTE_PICTURES_ON_THEIR_WAY = """
window.picturesOnTheirWay = new Set();
const source = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
Object.defineProperty(HTMLImageElement.prototype, "src", {
  ...source,
  set(value) {
    window.picturesOnTheirWay.add(this);
    for (const end of ["load", "error"]) {
      this.addEventListener(end, () => window.picturesOnTheirWay.delete(this), { once: true });
    }
    source.set.call(this, value);
  },
});
"""
_VIEWS = "[...document.querySelectorAll('#views .remote-controlled-area')]"
_VIEWS_ARE_FILLED = f"{_VIEWS}.length && {_VIEWS}.every((view) => view.querySelector('img')?.complete)"
_SHOWS = f"""
(asked) => {{
  const views = document.querySelector("#views");
  const {{ drawn }} = views.dataset;
  if (views.ariaBusy !== "false" || Number(drawn) < asked || window.picturesOnTheirWay.size) {{
    return false;
  }}
  const hasItsSize = (view) => {{
    const {{ width, height }} = view.getBoundingClientRect(), image = view.querySelector("img");
    return Math.abs(image.naturalWidth - width) <= 2 && Math.abs(image.naturalHeight - height) <= 2;
  }};
  return {_VIEWS}.every(hasItsSize);
}}
"""
_SERVE = """
import sys
from monai_inn.viewer import serve
port, *folders = sys.argv[1:]
for folder in folders:
    try:
        serve(folder, port=int(port), announce=lambda line: print(line, *sys.modules, flush=True))
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
"""


def _command(port: int, *folders: Path | str) -> list[str]:
    return [sys.executable, "-c", _SERVE, str(port), *map(str, folders)]


def refusals(*folders: Path | str, port: int = 0) -> list[str]:
    """What the viewer says to folders, or to a port, that it cannot serve."""
    done = subprocess.run(_command(port, *folders), capture_output=True, text=True, timeout=LIMIT)
    assert done.stdout == ""
    return [line for line in done.stderr.splitlines() if "Error:" in line]


class Viewer:
    """A viewer in a child process; ``address`` is what it announced, ``modules`` what is loaded by then."""

    def __init__(self, folder: Path | str, log: Path) -> None:
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                _command(0, folder),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdout is not None
        killer = threading.Timer(LIMIT, self.process.kill)
        killer.start()
        line = self.process.stdout.readline()
        killer.cancel()
        if not line:
            self.process.wait(LIMIT)
            raise RuntimeError(log.read_text() or f"the viewer did not start within {LIMIT} s")
        self.modules = set(line.split())
        self.address = next(word for word in line.split() if word.startswith("http://"))
        self.origin, _, self.token = self.address.partition("/index.html?token=")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(LIMIT)


@contextmanager
def opened(
    browser: Browser, viewer: Viewer, complaints: list[str], size: tuple[int, int] = (1280, 800)
) -> Iterator[Page]:
    """A viewer's page in a browser of its own, once its picture is there."""
    width, height = size
    with browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce") as context:
        context.add_init_script(_NOTE_PICTURES_ON_THEIR_WAY)
        context.set_default_timeout(1000 * LIMIT)
        page = context.new_page()
        watch(page, complaints)
        page.goto(viewer.address)
        settled(page)  # a click before the picture is there would hit nothing
        yield page


def heard(page: Page) -> dict[str, Any]:
    """The server's state once it has answered all that the page has told it so far."""
    page.wait_for_function("window.trame?.state.dirtyKeys.size === 0 && !window.trame.client.isBusy()")
    return page.evaluate("window.trame.client.getRemote().Trame.getState()")["state"]


def settled(page: Page) -> NDArray[np.int64]:
    """The pixels of the views once they show all that the server has heard, in the size that the page has."""
    from PIL import Image

    page.wait_for_function(_VIEWS_ARE_FILLED)
    while True:
        asked = heard(page)["pictures_asked"]
        page.wait_for_function(_SHOWS, arg=asked)
        shot = page.locator("#views").screenshot(animations="disabled")
        if heard(page)["pictures_asked"] == asked:
            return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), int)


def comes(page: Page, condition: Callable[[NDArray[np.int64]], bool]) -> NDArray[np.int64]:
    """The first picture that meets a condition; what a pointer does reaches the server a little later."""
    end = time.monotonic() + LIMIT
    while not condition(picture := settled(page)):
        assert time.monotonic() < end, "the picture does not change as expected"
    return picture


def changed(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """Share of pixels that differ visibly."""
    return float((np.abs(before - after).sum(-1) > 30).mean())


def choose(page: Page, field: str, option: str) -> None:
    """Pick an entry of a selection list."""
    page.locator(f"#{field}").click(force=True)
    entry = page.get_by_role("option", name=option, exact=True)
    entry.click()
    entry.wait_for(state="hidden")
    heard(page)


def press(page: Page, slider: str, key: str, count: int = 1) -> float:
    """Press a key on a slider; returns its value."""
    handle = page.locator(f"#{slider} [role=slider]")
    handle.focus()
    for _ in range(count):
        handle.press(key)
    heard(page)
    return float(handle.get_attribute("aria-valuenow") or "nan")


def click_image(page: Page, column: float, row: float, shape: tuple[int, int]) -> None:
    """Click a pixel of an image ``(rows, columns)`` that fills the view in one direction."""
    box = page.locator("#views").bounding_box()
    assert box is not None
    rows, columns = shape
    scale = min(box["width"] / columns, box["height"] / rows)
    x = box["x"] + box["width"] / 2 + (column + 0.5 - columns / 2) * scale
    y = box["y"] + box["height"] / 2 + (row + 0.5 - rows / 2) * scale
    click_at(page, x, y)


def click_at(page: Page, x: float, y: float) -> None:
    """Click a point of the page as a person does: the pointer is there first, and the picture is still."""
    page.mouse.move(x, y)
    settled(page)  # a view that comes from a tab of another size is drawn anew first
    page.mouse.click(x, y)


def watch(page: Page, complaints: list[str]) -> None:
    """Note errors of a page, and requests to anything but this computer."""

    def request(asked: str) -> None:
        if not asked.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            complaints.append(asked)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: request(asked.url))
    page.on("websocket", lambda socket: request(socket.url))


def says(page: Page, where: str, text: str) -> None:
    """Wait until an element says something; the server answers a little later."""
    from playwright.sync_api import expect

    expect(page.locator(where)).to_contain_text(text, timeout=1000 * LIMIT)
