"""Region of interest: tile names, bounding box and GeoJSON to tiles."""

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
from s2ops.geo.region import list_region_tiles

ZAGREB = [15.9, 45.8, 16.1, 45.9]
SQUARE = {"type": "Polygon", "coordinates": [[[15.9, 45.8], [16.1, 45.8], [16.1, 45.9], [15.9, 45.9], [15.9, 45.8]]]}
BOW = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}


def list_names(**region: Any) -> list[str]:
    return [tile.name for tile in list_region_tiles(Region(**region))]


def write_geojson(folder: Path, content: Any) -> str:
    path = folder / "region.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_region_of_tile_names_has_no_duplicates_and_is_sorted() -> None:
    assert list_names(tiles=["T33TWM", "33TWL", "33twm"]) == ["33TWL", "33TWM"]


def test_region_with_an_unknown_tile_suggests_similar_names() -> None:
    with pytest.raises(GridError, match="no Sentinel-2 tile '33TWI'; did you mean 33TW"):
        list_names(tiles=["33TWL", "33TWI"])


def test_region_without_tiles_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"region.tiles is empty: give at least one tile name"):
        list_names(tiles=[])


def test_region_of_a_box_has_every_tile_that_shares_area_with_it() -> None:
    assert list_names(bbox=ZAGREB) == ["33TWL"]
    assert list_names(bbox=[15.9, 45.9, 16.1, 46.0]) == ["33TWL", "33TWM"]


@settings(deadline=None, max_examples=30)
@given(st.floats(-180, 179), st.floats(-79, 82), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_region_of_a_box_is_covered_by_its_tiles(west: float, south: float, width: float, height: float) -> None:
    east = west + width
    tiles = list_region_tiles(Region(bbox=(west, south, east if east <= 180 else east - 360, south + height)))
    covered = shapely.union_all([tile.footprint for tile in tiles])
    box = shapely.box(west, south, min(east, 180), south + height)
    assert box.difference(covered).area < 1e-6 * box.area


def test_region_across_the_antimeridian_has_tiles_of_both_sides() -> None:
    found = list_names(bbox=[179.5, -17.5, -179.5, -16.5])
    assert {name[:2] for name in found} == {"01", "60"}
    assert len(found) < 20


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ((15.9, 46.0, 16.1, 45.9), "is empty"),
        ((15.9, 45.9, 15.9, 46.0), "is empty"),
        ((15.9, 45.9, 196.1, 46.0), "is outside -180..180"),
        ((float("nan"), 45.9, 16.1, 46.0), "is outside -180..180"),
        ((0.0, 86.0, 10.0, 89.0), "touches no Sentinel-2 tile"),
    ],
)
def test_region_of_an_invalid_box_is_rejected(bbox: tuple[float, float, float, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list_names(bbox=bbox)


@pytest.mark.parametrize(
    "content",
    [
        SQUARE,
        {"type": "Feature", "properties": {}, "geometry": SQUARE},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": SQUARE}]},
        {"type": "GeometryCollection", "geometries": [SQUARE]},
    ],
)
def test_region_of_a_geometry_feature_and_collection_has_the_same_tiles(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    assert list_names(geojson=write_geojson(tmp_path, content)) == list_names(bbox=ZAGREB)


def test_region_of_a_point_has_the_tiles_around_it(tmp_path: Path) -> None:
    assert list_names(geojson=write_geojson(tmp_path, {"type": "Point", "coordinates": [16.0, 45.85]})) == ["33TWL"]


def test_region_wraps_longitudes_beyond_180(tmp_path: Path) -> None:
    ring = [[179.5, -17.5], [180.5, -17.5], [180.5, -16.5], [179.5, -16.5], [179.5, -17.5]]
    found = list_names(geojson=write_geojson(tmp_path, {"type": "Polygon", "coordinates": [ring]}))
    assert found == list_names(bbox=[179.5, -17.5, -179.5, -16.5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1, 2]", "is not valid GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "contains no geometry"),
        ({"type": "FeatureCollection", "features": None}, "is not valid GeoJSON"),
        ({"type": "Polygon", "coordinates": []}, "contains no geometry"),
        ({"type": "Polygon", "coordinates": "here"}, "malformed Polygon"),
        ({"type": "Square", "coordinates": [[0, 0]]}, "malformed Square"),
        (BOW, "invalid Polygon: Self-intersection"),
        ({"type": "Point", "coordinates": [500000, 5100000]}, "is not in degrees"),
        ({"type": "Point", "coordinates": [0, 89]}, "touches no Sentinel-2 tile"),
    ],
)
def test_region_of_invalid_geojson_is_rejected(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list_names(geojson=write_geojson(tmp_path, content))


def test_region_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read region.geojson .*none.geojson: No such file"):
        list_names(geojson=str(tmp_path / "none.geojson"))


def test_region_of_the_whole_earth_has_all_tiles() -> None:
    assert len(list_region_tiles(Region(bbox=(-180.0, -90.0, 180.0, 90.0)))) == len(mgrs_tiles.list_all_tiles())
