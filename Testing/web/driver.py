"""Steps that the browser tests share: start the viewer, move its controls, look at the picture."""

from __future__ import annotations

import base64
import io
import multiprocessing
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from typing import Literal

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
NOTHING: tuple[str, set[str]] = "", set()
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
_NOTHING_MOVES = """
const still = new CSSStyleSheet();
still.replaceSync(`*, *::before, *::after {
  transition: none !important; animation: none !important; caret-color: transparent !important;
}`);
document.adoptedStyleSheets = [still];
"""
_VIEWS = "[...document.querySelectorAll('#views .remote-controlled-area')]"
_VIEWS_ARE_FILLED = f"{_VIEWS}.length && {_VIEWS}.every((view) => view.querySelector('img')?.complete)"
_PLACE_OF_VIEWS = """
() => {
  const { x, y, width, height } = document.querySelector("#views").getBoundingClientRect();
  return { x: x + scrollX, y: y + scrollY, width, height, scale: 1 };
}
"""
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
_NEWEST_STATE = """
async () => {
  const { state, client } = window.trame;
  for (let asked = 0; asked < 2; asked++) {
    await client.getRemote().Trame.updateState([]);
  }
  await new Promise(requestAnimationFrame);
  return state.get();
}
"""
_PROCESSES = multiprocessing.get_context("forkserver")
# What the viewer imports, and nothing else: the import takes longer than all that follows, once per test run.
_PROCESSES.set_forkserver_preload(
    [
        "monai_inn.viewer.session",
        "monai_inn.viewer.guard",
        "monai_inn.applications.registration.viewer.session",
        "trame.app",
        "monai_inn.reports.schemas",
    ]
)


def _serve(folders: list[str], port: int, log: str, announced: Connection) -> None:
    """Serve folders, one after the other; why one cannot be served comes into the log."""
    for name, descriptor in ((f"{log}.out", 1), (log, 2)):
        with open(name, "w") as stream:
            os.dup2(stream.fileno(), descriptor)
    from monai_inn.viewer import serve

    for folder in folders:
        try:
            serve(folder, port=port, announce=lambda line: announced.send((line, set(sys.modules))))
        except (ValueError, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _started(log: Path, port: int, *folders: Path | str) -> tuple[Any, Connection]:
    """A process that serves folders, and where it announces them."""
    announced, theirs = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(
        target=_serve, args=(list(map(str, folders)), port, str(log), theirs), daemon=True
    )
    process.start()
    theirs.close()  # so that the end of the process is the end of what it announces
    return process, announced


def _announcement(announced: Connection) -> tuple[str, set[str]]:
    """What a process announces, and the modules that it has loaded by then."""
    try:
        return announced.recv() if announced.poll(LIMIT) else NOTHING
    except EOFError:  # it has ended without a word
        return NOTHING


def refusals(log: Path, *folders: Path | str, port: int = 0) -> list[str]:
    """What the viewer says to folders, or to a port, that it cannot serve."""
    process, announced = _started(log, port, *folders)
    process.join(LIMIT)
    assert process.exitcode == 0, log.read_text()
    assert _announcement(announced) == NOTHING
    assert Path(f"{log}.out").read_text() == ""
    return [line for line in log.read_text().splitlines() if "Error:" in line]


class Viewer:
    """A viewer in a process; ``address`` is what it announced, ``modules`` what is loaded by then."""

    def __init__(self, folder: Path | str, log: Path) -> None:
        self.process, announced = _started(log, 0, folder)
        line, self.modules = _announcement(announced)
        if not line:
            self.stop()
            raise RuntimeError(log.read_text() or f"the viewer did not start within {LIMIT} s")
        self.address = next(word for word in line.split() if word.startswith("http://"))
        self.origin, _, self.token = self.address.partition("/index.html?token=")

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(LIMIT)


@contextmanager
def opened(
    browser: Browser,
    viewer: Viewer,
    complaints: list[str],
    size: tuple[int, int] = (1280, 800),
    motion: Literal["reduce", "no-preference"] = "reduce",
) -> Iterator[Page]:
    """A viewer's page in a browser of its own, once its picture is there."""
    width, height = size
    with browser.new_context(viewport={"width": width, "height": height}, reduced_motion=motion) as context:
        context.add_init_script(_NOTE_PICTURES_ON_THEIR_WAY)
        context.add_init_script(_NOTHING_MOVES)
        context.set_default_timeout(1000 * LIMIT)
        page = context.new_page()
        watch(page, complaints)
        page.goto(viewer.address)
        rest(page)  # a click before the picture is there would hit nothing
        yield page


@contextmanager
def served(browser: Browser, folder: Path, log: Path, complaints: list[str]) -> Iterator[Page]:
    """The page of a viewer of its own, which ends with it."""
    viewer = Viewer(folder, log)
    try:
        with opened(browser, viewer, complaints) as page:
            yield page
    finally:
        viewer.stop()


def as_new(page: Page, size: tuple[int, int] = (1280, 800)) -> Page:
    """A page that other tests have used: size, focus, pointer and place as if it had just been opened."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.keyboard.press("Escape")  # a list that a failed test left open
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    rest(page)
    return page


def heard(page: Page) -> dict[str, Any]:
    """The state that page and server share once the server has answered all that the page has told it so far.

    An empty change makes the server tell the page what is new; the answer to a second one comes after that.
    To ask for the server's whole state would make it forget what it has not told the page yet.
    """
    page.wait_for_function("window.trame?.state.dirtyKeys.size === 0 && !window.trame.client.isBusy()")
    return page.evaluate(_NEWEST_STATE)


def rest(page: Page) -> int:
    """Wait until the views show all that the server has heard, in their size; returns how many they show."""
    page.wait_for_function(_VIEWS_ARE_FILLED)
    while True:
        asked = heard(page)["pictures_asked"]
        page.wait_for_function(_SHOWS, arg=asked)
        if heard(page)["pictures_asked"] == asked:
            return int(asked)


def settled(page: Page) -> NDArray[np.int64]:
    """The pixels of the views once they are at rest."""
    while True:
        asked = rest(page)
        picture = _pixels(page)
        if heard(page)["pictures_asked"] == asked:
            return picture


def _pixels(page: Page) -> NDArray[np.int64]:
    """The pixels of the views. Unlike Playwright's, this picture takes little time to compress."""
    from PIL import Image

    tools = page.context.new_cdp_session(page)
    clip = page.evaluate(_PLACE_OF_VIEWS)
    shot = tools.send("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": True, "clip": clip})
    tools.detach()
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"), int)


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
    rest(page)  # a view that comes from a tab of another size is drawn anew first
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


@contextmanager
def without_its_program(page: Page) -> Iterator[None]:
    """For the page its program has ended, which it says; afterwards it is there again."""
    assert page.locator("#gone").count() == 0
    page.route("**/index.html", lambda route: route.abort())
    page.get_by_role("alert").get_by_text("Run monai-inn view again").wait_for(timeout=1000 * LIMIT)
    yield
    page.unroute("**/index.html")
    page.locator("#gone").wait_for(state="detached", timeout=1000 * LIMIT)
