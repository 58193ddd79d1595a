"""Acquisition of one scene of a tile: bands read and converted to levels, cloud mask predicted, both stored as COGs."""

from math import ceil

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.acquisition.cloud_mask import DEFAULT_PARAMS
from s2ops.acquisition.row_prefetch import RowPrefetcher
from s2ops.acquisition.tiled_cloud_mask import predict_cloud_mask
from s2ops.catalog.scene import Scene
from s2ops.catalog.signing import sign
from s2ops.constants import BANDS, Mask, UInt8
from s2ops.errors import SceneOutsideTile
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.tone_curve import convert_bands_to_levels
from s2ops.raster.cog import IMAGERY, MASK
from s2ops.raster.gdal_env import configure_gdal, to_gdal_path
from s2ops.raster.reader import BandFile, split_rows
from s2ops.records import SceneRecord
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint

VERSION = 5

_FRINGE_M = 1500
"""Width of the coloured fringe at a swath's edge, where the bands' detectors end apart; 1.1 km was seen at Zagreb."""


def acquire_scene(ctx: RunContext, tile: Tile, scene: Scene) -> SceneRecord:
    """Write ID.tif and ID.mask.tif of a scene, then ID.json; if they are current, only read the record.

    Raises:
        RasterError: If the scene cannot be used: a band is missing, broken, or on another grid.
    """
    weights = ctx.load_weights_info("scene-cloud").sha256
    facts = (scene.id, scene.processed, scene.offset, ctx.res, DEFAULT_PARAMS.to_facts(), weights)
    marker = DoneMarker(layout.SceneKeys(tile.name, scene.id).record, compute_fingerprint("scene", VERSION, *facts))
    if marker.is_current(ctx.store):
        data = ctx.store.get(marker.key)
        return SceneRecord.read(data or b"", marker.key)
    geobox = ctx.build_geobox(tile)
    rows, width = _prefetch_levels(scene, geobox, ctx.res), geobox.width
    has_data = False
    with open_raster_writer(ctx.store, geobox) as writer:
        image_file = writer.create_file("image", BANDS, IMAGERY, {**build_imagery_tags(), "S2OPS_SCENE": scene.id})
        mask_file = writer.create_file("mask", ["mask"], MASK)

        def read_levels(top: int, end: int) -> UInt8:
            """Read the next rows, and write them before the mask network gets them."""
            nonlocal has_data
            part = rows.read(top, end)
            image_file.write(part)
            has_data |= bool(part.any())
            return part

        mask = predict_cloud_mask(ctx.open_segmenter("scene-cloud"), read_levels, geobox.height, width, ctx.res)
        if not has_data:
            raise SceneOutsideTile(f"{scene.id} contains no data over {tile.name}: the swath does not cover the tile.")
        for part in split_rows(geobox.height):
            mask_file.write(mask[None, part])
        image_sha256, mask_sha256 = writer.put(
            {
                layout.SceneKeys(tile.name, scene.id).image: image_file,
                layout.SceneKeys(tile.name, scene.id).mask: mask_file,
            },
            ctx.threads,
        )
    # in slabs: bincount takes 8 bytes per pixel, a gigabyte for a whole tile
    counts = np.sum([np.bincount(mask[rows].ravel(), minlength=256) for rows in split_rows(geobox.height)], axis=0)
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
        fingerprint=marker.fingerprint,
    )
    ctx.store.put(marker.key, record.write())
    return record


def _prefetch_levels(scene: Scene, geobox: GeoBox, res: int) -> RowPrefetcher:
    """Read the levels (4, y, x) of a tile ahead of their use, in background threads."""
    hrefs = scene.band_hrefs
    files = [BandFile(to_gdal_path(sign(hrefs[band])), f"band {band} of {scene.id}") for band in BANDS]

    def read(rows: slice) -> UInt8:
        levels = np.empty((len(BANDS), rows.stop - rows.start, geobox.width), np.uint8)
        with configure_gdal():
            for file, out in zip(files, levels, strict=True):
                convert_bands_to_levels(file.read(geobox, rows), scene.offset, out)
        return levels

    return RowPrefetcher(read, split_rows(geobox.height), ceil(_FRINGE_M / res))
