"""How files of a catalog are reached: which hrefs are let in, their GDAL paths, signatures and GDAL's options."""

import json
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self
from urllib.parse import unquote, urljoin, urlsplit

from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3 import Retry

from s2ops.errors import CatalogError, CatalogUnreachable
from s2ops.telemetry import metrics

REMOTE_SCHEMES: Final = ("http", "https", "s3", "gs", "az")
_VSI: Final = {"http": "vsicurl/http://", "https": "vsicurl/https://", "s3": "vsis3/", "gs": "vsigs/", "az": "vsiaz/"}
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")

DRIVERS: Final = ("GTiff", "JP2OpenJPEG", "JPEG", "PNG")
"""For `raster.open_foreign`: else what claims to be a band can be a VRT, whose text names any
local file."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a catalog lies, and so which hrefs its documents may give.

    A local catalog may point at files inside its own folder and at remote ones; a remote catalog only at remote ones.
    """

    root: str
    """The catalog's folder: a resolved path, or a URL that ends with '/'."""
    local: bool

    @classmethod
    def of(cls, location: str) -> "Origin":
        """The origin of a catalog document, given by path or URL."""
        if is_remote(location):
            return cls(urljoin(location, "."), local=False)
        return cls(str(Path(location).resolve().parent), local=True)

    def resolve(self, href: object, base: str) -> str:
        """The absolute form of an href that stands in the document `base`; a CatalogError says why it is refused."""
        if not isinstance(href, str) or not href or len(href) > 4096 or _UNSAFE.search(href):
            raise CatalogError(f"its href {str(href)[:80]!r} is no plain path or URL")
        try:
            scheme = urlsplit(href).scheme.lower()
        except ValueError as error:
            raise CatalogError(f"its href {href!r} is no URL: {error}") from error
        if scheme in REMOTE_SCHEMES:
            return _plain_url(href)
        if scheme or href.startswith(("//", "/vsi")):
            raise CatalogError(f"its href {href!r} is none of {', '.join(REMOTE_SCHEMES)} or a relative path")
        if self.local and not is_remote(base):
            return self._inside_folder(href, base)
        return self._below_url(href, base)

    def _inside_folder(self, href: str, base: str) -> str:
        """Symbolic links and '..' are followed first: what counts is where the file really lies."""
        try:
            path = (Path(base).parent / href).resolve()
        except (OSError, RuntimeError) as error:  # a name too long, or links in a circle
            raise CatalogError(f"its href {href!r} leads nowhere: {error}") from error
        if not path.is_relative_to(self.root):
            raise CatalogError(f"its href {href!r} leaves the catalog's folder {self.root}")
        return str(path)

    def _below_url(self, href: str, base: str) -> str:
        if href.startswith("/"):
            raise CatalogError(f"its href {href!r} is an absolute path in a remote catalog")
        url = _plain_url(urljoin(base, href))
        if _climbs(href) and not url.startswith(self.root):
            raise CatalogError(f"its href {href!r} leaves the catalog's folder {self.root}")
        return url


def is_remote(location: str) -> bool:
    """Whether a location is a URL rather than a path of this machine."""
    return urlsplit(location).scheme.lower() in REMOTE_SCHEMES


def _climbs(href: str) -> bool:
    return ".." in PurePosixPath(unquote(href)).parts


def _plain_url(href: str) -> str:
    parts = urlsplit(href)
    if not parts.netloc or "@" in parts.netloc:
        raise CatalogError(f"its href on {parts.netloc.rpartition('@')[2]!r} names no host, or carries a password")
    if _climbs(parts.path):
        raise CatalogError(f"its href {href!r} holds '..'")
    return href


def gdal_path(href: str) -> str:
    """What GDAL opens for an href: /vsicurl/, /vsis3/, /vsigs/, /vsiaz/, or the local path as it is."""
    scheme, separator, rest = href.partition("://")
    if not separator:
        if href.startswith("/vsi"):
            raise CatalogError(f"{href!r} is a path of GDAL's own file systems: give a URL or a local path")
        return href
    if scheme.lower() not in _VSI:
        raise CatalogError(f"{href!r} cannot be read: its scheme is none of {', '.join(_VSI)}")
    return f"/{_VSI[scheme.lower()]}{rest}"


