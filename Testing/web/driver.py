"""Steps that the browser tests share: start the viewer, move its controls, look at the picture."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.sync_api import Page

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
_SERVE = """
import sys
from monai_inn.viewer import serve
try:
    serve(sys.argv[1], port=int(sys.argv[2]), announce=lambda line: print(line, flush=True))
except (ValueError, OSError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Viewer:
    """A viewer in a child process; ``address`` is what it announced, ``seconds`` how long that took."""

    def __init__(self, folder: Path | str, log: Path, port: int = 0) -> None:
        start = time.monotonic()
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(folder), str(port)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdout is not None
        killer = threading.Timer(60, self.process.kill)
        killer.start()
        line = self.process.stdout.readline()
        killer.cancel()
        if not line:
            self.process.wait(60)
            raise RuntimeError(log.read_text())
        self.seconds = time.monotonic() - start
        self.address = next(word for word in line.split() if word.startswith("http"))
        self.origin, _, self.token = self.address.partition("/index.html?token=")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def settled(page: Page, limit: float = 6.0) -> NDArray[np.int64]:
    """The pixels of the slice views once two pictures in a row are equal: a sharp one follows a fast one."""
    from PIL import Image

    def picture() -> NDArray[np.int64]:
        shot = page.locator("#views").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), int)

    end, last = time.monotonic() + limit, picture()
    while time.monotonic() < end:
        page.wait_for_timeout(200)
        now = picture()
        if np.array_equal(now, last) and now.any():
            return now
        last = now
    return last


def changed(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """Share of pixels that differ visibly."""
    return float((np.abs(before - after).sum(-1) > 30).mean())


def choose(page: Page, field: str, option: str) -> None:
    """Pick an entry of a selection list."""
    page.locator(f"#{field}").click(force=True)
    page.get_by_role("option", name=option, exact=True).click()
    page.wait_for_timeout(150)


def press(page: Page, slider: str, key: str, count: int = 1) -> float:
    """Press a key on a slider; returns its value."""
    handle = page.locator(f"#{slider} [role=slider]")
    handle.focus()
    for _ in range(count):
        handle.press(key)
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
    page.wait_for_timeout(300)  # a view that comes from a tab of another size is drawn anew first
    settled(page)
    page.mouse.click(x, y)
    page.wait_for_timeout(200)


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

    expect(page.locator(where)).to_contain_text(text, timeout=20_000)
