"""The one store: every path of a run is a key under one output URI (file, S3, GCS, Azure)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, ObjectStore

from s2ops.errors import ConfigError, OutputError, S2opsError, StoreUnreachable
from s2ops.telemetry import metrics

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_VSI = {"s3": "/vsis3/", "s3a": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
SCHEMES = ("file", *_VSI)
"""What a URI may begin with."""
_PIECE = 4 * 2**20
_REFUSED = (
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
"""A store that is away for less than a minute (a failover, a new version) costs no step its work; by itself the client
gives up after two seconds of refused connections."""


@dataclass(frozen=True)
class Store:
    """Bytes under keys such as 'mosaic/33TWL/mosaic.tif'. A put is whole or absent, never partial."""

    uri: str
    """A folder, or a file://, s3://, gs:// or az:// URI."""

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for an object store."""
        parts = urlsplit(self.uri)
        if parts.scheme == "file":
            return Path(parts.path)
        return None if "://" in self.uri else Path(self.uri).absolute()

    @cached_property
    def _objects(self) -> ObjectStore:
        with self._explained("."):
            if self.folder is not None:
                return LocalStore(self.folder, mkdir=True)
            if urlsplit(self.uri).scheme not in _VSI:
                raise ConfigError(f"out is {self.uri}: use a folder, or a file://, s3://, gs:// or az:// URI")
            return obstore.store.from_url(self.uri, retry_config=_RETRY)

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None where there is none."""
        try:
            with self._explained(key):
                data = obstore.get(self._objects, key).bytes().to_bytes()
        except FileNotFoundError:
            return None
        metrics.read("records", len(data))
        return data

    def pieces(self, key: str) -> Iterator[bytes]:
        """The object's bytes in pieces of some MiB, so that it may be of any size; none where there is no object."""
        try:
            with self._explained(key):
                for piece in obstore.get(self._objects, key).stream(min_chunk_size=_PIECE):
                    metrics.read("records", len(piece))
                    yield bytes(piece)
        except FileNotFoundError:
            return

    def put(self, key: str, data: bytes) -> None:
        """Write an object in one go."""
        with self._explained(key):
            obstore.put(self._objects, key, data)
        metrics.written("records", len(data))

    def put_file(self, key: str, path: Path) -> None:
        """Upload a local file in one go."""
        with self._explained(key):
            obstore.put(self._objects, key, path)
        metrics.written("rasters", path.stat().st_size)

    def take_file(self, key: str, path: Path) -> bool:
        """Make a local file the object: renamed where it lies on the store's own disk, else uploaded and deleted.

        Gives whether its bytes had to be read.
        """
        size = path.stat().st_size
        if self.folder is not None:
            target = self.folder / key
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            except OSError:
                pass  # another disk, mostly; what else is wrong the upload says
            else:
                metrics.written("rasters", size)
                return False
        self.put_file(key, path)
        path.unlink()
        return True

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""
        try:
            with self._explained(key):
                obstore.head(self._objects, key)
        except FileNotFoundError:
            return False
        return True

    def keys(self, prefix: str = "") -> list[str]:
        """All keys under a folder-like prefix, sorted."""
        with self._explained(prefix or "."):
            chunks = obstore.list(self._objects, prefix or None)
            return sorted(meta["path"] for chunk in chunks for meta in chunk)

    def versions(self, prefix: str) -> dict[str, str]:
        """All keys under a folder-like prefix, each with a text that changes when the object does."""
        with self._explained(prefix):
            chunks = obstore.list(self._objects, prefix)
            return {
                meta["path"]: meta["e_tag"] or f"{meta['last_modified'].timestamp()}-{meta['size']}"
                for chunk in chunks
                for meta in chunk
            }

    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is no error."""
        try:
            with self._explained(key):
                obstore.delete(self._objects, key)
        except FileNotFoundError:
            return

    def gdal(self, key: str) -> str:
        """The path by which GDAL reads the object, in windows."""
        if self.folder is not None:
            return str(self.folder / key)
        parts = urlsplit(self.uri)
        return _VSI[parts.scheme] + "/".join(p for p in (parts.netloc, parts.path.strip("/"), key) if p)

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn the store's errors into ours; FileNotFoundError passes."""
        try:
            yield
        except (FileNotFoundError, S2opsError):
            raise
        except _REFUSED as error:
            raise OutputError(f"{self.uri}: {key} is refused ({_short(error)}): check rights and name") from error
        except (exceptions.BaseError, OSError) as error:
            if self.folder is not None:
                raise OutputError(
                    f"{self.uri}: cannot read or write {key} ({_short(error)}): free space, or choose another out"
                ) from error
            raise StoreUnreachable(f"{self.uri}: {key} failed for now ({_short(error)}): run again") from error


def gdal_endpoint() -> dict[str, str]:
    """GDAL's names for the S3 endpoint that obstore takes from AWS_ENDPOINT_URL; empty on AWS itself."""
    url = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
    if not url:
        return {}
    parts = urlsplit(url)
    return {
        "AWS_S3_ENDPOINT": parts.netloc,
        "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",  # own servers rarely have a host name per bucket
    }


def _short(error: BaseException) -> str:
    """The innermost cause, on one line: the store's messages nest and repeat."""
    text = " ".join(str(error).split())
    cause = text.rsplit("Caused by", 1)[-1].split("Debug source", 1)[0]
    return cause.strip(" :.")[-200:]
