"""Rasters out: plain files of all levels that grow from row slabs, then become one valid COG."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from xml.etree import ElementTree as ET

import rasterio
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # what a failed write raises is not always a RasterioError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window

from s2ops.constants import CLASS_COLOURS, LandCover, UInt8
from s2ops.errors import OutputError
from s2ops.raster.overviews import Halving, Method, Write, sizes
from s2ops.raster.gdal_env import configure_gdal
from s2ops.telemetry import counters


@dataclass(frozen=True, slots=True)
class CogKind:
    """Creation options of one kind of COG."""

    predictor: str
    overviews: Method
    nodata: int | None
    colours: Mapping[LandCover, tuple[int, int, int]] | None = None
    level: int = 9
    """Of ZSTD."""


IMAGERY: Final = CogKind(predictor="YES", overviews="AVERAGE", nodata=0, level=1)
"""Levels above 1 make real scenes 0 to 3 % smaller, for eight times the time (benchmarks/results/peers.md)."""
CODES: Final = CogKind(predictor="NO", overviews="MODE", nodata=0, level=1)
"""Level 9 saves a quarter of a megabyte of a tile's provenance, for four times the time."""
MASK: Final = CogKind(predictor="NO", overviews="MODE", nodata=255)
PERCENT: Final = CogKind(predictor="NO", overviews="AVERAGE", nodata=255)
SHARE: Final = CogKind(predictor="NO", overviews="AVERAGE", nodata=0, level=1)
CLASSES: Final = CogKind(predictor="NO", overviews="MODE", nodata=0, colours=CLASS_COLOURS)
STACK: Final = CogKind(predictor="NO", overviews="NEAREST", nodata=None)
"""Previews with their masks: bands of two meanings, so no value is no data."""


class SlabFile:
    """A COG in the making: `write` (band, rows, x) uint8 slabs from top to bottom, then `finish`.

    GDAL's COG driver copies whole datasets, so the slabs go into a plain tiled file first, and their overviews into
    others, which a VRT presents as one; memory stays at a slab plus GDAL's bounded cache. Raises OutputError when the
    disk is full or read-only.
    """

    def __init__(
        self, path: Path, geobox: GeoBox, names: Sequence[str], kind: CogKind, tags: Mapping[str, str] | None = None
    ) -> None:
        self.path, self._kind = path, kind
        with ExitStack() as opened, _Explained(path):
            whole = opened.enter_context(_Plain(path.with_suffix(".plain.tif"), geobox, len(names), kind))
            for number, name in enumerate(names, 1):
                whole.dst.set_band_description(number, name)
            whole.dst.update_tags(**(tags or {}))
            if kind.colours is not None:
                whole.dst.write_colormap(1, {int(code): (*rgb, 255) for code, rgb in kind.colours.items()})
                whole.dst.colorinterp = [ColorInterp.palette]
            self._levels, self._halvings = [whole], []
            for number, shape in enumerate(sizes(*geobox.shape), 1):
                smaller = _Plain(path.with_suffix(f".{number}.tif"), geobox.zoom_to(shape), len(names), kind)
                self._levels.append(opened.enter_context(smaller))
                self._halvings.append(Halving(kind.overviews, kind.nodata, self._writer(number)))
            self._opened = opened.pop_all()

    def write(self, part: UInt8) -> None:
        """Add the next rows."""
        with _Explained(self.path):
            self._writer(0)(part)

    def _writer(self, number: int) -> Write:
        """What takes the rows of one level, and hands them on to the next."""

        def write(part: UInt8) -> None:
            self._levels[number].write(part)
            if number < len(self._halvings):
                self._halvings[number].feed(part)

        return write

    def finish(self) -> Path:
        """Turn the rows into a COG, validate it, and give its path."""
        whole = self._levels[0]
        if whole.top != whole.dst.height:
            raise RuntimeError(f"{self.path}: {whole.top} of {whole.dst.height} rows were written")
        with _Explained(self.path), configure_gdal():
            for halving in self._halvings:
                halving.finish()
            self._opened.close()
            together = _presented([level.path for level in self._levels])
            copy(
                str(together), str(self.path), driver="COG", COMPRESS="ZSTD", LEVEL=str(self._kind.level),
                BLOCKSIZE="512", PREDICTOR=self._kind.predictor, OVERVIEW_RESAMPLING=self._kind.overviews,
                NUM_THREADS="ALL_CPUS", BIGTIFF="IF_SAFER",
            )  # fmt: skip
            from rio_cogeo.cogeo import cog_validate  # noqa: PLC0415 -- loads much, and most pods write no COG

            valid, errors, _ = cog_validate(str(self.path), strict=True, quiet=True)
        # GDAL has read the levels once
        counters.add("scratch_read", sum(level.path.stat().st_size for level in self._levels))
        for path in (together, *(level.path for level in self._levels)):
            path.unlink()
        if not valid:
            raise OutputError(f"{self.path} is no valid COG ({'; '.join(errors)}): check the GDAL installation")
        return self.path


class _Plain:
    """One uncompressed level on its way."""

    def __init__(self, path: Path, geobox: GeoBox, bands: int, kind: CogKind) -> None:
        self.path, self.top = path, 0
        self.dst = rasterio.open(path, "w", **_profile(geobox, bands, kind))

    def write(self, part: UInt8) -> None:
        """Add the next rows."""
        self.dst.write(part, window=Window(0, self.top, self.dst.width, part.shape[1]))
        self.top += part.shape[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dst.close()


def _presented(levels: Sequence[Path]) -> Path:
    """A VRT of the first file, whose overviews are the others."""
    path = levels[0].with_suffix(".vrt")
    copy(str(levels[0]), str(path), driver="VRT")
    tree = ET.parse(path)  # noqa: S314 (GDAL has just written it)
    for number, band in enumerate(tree.getroot().iter("VRTRasterBand"), 1):
        for level in levels[1:]:
            overview = ET.SubElement(band, "Overview")
            ET.SubElement(overview, "SourceFilename", relativeToVRT="1").text = level.name
            ET.SubElement(overview, "SourceBand").text = str(number)
    tree.write(path)
    return path


def _profile(geobox: GeoBox, bands: int, kind: CogKind) -> dict[str, object]:
    return {
        "driver": "GTiff", "dtype": "uint8", "count": bands, "height": geobox.height, "width": geobox.width,
        "crs": str(geobox.crs), "transform": geobox.transform, "nodata": kind.nodata,
        "tiled": True, "blockxsize": 512, "blockysize": 512, "BIGTIFF": "IF_SAFER",
        "interleave": "band",  # as slabs are: GDAL turns them around in the copy, where it does so anyway
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
