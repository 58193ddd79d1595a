"""Our own COGs held open, for many small windows: opening costs as much as decoding a block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock

import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from s2ops.constants import UInt8
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import own


@dataclass
class Opened:
    """Files that are opened when first read, and kept until `close`. For one thread at a time."""

    _closing: ExitStack = field(default_factory=ExitStack)
    _files: dict[str, DatasetReader] = field(default_factory=dict)

    def read(self, path: str, rows: slice, cols: slice | None = None, out: UInt8 | None = None) -> UInt8:
        """(band, rows, columns) of a window; all columns unless said. Into `out` where it is given."""
        with own(path):
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
class Shelf:
    """Sets of opened files, as many as threads ask at once, lent to one after another."""

    _free: list[Opened] = field(default_factory=list)
    _closed: bool = False
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def lent(self) -> Iterator[Opened]:
        """Files for this thread alone, under GDAL's bounded cache, until the block ends."""
        with self._lock:
            files = self._free.pop() if self._free else Opened()
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
        """Close what is not lent; what is closes when it comes back: a thread may still read after an error."""
        with self._lock:
            self._closed = True
        for files in self._free:
            files.close()


@contextmanager
def shelf() -> Iterator[Shelf]:
    """A `Shelf` that is closed when the block ends."""
    made = Shelf()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def opened() -> Iterator[Opened]:
    """An `Opened` for one thread."""
    with shelf() as one, one.lent() as files:
        yield files
