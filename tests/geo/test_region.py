"""From a configured region to tiles."""

import json
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.config import Region
from s2ops.errors import ConfigError, GridError
from s2ops.geo import mgrs_tiles
from s2ops.geo.region import tiles_of

ZAGREB = [15.9, 45.8, 16.1, 45.9]
SQUARE = {"type": "Polygon", "coordinates": [[[15.9, 45.8], [16.1, 45.8], [16.1, 45.9], [15.9, 45.9], [15.9, 45.8]]]}
BOW = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}


def names(**region: Any) -> list[str]:
    return [tile.name for tile in tiles_of(Region(**region))]


def geojson(folder: Path, content: Any) -> str:
    path = folder / "region.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_named_tiles_come_once_and_sorted() -> None:
    assert names(tiles=["T33TWM", "33TWL", "33twm"]) == ["33TWL", "33TWM"]


def test_an_unknown_tile_is_named_with_tiles_that_resemble_it() -> None:
    with pytest.raises(GridError, match="no Sentinel-2 tile '33TWI'; did you mean 33TW"):
        names(tiles=["33TWL", "33TWI"])


def test_a_region_without_tiles_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"region.tiles is empty: name at least one tile"):
        names(tiles=[])


def test_a_box_takes_every_tile_that_shares_area_with_it() -> None:
    assert names(bbox=ZAGREB) == ["33TWL"]
    assert names(bbox=[15.9, 45.9, 16.1, 46.0]) == ["33TWL", "33TWM"]


@settings(deadline=None, max_examples=30)
@given(st.floats(-180, 179), st.floats(-79, 82), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_the_tiles_of_a_box_cover_it(west: float, south: float, width: float, height: float) -> None:
    east = west + width
    tiles = tiles_of(Region(bbox=(west, south, east if east <= 180 else east - 360, south + height)))
    covered = shapely.union_all([tile.footprint for tile in tiles])
    box = shapely.box(west, south, min(east, 180), south + height)
    assert box.difference(covered).area < 1e-6 * box.area


def test_a_box_across_the_antimeridian_takes_tiles_of_both_sides() -> None:
    found = names(bbox=[179.5, -17.5, -179.5, -16.5])
    assert {name[:2] for name in found} == {"01", "60"}
    assert len(found) < 20


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ((15.9, 46.0, 16.1, 45.9), "is empty"),
        ((15.9, 45.9, 15.9, 46.0), "is empty"),
        ((15.9, 45.9, 196.1, 46.0), "leaves -180..180"),
        ((float("nan"), 45.9, 16.1, 46.0), "leaves -180..180"),
        ((0.0, 86.0, 10.0, 89.0), "touches no Sentinel-2 tile"),
    ],
)
def test_a_box_that_is_none_is_refused(bbox: tuple[float, float, float, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        names(bbox=bbox)


@pytest.mark.parametrize(
    "content",
    [
        SQUARE,
        {"type": "Feature", "properties": {}, "geometry": SQUARE},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": SQUARE}]},
        {"type": "GeometryCollection", "geometries": [SQUARE]},
    ],
)
def test_a_geometry_a_feature_and_a_collection_give_the_same_tiles(tmp_path: Path, content: dict[str, Any]) -> None:
    assert names(geojson=geojson(tmp_path, content)) == names(bbox=ZAGREB)


def test_a_point_takes_the_tiles_around_it(tmp_path: Path) -> None:
    assert names(geojson=geojson(tmp_path, {"type": "Point", "coordinates": [16.0, 45.85]})) == ["33TWL"]


def test_longitudes_beyond_180_are_wrapped_round(tmp_path: Path) -> None:
    ring = [[179.5, -17.5], [180.5, -17.5], [180.5, -16.5], [179.5, -16.5], [179.5, -17.5]]
    found = names(geojson=geojson(tmp_path, {"type": "Polygon", "coordinates": [ring]}))
    assert found == names(bbox=[179.5, -17.5, -179.5, -16.5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "is no GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "holds no geometry"),
        ({"type": "FeatureCollection", "features": None}, "is no GeoJSON"),
        ({"type": "Polygon", "coordinates": []}, "holds no geometry"),
        ({"type": "Polygon", "coordinates": "here"}, "broken Polygon"),
        ({"type": "Square", "coordinates": [[0, 0]]}, "broken Square"),
        (BOW, "invalid Polygon: Self-intersection"),
        ({"type": "Point", "coordinates": [500000, 5100000]}, "is not in degrees"),
        ({"type": "Point", "coordinates": [0, 89]}, "touches no Sentinel-2 tile"),
    ],
)
def test_geojson_that_cannot_be_used_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        names(geojson=geojson(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read region.geojson .*none.geojson: No such file"):
        names(geojson=str(tmp_path / "none.geojson"))


def test_the_whole_land_surface_is_quick_enough_to_plan() -> None:
    assert len(tiles_of(Region(bbox=(-180.0, -90.0, 180.0, 90.0)))) == len(mgrs_tiles.all_tiles())
