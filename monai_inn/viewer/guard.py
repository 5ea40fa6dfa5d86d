"""Who may ask the viewer's server: pages opened on this computer with the token of this run."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from aiohttp import web

__all__ = ["guard"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS = {
    # Vue compiles its templates in the browser, and the picture arrives as blobs.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def guard(app: web.Application, token: str) -> None:
    """Refuse every request, for a page, a file or the websocket, that does not know the token.

    The address that is announced carries the token; the answer to it sets a cookie, with which the page then
    asks for its scripts and opens its websocket. Pages of other sites do not get that far: the cookie is
    strict about sites, and a request that names another host or origin is refused as well.

    Args:
        app: the application, before it starts.
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
            or not hmac.compare_digest(given.encode(), token.encode())
        ):
            raise web.HTTPForbidden(
                text="Open the address that `monai-inn view` printed; it holds a token.\n"
            )
        response = await handler(request)
        if not response.prepared:
            response.set_cookie(cookie, token, httponly=True, samesite="Strict", path="/")
            response.headers.update(_HEADERS)
        return response

    app.middlewares.append(check)
    # Before it connects, trame's page asks a launcher where; without an answer it logs an error.
    app.router.add_post("/paraview/", _here)


async def _here(request: web.Request) -> web.Response:
    return web.json_response({"sessionURL": f"ws://{request.host}/ws"})


def _port(request: web.Request) -> int:
    assert request.transport is not None
    return int(request.transport.get_extra_info("sockname")[1])
