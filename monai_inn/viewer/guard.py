"""Who may ask the viewer's server, and what: pages opened on this computer with the token of this run."""

from __future__ import annotations

import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http import HttpProcessingError

__all__ = ["MAX_MESSAGE_BYTES", "guard"]

MAX_MESSAGE_BYTES = 2**20
"""Largest message that the server reads from a page; what a page says takes a few kilobytes."""
_HEADER_BYTES, _SIZE = 12, slice(8, 12)  # of wslink's messages: number, place of the part, size of the whole
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS = {
    # Vue compiles its templates in the browser, and the picture arrives as blobs.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def guard(server: Any, token: str) -> None:
    """Refuse what does not come from the page, and what no page sends, quietly: the server goes on.

    Refuse every request, for a page, a file or the websocket, that does not know the token.

    The address that is announced carries the token; the answer to it sets a cookie, with which the page then
    asks for its scripts and opens its websocket. Pages of other sites do not get that far: the cookie is
    strict about sites, and a request that names another host or origin is refused as well.

    A body or a message of more than ``MAX_MESSAGE_BYTES`` is refused before it is read, and a message that
    makes no sense ends its connection. Neither leaves a traceback.

    Args:
        server: wslink's web server, before it starts.
        token: what a request must know.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        port = _port(request)
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        origin = request.headers.get("Origin")
        # Cookies do not know ports: two viewers on one computer need two names.
        cookie = f"monai_inn_viewer_{port}"
        given = request.query.get("token", request.cookies.get(cookie, ""))
        if (
            request.host not in hosts
            or (origin is not None and origin not in {f"http://{host}" for host in hosts})
            or not hmac.compare_digest(given.encode(errors="replace"), token.encode())
        ):
            raise web.HTTPForbidden(
                text="Open the address that `monai-inn view` printed; it holds a token.\n"
            )
        if (request.content_length or 0) > MAX_MESSAGE_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_MESSAGE_BYTES, request.content_length or 0)
        response = await handler(request)
        if not response.prepared:
            response.set_cookie(cookie, token, httponly=True, samesite="Strict", path="/")
            response.headers.update(_HEADERS)
        return response

    server.app.middlewares.append(check)
    # Before it connects, trame's page asks a launcher where; without an answer it logs an error.
    server.app.router.add_post("/paraview/", _here)
    logging.getLogger("aiohttp.server").addFilter(_is_not_malformed)
    for sockets in server._ws_handlers:
        _guard_messages(sockets)


def _guard_messages(sockets: Any) -> None:
    """Let wslink's handler of websockets bear nonsense, and pages that leave while they are spoken to."""
    receive, send = sockets.onMessage, sockets.sendWrappedMessage

    async def checked(is_binary: bool, message: Any, client: str) -> None:
        if message.type is WSMsgType.ERROR:
            return  # aiohttp has refused it, and closed the connection
        try:
            # Pages send a message in one piece; wslink would reserve whatever size the first piece claims.
            if (
                not is_binary
                or int.from_bytes(message.data[_SIZE], "little") != len(message.data) - _HEADER_BYTES
            ):
                raise ValueError("not a whole message of wslink")
            await receive(is_binary, message, client)
        except ConnectionError:
            pass
        except Exception:  # errors of what a message calls do not come here; wslink answers with them
            logging.getLogger(__name__).debug("a message was refused", exc_info=True)
            await sockets.connections[client].close(code=WSCloseCode.UNSUPPORTED_DATA)

    async def sent(*args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(ConnectionError):
            await send(*args, **kwargs)

    sockets.onMessage, sockets.sendWrappedMessage = checked, sent


def _is_not_malformed(record: logging.LogRecord) -> bool:
    """Whether aiohttp reports something else than a request that is not HTTP, which it answers itself."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _here(request: web.Request) -> web.Response:
    return web.json_response({"sessionURL": f"ws://{request.host}/ws"})


def _port(request: web.Request) -> int:
    assert request.transport is not None
    return int(request.transport.get_extra_info("sockname")[1])
