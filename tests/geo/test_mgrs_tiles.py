"""Sentinel-2 tiling grid: names, corners, footprints and neighbours, compared with the official grid if available."""

import lzma
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from s2ops.errors import GridError
from s2ops.geo import mgrs_tiles

TILES = mgrs_tiles.list_all_tiles()
any_tile = st.integers(0, len(TILES) - 1).map(TILES.__getitem__)


def open_official_grid(name: str, scratch: Path) -> sqlite3.Connection:
    """Open one of the two GeoPackages of the real-data folder."""
    folder = os.environ.get("S2OPS_REAL_DATA")
    if folder is None:
        pytest.skip("S2OPS_REAL_DATA is not set: the official grid is not available")
    packed = Path(folder) / "s2-tiling-grid" / f"{name}.gpkg.xz"
    plain = scratch / f"{name}.gpkg"
    plain.write_bytes(lzma.decompress(packed.read_bytes()))
    return sqlite3.connect(plain)


def parse_outline(blob: bytes) -> shapely.Geometry:
    """Parse the geometry of a GeoPackage blob: an 8-byte header, an envelope (size by flag), then WKB."""
    envelope = (0, 32, 48, 48, 64)[(blob[3] >> 1) & 7]
    return shapely.from_wkb(blob[8 + envelope :])


def test_tiles_equal_the_official_56686_in_zone_and_corner(tmp_path: Path) -> None:
    table = open_official_grid("s2_no_overlap", tmp_path)
    official = {
        (name, int(srs.removeprefix("EPSG:")), left, top)
        for name, srs, left, top in table.execute("select id, SRS, UL0, UL1 from s2_no_overlap_v3")
    }
    table.close()
    ours = {(tile.name, tile.epsg, tile.bounds[0], tile.bounds[3]) for tile in TILES}
    assert len(official) == 56_686
    assert ours == official


def test_footprint_has_the_official_corners(tmp_path: Path) -> None:
    """Official outlines join four corners in degrees; footprints follow the UTM edges between the same corners."""
    table = open_official_grid("s2_with_overlap", tmp_path)
    official: dict[str, list[shapely.Geometry]] = {}
    for name, blob in table.execute("select id, geom from s2_with_overlap"):
        official.setdefault(name, []).append(parse_outline(blob))
    table.close()
    assert set(official) == {tile.name for tile in TILES}
    whole = [tile for tile in TILES[::20] if len(official[tile.name]) == 1]
    split = [tile for tile in TILES if len(official[tile.name]) == 2]
    assert len(split) == 56_984 - 56_686
    for tile in whole:
        corners = shapely.get_coordinates(tile.footprint)[[0, 16, 32, 48]]
        theirs = official[tile.name][0]
        assert shapely.Polygon(corners).symmetric_difference(theirs).area < 1e-4 * theirs.area, tile.name
    for tile in split:
        theirs = shapely.union_all(official[tile.name])
        assert tile.footprint.geom_type == "MultiPolygon", tile.name
        assert tile.footprint.symmetric_difference(theirs).area < 0.05 * theirs.area, tile.name


@pytest.mark.parametrize(
    ("name", "epsg", "bounds"),
    [
        ("33TWL", 32633, (499980, 4990200, 609780, 5100000)),
        ("36NYH", 32636, (699960, 190200, 809760, 300000)),  # the CDSE fixture's proj:bbox
        ("27VWK", 32627, (499980, 6890220, 609780, 7000020)),  # the L1C fixture's proj:transform
        ("56HLH", 32756, (300000, 6190240, 409800, 6300040)),  # snapped relative to the equator
        ("01MAV", 32701, (99960, 9890200, 209760, 10000000)),
        ("32VKM", 32632, (199980, 6590220, 309780, 6700020)),  # wide zone of Norway
    ],
)
def test_tile_corners_of_known_tiles(name: str, epsg: int, bounds: tuple[int, int, int, int]) -> None:
    tile = mgrs_tiles.parse_tile(name)
    assert (tile.epsg, tile.bounds) == (epsg, bounds)


@given(any_tile)
def test_parse_tile_accepts_names_with_and_without_the_letter_t(tile: mgrs_tiles.Tile) -> None:
    assert mgrs_tiles.parse_tile(tile.name) == tile
    assert mgrs_tiles.parse_tile(f"T{tile.name}") == tile
    assert mgrs_tiles.parse_tile(tile.name.lower()) == tile


@given(any_tile, st.sampled_from([10, 20, 60, 120]))
def test_tile_geobox_has_the_same_outline_at_every_resolution(tile: mgrs_tiles.Tile, res: int) -> None:
    box = tile.build_geobox(res)
    assert box.shape == (109_800 // res, 109_800 // res)
    assert tuple(box.boundingbox) == tile.bounds
    assert box.crs is not None
    assert box.crs.epsg == tile.epsg
    assert (box.affine.a, box.affine.e) == (res, -res)


@pytest.mark.parametrize("res", [0, -10, 70, 1000])
def test_tile_geobox_rejects_a_resolution_that_does_not_fill_the_tile(res: int) -> None:
    with pytest.raises(GridError, match=f"33TWL: pixels of {res} m do not fill 109800 m; use 10, 20, 60 or 120"):
        mgrs_tiles.parse_tile("33TWL").build_geobox(res)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("33TWI", "33TW"), ("1CCV", "01CCV"), ("T33TWLL", "33TWL"), ("34XEL", "34")],
)
def test_parse_tile_suggests_similar_names_for_an_unknown_name(wrong: str, near: str) -> None:
    with pytest.raises(GridError, match=f"no Sentinel-2 tile '{wrong}'; did you mean .*{near}"):
        mgrs_tiles.parse_tile(wrong)


