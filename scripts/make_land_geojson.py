"""Write examples/land.geojson: the land surface, small enough to ship.

Source: Natural Earth 1:50m land (public domain), as the npm package world-atlas 2.0.2 (ISC licence) brings it:

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python scripts/make_land_geojson.py package/land-50m.json

Left out, as too little to be worth a tile or never free of snow: all south of 60 degrees south and north of 78 degrees
north, Greenland, islands below LEAST_KM2. Outlines are simplified to TOLERANCE degrees; tiles are 1 degree wide.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Geod
from shapely.affinity import translate
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

LEAST_KM2 = 1000
TOLERANCE = 0.05
GREENLAND = shapely.Point(-42, 72)


def decode_arcs(topology: dict[str, Any]) -> list[list[tuple[float, float]]]:
    """Decode the arcs of a TopoJSON file to degrees (points are stored as differences)."""
    (kx, ky), (x0, y0) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for steps in topology["arcs"]:
        x = y = 0
        points = []
        for dx, dy in steps:
            x, y = x + dx, y + dy
            points.append((x * kx + x0, y * ky + y0))
        arcs.append(points)
    return arcs


def read_polygons(topology: dict[str, Any]) -> list[Polygon]:
    """Read the polygons of the object `land`."""
    arcs = decode_arcs(topology)

    def ring(numbers: list[int]) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        for number in numbers:
            arc = arcs[number] if number >= 0 else arcs[~number][::-1]
            found += arc[1:] if found else arc
        lon = np.unwrap([x for x, _ in found], period=360)  # the package joins what the antimeridian cuts
        return list(zip(lon.tolist(), (y for _, y in found), strict=True))

    found = []
    for geometry in topology["objects"]["land"]["geometries"]:
        parts = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
        found += [Polygon(ring(part[0]), [ring(hole) for hole in part[1:]]) for part in parts]
    return found


def compute_area_km2(shape: BaseGeometry) -> float:
    """Compute the area on the ellipsoid; holes must turn against their outline."""
    turned = [orient(part) for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return sum(abs(Geod(ellps="WGS84").geometry_area_perimeter(part)[0]) for part in turned) / 1e6


def simplify_kept_parts(parts: list[Polygon]) -> list[BaseGeometry]:
    """Return the parts within reach of the mosaic, simplified and wrapped at 180 degrees."""
    reach = shapely.box(-180, -60, 180, 78)
    turned = [translate(part, xoff=turn) for part in parts for turn in (-360, 0, 360) if part.bounds[3] > -60]
    inside = [shapely.make_valid(part) & reach for part in turned if not part.contains(GREENLAND)]
    large = [part for shape in inside for part in shapely.get_parts(shape) if compute_area_km2(part) >= LEAST_KM2]
    return [shapely.make_valid(part.simplify(TOLERANCE)) for part in large if part.geom_type == "Polygon"]


def main() -> None:
    """Read the file named on the command line, write the GeoJSON and print its size."""
    land = shapely.union_all(simplify_kept_parts(read_polygons(json.loads(Path(sys.argv[1]).read_text()))))
    plain = shapely.set_precision(land, 0.01)
    geometry = json.loads(shapely.to_geojson(plain))
    geometry = {"type": geometry["type"], "coordinates": _round(geometry["coordinates"])}
    source = "Natural Earth 1:50m land, public domain (npm world-atlas 2.0.2); written by scripts/make_land_geojson.py"
    feature = {
        "type": "Feature",
        "properties": {"source": source, "km2": round(compute_area_km2(plain))},
        "geometry": geometry,
    }
    target = Path(__file__).parents[1] / "examples/land.geojson"
    target.write_text(json.dumps(feature, separators=(",", ":")) + "\n")
    print(f"{target}: {compute_area_km2(plain) / 1e6:.1f} million km2 in {len(shapely.get_parts(plain))} parts")


def _round(value: Any) -> Any:
    return [_round(each) for each in value] if isinstance(value, list) else round(value, 2)


if __name__ == "__main__":
    main()
