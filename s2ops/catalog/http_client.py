"""HTTP client for STAC catalogs: retry with exponential backoff, JSON documents, error translation."""

import json
import logging
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3 import Retry

from s2ops.constants import Json
from s2ops.errors import CatalogError, CatalogUnreachable
from s2ops.telemetry import metrics

_LOG: Final = logging.getLogger(__name__)


class _CountingRetry(Retry):
    """urllib3's retry policy that counts each retry by HTTP status in the metrics."""

    def increment(self, *args: Any, **words: Any) -> Self:
        """Return the state after one more attempt; raise if no attempt is left."""
        following = super().increment(*args, **words)
        status = following.history[-1].status if following.history else None
        reason = str(status or "no answer")
        metrics.count_retry("catalog", reason)
        path = urlsplit(str(args[1])).path if len(args) > 1 else ""  # without the query, which may hold a token
        host = getattr(words.get("_pool"), "host", "")
        _LOG.warning("catalog request retried", extra={"url": f"{host}{path}", "reason": reason})
        return following


def create_stac_io(retries: int = 4, backoff_s: float = 0.5, timeout_s: float = 30.0) -> StacApiIO:
    """Create a reader of STAC documents that retries after timeouts, refused connections, HTTP 429 and 5xx.

    Args:
        retries: Maximum number of retries per request.
        backoff_s: Unit of the pauses in seconds: the retries wait 0, 2, 4, 8 ... times this.
        timeout_s: Time limit of one request in seconds.
    """
    retry = _CountingRetry(
        total=retries,
        backoff_factor=backoff_s,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,  # a search by POST changes nothing on the server
        raise_on_status=False,
    )
    return StacApiIO(max_retries=retry, timeout=timeout_s)


def read_json(io: StacApiIO, href: str) -> Json:
    """Read the JSON object at a path or URL.

    The messages of the CatalogErrors are written into select records as reasons.

    Raises:
        CatalogUnreachable: If the server does not respond or responds with a transient error.
        CatalogError: If the document does not exist or is not a JSON object.
    """
    try:
        content = json.loads(io.read_text(href))
    except APIError as error:
        raise translate_api_error(href, error) from error
    except OSError as error:
        raise CatalogError(f"Cannot read {href}: {error.strerror}; give the path of a catalog.json.") from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"Cannot parse {href}: it is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise CatalogError(f"Cannot parse {href}: expected a JSON object, found {str(content)[:40]!r}.")
    return content


def translate_api_error(href: str, error: APIError) -> CatalogError | CatalogUnreachable:
    """Translate an error of pystac-client: HTTP 4xx to CatalogError, transient failures to CatalogUnreachable."""
    status = getattr(error, "status_code", None)  # pystac-client sets it only if the server has responded
    if status is not None and 400 <= status < 500 and status not in {408, 429}:
        return CatalogError(
            f"Cannot read {href}: the server responds with status {status} ({str(error)[:200]!r}); "
            "check the URL and the collection."
        )
    found = f"the server responds with status {status}" if status else f"no response ({_extract_cause(error)})"
    return CatalogUnreachable(f"Cannot reach {href}: {found}; try again later, or check the network and the URL.")


def _extract_cause(error: APIError) -> str:
    """Return the innermost cause from the text of urllib3's nested messages."""
    return str(error).rpartition("Caused by ")[2].strip(")")[:200]
