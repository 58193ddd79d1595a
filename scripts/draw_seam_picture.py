"""Draw docs/images/seam-zagreb.jpg: the border of the two Zagreb tiles, one made 15 % brighter, before and after.

    S2OPS_REAL_DATA=... python scripts/draw_seam_picture.py RUN

RUN is a finished run of examples/zagreb.yaml; it is only read. Prints the seam figures of both tiles.
"""

import sys
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from s2ops.constants import BANDS, UInt8
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.imaging.rendering import encode_image, render_true_colour
from s2ops.imaging.tone_curve import apply_tone_curve, invert_tone_curve
from s2ops.pipeline.steps import balance, blend
from s2ops.raster.cog import IMAGERY
from s2ops.raster.reader import read_all
from s2ops.run.context import RunContext
from s2ops.run.load_config import load_config
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json, to_json

ROOT = Path(__file__).parents[1]
NORTH, SOUTH = "33TWM", "33TWL"
HALF = 200
"""Pixels shown north and south of the border."""


def brighten(ctx: RunContext, name: str, gain: float) -> None:
    """Multiply the reflectance of a tile's composite."""
    levels = read_all(ctx.store.get_gdal_path(layout.TileKeys(name).get_raster("composite", "composite")))
    brighter = np.clip(np.rint(apply_tone_curve(invert_tone_curve(levels) * np.float32(gain))), 1, 255)
    with open_raster_writer(ctx.store, ctx.build_geobox(parse_tile(name))) as made:
        image = made.create_file("composite", BANDS, IMAGERY, build_imagery_tags())
        image.write(np.where(levels > 0, brighter, 0).astype(np.uint8))
        (digest,) = made.put({layout.TileKeys(name).get_raster("composite", "composite"): image}, 1)
    item = read_json(ctx.store, layout.TileKeys(name).get_item("composite")) or {}
    item["properties"]["s2ops:fingerprint"] = digest
    ctx.store.put(layout.TileKeys(name).get_item("composite"), to_json(item))


def join_pictures(ctx: RunContext, product: str) -> UInt8:
    """Join both tiles in the northern tile's columns, the northern on top, around its lower border."""
    above, below = (
        read_all(ctx.store.get_gdal_path(layout.TileKeys(name).get_raster(product, product))) for name in (NORTH, SOUTH)
    )
    grids = ctx.build_geobox(parse_tile(NORTH)), ctx.build_geobox(parse_tile(SOUTH))
    down = round((grids[0].transform.f - grids[1].transform.f) / 120)
    canvas = np.zeros((4, down + below.shape[1], above.shape[2]), np.uint8)
    canvas[:, down:] = below
    canvas[:, : above.shape[1]] = above
    return canvas[:, above.shape[1] - HALF : above.shape[1] + HALF]


def main() -> None:
    """Brighten one tile, balance, blend, and draw the border."""
    with TemporaryDirectory() as folder:
        copytree(Path(sys.argv[1]) / "composite", Path(folder) / "composite")
        settings = load_config(ROOT / "examples/zagreb.yaml", out=folder)
        ctx = RunContext(settings, (parse_tile(SOUTH), parse_tile(NORTH)))
        brighten(ctx, SOUTH, 1.15)
        balance.STEP.bind(ctx).run()
        for one in ctx.tiles:
            blend.STEP.bind(ctx, one).run()
            facts = (read_json(ctx.store, layout.TileKeys(one.name).get_item("mosaic")) or {})["properties"]
            for seam in facts["s2ops:seams"]:
                figures = (f"{name} {seam['before'][name]} -> {seam['after'][name]}" for name in ("excess", "coherent"))
                print(one.name, *figures, "energy kept", facts["s2ops:energy_kept"])
        pictures = [render_true_colour(join_pictures(ctx, product)) for product in ("composite", "mosaic")]
    gap = np.full((8, *pictures[0].shape[1:]), 255, np.uint8)
    picture = Image.fromarray(np.concatenate([pictures[0], gap, pictures[1]]))
    (ROOT / "docs/images/seam-zagreb.jpg").write_bytes(encode_image(np.asarray(picture), "jpeg"))


if __name__ == "__main__":
    main()
