"""STAC collections against their extension schemas; tile index and MosaicJSON across zones and the antimeridian."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import rasterio
from cogeo_mosaic.mosaic import MosaicJSON
from referencing import Registry, Resource

from s2ops.errors import InputError
from s2ops.geo.mgrs_tiles import Tile, parse_tile
from s2ops.publishing import stac_collection
from s2ops.publishing.mosaicjson import build_mosaicjson
from s2ops.publishing.tile_index import build_tile_index
from s2ops.raster.cog import CLASSES, IMAGERY, CogProfile, CogWriter
from tests.publishing.test_stac_item import SHA, build_landcover_item, build_mosaic_item

SCHEMAS = Path(__file__).parents[1] / "data/stac_schemas"
RES = 1_200


def validate_extensions(value: dict[str, Any]) -> dict[str, list[str]]:
    """Validate against the schema of each declared extension that has one; return error messages by extension."""
    out = {}
    for uri in value["stac_extensions"]:
        name = uri.split("/")[3]
        path = SCHEMAS / f"{name}.json"
        if name == "eo" or not path.exists():
            continue
        text = re.sub(rf"(stac-extensions.github.io/{name}/)v[\d.]+", rf"\1{uri.split('/')[4]}", path.read_text())
        registry: Registry[Any] = Registry(
            retrieve=lambda at: Resource.opaque({"$id": at})
        )  # the schema of PROJJSON is not used
        validator = jsonschema.Draft7Validator(json.loads(text), registry=registry)
        out[name] = [error.message for error in validator.iter_errors(value)]
        if name == "classification":  # the schema is older than STAC 1.1 and does not check `bands`
            fields = validator.evolve(schema={**validator.schema, "allOf": [], "$ref": "#/definitions/fields"})
            assets = (value.get("assets") or {}).values()
            bands = [band for asset in assets for band in asset.get("bands", [])]
            out[name] += [error.message for band in bands for error in fields.iter_errors(band)]
    return out


def build_collections() -> list[dict[str, Any]]:
    index_file = stac_collection.ProductIndexFile("mosaic.gti.gpkg", SHA, 10, "all", "application/geopackage+sqlite3")
    files = stac_collection.build_catalog(
        {"33TWL": build_mosaic_item()}, {"33TWL": build_landcover_item()}, {"mosaic": [index_file]}
    )
    return [json.loads(files[f"{kind}/collection.json"]) for kind in ("mosaic", "landcover")]


@pytest.mark.parametrize("item", [build_mosaic_item(), build_landcover_item(), build_mosaic_item("01KAB")])
def test_items_are_valid_against_their_extensions(item: dict[str, Any]) -> None:
    found = validate_extensions(item)
    assert set(found) == {"projection", "classification", "file", "processing", "grid"}
    assert not any(found.values()), found


def test_collections_are_valid_against_their_extensions() -> None:
    for value in build_collections():
        found = validate_extensions(value)
        assert set(found) == {"scientific", "render", "classification", "file"}
        assert not any(found.values()), found


@pytest.mark.parametrize(
    ("place", "value", "extension"),
    [
        (("properties", "proj:shape"), [1], "projection"),
        (("properties", "grid:code"), "33TWL", "grid"),
        (("properties", "processing:software"), "s2ops", "processing"),
        (("assets", "landcover", "file:checksum"), "SHA256:abc", "file"),
        (("assets", "landcover", "bands", 0, "classification:classes", 1, "color_hint"), "blue", "classification"),
    ],
)
def test_extension_schema_rejects_a_wrong_field(place: tuple[Any, ...], value: object, extension: str) -> None:
    item = json.loads(json.dumps(build_landcover_item()))
    inner = item
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert [name for name, wrong in validate_extensions(item).items() if wrong] == [extension]


def test_imagery_asset_bands_have_common_names_of_the_eo_extension() -> None:
    known = json.loads((SCHEMAS / "eo.json").read_text())["definitions"]["bands"]["items"]["properties"]["common_name"]
    names = [band["eo:common_name"] for band in build_mosaic_item()["assets"]["mosaic"]["bands"]]
    assert names == ["red", "green", "blue", "nir"]
    assert set(names) <= set(known["enum"])


def write_tiles(folder: Path, names: tuple[str, ...], kind: CogProfile, bands: tuple[str, ...]) -> dict[Tile, str]:
    """Write tiles with pixel value 1 in the first and 2 in the second; return their keys."""
    located = {}
    for value, name in enumerate(names, 1):
        one, key = parse_tile(name), f"product/{name}/data.tif"
        (folder / key).parent.mkdir(parents=True)
        geobox = one.build_geobox(60).zoom_to(resolution=RES)
        file = CogWriter(folder / key, geobox, bands, kind)
        file.write(np.full((len(bands), *geobox.shape), value, np.uint8))
        file.finish()
        located[one] = key
    return located


def read_pixel(path: Path, longitude: float, latitude: float) -> list[int]:
    with rasterio.open(path) as src:
        return [int(value) for value in next(src.sample([(longitude, latitude)]))]


def test_tile_index_is_one_raster_across_zones_and_can_be_moved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    located = write_tiles(run, ("32TQS", "33TUM"), IMAGERY, ("red", "green", "blue", "nir"))
    (run / "mosaic.gti.gpkg").write_bytes(
        build_tile_index(located, RES, ("red", "green", "blue", "nir"), 0, smooth=False)
    )
    moved = run.rename(tmp_path / "elsewhere") / "mosaic.gti.gpkg"
    with rasterio.open(moved) as src:
        assert (src.driver, src.count, src.nodata, src.crs.to_epsg()) == ("GTI", 4, 0, 4326)
        assert src.descriptions == ("red", "green", "blue", "nir")
        assert [one.name for one in src.colorinterp] == ["red", "green", "blue", "undefined"]
    assert read_pixel(moved, 11.9, 46.4) == [1] * 4
    assert read_pixel(moved, 13.5, 46.4) == [2] * 4
    assert read_pixel(moved, 11.59, 45.9)[0] == 0  # inside the bounds, outside the tiles


def test_tile_index_of_classes_has_their_colours(tmp_path: Path) -> None:
    located = write_tiles(tmp_path, ("33TUM",), CLASSES, ("class",))
    path = tmp_path / "landcover.gti.gpkg"
    path.write_bytes(
        build_tile_index(located, RES, ("class",), 0, smooth=False, palette=stac_collection.LANDCOVER_PALETTE)
    )
    with rasterio.open(path) as src:
        assert src.colormap(1)[3] == (0, 97, 26, 255)
        assert src.colormap(1)[0][3] == 0


def test_tile_index_across_the_antimeridian_is_one_raster(tmp_path: Path) -> None:
    located = write_tiles(tmp_path, ("01KBB", "60KXG"), IMAGERY, ("red",))
    path = tmp_path / "mosaic.gti.gpkg"
    path.write_bytes(build_tile_index(located, RES, ("red",), 0, smooth=False))
    for value, name in enumerate(("01KBB", "60KXG"), 1):
        middle = parse_tile(name).footprint.centroid
        assert read_pixel(path, middle.x, middle.y) == [value]
    assert read_pixel(path, 0, -16.7) == [0]


def test_mosaicjson_is_read_by_cogeo_mosaic_and_finds_every_tile() -> None:
    located = {parse_tile(name): f"mosaic/{name}/mosaic.tif" for name in ("32TQS", "33TUM", "01KAB")}
    document = MosaicJSON.model_validate(build_mosaicjson(located, 10, "mosaic"))
    assert (document.mosaicjson, document.minzoom, document.maxzoom) == ("0.0.3", 8, 14)
    assert {asset for assets in document.tiles.values() for asset in assets} == set(located.values())
    by_key = document.tiles
    for name, longitude, latitude in (("32TQS", 11.9, 46.4), ("33TUM", 13.5, 46.4)):
        square = compute_quadkey(longitude, latitude, document.quadkey_zoom or 0)
        assert by_key[square][0] == f"mosaic/{name}/mosaic.tif"


def compute_quadkey(longitude: float, latitude: float, zoom: int) -> str:
    """Compute the quadkey of a point by the Web Mercator formula."""
    x = int((longitude + 180) / 360 * 2**zoom)
    y = int((1 - np.arcsinh(np.tan(np.radians(latitude))) / np.pi) / 2 * 2**zoom)
    return "".join(str(((x >> bit) & 1) + 2 * ((y >> bit) & 1)) for bit in reversed(range(zoom)))


def test_tile_index_and_mosaicjson_do_not_depend_on_the_order_of_tiles() -> None:
    located = {parse_tile(name): f"mosaic/{name}/mosaic.tif" for name in ("32TQS", "33TUM")}
    back = dict(reversed(located.items()))
    assert build_tile_index(located, 10, ("red",), 0, smooth=True) == build_tile_index(
        back, 10, ("red",), 0, smooth=True
    )
    assert build_mosaicjson(located, 10, "mosaic") == build_mosaicjson(back, 10, "mosaic")


def test_tile_index_and_mosaicjson_without_tiles_raise() -> None:
    with pytest.raises(InputError, match="Cannot build a tile index without tiles: run the steps before publish first"):
        build_tile_index({}, 10, ("red",), 0, smooth=True)
    with pytest.raises(InputError, match="Cannot build a MosaicJSON without tiles: run the steps before publish first"):
        build_mosaicjson({}, 10, "mosaic")
