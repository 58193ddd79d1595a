"""One scene of one tile: its bands read, its mask made, both put beside a record that says what they are."""

from dataclasses import asdict
from math import ceil

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.acquisition.cloud_mask import DEFAULT
from s2ops.acquisition.row_prefetch import Arriving
from s2ops.acquisition.tiled_cloud_mask import whole_mask
from s2ops.raster.gdal_env import to_gdal_path
from s2ops.catalog.signing import sign
from s2ops.catalog.scene import Scene
from s2ops.constants import BANDS, Mask, UInt8
from s2ops.errors import SceneOutsideTile
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.tone_curve import convert_bands_to_levels
from s2ops.raster.cog import IMAGERY, MASK
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import BandFile, slabs
from s2ops.records import SceneRecord
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint

VERSION = 5

_FRINGE_M = 1500
"""Width of the coloured fringe at a swath's edge, where the bands' detectors end apart: 1.1 km seen at Zagreb."""


def make_scene(ctx: RunContext, tile: Tile, scene: Scene) -> SceneRecord:
    """Write ID.tif and ID.mask.tif, then ID.json; what stands already is only read.

    Raises RasterError for a scene that cannot be used: a band missing, broken, or on another grid.
    """
    weights = ctx.load_weights_info("scene-cloud").sha256
    facts = (scene.id, scene.processed, scene.offset, ctx.res, asdict(DEFAULT), weights)
    mark = DoneMarker(layout.scene(tile.name, scene.id), compute_fingerprint("scene", VERSION, *facts))
    if mark.is_current(ctx.store):
        data = ctx.store.get(mark.key)
        return SceneRecord.read(data or b"", mark.key)
    geobox = ctx.build_geobox(tile)
    rows, width = _arriving(scene, geobox, ctx.res), geobox.width
    seen = False
    with open_raster_writer(ctx.store, geobox) as made:
        image_file = made.file("image", BANDS, IMAGERY, {**build_imagery_tags(), "S2OPS_SCENE": scene.id})
        mask_file = made.file("mask", ["mask"], MASK)

        def levels(top: int, end: int) -> UInt8:
            """The next rows, which are written on their way to the network that classifies them."""
            nonlocal seen
            part = rows.read(top, end)
            image_file.write(part)
            seen |= bool(part.any())
            return part

        mask = whole_mask(ctx.open_segmenter("scene-cloud"), levels, geobox.height, width, ctx.res)
        if not seen:
            raise SceneOutsideTile(f"{scene.id} holds no data over {tile.name}: the swath misses it")
        for part in slabs(geobox.height):
            mask_file.write(mask[None, part])
        image_sha256, mask_sha256 = made.put(
            {layout.image(tile.name, scene.id): image_file, layout.mask(tile.name, scene.id): mask_file}, ctx.threads
        )
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
    ctx.store.put(mark.key, record.write())
    return record


def _arriving(scene: Scene, geobox: GeoBox, res: int) -> Arriving:
    """(4, y, x) levels of the tile, read ahead of whoever asks."""
    hrefs = scene.band_hrefs
    files = [BandFile(to_gdal_path(sign(hrefs[band])), f"band {band} of {scene.id}") for band in BANDS]

    def read(rows: slice) -> UInt8:
        levels = np.empty((len(BANDS), rows.stop - rows.start, geobox.width), np.uint8)
        with configure_gdal():
            for file, out in zip(files, levels, strict=True):
                convert_bands_to_levels(file.read(geobox, rows), scene.offset, out)
        return levels

    return Arriving(read, slabs(geobox.height), ceil(_FRINGE_M / res))
