"""URL signing with SAS tokens (shared access signatures) for the Planetary Computer's storage accounts."""

import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from pystac_client.stac_api_io import StacApiIO

from s2ops.catalog.http_client import create_stac_io, read_json
from s2ops.errors import CatalogError

_SAS_HOST: Final = re.compile(r"(sentinel2l[12][ac]\d*)\.blob\.core\.windows\.net")
"""Storage accounts of the Planetary Computer. Tokens are never sent to any other host."""

_MIN_TOKEN_LIFETIME: Final = timedelta(minutes=5)
"""A token that expires sooner is replaced before it is used."""


@dataclass
class SasTokens:
    """Cache of the Planetary Computer's public read tokens, one per container; safe to use from several threads."""

    endpoint: str = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
    io: StacApiIO = field(default_factory=create_stac_io)
    _known: dict[tuple[str, str], tuple[datetime, str]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, account: str, container: str) -> str:
        """Return a token that is valid for at least five more minutes; fetch one if needed."""
        with self._lock:
            expiry, token = self._known.get((account, container), (datetime.min.replace(tzinfo=UTC), ""))
            if expiry < datetime.now(UTC) + _MIN_TOKEN_LIFETIME:
                answer = read_json(self.io, f"{self.endpoint}/{account}/{container}")
                try:
                    expiry, token = datetime.fromisoformat(answer["msft:expiry"]), str(answer["token"])
                except (KeyError, TypeError, ValueError) as error:
                    raise CatalogError(
                        f"Cannot read a token from {self.endpoint}: the response has the fields {sorted(answer)}, not "
                        "msft:expiry and token; check whether the service has changed."
                    ) from error
                self._known[account, container] = expiry, token
            return token


_TOKENS: Final = SasTokens()


def sign(href: str, tokens: SasTokens = _TOKENS) -> str:
    """Append a read token to an href of the Planetary Computer; return every other href unchanged.

    Call it immediately before opening the file: tokens expire within an hour, and must not reach a file or a log.
    """
    parts = urlsplit(href)
    host = _SAS_HOST.fullmatch(parts.netloc)
    container = parts.path.lstrip("/").partition("/")[0]
    if parts.scheme != "https" or host is None or not container or "sig=" in parts.query:
        return href
    token = tokens.get(host[1], container)
    return f"{href}{'&' if parts.query else '?'}{token}"
