"""Equal-area surface areas, compared with geodesic areas of GeographicLib and with the Earth's surface."""

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import MultiPolygon, Polygon

from s2ops.geo import mgrs_tiles
from s2ops.geo.equal_area import compute_area_km2, compute_covered_km2

EARTH_KM2 = 510_065_622
"""Surface of the WGS 84 ellipsoid (NIMA TR8350.2)."""


def compute_geodesic_km2(shape: Polygon) -> float:
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(shape, 0.01))[0]) / 1e6


def test_area_of_the_whole_earth_is_its_surface() -> None:
    assert compute_area_km2(shapely.box(-180, -90, 180, 90)) == pytest.approx(EARTH_KM2, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.floats(-170, 160), st.floats(-80, 78), st.floats(0.01, 5), st.floats(0.01, 5))
def test_area_of_an_oblique_shape_equals_its_geodesic_area(
    west: float, south: float, width: float, height: float
) -> None:
    shape = Polygon([(west, south), (west + width, south + height / 3), (west + width / 4, south + height)])
    assert compute_area_km2(shape) == pytest.approx(compute_geodesic_km2(shape), rel=1e-4)


def test_area_does_not_depend_on_ring_orientation_and_excludes_holes() -> None:
    hole = shapely.box(0.4, 0.4, 0.6, 0.6)
    ring = Polygon(
        shapely.box(0, 0, 1, 1).exterior.coords, [hole.exterior.coords]
    )  # both rings have the same orientation
    other = shapely.box(2, 0, 3, 1).reverse()
    square = compute_area_km2(shapely.box(0, 0, 1, 1))
    assert compute_area_km2(MultiPolygon([ring, other])) == pytest.approx(2 * square - compute_area_km2(hole), rel=1e-9)


def test_covered_area_of_tiles_around_the_earth_is_that_of_their_belt() -> None:
    belt = [tile for tile in mgrs_tiles.list_all_tiles() if tile.name[2] == "N" and tile.footprint.bounds[1] < 1]
    box = shapely.union_all([tile.footprint for tile in belt]).bounds
    assert (box[0], box[2]) == (-180, 180)
    assert compute_covered_km2(belt) == pytest.approx(compute_area_km2(shapely.box(*box)), rel=0.01)


def test_covered_area_of_the_whole_grid_is_the_earth_without_the_poles() -> None:
    assert compute_covered_km2(mgrs_tiles.list_all_tiles()) == pytest.approx(EARTH_KM2, rel=0.012)
