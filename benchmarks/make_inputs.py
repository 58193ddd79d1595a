"""Deterministic inputs of any size for the benchmarks, as the steps before would have left them: our COGs and records.

Smooth materials, parcels and pixel noise make the ground, a function of position alone, so overlapping tiles show the
same. Scenes add haze, their own noise, clouds and shadows (30 % of a scene is not clear); tiles add gains.
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
from s2ops.runtime.malloc import keep_small
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json

TILE = "33TWL"
SQUARE = ("33TWL", "33TWM", "33TXL", "33TXM")
"""Two by two tiles of one UTM zone."""

GAINS = np.array([(1.05, 0.97, 0.92, 1.10), (0.90, 1.0, 1.03, 0.95), (1.12, 1.08, 1.0, 0.9), (0.97, 0.92, 1.1, 1.04)])
"""Per tile and band; on reflectance."""

CANVAS = 216_000
"""Metres: the ground's extent, more than two tiles."""


def job(folder: Path, names: tuple[str, ...], res: int, threads: int, rule: str = "recent") -> RunContext:
    """A job over the inputs in `folder`."""
    keep_small()  # as the command does
    text = (
        f"region: {{tiles: [{', '.join(names)}]}}\ndates: {{start: 2023-08-01, end: 2023-08-31}}\n"
        f"resolution: {res}\nout: {folder}\ncomposite: {{rule: {rule}}}\n"
    )
    return RunContext(config.parse(text, "benchmark"), tuple(parse_tile(name) for name in sorted(names)), threads)


@cache
def _lattice(seed: int, step: float, spread: float) -> Float32:
    """(4, n, n) random nodes `step` metres apart."""
    count = int(CANVAS / step) + 2
    return np.random.default_rng(seed).normal(0, spread, (4, count, count)).astype(np.float32)


@cache
def _noise(seed: int) -> Float32:
    return np.random.default_rng(seed).normal(0, 1.6, (4, 1021, 2039)).astype(np.float32)


def _grain(seed: int, y: Float64, x: Float64) -> Float32:
    """Pixel noise by position; its period is longer than a compressor remembers."""
    rows, cols = y.astype(np.int64) % 1021, x.astype(np.int64) % 2039
    return _noise(seed)[:, rows][:, :, cols]


def smooth(seed: int, step: float, spread: float, y: Float64, x: Float64, res: int) -> Float32:
    """(4, y, x) smooth random field at pixels `y`, `x` of the canvas."""
    nodes = _lattice(seed, step, spread)
    return np.stack([interpolate_bilinear(band, y * res / step, x * res / step) for band in nodes])


def ground(y: Float64, x: Float64, res: int) -> Float32:
    """(4, y, x) levels of the ground at pixels of the canvas."""
    parcels = _lattice(2, 320, 7.0)
    rows, cols = ((part * res / 320).astype(np.int64) for part in (y, x))
    return 95 + smooth(1, 6_000, 12.0, y, x, res) + parcels[:, rows][:, :, cols] + _grain(3, y, x)


def _clouds(seed: int) -> tuple[Float32, float]:
    """Nodes 100 m apart and the value above which they are cloud, a quarter of all."""
    dice = np.random.default_rng(seed)
    nodes = gaussian_filter(dice.normal(size=(1100, 1100)), 30) * 6 + gaussian_filter(dice.normal(size=(1100, 1100)), 5)
    return nodes.astype(np.float32), float(np.quantile(nodes, 0.75))


def scenes(folder: Path, res: int, count: int) -> None:
    """The acquired scenes of one tile and their record; nothing where they are there already."""
    work = ctx(folder, (TILE,), res, 1)
    if work.store.has_key(layout.TileKeys(TILE).acquired):
        return
    made = tuple(_scene(work, number) for number in range(count))
    record = AcquireRecord(tile=TILE, scenes=made, left_out=(), holes=0.0, stop="covered", fingerprint="benchmark")
    work.store.put(layout.TileKeys(TILE).acquired, record.write())


