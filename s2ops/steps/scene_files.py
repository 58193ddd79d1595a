"""One scene of one tile: its bands read, its mask made, both put beside a record that says what they are."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from math import ceil

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops import keys
from s2ops.access import gdal_path, sign
from s2ops.codes import BANDS, Mask, UInt8
from s2ops.cog import IMAGERY, MASK
from s2ops.errors import RasterError
from s2ops.grid import Tile
from s2ops.job import Job
from s2ops.marker import Marker, fingerprint
from s2ops.masking import whole_mask
from s2ops.masks import DEFAULT
from s2ops.outputs import imagery_tags, publisher
from s2ops.radiometry import band_levels, settle_bands
from s2ops.raster import BandFile, gdal_env, slabs
from s2ops.records import SceneRecord
from s2ops.scene import Scene

VERSION = 4

_FRINGE_M = 1500
"""Width of the coloured fringe at a swath's edge, where the bands' detectors end apart: 1.1 km seen at Zagreb."""


def make_scene(job: Job, tile: Tile, scene: Scene) -> SceneRecord:
    """Write ID.tif and ID.mask.tif, then ID.json; what stands already is only read.

    Raises RasterError for a scene that cannot be used: a band missing, broken, or on another grid.
    """
    weights = job.model("scene-cloud").sha256
    facts = (scene.id, scene.processed, scene.offset, job.res, asdict(DEFAULT), weights)
    mark = Marker(keys.scene(tile.name, scene.id), fingerprint("scene", VERSION, *facts))
    if mark.stands_in(job.store):
        data = job.store.get(mark.key)
        return SceneRecord.read(data or b"", mark.key)
    geobox = job.geobox(tile)
    levels = _read(scene, geobox, job.res, job.threads)
    if not levels.any():
        raise RasterError(f"{scene.id} holds no data over {tile.name}: the swath misses it")
    mask = whole_mask(
        job.segmenter("scene-cloud"), lambda top, end: levels[:, top:end], geobox.height, geobox.width, job.res
    )
    with publisher(job.store, geobox) as made:
        image_file = made.file("image", BANDS, IMAGERY, {**imagery_tags(), "S2OPS_SCENE": scene.id})
        mask_file = made.file("mask", ["mask"], MASK)
        for rows in slabs(geobox.height):
            image_file.write(levels[:, rows])
            mask_file.write(mask[None, rows])
        image_sha256 = made.put(keys.image(tile.name, scene.id), image_file)
        mask_sha256 = made.put(keys.mask(tile.name, scene.id), mask_file)
    # in slabs: bincount makes 8 bytes of each pixel, a gigabyte for a whole tile
    counts = np.sum([np.bincount(mask[rows].ravel(), minlength=256) for rows in slabs(geobox.height)], axis=0)
    part = counts / mask.size
    record = SceneRecord(
        id=scene.id,
        datetime=scene.datetime.isoformat(),
        platform=scene.platform,
        image_sha256=image_sha256,
        mask_sha256=mask_sha256,
        clear=float(part[Mask.CLEAR]),
        cloud=float(part[Mask.CLOUD]),
        shadow=float(part[Mask.SHADOW]),
        nodata=float(part[Mask.NODATA]),
        fingerprint=mark.fingerprint,
    )
    job.store.put(mark.key, record.write())
    return record


def _read(scene: Scene, geobox: GeoBox, res: int, threads: int) -> UInt8:
    """(4, y, x) levels of the whole tile: 482 MB at full size, the only whole raster that a step holds."""
    hrefs = scene.band_hrefs
    files = [BandFile(gdal_path(sign(hrefs[band])), f"band {band} of {scene.id}") for band in BANDS]
    levels = np.empty((len(BANDS), *geobox.shape), np.uint8)

    def read(rows: slice) -> None:
        with gdal_env():
            numbers = np.stack([file.read(geobox, rows) for file in files])
        levels[:, rows] = band_levels(numbers, scene.offset)

    with ThreadPoolExecutor(max(threads, 2)) as pool:
        list(pool.map(read, slabs(geobox.height)))
    settle_bands(levels, ceil(_FRINGE_M / res))
    return levels
