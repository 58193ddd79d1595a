"""Headers that every answer carries: a browser may load nothing from elsewhere, and nobody may frame the page."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "worker-src": "'self'",
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


class Headers:
    """Adds the headers; `basemap` is one more origin that pictures may come from."""

    def __init__(self, app: ASGIApp, basemap: str | None = None) -> None:
        self._app = app
        more = {"img-src", "connect-src"} if basemap else set()
        rules = (f"{name} {value} {basemap}" if name in more else f"{name} {value}" for name, value in _POLICY.items())
        self._fixed = {
            "Content-Security-Policy": "; ".join(rules),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._fixed)
            await send(message)

        await self._app(scope, receive, with_headers)
