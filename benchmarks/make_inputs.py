"""Deterministic synthetic inputs of any size for the benchmarks: COGs and records as the earlier steps write them.

The ground consists of smooth materials, parcels and pixel noise. It is a function of position alone, so overlapping
tiles show the same ground. Scenes add haze, their own noise, clouds and shadows (30 % of a scene is not clear); tiles
add gains.
"""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from s2ops import config
from s2ops.constants import BANDS, Float32, Float64, Mask, UInt8
from s2ops.geo.mgrs_tiles import Tile, parse_tile
from s2ops.imaging.interpolation import interpolate_bilinear
from s2ops.imaging.tone_curve import apply_tone_curve, invert_tone_curve
from s2ops.publishing import stac_item
from s2ops.raster.cog import CODES, IMAGERY, MASK
from s2ops.raster.reader import split_rows
from s2ops.records import AcquiredScene, AcquireRecord
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.runtime.malloc import limit_malloc_arenas
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json

TILE = "33TWL"
SQUARE = ("33TWL", "33TWM", "33TXL", "33TXM")
"""Two by two tiles of one UTM zone."""

GAINS = np.array([(1.05, 0.97, 0.92, 1.10), (0.90, 1.0, 1.03, 0.95), (1.12, 1.08, 1.0, 0.9), (0.97, 0.92, 1.1, 1.04)])
"""Factors on reflectance (tile, band)."""

CANVAS_M = 216_000
"""Side of the ground in metres: more than two tiles."""


def create_context(folder: Path, names: tuple[str, ...], res: int, threads: int, method: str = "recent") -> RunContext:
    """Create the context of a run over the inputs in `folder`, with one composite method."""
    limit_malloc_arenas()  # as the s2ops command does
    text = (
        f"region: {{tiles: [{', '.join(names)}]}}\ndates: {{start: 2023-08-01, end: 2023-08-31}}\n"
        f"resolution: {res}\nout: {folder}\ncomposite: {{rule: {method}}}\n"
    )
    return RunContext(
        config.parse_config(text, "benchmark"), tuple(parse_tile(name) for name in sorted(names)), threads
    )


@cache
def _draw_nodes(seed: int, step_m: float, spread: float) -> Float32:
    """Draw normally distributed nodes `step_m` metres apart: (4, n, n)."""
    count = int(CANVAS_M / step_m) + 2
    return np.random.default_rng(seed).normal(0, spread, (4, count, count)).astype(np.float32)


@cache
def _draw_noise(seed: int) -> Float32:
    return np.random.default_rng(seed).normal(0, 1.6, (4, 1021, 2039)).astype(np.float32)


def _sample_noise(seed: int, y: Float64, x: Float64) -> Float32:
    """Return pixel noise by position; its period is longer than the window of a compressor."""
    rows, cols = y.astype(np.int64) % 1021, x.astype(np.int64) % 2039
    return _draw_noise(seed)[:, rows][:, :, cols]


def sample_smooth_field(seed: int, step_m: float, spread: float, y: Float64, x: Float64, res: int) -> Float32:
    """Return a smooth random field (4, y, x) at the pixels `y`, `x` of the canvas."""
    nodes = _draw_nodes(seed, step_m, spread)
    return np.stack([interpolate_bilinear(band, y * res / step_m, x * res / step_m) for band in nodes])


def sample_ground(y: Float64, x: Float64, res: int) -> Float32:
    """Return the levels of the ground (4, y, x) at the pixels `y`, `x` of the canvas."""
    parcels = _draw_nodes(2, 320, 7.0)
    rows, cols = ((part * res / 320).astype(np.int64) for part in (y, x))
    return 95 + sample_smooth_field(1, 6_000, 12.0, y, x, res) + parcels[:, rows][:, :, cols] + _sample_noise(3, y, x)


def _draw_clouds(seed: int) -> tuple[Float32, float]:
    """Draw nodes 100 m apart; also return the threshold above which they are cloud, a quarter of all nodes."""
    dice = np.random.default_rng(seed)
    nodes = gaussian_filter(dice.normal(size=(1100, 1100)), 30) * 6 + gaussian_filter(dice.normal(size=(1100, 1100)), 5)
    return nodes.astype(np.float32), float(np.quantile(nodes, 0.75))


def write_scenes(folder: Path, res: int, count: int) -> None:
    """Write the acquired scenes of one tile and their record, unless the record exists."""
    ctx = create_context(folder, (TILE,), res, 1)
    if ctx.store.has_key(layout.TileKeys(TILE).acquired):
        return
    scenes = tuple(_write_scene(ctx, number) for number in range(count))
    record = AcquireRecord(tile=TILE, scenes=scenes, left_out=(), holes=0.0, stop="covered", fingerprint="benchmark")
    ctx.store.put(layout.TileKeys(TILE).acquired, record.write())


