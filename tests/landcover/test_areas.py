"""Land-cover area statistics: all ground once, in true square kilometres, by tile and by polygon."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from arro3.io import read_parquet
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from s2ops.errors import ConfigError, InputError, MissingInput
from s2ops.geo.mgrs_tiles import Tile, parse_tile
from s2ops.geo.tile_ownership import (
    compute_border_distance,
    compute_border_distance_on_map,
    compute_ownership_mask,
    compute_pixel_area_km2,
)
from s2ops.landcover.area_tables import to_csv, write_table
from s2ops.landcover.areas import OUTSIDE_RUN, AreaRow, measure_polygon_areas, measure_tile_areas
from s2ops.raster.cog import CLASSES, PERCENT, CogWriter
from s2ops.storage.object_store import Store
from tests.helpers.chain import run_s2ops

RES = 600
GEOD = Geod(ellps="WGS84")
WGS84 = CRS.from_epsg(4326)
TILES = ("32TPS", "32TQS", "33TUM", "33TUN")
"""Tiles in two zones; three of them meet in one place."""


def measure_km2(shape: shapely.Geometry) -> float:
    return abs(GEOD.geometry_area_perimeter(shape)[0]) / 1e6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run whose land cover is water in zone 32, tree in zone 33, with a hole in the north-west corner of 33TUN."""
    out = tmp_path_factory.mktemp("run")
    (out / "plan").mkdir()
    (out / "plan/plan.json").write_text(json.dumps({"tiles": {name: [] for name in TILES}}))
    for name in TILES:
        folder, grid = out / "landcover" / name, parse_tile(name).build_geobox(RES)
        folder.mkdir(parents=True)
        classes = np.full((1, *grid.shape), 1 if name.startswith("32") else 3, np.uint8)
        if name == "33TUN":
            classes[0, :30, :30] = 0
        for file, kind, pixels in (
            ("landcover", CLASSES, classes),
            ("confidence", PERCENT, np.where(classes == 0, 255, 80).astype(np.uint8)),
        ):
            made = CogWriter(folder / f"{file}.tif", grid, [file], kind)
            made.write(pixels)
            made.finish()
        (folder / "item.json").write_text("{}")
    return out


def sum_km2(rows: list[AreaRow], kind: str = "") -> float:
    return sum(row.km2 for row in rows if row.kind == kind or not kind)


def test_measure_tile_areas_counts_all_ground_once_in_true_area(run: Path) -> None:
    rows = list(measure_tile_areas(Store(str(run))))
    union = measure_km2(shapely.union_all([parse_tile(name).footprint for name in TILES]))
    assert sum_km2(rows) == pytest.approx(union, rel=2e-3)
    twice = sum(measure_km2(parse_tile(name).footprint) for name in TILES)
    assert twice > 1.1 * union  # sums over items count overlaps twice


def test_compute_ownership_mask_gives_every_place_one_owner() -> None:
    tiles = [parse_tile(name) for name in TILES]
    rng = np.random.default_rng(4)
    longitude, latitude = rng.uniform(12.2, 13.2, 400), rng.uniform(45.9, 47.2, 400)
    places = [Transformer.from_crs(4326, one.epsg, always_xy=True).transform(longitude, latitude) for one in tiles]
    depths = np.stack([compute_border_distance(one, *place) for one, place in zip(tiles, places, strict=True)])
    best = depths.argmax(axis=0)
    clear = np.sort(depths, axis=0)[-1] - np.sort(depths, axis=0)[-2] > 2  # metres: not on a border
    for number, one in enumerate(tiles):
        others = [other for other in tiles if other != one]
        x, y = places[number]
        inside = clear & (depths[number] > 0)
        found = [
            bool(
                compute_ownership_mask(
                    one, others, GeoBox.from_bbox((e - 5, n - 5, e + 5, n + 5), one.epsg, resolution=10)
                )[0, 0]
            )
            for e, n in zip(x[inside], y[inside], strict=True)
        ]
        np.testing.assert_array_equal(found, best[inside] == number)


@pytest.mark.parametrize("name", ["33TWL", "31NFA", "33XVG"])
def test_compute_pixel_area_km2_is_the_area_on_the_ellipsoid(name: str) -> None:
    one: Tile = parse_tile(name)
    left, bottom, _, _ = one.bounds
    block = GeoBox.from_bbox((left, bottom, left + 3000, bottom + 3000), one.epsg, resolution=1000)
    move = Transformer.from_crs(one.epsg, 4326, always_xy=True)
    square = shapely.segmentize(shapely.box(left + 1000, bottom + 1000, left + 2000, bottom + 2000), 10)
    true = measure_km2(shapely.transform(square, lambda places: np.column_stack(move.transform(*places.T))))
    assert compute_pixel_area_km2(one, block) == pytest.approx(true, rel=1e-5)
    assert true != pytest.approx(1, rel=1e-5)


