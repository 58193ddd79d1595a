"""GDAL environment for reading scenes: configuration options, allowed drivers, and virtual file system (/vsi) paths."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import rasterio

from s2ops.errors import CatalogError
from s2ops.storage.object_store import VSI_PREFIXES, get_gdal_endpoint_options

ALLOWED_DRIVERS: Final = ("GTiff", "JP2OpenJPEG", "JPEG", "PNG")
"""GDAL drivers for files of others. Without this limit a file that claims to be a band could be a VRT, whose XML can
name any local file."""

_VSI_PREFIXES: Final = {
    "http": "/vsicurl/http://", "https": "/vsicurl/https://",
    **{name: VSI_PREFIXES[name] for name in ("s3", "gs", "az")},
}  # fmt: skip


@contextmanager
def configure_gdal() -> Iterator[None]:
    """Set the project's GDAL options within a `with` block: bounded caches, retries, no directory listings."""
    with rasterio.Env(**build_gdal_options(), **get_gdal_endpoint_options()):
        yield


def build_gdal_options() -> dict[str, str | int]:
    """Return the GDAL configuration for reading scenes, as keyword arguments of `rasterio.Env`."""
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # a COG has no sidecar files: avoids one listing per file
        "GDAL_PAM_ENABLED": "NO",  # no .aux.xml: reads no foreign metadata, writes nothing beside the inputs
        "GDAL_HTTP_MAX_RETRY": "5",  # HTTP 429 and 5xx are transient
        "GDAL_HTTP_RETRY_DELAY": "1",  # seconds; GDAL doubles it after each attempt
        "GDAL_HTTP_CONNECTTIMEOUT": "10",  # seconds; without it the kernel's time limit applies
        "GDAL_HTTP_TIMEOUT": "120",  # seconds for one range: a dead connection must not block a pod
        "GDAL_HTTP_MULTIRANGE": "YES",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",  # reads adjacent blocks in one request
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768",  # reads a COG's header in the first request
        "CPL_VSIL_CURL_CACHE_SIZE": "16777216",  # bytes of ranges that stay in memory
        "GDAL_CACHEMAX": 128,  # MB of decoded blocks; rasterio needs a number; the default is 5 % of the memory
    }


def to_gdal_path(href: str) -> str:
    """Convert an href to the path that GDAL opens.

    Args:
        href: URL (http, https, s3, gs, az) or local path.

    Returns:
        A path that begins with /vsicurl/, /vsis3/, /vsigs/ or /vsiaz/; a local path is returned unchanged.

    Raises:
        CatalogError: If the scheme is another one, or the href is a /vsi path itself.
    """
    scheme, separator, rest = href.partition("://")
    if not separator:
        if href.startswith("/vsi"):
            raise CatalogError(
                f"Cannot read {href!r}: it is a path of GDAL's own file systems; use a URL or a local path."
            )
        return href
    if scheme.lower() not in _VSI_PREFIXES:
        raise CatalogError(f"Cannot read {href!r}: its scheme is none of {', '.join(_VSI_PREFIXES)}.")
    return f"{_VSI_PREFIXES[scheme.lower()]}{rest}"
