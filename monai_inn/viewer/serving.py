"""One result folder as a page on this computer."""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

from monai_inn.applications import offered

__all__ = ["serve"]

HOST = "127.0.0.1"


def serve(
    folder: str | PathLike[str],
    port: int = 0,
    open_browser: bool = False,
    announce: Callable[[str], Any] = print,
) -> None:
    """Show a result folder in the browser until the process is interrupted.

    Only this computer can connect, and only with the token in the announced address. The folder is read
    once, at the start; the server offers no file of it, only the page. Tabs share one state: what one moves,
    all show.

    Args:
        folder: result folder that `monai-inn infer`, or the command of an application, wrote.
        port: port on 127.0.0.1; 0 picks a free one.
        open_browser: whether to open the page in the default browser as well.
        announce: called with one line that holds the address, once the page can be opened.

    Raises:
        ImportError: if the packages of the extra `viewer` are missing.
        OSError: if the port is taken.
        ValueError: if the folder holds no result or a damaged one.
    """
    display = _needed()
    opening = _opening(Path(folder))
    result = opening.read_result(folder, display)
    for text in result.record.get("warnings", []):
        print(f"monai-inn: WARNING: {text}", file=sys.stderr)
    _check_free(port)
    # Otherwise trame reads the command line of whoever called this, and wslink prints a line of its own.
    os.environ["TRAME_ARGS"] = os.environ["WSLINK_READY_MSG"] = ""

    from trame.app import get_server

    from monai_inn.viewer.guard import MAX_MESSAGE_BYTES, guard

    os.environ["TRAME_WS_MAX_MSG_SIZE"] = str(MAX_MESSAGE_BYTES)
    server = get_server("monai_inn.viewer", client_type="vue3")
    token = secrets.token_urlsafe(24)
    name = Path(folder).resolve().name
    opening.open_result(server, result, name)

    def ready(**_: Any) -> None:
        address = f"http://{HOST}:{server.port}/index.html?token={token}"
        announce(f"{name}: {address} (Ctrl+C ends it)")
        sys.stdout.flush()  # a pipe would hold the line back
        if open_browser:
            webbrowser.open(address)

    server.controller.on_server_bind.add(lambda web_server: guard(web_server, token))
    server.controller.on_server_ready.add(ready)
    server.start(port=port, host=HOST, open_browser=False, show_connection_info=False, timeout=0)


def _opening(folder: Path) -> ModuleType:
    """The module that shows a folder's kind of result; a light one, without torch, MONAI and matplotlib."""
    places = {name: place for results in offered("RESULTS") for name, place in results.items()}
    found = next((place for name, place in places.items() if os.path.lexists(folder / name)), None)
    return importlib.import_module(found or "monai_inn.viewer.maps")


def _needed() -> Any:
    """The display library; importing it needs all that the viewer needs."""
    try:
        import trame_slicer  # noqa: F401

        from monai_inn.viewer import display
    except ImportError as error:
        raise ImportError(f"The viewer needs {error.name}: pip install 'monai_inn[viewer]'.") from error
    return display


def _check_free(port: int) -> None:
    """Fail before anything is loaded; the web server itself would fail late and at length."""
    if not 0 <= port < 2**16:
        raise ValueError(f"Port {port} does not exist; give one from 1 to 65535, or 0 for any free one.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise OSError(f"Port {port} is taken; give another one, or 0 for any free one.") from error
