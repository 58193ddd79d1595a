"""Cloud-optimized GeoTIFF (COG) writer: row slabs go to plain files of all levels, which become one valid COG."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # a failed write does not always raise a RasterioError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window

from s2ops.constants import CLASS_COLOURS, LandCover, UInt8, UInt16
from s2ops.errors import OutputError, Translation, translate_errors
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.overviews import OverviewBuilder, OverviewMethod, RowWriter, list_overview_shapes
from s2ops.telemetry import counters


@dataclass(frozen=True, slots=True)
class CogProfile:
    """Creation options of a kind of COG."""

    predictor: str
    """PREDICTOR of GDAL's COG driver."""
    overviews: OverviewMethod
    nodata: int | None
    colours: Mapping[LandCover, tuple[int, int, int]] | None = None
    compression: Literal["ZSTD", "DEFLATE"] = "ZSTD"
    level: int = 9
    """Compression level: 1 to 22 for ZSTD, 1 to 9 for DEFLATE."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    gdal_overviews: bool = False
    """Let GDAL build the overviews from the finished file: slower, and the only way for uint16."""


IMAGERY: Final = CogProfile(predictor="YES", overviews="AVERAGE", nodata=0, level=1)
"""8-bit imagery. Levels above 1 make real scenes 0 to 3 % smaller, for eight times the time
(benchmarks/results/peers.md)."""
CODES: Final = CogProfile(predictor="NO", overviews="MODE", nodata=0, level=1)
"""Provenance. Level 9 saves a quarter of a megabyte per tile, for four times the time."""
MASK: Final = CogProfile(predictor="NO", overviews="MODE", nodata=255)
PERCENT: Final = CogProfile(predictor="NO", overviews="AVERAGE", nodata=255)
SHARE: Final = CogProfile(predictor="NO", overviews="AVERAGE", nodata=0, level=1)
CLASSES: Final = CogProfile(predictor="NO", overviews="MODE", nodata=0, colours=CLASS_COLOURS)
STACK: Final = CogProfile(predictor="NO", overviews="NEAREST", nodata=None)
"""Previews with their masks: the bands differ in meaning, so there is no common nodata value."""


class CogWriter:
    """Writer of a COG: `write` (band, rows, x) slabs from top to bottom, then `finish` or `discard`.

    GDAL's COG driver copies whole datasets. Therefore the slabs go to a plain tiled file first and their overviews to
    further files, which a VRT combines; memory is bounded by one slab and GDAL's cache. All methods raise OutputError
    if the disk is full or read-only.

    Args:
        path: File to write.
        geobox: Grid of the file.
        names: Descriptions of the bands; "" for none.
        profile: Creation options.
        tags: Metadata of the file.
    """

    def __init__(
        self,
        path: Path,
        geobox: GeoBox,
        names: Sequence[str],
        profile: CogProfile,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self._profile = path, profile
        with ExitStack() as opened, _translate_write_errors(path):
            whole = opened.enter_context(_PlainTiff(path.with_suffix(".plain.tif"), geobox, len(names), profile))
            for number, name in enumerate(names, 1):
                if name:
                    whole.dst.set_band_description(number, name)
            whole.dst.update_tags(**(tags or {}))
            if profile.colours is not None:
                whole.dst.write_colormap(1, {int(code): (*rgb, 255) for code, rgb in profile.colours.items()})
                whole.dst.colorinterp = [ColorInterp.palette]
            self._levels, self._builders = [whole], []
            shapes = () if profile.gdal_overviews else list_overview_shapes(*geobox.shape)
            for number, shape in enumerate(shapes, 1):
                smaller = _PlainTiff(path.with_suffix(f".{number}.tif"), geobox.zoom_to(shape), len(names), profile)
                self._levels.append(opened.enter_context(smaller))
                self._builders.append(
                    OverviewBuilder(profile.overviews, profile.nodata, self._create_row_writer(number))
                )
            self._opened = opened.pop_all()

    def write(self, part: UInt8 | UInt16) -> None:
        """Add the next rows."""
        with _translate_write_errors(self.path):
            self._levels[0].write(part)
            if self._builders:
                self._builders[0].add_rows(part.astype(np.uint8, copy=False))  # only uint8 has builders

    def _create_row_writer(self, number: int) -> RowWriter:
        """Create a function that writes rows of an overview and passes them to the builder of the next one."""

        def write(part: UInt8) -> None:
            self._levels[number].write(part)
            if number < len(self._builders):
                self._builders[number].add_rows(part)

        return write

    def finish(self) -> Path:
        """Combine the levels into a COG, validate it, delete the plain files, and return the path."""
        whole = self._levels[0]
        if whole.top != whole.dst.height:
            raise RuntimeError(f"Cannot finish {self.path}: {whole.top} of {whole.dst.height} rows were written")
        with _translate_write_errors(self.path), configure_gdal():
            for builder in self._builders:
                builder.finish()
            self._opened.close()
            vrt = _build_vrt([level.path for level in self._levels])
            copy(
                str(vrt), str(self.path), driver="COG",
                COMPRESS=self._profile.compression, LEVEL=str(self._profile.level),
                BLOCKSIZE="512", PREDICTOR=self._profile.predictor, OVERVIEW_RESAMPLING=self._profile.overviews,
                NUM_THREADS="ALL_CPUS", BIGTIFF="IF_SAFER",
            )  # fmt: skip
            from rio_cogeo.cogeo import cog_validate  # noqa: PLC0415 -- slow to import, and most pods write no COG

            valid, errors, _ = cog_validate(str(self.path), strict=True, quiet=True)
        # GDAL has read each level once
        counters.add("scratch_read", sum(level.path.stat().st_size for level in self._levels))
        for path in (vrt, *(level.path for level in self._levels)):
            path.unlink()
        if not valid:
            raise OutputError(f"{self.path} is not a valid COG: {'; '.join(errors)}; check the GDAL installation.")
        return self.path

    def discard(self) -> None:
        """Delete the plain files instead of finishing the COG."""
        self._opened.close()
        for level in self._levels:
            level.path.unlink()


class _PlainTiff:
    """Uncompressed file of one level while it is written."""

    def __init__(self, path: Path, geobox: GeoBox, bands: int, profile: CogProfile) -> None:
        self.path, self.top = path, 0
        self.dst = rasterio.open(path, "w", **_build_creation_options(geobox, bands, profile))

    def write(self, part: UInt8 | UInt16) -> None:
        """Add the next rows."""
        self.dst.write(part, window=Window(0, self.top, self.dst.width, part.shape[1]))
        self.top += part.shape[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dst.close()


def _build_vrt(levels: Sequence[Path]) -> Path:
    """Build a VRT of the first file with the other files as its overviews."""
    path = levels[0].with_suffix(".vrt")
    copy(str(levels[0]), str(path), driver="VRT")
    tree = ET.parse(path)  # noqa: S314 -- GDAL has just written it
    for number, band in enumerate(tree.getroot().iter("VRTRasterBand"), 1):
        for level in levels[1:]:
            overview = ET.SubElement(band, "Overview")
            ET.SubElement(overview, "SourceFilename", relativeToVRT="1").text = level.name
            ET.SubElement(overview, "SourceBand").text = str(number)
    tree.write(path)
    return path


def _build_creation_options(geobox: GeoBox, bands: int, profile: CogProfile) -> dict[str, object]:
    return {
        "driver": "GTiff", "dtype": profile.dtype, "count": bands, "height": geobox.height, "width": geobox.width,
        "crs": str(geobox.crs), "transform": geobox.transform, "nodata": profile.nodata,
        "tiled": True, "blockxsize": 512, "blockysize": 512, "BIGTIFF": "IF_SAFER",
        "interleave": "band",  # order of the slabs; GDAL interleaves pixels in the copy
        # without these GDAL declares a 4-band uint8 file RGB + alpha, and readers blend by band 4
        "photometric": "MINISBLACK", "alpha": "NO",
    }  # fmt: skip


def _translate_write_errors(path: Path) -> AbstractContextManager[None]:
    """Translate errors of GDAL and of the disk while writing."""
    remedy = "free space, or use a folder on another disk (TMPDIR for scratch files)"
    return translate_errors(
        f"Cannot write {path}", Translation((RasterioError, CPLE_BaseError, OSError), OutputError, remedy)
    )
