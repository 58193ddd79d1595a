"""Map tiles (XYZ) of `s2ops view`: CPU time beside that of rio-tiler's WarpedVRT reader.

    python benchmarks/bench_map_tiles.py RUN

RUN is a finished run. All map tiles lie over the middle of its first tile that has a mosaic. Figures are the best of
three repetitions.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import rasterio
from morecantile import Tile, tms
from rasterio.crs import CRS
from rio_tiler import reader

from s2ops.raster.gdal_env import configure_gdal
from s2ops.view.layers import LAYERS
from s2ops.view.run import ViewedRun
from s2ops.view.tiles import TILE_SIZE_PX, compute_max_zoom, plan_drawing

MERCATOR = tms.get("WebMercatorQuad")


def measure_cpu_ms(function: Callable[[], object]) -> float:
    """Return the CPU time of a call in milliseconds, best of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def read_warped(path: str, place: Tile, layer: str) -> None:
    """Read a map tile as rio-tiler's own reader does: a WarpedVRT of the whole file, read at the size of the tile."""
    method: Literal["bilinear", "nearest"] = "bilinear" if LAYERS[layer].kind == "picture" else "nearest"
    west, south, east, north = MERCATOR.xy_bounds(place)
    with configure_gdal(), rasterio.open(path) as src:
        reader.part(
            src, (west, south, east, north), height=TILE_SIZE_PX, width=TILE_SIZE_PX, dst_crs=CRS.from_epsg(3857),
            indexes=LAYERS[layer].bands, resampling_method=method, reproject_method=method,
        )  # fmt: skip


def main() -> None:
    """Measure both layers at every second zoom level; print a table."""
    run = ViewedRun(sys.argv[1])
    name = next(name for name, facts in run.state.tiles.items() if facts.scenes)
    tile = run.get_tile(name)
    assert tile is not None
    middle = tile.footprint.centroid
    print(f"{run.title}, {run.res} m, over {name}; CPU ms of a map tile of {TILE_SIZE_PX} x {TILE_SIZE_PX}")
    print("| layer | zoom | files | drawn and encoded | WarpedVRT of one file, not encoded |\n|---|---|---|---|---|")
    for layer in ("truecolour", "landcover"):
        for zoom in range(4, compute_max_zoom(run.res) + 1, 2):
            place = MERCATOR.tile(middle.x, middle.y, zoom)
            drawing = plan_drawing(run, layer, place)
            assert drawing is not None
            path = run.store.get_gdal_path(drawing.sources[0].key)
            warped_ms = measure_cpu_ms(partial(read_warped, path, place, layer))
            print(
                f"| {layer} | {zoom} | {len(drawing.sources)} | {measure_cpu_ms(drawing.draw):.0f} | {warped_ms:.0f} |"
            )
    run.close()


if __name__ == "__main__":
    main()
