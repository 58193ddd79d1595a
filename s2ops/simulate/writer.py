"""Writer of a simulated world: a static STAC catalog of COGs in the layout of Earth Search, and the truth beside it."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from PIL import Image
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from s2ops.constants import BANDS, CLASS_COLOURS, Bool, Float32, LandCover, Mask, UInt8, UInt16
from s2ops.errors import ConfigError, OutputError, Translation, translate_errors
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.tone_curve import SCALE, compute_tci_levels
from s2ops.raster.cog import CogProfile, CogWriter
from s2ops.simulate.items import COLLECTION, SimulatedScene, format_scene_id, write_catalog, write_item
from s2ops.simulate.world import Observation, RenderedSlab, SatellitePass, plan_passes, render_slabs

BAND_FILES: Final = {"red": "B04.tif", "green": "B03.tif", "blue": "B02.tif", "nir": "B08.tif"}
"""Name of each band's file in the folder of a scene."""

THUMBNAIL_PX: Final = 343
"""Side of the thumbnail in pixels."""

MAX_CIRRUS_THICKNESS, MAX_MEDIUM_THICKNESS = 0.5, 1.5
"""Maximum optical thickness of SCL class 10 (cirrus) and of class 8 (medium probability); above is class 9."""

_NUMBERS: Final = CogProfile("YES", "AVERAGE", 0, compression="DEFLATE", level=4, dtype="uint16", gdal_overviews=True)
_CODES: Final = CogProfile("NO", "MODE", 0, compression="DEFLATE", level=4, gdal_overviews=True)
_MASK: Final = replace(_CODES, nodata=int(Mask.NODATA))
_CLASSES: Final = replace(_CODES, colours=CLASS_COLOURS)


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
    """Write a simulated world; equal arguments give equal bytes.

    A date has no item for a tile that lies outside the swath.

    Args:
        out: Folder; an earlier world in it is replaced.
        tiles: Tiles of the region.
        dates: Dates of the passes.
        res: Pixel size in metres: 10, 20, 60 or 120.
        seed: Seed of the world.
        cloudiness: Mean cloud cover, 0 to below 1.
        workers: Number of processes.
        progress: Called with the name of each finished tile.

    Returns:
        Path of catalog.json.

    Raises:
        ConfigError: If tiles or dates are missing, or `cloudiness` is out of range.
        OutputError: If the disk is full or read-only.
    """
    if not tiles or not dates:
        raise ConfigError(f"Cannot simulate {len(tiles)} tiles on {len(dates)} dates: give at least one of each.")
    if not 0 <= cloudiness < 1:
        raise ConfigError(f"Invalid cloudiness {cloudiness}: give a fraction from 0 to below 1, such as 0.35.")
    ordered = sorted(set(tiles))
    flights = plan_passes(ordered, dates, seed, cloudiness)
    for part in (COLLECTION, "truth"):
        shutil.rmtree(out / part, ignore_errors=True)
    jobs = [(out, tile, flights, res, seed) for tile in ordered]
    found: list[SimulatedScene] = []
    if workers == 1:
        for job in jobs:
            found += _write_tile(*job)
            progress(job[1].name)
    else:
        # spawn: forking a process that has loaded GDAL is not safe
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for job, scenes in zip(jobs, pool.map(_write_tile, *zip(*jobs, strict=True)), strict=True):
                found += scenes
                progress(job[1].name)
    _write_truth(out, flights, found, {"seed": seed, "res": res, "cloudiness": cloudiness})
    return write_catalog(out, found)


def _write_tile(out: Path, tile: Tile, flights: Sequence[SatellitePass], res: int, seed: int) -> list[SimulatedScene]:
    """Render one tile and write all its files; return the scenes with data."""
    counts = [_PixelCounts() for _ in flights]
    scenes = [SimulatedScene(tile, flight, res, format_scene_id(tile, flight)) for flight in flights]
    truth = out / "truth" / tile.name
    with _translate_write_errors(out):
        truth.mkdir(parents=True, exist_ok=True)
        classes = CogWriter(truth / "classes.tif", tile.build_geobox(res), [""], _CLASSES)
        files = [_SceneFiles(out, scene) for scene in scenes]
        for slab in render_slabs(tile, flights, res, seed):
            classes.write(slab.classes[None])
            for observation, file, count in zip(slab.observations, files, counts, strict=True):
                file.write(slab, observation)
                count.add(observation.mask, slab.classes)
        classes.finish()
        seen = []
        for scene, file, count in zip(scenes, files, counts, strict=True):
            if count.seen:
                file.finish()
                seen.append(scene.replace_percentages(count.percentages))
                write_item(out, seen[-1])
            else:
                file.discard()
    return seen


class _PixelCounts:
    """Counts of the pixels of a scene by mask code and by class."""

    def __init__(self) -> None:
        self.masks = np.zeros(256, np.int64)
        self.classes = np.zeros(7, np.int64)

    def add(self, mask: UInt8, classes: UInt8) -> None:
        self.masks += np.bincount(mask.ravel(), minlength=256)
        self.classes += np.bincount(classes[mask == Mask.CLEAR], minlength=7)

    @property
    def seen(self) -> int:
        return int(self.masks.sum() - self.masks[Mask.NODATA])

    @property
    def percentages(self) -> dict[str, float]:
        """Percentages of the pixels with data; for nodata, of the whole tile."""
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


