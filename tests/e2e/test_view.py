"""Cluster test of `s2ops view` over a run in the S3 server: drawn pixels and answers equal the stored bytes."""

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

from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.imaging import rendering
from s2ops.storage.object_store import Store
from s2ops.view.app import build_application
from s2ops.view.run import ViewedRun
from s2ops.view.tiles import TILE_SIZE_PX

from .conftest import TILES, Region

MERCATOR = tms.get("WebMercatorQuad")


@pytest.mark.cluster
def test_view_draws_and_explains_pixels_of_a_run_in_a_bucket(region: Region, tmp_path: Path) -> None:
    assert region.out.startswith("s3://")
    check_middle(region.out, TILES[-1], tmp_path)


def check_middle(out: str, name: str, folder: Path) -> None:
    """Compare a map tile's pixel and a point query, both at the tile's middle, with the bytes in the bucket."""
    store, tile = Store(out), parse_tile(name)
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
            point = site.get(f"/api/a/at?lon={lon}&lat={lat}").json()
            assert point["tile"] == name
            assert list(point["levels"].values()) == levels.tolist()
            assert point["source"]["id"] in {one["id"] for one in site.get(f"/api/a/tile/{name}").json()["scenes"]}
            map_tile = MERCATOR.tile(lon, lat, 10)
            answer = site.get(f"/tiles/a/truecolour/{map_tile.z}/{map_tile.x}/{map_tile.y}")
            assert answer.status_code == 200, answer.text
            assert not site.get("/api/runs").json()["runs"]["a"]["problems"]
    finally:
        run.close()
    image = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))
    west, _, east, north = MERCATOR.xy_bounds(map_tile)
    at_x, at_y = MERCATOR.xy(lon, lat)
    scale = TILE_SIZE_PX / (east - west)
    pixel = image[int((north - at_y) * scale), int((at_x - west) * scale)]
    assert pixel[3] == 255
    colours = rendering.build_display_table()[around[:3]]
    low, high = colours.min(axis=1).astype(int), colours.max(axis=1).astype(int)
    margin = 8  # for WebP
    assert ((pixel[:3] >= low - margin) & (pixel[:3] <= high + margin)).all()
