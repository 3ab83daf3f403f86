"""Who may ask: the Host and Origin of each request, its token, and how long it may take.

A browser sends requests to this machine for any web page. So a request must name this server by an
address or a name that no stranger can point here (against DNS rebinding), and one that a page sends
must come from the server's own page. Whoever may not ask gets no other answer than the refusal.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import socket

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charrnn.config.serving import ServeOptions
from charrnn.server.answers import refused
from charrnn.server.limits import Limits
from charrnn.server.requests import RequestError

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SECRET = "/v1/"  # what lies below needs the token; the page itself holds nothing secret


class Guard:
    """Refuses requests that may not be made, and adds the headers that keep a browser strict."""

    def __init__(self, app: ASGIApp, options: ServeOptions, limits: Limits) -> None:
        """Guard an application.

        Args:
            app: answers what may be asked.
            options: the address that is listened on, and the token.
            limits: of the server.
        """
        self._app, self._token, self._limits = app, options.token, limits
        self._names = {"localhost", options.host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        error = self._forbidden(headers) or self._unauthorized(scope["path"], headers)
        if error:
            await refused(error)(scope, receive, send_strictly)
            return
        try:
            async with asyncio.timeout(self._limits.seconds + self._limits.body_seconds):
                await self._app(scope, receive, send_strictly)
        except TimeoutError:  # the client does not read its answer
            return

    def _forbidden(self, headers: Headers) -> RequestError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            return RequestError(
                "the Host of this request is not this server's: use its address in numbers", 403
            )
        if origin is not None and not re.fullmatch(rf"https?://{re.escape(host)}", origin, re.I):
            return RequestError("pages of other servers may not ask this one", 403)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return RequestError("pages of other servers may not ask this one", 403)
        return None

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header is an address in numbers, or a name of this machine."""
        found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[\w.-]+)(?::\d{1,5})?", host, re.I | re.A)
        if found is None:
            return False
        name = found[1].strip("[]").lower()
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _unauthorized(self, path: str, headers: Headers) -> RequestError | None:
        if self._token is None or not path.startswith(_SECRET):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode(), self._token.encode()
        ):
            return None
        return RequestError(
            "this server answers only with its token: send it as the API key "
            "(Authorization: Bearer TOKEN), or open the address that 'charrnn serve' printed",
            401,
            kind="authentication_error",
        )