class _SceneFiles:
    """Rasters of one scene: four bands, SCL, true mask and cloud-free surface."""

    def __init__(self, out: Path, scene: SimulatedScene) -> None:
        self._folder = out / COLLECTION / scene.id
        self._folder.mkdir(parents=True, exist_ok=True)
        truth, grid = out / "truth" / scene.tile.name, scene.tile.build_geobox(scene.res)
        self._offset = scene.flight.offset
        self._bands = [CogWriter(self._folder / BAND_FILES[name], grid, [""], _NUMBERS) for name in BANDS]
        self._scl = CogWriter(self._folder / "SCL.tif", grid, [""], _CODES)
        self._mask = CogWriter(truth / f"{scene.id}.mask.tif", grid, [""], _MASK)
        surface = truth / f"surface-{scene.flight.date.isoformat()}.tif"
        self._surface = CogWriter(surface, grid, [""] * len(BANDS), _NUMBERS)

    def write(self, slab: RenderedSlab, observation: Observation) -> None:
        """Add the next rows."""
        unseen = observation.mask == Mask.NODATA
        for raster, image in zip(self._bands, observation.image, strict=True):
            raster.write(_to_digital_numbers(image, self._offset, unseen)[None])
        self._scl.write(_classify_scl(slab.classes, observation)[None])
        self._mask.write(observation.mask[None])
        self._surface.write(_to_digital_numbers(observation.surface, 0, np.zeros((), bool)))

    def finish(self) -> None:
        """Finish all COGs and write the thumbnail."""
        for raster in (*self._bands, self._scl, self._mask, self._surface):
            raster.finish()
        _write_thumbnail(self._folder, self._offset)

    def discard(self) -> None:
        """Delete all files: the swath misses the tile."""
        for raster in (*self._bands, self._scl, self._mask, self._surface):
            raster.discard()
        self._folder.rmdir()


def _to_digital_numbers(reflectance: Float32, offset: int, unseen: Bool) -> UInt16:
    """Convert reflectance to digital numbers: 0 outside the swath, at least 1 inside."""
    numbers: UInt16 = np.clip(np.rint(reflectance * np.float32(SCALE)) - np.float32(offset), 1, 65_535).astype(
        np.uint16
    )
    numbers[..., unseen] = 0
    return numbers


def _classify_scl(classes: UInt8, observation: Observation) -> UInt8:
    """Classify the truth by the codes of ESA's scene classification (SCL): 0, 3, 4, 5, 6, 8, 9 and 10."""
    table = np.full(7, 5, np.uint8)
    table[LandCover.WATER], table[[LandCover.GRASS, LandCover.TREE]] = 6, 4
    out: UInt8 = table[classes]
    out[observation.mask == Mask.SHADOW] = 3
    cloud = observation.mask == Mask.CLOUD
    out[cloud] = np.select(
        [observation.thickness < MAX_CIRRUS_THICKNESS, observation.thickness < MAX_MEDIUM_THICKNESS], [10, 8], 9
    )[cloud]
    out[observation.mask == Mask.NODATA] = 0
    return out


def _write_thumbnail(folder: Path, offset: int) -> None:
    """Write the scene as a thumbnail like ESA's preview (PVI): 343 x 343 true-colour levels; nodata is black."""
    parts = []
    for name in BANDS[:3]:
        with rasterio.open(folder / BAND_FILES[name]) as src:
            parts.append(
                src.read(1, out_shape=(THUMBNAIL_PX, THUMBNAIL_PX), resampling=Resampling.average, masked=True)
            )
    numbers = np.ma.stack(parts)
    levels = compute_tci_levels((numbers.filled(0).astype(np.float32) + offset) / SCALE)
    levels[numbers.mask] = 0
    Image.fromarray(np.moveaxis(levels, 0, -1)).save(folder / "thumbnail.jpg", quality=90)


def _write_truth(
    out: Path, flights: Sequence[SatellitePass], scenes: Sequence[SimulatedScene], parameters: Mapping[str, object]
) -> None:
    """Write truth/truth.json: parameters, all passes with their skies, all scenes with their true percentages."""
    record = {
        **parameters,
        "bands": list(BANDS),
        "passes": {
            flight.date.isoformat(): {
                "platform": flight.platform,
                "orbit": flight.orbit,
                "gain": flight.gain,
                "slope": flight.slope,
                "offset": flight.offset,
                "hazy": flight.sky.is_hazy,
                "sky": asdict(flight.sky),
            }
            for flight in flights
        },
        "scenes": {
            scene.id: {
                "tile": scene.tile.name,
                "date": scene.flight.date.isoformat(),
                "hazy": scene.flight.sky.is_hazy,
                **scene.percent,
            }
            for scene in sorted(scenes, key=lambda each: each.id)
        },
    }
    (out / "truth" / "truth.json").write_text(json.dumps(record, indent=1))


def _translate_write_errors(out: Path) -> AbstractContextManager[None]:
    """Translate errors of the file system and of GDAL."""
    remedy = "free space, or choose another folder"
    return translate_errors(f"Cannot write the world {out}", Translation((RasterioError, OSError), OutputError, remedy))
