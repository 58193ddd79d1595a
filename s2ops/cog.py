"""Rasters out: a plain file that grows from row slabs, then becomes one valid COG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import rasterio
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # what a failed write raises is not always a RasterioError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from s2ops.codes import CLASS_COLOURS, LandCover, UInt8
from s2ops.errors import OutputError
from s2ops.raster import gdal_env


@dataclass(frozen=True, slots=True)
class CogKind:
    """Creation options of one kind of COG."""

    predictor: str
    overviews: str
    nodata: int | None
    colours: Mapping[LandCover, tuple[int, int, int]] | None = None


IMAGERY: Final = CogKind(predictor="YES", overviews="AVERAGE", nodata=0)
CODES: Final = CogKind(predictor="NO", overviews="MODE", nodata=0)
MASK: Final = CogKind(predictor="NO", overviews="MODE", nodata=255)
PERCENT: Final = CogKind(predictor="NO", overviews="AVERAGE", nodata=255)
CLASSES: Final = CogKind(predictor="NO", overviews="MODE", nodata=0, colours=CLASS_COLOURS)
STACK: Final = CogKind(predictor="NO", overviews="NEAREST", nodata=None)
"""Previews with their masks: bands of two meanings, so no value is no data."""


class SlabFile:
    """A COG in the making: `write` (band, rows, x) uint8 slabs from top to bottom, then `finish`.

    GDAL's COG driver copies whole datasets, so the slabs go into a plain tiled file first; memory stays at a slab plus
    GDAL's bounded cache. Raises OutputError when the disk is full or read-only.
    """

    def __init__(
        self, path: Path, geobox: GeoBox, names: Sequence[str], kind: CogKind, tags: Mapping[str, str] | None = None
    ) -> None:
        self.path, self._kind, self._top = path, kind, 0
        self._plain = path.with_suffix(".plain.tif")
        with _Explained(path):
            self._dst = rasterio.open(self._plain, "w", **_profile(geobox, len(names), kind))
            for number, name in enumerate(names, 1):
                self._dst.set_band_description(number, name)
            self._dst.update_tags(**(tags or {}))
            if kind.colours is not None:
                self._dst.write_colormap(1, {int(code): (*rgb, 255) for code, rgb in kind.colours.items()})
                self._dst.colorinterp = [ColorInterp.palette]

    def write(self, part: UInt8) -> None:
        """Add the next rows."""
        with _Explained(self.path):
            self._dst.write(part, window=Window(0, self._top, self._dst.width, part.shape[1]))
        self._top += part.shape[1]

    def finish(self) -> Path:
        """Turn the rows into a COG, validate it, and give its path."""
        if self._top != self._dst.height:
            raise RuntimeError(f"{self.path}: {self._top} of {self._dst.height} rows were written")
        with _Explained(self.path), gdal_env():
            self._dst.close()
            copy(
                str(self._plain), str(self.path), driver="COG", COMPRESS="ZSTD", LEVEL="9", BLOCKSIZE="512",
                PREDICTOR=self._kind.predictor, OVERVIEW_RESAMPLING=self._kind.overviews, NUM_THREADS="ALL_CPUS",
                BIGTIFF="IF_SAFER",
            )  # fmt: skip
            valid, errors, _ = cog_validate(str(self.path), strict=True, quiet=True)
        self._plain.unlink()
        if not valid:
            raise OutputError(f"{self.path} is no valid COG ({'; '.join(errors)}): check the GDAL installation")
        return self.path


def _profile(geobox: GeoBox, bands: int, kind: CogKind) -> dict[str, object]:
    return {
        "driver": "GTiff", "dtype": "uint8", "count": bands, "height": geobox.height, "width": geobox.width,
        "crs": str(geobox.crs), "transform": geobox.transform, "nodata": kind.nodata,
        "tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel", "BIGTIFF": "IF_SAFER",
        # without these a 4-band uint8 file is taken for RGB + alpha, and readers blend by band 4
        "photometric": "MINISBLACK", "alpha": "NO",
    }  # fmt: skip


class _Explained:
    """Turn GDAL's errors while writing into ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, RasterioError | CPLE_BaseError | OSError):
            raise OutputError(
                f"cannot write {self._path} ({error}): free space, or set TMPDIR to a folder with room"
            ) from error
