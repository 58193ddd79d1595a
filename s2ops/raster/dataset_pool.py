"""Pool of open datasets (file handles) for many small reads: opening a COG costs as much as decoding a block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock

import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from s2ops.constants import UInt8
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import translate_read_errors


@dataclass
class DatasetCache:
    """Cache of open files of the run: opened at the first read, kept until `close`. For one thread at a time."""

    _closing: ExitStack = field(default_factory=ExitStack)
    _files: dict[str, DatasetReader] = field(default_factory=dict)

    def read(self, path: str, rows: slice, cols: slice | None = None, out: UInt8 | None = None) -> UInt8:
        """Read a window as (band, rows, columns), all columns by default, into `out` if given."""
        with translate_read_errors(path):
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = self._closing.enter_context(rasterio.open(path))
            across = cols or slice(0, file.width)
            window = Window(across.start, rows.start, across.stop - across.start, rows.stop - rows.start)
            found: UInt8 = file.read(window=window, out=out)
        return found

    def close(self) -> None:
        """Close all files."""
        self._closing.close()
        self._files.clear()


@dataclass
class DatasetPool:
    """Pool of dataset caches: one per concurrent thread, reused by later threads."""

    _free: list[DatasetCache] = field(default_factory=list)
    _closed: bool = False
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def check_out(self) -> Iterator[DatasetCache]:
        """Give a cache to this thread alone within a `with` block, with GDAL's options set."""
        with self._lock:
            files = self._free.pop() if self._free else DatasetCache()
        try:
            with configure_gdal():
                yield files
        finally:
            with self._lock:
                if not self._closed:
                    self._free.append(files)
            if self._closed:
                files.close()

    def close(self) -> None:
        """Close all caches; a cache in use closes when its thread is finished, which may read on after an error."""
        with self._lock:
            self._closed = True
        for files in self._free:
            files.close()


@contextmanager
def open_dataset_pool() -> Iterator[DatasetPool]:
    """Open a pool within a `with` block."""
    pool = DatasetPool()
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def open_dataset_cache() -> Iterator[DatasetCache]:
    """Open a cache for one thread within a `with` block."""
    with open_dataset_pool() as pool, pool.check_out() as files:
        yield files