def test_measure_polygon_areas_over_two_zones_includes_both_and_the_outside(run: Path) -> None:
    area = shapely.box(12.0, 46.2, 13.4, 46.6)
    rows = measure_polygon_areas(Store(str(run)), WGS84, [(area, "middle")])
    assert {row.name for row in rows} == {"middle"}
    assert sum_km2(rows) == pytest.approx(measure_km2(shapely.segmentize(area, 0.01)), rel=1e-3)
    assert sum_km2(rows, OUTSIDE_RUN) == pytest.approx(0, abs=15)
    assert sum_km2(rows, "water") > 1000
    assert sum_km2(rows, "tree") > 1000
    by_kind = {row.kind: row for row in rows}
    assert by_kind["water"].share == pytest.approx(sum_km2(rows, "water") / sum_km2(rows), abs=0.01)
    assert by_kind["tree"].mean_confidence == 80
    assert by_kind["grass"].mean_confidence is None


def test_measure_polygon_areas_reports_ground_outside_the_run_and_holes(run: Path) -> None:
    west = parse_tile("32TPS").footprint.bounds[0]
    half = shapely.box(west - 0.5, 46.2, west + 0.5, 46.4)
    left, _, _, top = parse_tile("33TUN").bounds
    hole = shapely.transform(
        shapely.box(left, top - 12_000, left + 12_000, top),
        lambda places: np.column_stack(Transformer.from_crs(32633, 4326, always_xy=True).transform(*places.T)),
    )
    rows = measure_polygon_areas(Store(str(run)), WGS84, [(half, "half"), (hole, "hole")])
    assert sum_km2([row for row in rows if row.name == "half"], OUTSIDE_RUN) == pytest.approx(
        measure_km2(half) / 2, rel=0.1
    )
    assert sum_km2([row for row in rows if row.name == "hole"], "no data") == pytest.approx(144, rel=0.05)


def test_measure_tile_areas_on_overviews_is_nearly_equal(run: Path) -> None:
    store = Store(str(run))
    full, coarse = list(measure_tile_areas(store)), list(measure_tile_areas(store, 1800))
    assert sum_km2(coarse, "water") == pytest.approx(sum_km2(full, "water"), rel=0.02)
    with pytest.raises(ConfigError, match="the map has pixels of 600 m"):
        list(measure_tile_areas(store, 10))


def test_areas_command_writes_the_same_values_to_csv_and_parquet(run: Path, tmp_path: Path) -> None:
    shapes = [
        {"type": "Feature", "properties": {"NAME": name}, "geometry": shapely.geometry.mapping(shapely.box(*box))}
        for name, box in (("west", (11.5, 46.2, 12.0, 46.4)), ("east", (13.0, 46.2, 13.4, 46.4)))
    ]
    (tmp_path / "countries.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": shapes}))
    to = [word for ending in ("csv", "parquet") for word in ("--to", tmp_path / f"areas.{ending}")]
    done = run_s2ops("areas", run, "--polygons", tmp_path / "countries.geojson", "--attribute", "NAME", *to)
    assert done.returncode == 0, done.stderr
    lines = list(csv.DictReader(io.StringIO((tmp_path / "areas.csv").read_text())))
    table = read_parquet(tmp_path / "areas.parquet").read_all()
    assert table.column_names == ["name", "kind", "km2", "share", "mean_confidence"]
    assert table["km2"].to_pylist() == [float(line["km2"]) for line in lines]
    assert [line["name"] for line in lines] == ["west"] * 8 + ["east"] * 8


def test_areas_raise_for_invalid_polygons_and_missing_maps(run: Path, tmp_path: Path) -> None:
    store = Store(str(run))
    crossed = shapely.Polygon([(12, 46), (13, 47), (13, 46), (12, 47)])
    with pytest.raises(ConfigError, match=r"Cannot use polygon 'x': it is invalid \(Self-intersection"):
        measure_polygon_areas(store, WGS84, [(crossed, "x")])
    with pytest.raises(InputError, match=r"Cannot read plan/plan\.json in .*: it does not exist"):
        list(measure_tile_areas(Store(str(tmp_path))))
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan/plan.json").write_text('{"tiles": {"32TPS": []}}')
    with pytest.raises(MissingInput, match="no tile has a land-cover map"):
        list(measure_tile_areas(Store(str(tmp_path))))
    with pytest.raises(ConfigError, match=r"ends in \.csv or \.parquet"):
        write_table([], tmp_path / "areas.xlsx")


def test_to_csv_writes_an_empty_field_for_a_missing_value() -> None:
    text = to_csv([AreaRow("a", "no data", 1.5, None, None)])
    assert list(csv.reader(io.StringIO(text)))[1] == ["a", "no data", "1.5", "", ""]


def test_compute_border_distance_on_map_equals_the_distance_of_each_projected_pixel() -> None:
    one, size = parse_tile("33TWL"), 300
    to_map = Transformer.from_crs(one.epsg, 3857, always_xy=True)
    (left, right), (bottom, top) = to_map.transform([480_000, 620_000], [4_990_000, 5_110_000])
    x, y = np.meshgrid(
        left + (np.arange(size) + 0.5) / size * (right - left), top - (np.arange(size) + 0.5) / size * (top - bottom)
    )
    exact = compute_border_distance(one, *Transformer.from_crs(3857, one.epsg, always_xy=True).transform(x, y))
    found = compute_border_distance_on_map(one, (size, size), (left, bottom, right, top))
    assert exact.min() < 0 < exact.max()
    np.testing.assert_allclose(found, exact, atol=1.0)  # metres, of pixels of some 600
