"""Security headers (content security policy) of every response: nothing external is loaded, and no framing."""

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


class SecurityHeaders:
    """ASGI middleware that adds the headers; `basemap` is a further origin from which images may be loaded."""

    def __init__(self, app: ASGIApp, basemap: str | None = None) -> None:
        """Build the headers once."""
        self._app = app
        extended = {"img-src", "connect-src"} if basemap else set()
        rules = (
            f"{name} {value} {basemap}" if name in extended else f"{name} {value}" for name, value in _POLICY.items()
        )
        self._fixed = {
            "Content-Security-Policy": "; ".join(rules),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request: add the headers to the start of the response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._fixed)
            await send(message)

        await self._app(scope, receive, send_with_headers)