def gdal_options() -> dict[str, str | int]:
    """GDAL configuration for reading scenes, as `rasterio.Env(**gdal_options())`."""
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # a COG has no sidecars: spare a listing per file
        "GDAL_PAM_ENABLED": "NO",  # no .aux.xml: nothing foreign is read, nothing is written beside inputs
        "GDAL_HTTP_MAX_RETRY": "5",  # 429 and 5xx pass
        "GDAL_HTTP_RETRY_DELAY": "1",  # seconds; GDAL doubles it each time
        "GDAL_HTTP_CONNECTTIMEOUT": "10",  # seconds; the default waits as long as the kernel does
        "GDAL_HTTP_TIMEOUT": "120",  # seconds for one range: a dead connection must not hold a pod
        "GDAL_HTTP_MULTIRANGE": "YES",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",  # neighbouring blocks in one request
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768",  # a COG's header in the first request
        "CPL_VSIL_CURL_CACHE_SIZE": "16777216",  # bytes of ranges kept
        "GDAL_CACHEMAX": 128,  # MB of decoded blocks, as rasterio wants it: a number; the default is 5 % of memory
    }


class _Counted(Retry):
    """urllib3's retries, counted by the answer's status."""

    def increment(self, *args: Any, **words: Any) -> Self:
        """The state after one more try; raises where none is left."""
        following = super().increment(*args, **words)
        status = following.history[-1].status if following.history else None
        metrics.retried("catalog", str(status or "no answer"))
        return following


def stac_io(retries: int = 4, backoff_s: float = 0.5, timeout_s: float = 30.0) -> StacApiIO:
    """A reader of catalogs that tries again, after 0, 2, 4, 8 ... times `backoff_s`, on no answer, 429 and 5xx."""
    retry = _Counted(
        total=retries,
        backoff_factor=backoff_s,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,  # a search by POST changes nothing on the server
        raise_on_status=False,
    )
    return StacApiIO(max_retries=retry, timeout=timeout_s)


def read_json(io: StacApiIO, href: str) -> dict[str, Any]:
    """The JSON object at a path or URL; CatalogUnreachable where another try may help, else CatalogError."""
    try:
        content = json.loads(io.read_text(href))
    except APIError as error:
        raise reading_error(href, error) from error
    except OSError as error:
        raise CatalogError(f"cannot read {href}: {error.strerror}; give the path of a catalog.json") from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{href} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CatalogError(f"{href} holds no JSON object but {str(content)[:40]!r}")
    return content


def reading_error(href: str, error: APIError) -> CatalogError | CatalogUnreachable:
    """The error of ours for an answer, or none, from a server."""
    status = getattr(error, "status_code", None)  # pystac-client sets it only where there was an answer
    if status is not None and 400 <= status < 500 and status not in {408, 429}:
        return CatalogError(f"{href} answers {status}: {str(error)[:200]!r}; check the URL and the collection")
    found = f"answers {status}" if status else f"does not answer ({_reason(error)})"
    return CatalogUnreachable(f"{href} {found}: try again later, or check the network and the URL")


def _reason(error: APIError) -> str:
    """The innermost cause in the text of urllib3's nested messages."""
    return str(error).rpartition("Caused by ")[2].strip(")")[:200]


_SAS_HOST: Final = re.compile(r"(sentinel2l[12][ac]\d*)\.blob\.core\.windows\.net")
"""The Planetary Computer's accounts: no other host ever gets one of its tokens."""


@dataclass
class SasTokens:
    """The Planetary Computer's public read tokens by container, fetched when first needed and before they expire."""

    endpoint: str = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
    io: StacApiIO = field(default_factory=stac_io)
    _known: dict[tuple[str, str], tuple[datetime, str]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, account: str, container: str) -> str:
        """A token that is good for at least another five minutes."""
        with self._lock:
            expiry, token = self._known.get((account, container), (datetime.min.replace(tzinfo=UTC), ""))
            if expiry < datetime.now(UTC) + timedelta(minutes=5):
                answer = read_json(self.io, f"{self.endpoint}/{account}/{container}")
                try:
                    expiry, token = datetime.fromisoformat(answer["msft:expiry"]), str(answer["token"])
                except (KeyError, TypeError, ValueError) as error:
                    raise CatalogError(f"{self.endpoint} gave no token but {sorted(answer)}") from error
                self._known[account, container] = expiry, token
            return token


_TOKENS: Final = SasTokens()


def sign(href: str, tokens: SasTokens = _TOKENS) -> str:
    """The href with the read token that its provider asks for; unchanged for everybody else's.

    Call it right before opening: tokens expire within the hour, and must not reach a file or a log.
    """
    parts = urlsplit(href)
    host = _SAS_HOST.fullmatch(parts.netloc)
    container = parts.path.lstrip("/").partition("/")[0]
    if parts.scheme != "https" or host is None or not container or "sig=" in parts.query:
        return href
    token = tokens.get(host[1], container)
    return f"{href}{'&' if parts.query else '?'}{token}"
