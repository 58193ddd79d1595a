"""`s2ops view` over a run in the S3 server: what it draws and says is what lies there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from morecantile import tms
from PIL import Image
from pyproj import Transformer
from starlette.testclient import TestClient

from s2ops.geo.mgrs_tiles import parse_tile as tile_named
from s2ops.imaging import rendering
from s2ops.storage.object_store import Store
from s2ops.view.app import build_application
from s2ops.view.run import ViewedRun
from s2ops.view.tiles import TILE_SIZE_PX

from .conftest import TILES, Region

MERCATOR = tms.get("WebMercatorQuad")


@pytest.mark.cluster
def test_the_page_shows_and_explains_pixels_of_a_run_in_a_bucket(region: Region, tmp_path: Path) -> None:
    assert region.out.startswith("s3://")
    look_at_the_middle(region.out, TILES[-1], tmp_path)


def look_at_the_middle(out: str, name: str, folder: Path) -> None:
    """A map tile's pixel and a click, both of the tile's middle, beside the bytes that the bucket holds."""
    store, tile = Store(out), tile_named(name)
    copy = folder / "mosaic.tif"
    copy.write_bytes(store.get(f"mosaic/{name}/mosaic.tif") or b"")
    left, bottom, right, top = tile.bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    with rasterio.open(copy) as src:
        row, column = src.index(x, y)
        levels = src.read()[:, row, column]
        around = src.read(window=((row - 3, row + 4), (column - 3, column + 4))).reshape(src.count, -1)
    lon, lat = Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(x + 1, y - 1)  # not on a pixel's edge
    run = ViewedRun(out)
    try:
        with TestClient(build_application({"a": run}, ["testserver"])) as site:
            assert site.get("/api/runs").json()["runs"]["a"]["counts"]["done"] > 0
            said = site.get(f"/api/a/at?lon={lon}&lat={lat}").json()
            assert said["tile"] == name
            assert list(said["levels"].values()) == levels.tolist()
            assert said["source"]["id"] in {one["id"] for one in site.get(f"/api/a/tile/{name}").json()["scenes"]}
            where = MERCATOR.tile(lon, lat, 10)
            answer = site.get(f"/tiles/a/truecolour/{where.z}/{where.x}/{where.y}")
            assert answer.status_code == 200, answer.text
            assert not site.get("/api/runs").json()["runs"]["a"]["problems"]
    finally:
        run.close()
    image = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))
    west, _, east, north = MERCATOR.xy_bounds(where)
    at_x, at_y = MERCATOR.xy(lon, lat)
    scale = TILE_SIZE_PX / (east - west)
    shown = image[int((north - at_y) * scale), int((at_x - west) * scale)]
    assert shown[3] == 255
    colours = rendering.build_display_table()[around[:3]]
    low, high = colours.min(axis=1).astype(int), colours.max(axis=1).astype(int)
    assert ((shown[:3] >= low - 8) & (shown[:3] <= high + 8)).all()  # between its neighbours' colours, but for WebP