def _write_scene(ctx: RunContext, number: int) -> AcquiredScene:
    name, geobox, res = f"S2A_{TILE}_202308{20 - 3 * number:02}_0_L2A", ctx.build_geobox(parse_tile(TILE)), ctx.res
    keys = layout.SceneKeys(TILE, name)
    nodes, limit = _draw_clouds(100 + number)
    x = np.arange(geobox.width, dtype=np.float64)
    clear = 0
    with open_raster_writer(ctx.store, geobox) as writer:
        image = writer.create_file("image", BANDS, IMAGERY, build_imagery_tags())
        mask_file = writer.create_file("mask", ["mask"], MASK)
        for rows in split_rows(geobox.height):
            y = np.arange(rows.start, rows.stop, dtype=np.float64)
            cloud, shade = (
                interpolate_bilinear(nodes, (y + shift) * res / 100, (x + shift) * res / 100) > limit
                for shift in (0, 300 / res)
            )
            mask = np.where(cloud, Mask.CLOUD, np.where(shade, Mask.SHADOW, Mask.CLEAR)).astype(np.uint8)
            levels = sample_ground(y, x, res) + sample_smooth_field(20 + number, 30_000, 3.0, y, x, res) + 2 * number
            levels += 0.5 * _sample_noise(40 + number, y, x)
            levels = np.where(cloud, 230 + _sample_noise(60, y, x), np.where(shade, levels - 40, levels))
            if number == 1:  # a swath that misses the lower left corner
                mask[(y[:, None] - 1.3 * x) > 0.55 * geobox.height] = Mask.NODATA
            pixels: UInt8 = np.clip(np.rint(levels), 1, 255).astype(np.uint8)
            pixels[:, mask == Mask.NODATA] = 0
            image.write(pixels)
            mask_file.write(mask[None])
            clear += int(np.count_nonzero(mask == Mask.CLEAR))
        image_sha256, mask_sha256 = writer.put({keys.image: image, keys.mask: mask_file}, 2)
    part = clear / (geobox.height * geobox.width)
    return AcquiredScene(
        id=name, datetime=f"2023-08-{20 - 3 * number:02}T10:00:00+00:00", platform="sentinel-2a", clear=part,
        image_sha256=image_sha256, mask_sha256=mask_sha256, cloud=1 - part, shadow=0.0, nodata=0.0, fingerprint=name,
        added=0.0, haze=0.0,
    )  # fmt: skip


def write_composites(folder: Path, res: int, ramp: float) -> None:
    """Write the composites of 2 x 2 tiles with their items, unless they exist.

    Each tile is multiplied by its `GAINS` and by an illumination gradient of +- `ramp`.
    """
    ctx = create_context(folder, SQUARE, res, 1)
    for number, tile in enumerate(ctx.tiles):
        if not ctx.store.has_key(layout.TileKeys(tile.name).get_item("composite")):
            _write_composite(ctx, tile, number, ramp)


def compute_offset(tile: Tile, res: int) -> tuple[int, int]:
    """Return row and column of the tile's first pixel on the canvas; the canvas starts at the square's corner."""
    corner, first = parse_tile("33TWM").build_geobox(res).transform, tile.build_geobox(res).transform
    return round((corner.f - first.f) / res), round((first.c - corner.c) / res)


def _write_composite(ctx: RunContext, tile: Tile, number: int, ramp: float) -> None:
    geobox, keys, (top, left) = ctx.build_geobox(tile), layout.TileKeys(tile.name), compute_offset(tile, ctx.res)
    gains = GAINS[number][:, None, None].astype(np.float32)
    x = np.arange(geobox.width, dtype=np.float64)
    with open_raster_writer(ctx.store, geobox) as writer:
        image = writer.create_file("composite", BANDS, IMAGERY, build_imagery_tags())
        provenance = writer.create_file("provenance", ["scene"], CODES)
        for rows in split_rows(geobox.height):
            y = np.arange(rows.start, rows.stop, dtype=np.float64)
            levels = np.clip(np.rint(sample_ground(y + top, x + left, ctx.res)), 1, 255).astype(np.uint8)
            light = 1 + ramp * (2 * y / geobox.height - 1)[:, None] + ramp * (2 * x / geobox.width - 1)
            bright = invert_tone_curve(levels) * light.astype(np.float32) * gains
            image.write(np.clip(np.rint(apply_tone_curve(bright)), 1, 255).astype(np.uint8))
            provenance.write(np.ones((1, *levels.shape[1:]), np.uint8))
        files = {
            keys.get_raster("composite", "composite"): image,
            keys.get_raster("composite", "provenance"): provenance,
        }
        image_sha256, provenance_sha256 = writer.put(files, 2)
    assets = {
        "composite": stac_item.build_imagery_asset("composite.tif", image_sha256),
        "provenance": stac_item.build_provenance_asset("provenance.tif", provenance_sha256, [f"S2A_{tile.name}"]),
    }
    properties = {
        "s2ops:fingerprint": image_sha256,
        "s2ops:scenes": [{"id": f"S2A_{tile.name}", "date": "2023-08-20", "tile": tile.name}],
    }
    day = datetime(2023, 8, 20, tzinfo=UTC)
    item = stac_item.build_tile_item("composite", tile.name, geobox, (day, day), assets, properties)
    ctx.store.put(keys.get_item("composite"), to_json(item))
