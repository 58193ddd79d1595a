"""A simulated region as files: a static STAC catalog of COGs in the Earth Search layout, and the truth beside it."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from PIL import Image
from rasterio.enums import Resampling
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.windows import Window

from s2ops.constants import BANDS, CLASS_COLOURS, Bool, Float32, LandCover, Mask, UInt8, UInt16
from s2ops.errors import ConfigError, OutputError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.tone_curve import SCALE, compute_tci_levels
from s2ops.simulate.items import COLLECTION, Scene, scene_id, write_catalog, write_item
from s2ops.simulate.world import Look, Pass, Slab, passes, slabs

FILES: Final = {"red": "B04.tif", "green": "B03.tif", "blue": "B02.tif", "nir": "B08.tif"}
"""Name of each band's file in a scene's folder."""

PREVIEW: Final = 343
"""Pixels a side of the thumbnail."""

THIN, MEDIUM = 0.5, 1.5
"""Optical thickness below which SCL says cirrus (10), and medium probability (8); above it is 9."""


def simulate(
    out: Path,
    tiles: Sequence[Tile],
    dates: Sequence[date],
    res: int,
    seed: int,
    *,
    cloudiness: float = 0.35,
    workers: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the world under `out` and give the path of its catalog.json; the same arguments give the same bytes.

    `res` is in metres, 10, 20, 60 or 120; `progress` is called with the name of each finished tile. A tile and date
    that the swath misses altogether has no item. `out` may hold an earlier world, which is replaced.
    """
    if not tiles or not dates:
        raise ConfigError(f"a world needs tiles and dates, given are {len(tiles)} and {len(dates)}: name some")
    if not 0 <= cloudiness < 1:
        raise ConfigError(f"cloudiness is a part from 0 to below 1, not {cloudiness}: give for instance 0.35")
    ordered = sorted(set(tiles))
    flights = passes(ordered, dates, seed, cloudiness)
    for part in (COLLECTION, "truth"):
        shutil.rmtree(out / part, ignore_errors=True)
    jobs = [(out, tile, flights, res, seed) for tile in ordered]
    found: list[Scene] = []
    if workers == 1:
        for job in jobs:
            found += _tile(*job)
            progress(job[1].name)
    else:
        # forking a process that has GDAL open is not safe
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for job, scenes in zip(jobs, pool.map(_tile, *zip(*jobs, strict=True)), strict=True):
                found += scenes
                progress(job[1].name)
    _write_truth(out, flights, found, {"seed": seed, "res": res, "cloudiness": cloudiness})
    return write_catalog(out, found)


def _tile(out: Path, tile: Tile, flights: Sequence[Pass], res: int, seed: int) -> list[Scene]:
    """Render one tile and write all its files; gives the scenes that see any of it."""
    counts = [_Counts() for _ in flights]
    scenes = [Scene(tile, flight, res, scene_id(tile, flight)) for flight in flights]
    truth = out / "truth" / tile.name
    grid = _Grid(tile, res)
    with _explained(out):
        classes = _Raster(truth / "classes.tif", grid, "uint8", 1, colours=True)
        files = [_Files(out, scene, grid) for scene in scenes]
        for slab in slabs(tile, flights, res, seed):
            classes.write(slab.classes[None], slab.rows)
            for look, flight, file, count in zip(slab.looks, flights, files, counts, strict=True):
                file.write(slab, look, flight.offset)
                count.add(look.mask, slab.classes)
        classes.finish()
        seen = []
        for scene, file, count in zip(scenes, files, counts, strict=True):
            if count.seen:
                file.finish()
                seen.append(scene.counted(count.percent()))
                write_item(out, seen[-1])
            else:
                file.drop()
    return seen


class _Counts:
    """How many pixels of a scene have which mask and class."""

    def __init__(self) -> None:
        self.masks = np.zeros(256, np.int64)
        self.classes = np.zeros(7, np.int64)

    def add(self, mask: UInt8, classes: UInt8) -> None:
        self.masks += np.bincount(mask.ravel(), minlength=256)
        self.classes += np.bincount(classes[mask == Mask.CLEAR], minlength=7)

    @property
    def seen(self) -> int:
        return int(self.masks.sum() - self.masks[Mask.NODATA])

    def percent(self) -> dict[str, float]:
        """Percentages of what is seen, but no data of the whole tile."""
        green = self.classes[LandCover.GRASS] + self.classes[LandCover.TREE]
        parts = {
            "cloud": self.masks[Mask.CLOUD],
            "shadow": self.masks[Mask.SHADOW],
            "vegetation": green,
            "water": self.classes[LandCover.WATER],
            "bare": self.classes.sum() - green - self.classes[LandCover.WATER],
        }
        whole = {"nodata": 100 * float(self.masks[Mask.NODATA]) / float(self.masks.sum())}
        return {name: round(100 * float(part) / self.seen, 6) for name, part in parts.items()} | whole


@dataclass(frozen=True)
class _Grid:
    tile: Tile
    res: int

    def profile(self) -> dict[str, object]:
        """What rasterio needs to know of the grid."""
        box = self.tile.build_geobox(self.res)
        return {"height": box.height, "width": box.width, "crs": f"EPSG:{self.tile.epsg}", "transform": box.transform}