def _scene(work: RunContext, number: int) -> AcquiredScene:
    name, geobox, res = f"S2A_{TILE}_202308{20 - 3 * number:02}_0_L2A", work.geobox(parse_tile(TILE)), work.res
    nodes, limit = _clouds(100 + number)
    x = np.arange(geobox.width, dtype=np.float64)
    clear = 0
    with open_raster_writer(work.store, geobox) as out:
        image, mask_file = out.create_file("image", BANDS, IMAGERY, build_imagery_tags()), out.create_file("mask", ["mask"], MASK)
        for rows in split_rows(geobox.height):
            y = np.arange(rows.start, rows.stop, dtype=np.float64)
            cloud, shade = (
                interpolate_bilinear(nodes, (y + shift) * res / 100, (x + shift) * res / 100) > limit for shift in (0, 300 / res)
            )
            mask = np.where(cloud, Mask.CLOUD, np.where(shade, Mask.SHADOW, Mask.CLEAR)).astype(np.uint8)
            levels = ground(y, x, res) + smooth(20 + number, 30_000, 3.0, y, x, res) + 2 * number
            levels += 0.5 * _grain(40 + number, y, x)
            levels = np.where(cloud, 230 + _grain(60, y, x), np.where(shade, levels - 40, levels))
            if number == 1:  # a swath that misses the lower left corner
                mask[(y[:, None] - 1.3 * x) > 0.55 * geobox.height] = Mask.NODATA
            pixels: UInt8 = np.clip(np.rint(levels), 1, 255).astype(np.uint8)
            pixels[:, mask == Mask.NODATA] = 0
            image.write(pixels)
            mask_file.write(mask[None])
            clear += int(np.count_nonzero(mask == Mask.CLEAR))
        image_sha256, mask_sha256 = out.put({layout.SceneKeys(TILE, name).image: image, layout.SceneKeys(TILE, name).mask: mask_file}, 2)
    part = clear / (geobox.height * geobox.width)
    return AcquiredScene(
        id=name, datetime=f"2023-08-{20 - 3 * number:02}T10:00:00+00:00", platform="sentinel-2a", clear=part,
        image_sha256=image_sha256, mask_sha256=mask_sha256, cloud=1 - part, shadow=0.0, nodata=0.0, fingerprint=name,
        added=0.0, haze=0.0,
    )  # fmt: skip


def square(folder: Path, res: int, ramp: float) -> None:
    """The composites of 2 x 2 tiles, gains of `GAINS` and a ramp of +- `ramp` inside each tile, with their items."""
    work = ctx(folder, SQUARE, res, 1)
    for number, one in enumerate(work.tiles):
        if not work.store.has_key(layout.TileKeys(one.name).get_item("composite")):
            _composite(work, one, number, ramp)


def offset(one: Tile, res: int) -> tuple[int, int]:
    """Row and column of the tile's first pixel on the canvas, whose corner is that of the square."""
    here, west, north = one.build_geobox(res).transform, parse_tile("33TWM").build_geobox(res), parse_tile("33TWM").build_geobox(res)
    return round((north.transform.f - here.f) / res), round((here.c - west.transform.c) / res)


def _composite(work: RunContext, one: Tile, number: int, ramp: float) -> None:
    geobox, (top, left) = work.geobox(one), offset(one, work.res)
    x = np.arange(geobox.width, dtype=np.float64)
    with open_raster_writer(work.store, geobox) as out:
        image, origin = out.create_file("composite", BANDS, IMAGERY, build_imagery_tags()), out.create_file("provenance", ["scene"], CODES)
        for rows in split_rows(geobox.height):
            y = np.arange(rows.start, rows.stop, dtype=np.float64)
            levels = np.clip(np.rint(ground(y + top, x + left, work.res)), 1, 255).astype(np.uint8)
            light = 1 + ramp * (2 * y / geobox.height - 1)[:, None] + ramp * (2 * x / geobox.width - 1)
            bright = invert_tone_curve(levels) * light.astype(np.float32) * GAINS[number][:, None, None].astype(np.float32)
            image.write(np.clip(np.rint(apply_tone_curve(bright)), 1, 255).astype(np.uint8))
            origin.write(np.ones((1, *levels.shape[1:]), np.uint8))
        made = {layout.TileKeys(one.name).get_raster("composite", "composite"): image}
        made[layout.TileKeys(one.name).get_raster("composite", "provenance")] = origin
        image_sha256, origin_sha256 = out.put(made, 2)
    assets = {
        "composite": stac_item.build_imagery_asset("composite.tif", image_sha256),
        "provenance": stac_item.build_provenance_asset("provenance.tif", origin_sha256, [f"S2A_{one.name}"]),
    }
    properties = {
        "s2ops:fingerprint": image_sha256,
        "s2ops:scenes": [{"id": f"S2A_{one.name}", "date": "2023-08-20", "tile": one.name}],
    }
    day = datetime(2023, 8, 20, tzinfo=UTC)
    item = stac_item.build_tile_item("composite", one.name, geobox, (day, day), assets, properties)
    work.store.put(layout.TileKeys(one.name).get_item("composite"), to_json(item))