@pytest.mark.parametrize("wrong", ["", "hello", "99TWL", "../33TWL", "33TWL\n33TWM", "\uff13\uff13TWL"])
def test_parse_tile_rejects_malformed_names(wrong: str) -> None:
    with pytest.raises(GridError, match="there is no Sentinel-2 tile"):
        mgrs_tiles.parse_tile(wrong)


@settings(deadline=None, max_examples=60)
@given(any_tile)
def test_neighbours_are_symmetric_sorted_and_share_area(tile: mgrs_tiles.Tile) -> None:
    found = mgrs_tiles.find_neighbours(tile)
    assert list(found) == sorted(found)
    assert tile not in found
    assert len(found) >= 5
    for other in found:
        assert tile in mgrs_tiles.find_neighbours(other)
        assert tile.footprint.intersection(other.footprint).area > 0


@settings(deadline=None, max_examples=60)
@given(any_tile)
def test_neighbours_in_one_zone_are_the_tiles_whose_utm_squares_overlap(tile: mgrs_tiles.Tile) -> None:
    def compute_corner_from_equator(each: mgrs_tiles.Tile) -> tuple[int, int]:
        return each.bounds[0], each.bounds[3] - (10_000_000 if each.epsg > 32700 else 0)

    left, top = compute_corner_from_equator(tile)
    squares = {
        other: compute_corner_from_equator(other) for other in TILES if other.zone == tile.zone and other != tile
    }
    overlap = {o for o, (x, y) in squares.items() if abs(x - left) < 109_800 and abs(y - top) < 109_800}
    assert {other for other in mgrs_tiles.find_neighbours(tile) if other.zone == tile.zone} == overlap


def test_neighbours_across_the_equator_lie_in_both_hemispheres() -> None:
    names = {other.name for other in mgrs_tiles.find_neighbours(mgrs_tiles.parse_tile("33NWA"))}
    assert {"33NVA", "33NXA", "33NWB", "33MVV", "33MWV", "33MXV"} <= names


def test_neighbours_across_the_antimeridian_lie_in_zones_1_and_60() -> None:
    tile = mgrs_tiles.parse_tile("01KAB")
    assert tile.footprint.geom_type == "MultiPolygon"
    assert {other.zone for other in mgrs_tiles.find_neighbours(tile)} == {1, 60}
    assert "60KYG" in {other.name for other in mgrs_tiles.find_neighbours(tile)}


def test_neighbours_across_zones_overlap_in_metres() -> None:
    tile = mgrs_tiles.parse_tile("33TUL")
    others = [other for other in mgrs_tiles.find_neighbours(tile) if other.zone == 32]
    assert others
    for other in others:
        there = Transformer.from_crs(other.epsg, tile.epsg, always_xy=True)
        left, bottom, right, top = other.bounds
        outline = shapely.segmentize(shapely.box(left, bottom, right, top), 2000)
        moved = shapely.transform(outline, lambda xy, t=there: np.column_stack(t.transform(xy[:, 0], xy[:, 1])))
        assert moved.intersection(shapely.box(*tile.bounds)).area > 1_000_000


def test_neighbours_among_some_tiles_are_only_those_tiles() -> None:
    among = tuple(mgrs_tiles.parse_tile(name) for name in ("33TWM", "33TWL", "33TXL", "20HMD"))
    assert [tile.name for tile in mgrs_tiles.find_neighbours(mgrs_tiles.parse_tile("33TWL"), among)] == [
        "33TWM",
        "33TXL",
    ]


def test_neighbours_follow_a_change_of_the_set_of_tiles() -> None:
    tile, south, north = (mgrs_tiles.parse_tile(name) for name in ("33TWL", "33TWK", "33TWM"))
    for among in ((tile, south), (tile, north), (tile, south), ()):
        assert mgrs_tiles.find_neighbours(tile, among) == among[1:]


def test_neighbours_of_2000_tiles_take_seconds() -> None:
    tiles = TILES[30_000:32_000]
    begun = time.process_time()
    found = [mgrs_tiles.find_neighbours(tile, tiles) for tile in tiles]
    assert time.process_time() - begun < 10
    assert sum(map(len, found)) > 10_000


def test_footprint_at_the_antimeridian_keeps_its_area_and_stays_within_180_degrees() -> None:
    split = mgrs_tiles.build_footprint(1, 100_000, -2_000_000)
    whole = mgrs_tiles.build_footprint(31, 100_000, -2_000_000)
    assert split.bounds[0] >= -180
    assert split.bounds[2] <= 180
    assert split.area == pytest.approx(whole.area, rel=1e-9)


def test_footprint_begins_at_the_lower_left_utm_corner() -> None:
    tile = mgrs_tiles.parse_tile("21HUB")
    to_utm = Transformer.from_crs(4326, tile.epsg, always_xy=True)
    lon, lat = shapely.get_coordinates(tile.footprint)[0]
    np.testing.assert_allclose(to_utm.transform(lon, lat), tile.bounds[:2], atol=0.01)


def test_importing_mgrs_tiles_does_not_build_the_list_of_tiles() -> None:
    code = (
        "import s2ops.geo.mgrs_tiles as g; "
        "print(g.list_all_tiles.cache_info().currsize, g.get_global_index.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0"]