class _Raster:
    """A COG in the making: rows go into a plain tiled file, which `finish` turns into a COG."""

    def __init__(
        self, path: Path, grid: _Grid, dtype: str, bands: int, *, nodata: int = 0, colours: bool = False
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._plain, self._codes = path, path.with_suffix(".plain.tif"), dtype == "uint8"
        options = grid.profile() | ({"photometric": "MINISBLACK"} if bands > 1 else {})
        self._dst: DatasetWriter = rasterio.open(
            self._plain, "w", driver="GTiff", dtype=dtype, count=bands, nodata=nodata, tiled=True,
            blockxsize=512, blockysize=512, BIGTIFF="IF_SAFER", **options,
        )  # fmt: skip
        if colours:
            self._dst.write_colormap(1, {int(code): (*rgb, 255) for code, rgb in CLASS_COLOURS.items()})

    def write(self, part: UInt8 | UInt16, rows: slice) -> None:
        """Put (band, rows, x) in its place."""
        self._dst.write(part, window=Window(0, rows.start, self._dst.width, rows.stop - rows.start))

    def finish(self) -> None:
        """Make the COG: overviews by mode for codes, by average for measurements."""
        self._dst.close()
        copy(
            str(self._plain), str(self.path), driver="COG", COMPRESS="DEFLATE", LEVEL="4", BLOCKSIZE="512",
            PREDICTOR="NO" if self._codes else "YES", OVERVIEW_RESAMPLING="MODE" if self._codes else "AVERAGE",
            BIGTIFF="IF_SAFER",
        )  # fmt: skip
        self._plain.unlink()

    def drop(self) -> None:
        """Leave nothing behind."""
        self._dst.close()
        self._plain.unlink()


class _Files:
    """The rasters of one scene: four bands, SCL, and the truth's mask and cloud-free surface."""

    def __init__(self, out: Path, scene: Scene, grid: _Grid) -> None:
        self._folder = out / COLLECTION / scene.id
        truth = out / "truth" / scene.tile.name
        self._offset = scene.flight.offset
        self._bands = [_Raster(self._folder / FILES[name], grid, "uint16", 1) for name in BANDS]
        self._scl = _Raster(self._folder / "SCL.tif", grid, "uint8", 1)
        self._mask = _Raster(truth / f"{scene.id}.mask.tif", grid, "uint8", 1, nodata=Mask.NODATA)
        self._surface = _Raster(truth / f"surface-{scene.flight.date.isoformat()}.tif", grid, "uint16", 4)

    def write(self, slab: Slab, look: Look, offset: int) -> None:
        unseen = look.mask == Mask.NODATA
        for raster, image in zip(self._bands, look.image, strict=True):
            raster.write(_numbers(image, offset, unseen)[None], slab.rows)
        self._scl.write(_scl(slab.classes, look)[None], slab.rows)
        self._mask.write(look.mask[None], slab.rows)
        self._surface.write(_numbers(look.surface, 0, np.zeros((), bool)), slab.rows)

    def finish(self) -> None:
        for raster in (*self._bands, self._scl, self._mask, self._surface):
            raster.finish()
        _write_thumbnail(self._folder, self._offset)

    def drop(self) -> None:
        for raster in (*self._bands, self._scl, self._mask, self._surface):
            raster.drop()
        self._folder.rmdir()


def _numbers(reflectance: Float32, offset: int, unseen: Bool) -> UInt16:
    """Digital numbers of reflectance; 0 where unseen, never 0 elsewhere."""
    numbers: UInt16 = np.clip(np.rint(reflectance * np.float32(SCALE)) - np.float32(offset), 1, 65_535).astype(
        np.uint16
    )
    numbers[..., unseen] = 0
    return numbers


def _scl(classes: UInt8, look: Look) -> UInt8:
    """ESA's scene classification, from the truth: 0, 3, 4, 5, 6, 8, 9 and 10."""
    table = np.full(7, 5, np.uint8)
    table[LandCover.WATER], table[[LandCover.GRASS, LandCover.TREE]] = 6, 4
    out: UInt8 = table[classes]
    out[look.mask == Mask.SHADOW] = 3
    cloud = look.mask == Mask.CLOUD
    out[cloud] = np.select([look.thickness < THIN, look.thickness < MEDIUM], [10, 8], 9)[cloud]
    out[look.mask == Mask.NODATA] = 0
    return out


def _write_thumbnail(folder: Path, offset: int) -> None:
    """The scene as ESA's preview (PVI) shows it: 343 x 343 true-colour levels, black where there is no data."""
    parts = []
    for name in BANDS[:3]:
        with rasterio.open(folder / FILES[name]) as src:
            parts.append(src.read(1, out_shape=(PREVIEW, PREVIEW), resampling=Resampling.average, masked=True))
    numbers = np.ma.stack(parts)
    levels = compute_tci_levels((numbers.filled(0).astype(np.float32) + offset) / SCALE)
    levels[numbers.mask] = 0
    Image.fromarray(np.moveaxis(levels, 0, -1)).save(folder / "thumbnail.jpg", quality=90)


def _write_truth(out: Path, flights: Sequence[Pass], scenes: Sequence[Scene], made: Mapping[str, object]) -> None:
    """truth/truth.json: parameters, every pass with its sky, every scene with its true percentages."""
    record = {
        **made,
        "bands": list(BANDS),
        "passes": {
            flight.date.isoformat(): {
                "platform": flight.platform,
                "orbit": flight.orbit,
                "gain": flight.gain,
                "slope": flight.slope,
                "offset": flight.offset,
                "hazy": flight.sky.hazy,
                "sky": asdict(flight.sky),
            }
            for flight in flights
        },
        "scenes": {
            scene.id: {
                "tile": scene.tile.name,
                "date": scene.flight.date.isoformat(),
                "hazy": scene.flight.sky.hazy,
                **scene.percent,
            }
            for scene in sorted(scenes, key=lambda each: each.id)
        },
    }
    (out / "truth" / "truth.json").write_text(json.dumps(record, indent=1))


class _explained:  # noqa: N801 - reads as a word in `with`
    """Turn errors of the file system and of GDAL into ours."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, rasterio.errors.RasterioError | OSError):
            raise OutputError(
                f"cannot write the world under {self._out} ({error}): free space or take another folder"
            ) from error
