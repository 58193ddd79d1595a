"""Object store of a run's outputs: a local folder, or a bucket of S3, Google Cloud Storage or Azure."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, ObjectStore

from s2ops.errors import ConfigError, OutputError, StoreUnreachable, Translation, translate_errors
from s2ops.telemetry import metrics

if TYPE_CHECKING:
    from obstore.store import RetryConfig

VSI_PREFIXES: Final = {"s3": "/vsis3/", "s3a": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
"""GDAL's virtual file system of each URI scheme."""

URI_SCHEMES: Final = ("file", *VSI_PREFIXES)
"""Schemes of the URIs that a store accepts."""

_CHUNK_BYTES: Final = 4 * 2**20
_REFUSED_ERRORS: Final = (
    exceptions.PermissionDeniedError,
    exceptions.UnauthenticatedError,
    exceptions.InvalidPathError,
    exceptions.UnknownConfigurationKeyError,
)


_RETRY: Final["RetryConfig"] = {
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 3},
    "max_retries": 100,
    "retry_timeout": timedelta(seconds=60),
}
"""Retries for one minute: a store that is unavailable for less (failover, upgrade) costs no step its work. By default
the client gives up after two seconds of refused connections. It retries in Rust and reports no single retry."""


def is_url(location: str) -> bool:
    """Return True if a location has a URI scheme (s3://..., file://...), False if it is a local path."""
    return "://" in location


@dataclass(frozen=True)
class Store:
    """Store of bytes under keys such as 'mosaic/33TWL/mosaic.tif'. Objects are written whole or not at all."""

    uri: str
    """A folder, or a file://, s3://, gs:// or az:// URI."""

    @property
    def folder(self) -> Path | None:
        """Local folder, or None for a bucket."""
        parts = urlsplit(self.uri)
        if parts.scheme == "file":
            return Path(parts.path)
        return None if is_url(self.uri) else Path(self.uri).absolute()

    @cached_property
    def _objects(self) -> ObjectStore:
        with self._translate_errors(""):
            if self.folder is not None:
                return LocalStore(self.folder, mkdir=True)
            if urlsplit(self.uri).scheme not in VSI_PREFIXES:
                raise ConfigError(f"Cannot open {self.uri}: use a folder, or a file://, s3://, gs:// or az:// URI.")
            return obstore.store.from_url(self.uri, retry_config=_RETRY)

    def get(self, key: str) -> bytes | None:
        """Read an object; return None if it does not exist."""
        try:
            with self._translate_errors(key):
                data = obstore.get(self._objects, key).bytes().to_bytes()
        except FileNotFoundError:
            return None
        metrics.count_read("records", len(data))
        return data

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object of any size in chunks of some MiB; yield nothing if it does not exist."""
        try:
            with self._translate_errors(key):
                for chunk in obstore.get(self._objects, key).stream(min_chunk_size=_CHUNK_BYTES):
                    metrics.count_read("records", len(chunk))
                    yield bytes(chunk)
        except FileNotFoundError:
            return

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        with self._translate_errors(key):
            obstore.put(self._objects, key, data)
        metrics.count_written("records", len(data))

    def put_file(self, key: str, path: Path) -> None:
        """Upload a local file."""
        with self._translate_errors(key):
            obstore.put(self._objects, key, path)
        metrics.count_written("rasters", path.stat().st_size)

    def move_file(self, key: str, path: Path) -> bool:
        """Move a local file into the store: rename it on the same disk, otherwise upload and delete it.

        Returns:
            True if the file was read for an upload.
        """
        size = path.stat().st_size
        if self.folder is not None:
            target = self.folder / key
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            except OSError:
                pass  # usually another disk; the upload below raises any other error
            else:
                metrics.count_written("rasters", size)
                return False
        self.put_file(key, path)
        path.unlink()
        return True

    def has_key(self, key: str) -> bool:
        """Return whether an object exists."""
        try:
            with self._translate_errors(key):
                obstore.head(self._objects, key)
        except FileNotFoundError:
            return False
        return True

    def list_keys(self, prefix: str = "") -> list[str]:
        """List all keys below a folder-like prefix, sorted."""
        with self._translate_errors(prefix):
            chunks = obstore.list(self._objects, prefix or None)
            return sorted(meta["path"] for chunk in chunks for meta in chunk)

    def list_versions(self, prefix: str) -> dict[str, str]:
        """List all keys below a folder-like prefix, each with a string that changes when the object does (ETag)."""
        with self._translate_errors(prefix):
            chunks = obstore.list(self._objects, prefix)
            return {
                meta["path"]: meta["e_tag"] or f"{meta['last_modified'].timestamp()}-{meta['size']}"
                for chunk in chunks
                for meta in chunk
            }

    def delete(self, key: str) -> None:
        """Delete an object; do nothing if it does not exist."""
        try:
            with self._translate_errors(key):
                obstore.delete(self._objects, key)
        except FileNotFoundError:
            return

    def get_gdal_path(self, key: str) -> str:
        """Return the path by which GDAL reads the object in windows: a local path, or /vsis3/, /vsigs/, /vsiaz/."""
        if self.folder is not None:
            return str(self.folder / key)
        parts = urlsplit(self.uri)
        return VSI_PREFIXES[parts.scheme] + "/".join(p for p in (parts.netloc, parts.path.strip("/"), key) if p)

    def _translate_errors(self, key: str) -> AbstractContextManager[None]:
        """Translate errors of obstore and of the operating system; FileNotFoundError passes unchanged."""
        kinds = (exceptions.BaseError, OSError)
        if self.folder is None:
            failure = Translation(kinds, StoreUnreachable, "run again", _is_failure)
        else:
            failure = Translation(kinds, OutputError, "free space, or choose another `out`", _is_failure)
        return translate_errors(
            f"Cannot access {key} in {self.uri}" if key else f"Cannot open {self.uri}",
            Translation(_REFUSED_ERRORS, OutputError, "check the permissions and the name"),
            failure,
        )


def _is_failure(error: BaseException) -> bool:
    return not isinstance(error, FileNotFoundError)


def get_gdal_endpoint_options() -> dict[str, str]:
    """Return GDAL's options for the S3 endpoint of AWS_ENDPOINT_URL, as obstore uses it; empty for AWS itself."""
    url = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
    if not url:
        return {}
    parts = urlsplit(url)
    return {
        "AWS_S3_ENDPOINT": parts.netloc,
        "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",  # self-hosted servers rarely have a host name per bucket
    }


def read_text(place: str, name: str) -> str:
    """Read a small text file that the user names: a run's configuration, prices, the outline of its region.

    Args:
        place: Local path, or URI of an object in a store.
        name: Name of the text in error messages, such as "the configuration".

    Raises:
        ConfigError: If the text does not exist or is not UTF-8.
        StoreUnreachable: If the store does not respond.
    """
    if not is_url(place):
        try:
            return Path(place).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Cannot read {name} {place}: {error.strerror}; give the path of a file.") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"Cannot read {name} {place}: it is not UTF-8 text; save it as UTF-8.") from error
    folder, _, key = place.rpartition("/")
    if not folder.startswith(tuple(f"{scheme}://" for scheme in URI_SCHEMES)):
        schemes = ", ".join(URI_SCHEMES)
        raise ConfigError(f"Cannot read {name} {place}: unknown URI scheme; use a path, or a URI of {schemes}.")
    data = Store(folder).get(key)
    if data is None:
        raise ConfigError(f"Cannot read {name} {place}: there is no such object; check the bucket and the key.")
    return data.decode(errors="replace")
