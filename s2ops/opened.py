"""One of our own COGs held open, for many small windows: opening costs as much as decoding a block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from s2ops.codes import UInt8
from s2ops.raster import gdal_env, own


@dataclass
class Opened:
    """Files that are opened when first read, and kept until the block of `opened` ends. For one thread."""

    _closing: ExitStack
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


@contextmanager
def opened() -> Iterator[Opened]:
    """An `Opened` under GDAL's bounded cache."""
    with gdal_env(), ExitStack() as closing:
        yield Opened(closing)
