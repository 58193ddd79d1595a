"""CPU time of a map tile of `s2ops view`, as it is read and as a WarpedVRT would.

    python benchmarks/bench_map_tiles.py RUN

RUN is a finished run. All map tiles lie over the middle of its first tile that has a mosaic; best of three.
"""

import sys
import time
from collections.abc import Callable

import rasterio
from morecantile import Tile, tms
from rasterio.crs import CRS
from rio_tiler import reader

from s2ops.raster.gdal_env import configure_gdal
from s2ops.view.layers import LAYERS
from s2ops.view.run import ViewedRun
from s2ops.view.tiles import TILE_SIZE_PX, plan_drawing, compute_max_zoom

MERCATOR = tms.get("WebMercatorQuad")


def best(function: Callable[[], object]) -> float:
    """Milliseconds of CPU time."""
    times = []
    for _ in range(3):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def warped(path: str, place: Tile, layer: str) -> None:
    """What rio-tiler's own reader does: a WarpedVRT of the whole file, read at the size of the map tile."""
    smooth = "bilinear" if LAYERS[layer].kind == "picture" else "nearest"
    with configure_gdal(), rasterio.open(path) as src:
        reader.part(
            src, tuple(MERCATOR.xy_bounds(place)), height=TILE_SIZE_PX, width=TILE_SIZE_PX, dst_crs=CRS.from_epsg(3857),
            indexes=LAYERS[layer].bands, resampling_method=smooth, reproject_method=smooth,
        )  # fmt: skip


if __name__ == "__main__":
    run = ViewedRun(sys.argv[1])
    name = next(one for one, facts in run.state.tiles.items() if facts.scenes)
    tile = run.get_tile(name)
    assert tile is not None
    middle = tile.footprint.centroid
    print(f"{run.title}, {run.res} m, over {name}; CPU ms of a map tile of {TILE_SIZE_PX} x {TILE_SIZE_PX}")
    print("| layer | zoom | files | drawn and encoded | WarpedVRT of one file, not encoded |\n|---|---|---|---|---|")
    for layer in ("truecolour", "landcover"):
        for zoom in range(4, compute_max_zoom(run.res) + 1, 2):
            place = MERCATOR.tile(middle.x, middle.y, zoom)
            made = plan_drawing(run, layer, place)
            assert made is not None
            path = run.store.get_gdal_path(made.sources[0].key)
            others = best(lambda place=place, path=path, layer=layer: warped(path, place, layer))
            print(f"| {layer} | {zoom} | {len(made.sources)} | {best(made.draw):.0f} | {others:.0f} |")
    run.close()
