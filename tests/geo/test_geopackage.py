"""GeoPackage geometries and layers: what is written is read back; other blobs and files are rejected."""

import sqlite3
import struct
from pathlib import Path

import pytest
import shapely

from s2ops.geo import geopackage

POLYGON = shapely.Polygon([(15.0, 45.0), (16.5, 45.25), (15.5, 46.0)])


def test_geometry_is_equal_after_encoding_and_decoding() -> None:
    blob = geopackage.encode_geometry(POLYGON, 4326)
    assert blob[:8] == b"GP\x00\x01" + struct.pack("<i", 4326)
    assert geopackage.decode_geometry(blob) == POLYGON


@pytest.mark.parametrize(("code", "numbers"), [(1, 4), (2, 6), (3, 6), (4, 8)])
def test_geometry_with_an_envelope_is_decoded(code: int, numbers: int) -> None:
    header = struct.pack("<2sBBi", b"GP", 0, code << 1 | 1, 4326)
    blob = header + struct.pack(f"<{numbers}d", *range(numbers)) + shapely.to_wkb(POLYGON)
    assert geopackage.decode_geometry(blob) == POLYGON


def test_first_layer_contains_the_features_that_have_a_geometry(tmp_path: Path) -> None:
    path = tmp_path / "areas.gpkg"
    database = sqlite3.connect(path)
    database.executescript(geopackage.SCHEMA + 'CREATE TABLE "a ""b" (fid INTEGER PRIMARY KEY, shape BLOB, name TEXT)')
    geopackage.insert_layer(database, 'a "b', "shape", POLYGON.bounds, 4326)
    blob = geopackage.encode_geometry(POLYGON, 4326)
    database.executemany('INSERT INTO "a ""b" VALUES (?, ?, ?)', [(1, blob, "north"), (2, None, "nowhere")])
    database.commit()
    database.close()
    crs, features = geopackage.read_first_layer(path)
    assert crs.to_epsg() == 4326
    assert features == [(POLYGON, {"fid": 1, "shape": blob, "name": "north"})]


def test_geometry_that_is_cut_off_is_rejected() -> None:
    with pytest.raises(struct.error, match="requires a buffer"):
        geopackage.decode_geometry(b"GP\x00")
