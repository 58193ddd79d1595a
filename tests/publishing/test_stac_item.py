"""STAC items, catalog and VRT: valid offline, reproducible bytes, correct across the antimeridian."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.scientific import ScientificExtension
from rasterio.transform import Affine

from s2ops.config import NetworkChoice
from s2ops.errors import GridError, InputError
from s2ops.geo.footprint import compute_bbox, merge_bboxes, to_geojson
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.publishing import stac_collection, stac_item
from s2ops.publishing.vrt import LANDCOVER_COLOURS, VrtSource, build_vrt
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json

SHA = "ab" * 32
DATES = (datetime(2023, 8, 10, 9, 50, 31, tzinfo=UTC), datetime(2023, 8, 20, 9, 50, 29, 24_000, tzinfo=UTC))
TIF = {"driver": "GTiff", "dtype": "uint8", "nodata": 0}


def build_mosaic_item(name: str = "33TWL") -> dict[str, Any]:
    assets = {
        "mosaic": stac_item.build_imagery_asset("mosaic.tif", SHA, 1234),
        "provenance": stac_item.build_provenance_asset("provenance.tif", SHA, ["S2A_33TWL_20230810_0_L2A"]),
    }
    return stac_item.build_tile_item(
        "mosaic",
        name,
        parse_tile(name).build_geobox(120),
        DATES,
        assets,
        {"s2ops:fingerprint": SHA},
        derived_from=["../../composite/33TWL/item.json"],
    )


def build_landcover_item(name: str = "33TWL") -> dict[str, Any]:
    assets = {
        "landcover": stac_item.build_landcover_asset("landcover.tif", SHA),
        "confidence": stac_item.build_confidence_asset("confidence.tif", SHA),
    }
    return stac_item.build_tile_item("landcover", name, parse_tile(name).build_geobox(120), DATES, assets, {})


@pytest.mark.parametrize("item", [build_mosaic_item(), build_landcover_item(), build_mosaic_item("01KAB")])
def test_items_are_valid_stac_1_1(item: dict[str, Any]) -> None:
    assert pystac.validation.validate_dict(item, extensions=[])


def test_lineage_of_land_cover_names_the_networks_and_what_they_classified() -> None:
    kinds: tuple[NetworkChoice, ...] = ("separate", "shared", "both")
    dates = {kind: stac_item.describe_landcover_lineage(kind, has_dates=True) for kind in kinds}
    assert dates["separate"].startswith("Three networks (water, vegetation, buildings) per date, fused over dates")
    assert dates["shared"].startswith("One network with three heads (water, vegetation, buildings) per date")
    assert dates["both"].startswith("Mean of three networks (water, vegetation, buildings) and of one network with")
    mosaic = stac_item.describe_landcover_lineage("shared", has_dates=False)
    assert mosaic == (
        "One network with three heads (water, vegetation, buildings) on the mosaic, combined to six classes."
    )
    assert "processing:lineage" not in build_landcover_item()["properties"]
    assert build_mosaic_item()["properties"]["processing:lineage"] == stac_item.LINEAGES["mosaic"]


def test_item_without_dates_is_invalid_stac() -> None:
    item = build_mosaic_item()
    del item["properties"]["start_datetime"]
    with pytest.raises(pystac.STACValidationError, match="start_datetime"):
        pystac.validation.validate_dict(item, extensions=[])


def test_item_gives_pystac_its_grid_checksum_and_dates() -> None:
    item = pystac.Item.from_dict(build_mosaic_item())
    projection = ProjectionExtension.ext(item)
    assert projection.code == "EPSG:32633"
    assert projection.shape == [915, 915]
    assert Affine(*projection.transform) == parse_tile("33TWL").build_geobox(120).transform
    assert FileExtension.ext(item.assets["mosaic"]).checksum == "1220" + SHA
    assert item.datetime is None
    assert item.properties["start_datetime"] == "2023-08-10T09:50:31Z"
    assert item.properties["end_datetime"] == "2023-08-20T09:50:29.024Z"
    assert item.bbox == pytest.approx([14.9997, 45.0579, 16.4189, 46.0536], abs=0.01)


def test_item_declares_exactly_the_extensions_that_it_uses() -> None:
    for item in (build_mosaic_item(), build_landcover_item()):
        names = {uri.split("/")[3] for uri in item["stac_extensions"]}
        text = json.dumps(item)
        prefixes = {"projection": "proj:", "processing": "processing:", "scientific": "sci:"}
        every = names | {"eo", "scientific"}
        assert names == {name for name in every if f'"{prefixes.get(name, name + ":")}' in text}


def test_extract_sha256_returns_sha256_checksums_only() -> None:
    assert stac_item.extract_sha256(build_mosaic_item()["assets"]["mosaic"]) == SHA
    assert stac_item.extract_sha256({"file:checksum": "1114" + "00" * 20}) is None
    assert stac_item.extract_sha256({}) is None


def test_item_levels_are_the_table_of_the_tone_curve() -> None:
    table = build_mosaic_item()["properties"]["s2ops:levels"]
    assert len(table) == 256
    assert table[0] is None
    assert table[1] == 0.0
    assert table[255] == pytest.approx(1.4, abs=1e-4)
    assert "s2ops:levels" not in build_landcover_item()["properties"]


def test_landcover_classes_have_the_papers_colours_and_valid_names() -> None:
    classes = build_landcover_item()["assets"]["landcover"]["bands"][0]["classification:classes"]
    assert [entry["value"] for entry in classes] == [0, 1, 2, 3, 4, 5, 6]
    assert classes[5]["name"] == "industrial-commercial"
    assert classes[1]["color_hint"] == "005CE6"
    assert [entry.get("nodata", False) for entry in classes] == [True] + [False] * 6


def test_provenance_classes_name_the_nth_scene() -> None:
    classes = build_mosaic_item()["assets"]["provenance"]["bands"][0]["classification:classes"]
    assert classes[1] == {"value": 1, "name": "S2A_33TWL_20230810_0_L2A", "description": "S2A_33TWL_20230810_0_L2A"}


def test_tile_on_the_antimeridian_is_two_polygons_and_its_bbox_crosses_it() -> None:
    shape = parse_tile("01KAB").footprint
    assert to_geojson(shape)["type"] == "MultiPolygon"
    west, _, east, _ = compute_bbox(shape)
    assert 178 < west < 180
    assert -180 < east < -178


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(10, 0, 11, 1), (15, -1, 16, 2)], (10, -1, 16, 2)),
        ([(179, 0, -179.5, 1), (178, 0, 179.5, 1)], (178, 0, -179.5, 1)),
        ([(-180, 0, -179, 1), (179, 0, 180, 1)], (179, 0, -179, 1)),
        ([(-180, 0, 0, 1), (0, 0, 180, 1)], (-180, 0, 180, 1)),
    ],
)
def test_merge_bboxes_returns_the_narrowest_box(boxes: list[tuple[float, ...]], expected: tuple[float, ...]) -> None:
    assert merge_bboxes(boxes) == expected


def test_catalog_is_read_by_pystac_through_relative_links(tmp_path: Path) -> None:
    items = {
        "mosaic": {n: build_mosaic_item(n) for n in ("33TWM", "33TWL")},
        "landcover": {"33TWL": build_landcover_item()},
    }
    files = stac_collection.build_catalog(items["mosaic"], items["landcover"])
    files |= {f"{kind}/{name}/item.json": to_json(item) for kind, of in items.items() for name, item in of.items()}
    for key, data in files.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(data)
    root = pystac.Catalog.from_file(str(tmp_path / "catalog.json"))
    collections = {child.id: child for child in root.get_children()}
    assert [item.id for item in collections["s2ops-mosaic"].get_items()] == ["s2ops-mosaic-33TWL", "s2ops-mosaic-33TWM"]
    assert next(collections["s2ops-landcover"].get_items()).get_root() is root
    for key in ("catalog.json", "mosaic/collection.json", "landcover/collection.json"):
        assert pystac.validation.validate_dict(json.loads(files[key]), extensions=[])
    publications = ScientificExtension.ext(collections["s2ops-mosaic"]).publications
    assert publications is not None
    assert "Swaine" in publications[0].citation


def test_catalog_does_not_depend_on_the_order_of_items() -> None:
    one, two = build_mosaic_item("33TWL"), build_mosaic_item("33TWM")
    assert stac_collection.build_catalog({"33TWL": one, "33TWM": two}, {}) == stac_collection.build_catalog(
        {"33TWM": two, "33TWL": one}, {}
    )


def test_catalog_has_no_collection_without_items_and_raises_without_any_item() -> None:
    assert sorted(stac_collection.build_catalog({"33TWL": build_mosaic_item()}, {})) == [
        "catalog.json",
        "mosaic/collection.json",
    ]
    with pytest.raises(InputError, match="Cannot build a catalog without items: run the steps before publish first"):
        stac_collection.build_catalog({}, {})


def write_tiles(folder: Path, res: int, bands: int) -> list[VrtSource]:
    rng = np.random.default_rng(7)
    sources = []
    for name in ("33TWL", "33TWM"):
        # real corners of the tiles, at a coarse resolution
        geobox = parse_tile(name).build_geobox(res)
        pixels = rng.integers(1, 7, (bands, *geobox.shape), dtype=np.uint8)
        key = f"mosaic/{name}/mosaic.tif"
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        profile = {"crs": str(geobox.crs), "transform": geobox.transform, "count": bands, "photometric": "MINISBLACK"}
        with rasterio.open(folder / key, "w", height=geobox.shape.y, width=geobox.shape.x, **TIF, **profile) as dst:
            dst.write(pixels)
        sources.append(VrtSource(key, geobox))
    return sources


def test_vrt_returns_the_pixels_of_each_tile_unchanged(tmp_path: Path) -> None:
    sources = write_tiles(tmp_path, 60, 4)
    path = tmp_path / layout.get_vrt_key("mosaic", 32633)
    path.write_text(build_vrt(sources[::-1], ["red", "green", "blue", "nir"]))
    with rasterio.open(path) as virtual:
        assert virtual.descriptions == ("red", "green", "blue", "nir")
        assert virtual.nodata == 0
        assert virtual.crs.to_epsg() == 32633
        pixels = virtual.read()
    with rasterio.open(tmp_path / sources[1].key) as top, rasterio.open(tmp_path / sources[0].key) as bottom:
        np.testing.assert_array_equal(pixels[:, : top.height], top.read())
        below = pixels.shape[1] - top.height  # rows that only the lower tile covers
        np.testing.assert_array_equal(pixels[:, -below:], bottom.read()[:, -below:])


def test_vrt_of_land_cover_has_the_colours_of_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "landcover-32633.vrt"
    path.write_text(build_vrt(write_tiles(tmp_path, 120, 1), ["class"], colour_table=LANDCOVER_COLOURS))
    with rasterio.open(path) as virtual:
        assert virtual.colormap(1)[3] == (0, 97, 26, 255)
        assert virtual.colormap(1)[0][3] == 0
        top, bottom = parse_tile("33TWM").build_geobox(120), parse_tile("33TWL").build_geobox(120)
        # the grids are 60 m apart: the union is extended to whole pixels of the first tile
        assert virtual.height * 120 >= top.boundingbox.top - bottom.boundingbox.bottom
        assert virtual.read(1).min() >= 1


def test_vrt_does_not_depend_on_the_order_of_tiles(tmp_path: Path) -> None:
    sources = [
        VrtSource(f"mosaic/{name}/mosaic.tif", parse_tile(name).build_geobox(10))
        for name in ("33TWL", "33TWM", "33TVL")
    ]
    assert build_vrt(sources, ["red"]) == build_vrt(sources[::-1], ["red"])
    assert str(tmp_path) not in build_vrt(sources, ["red"])


def test_vrt_of_two_zones_or_no_tiles_raises() -> None:
    sources = [VrtSource(name, parse_tile(name).build_geobox(10)) for name in ("33TWL", "34TCR")]
    with pytest.raises(GridError, match="build one per zone and resolution"):
        build_vrt(sources, ["red"])
    with pytest.raises(GridError, match="Cannot build a virtual mosaic without tiles"):
        build_vrt([], ["red"])
