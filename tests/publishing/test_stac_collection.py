"""Extensions by their schemas, and the whole mosaic as one raster: across zones, the antimeridian, and when moved."""

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
from s2ops.raster.cog import CLASSES, IMAGERY, CogKind, SlabFile
from tests.publishing.test_stac_item import SHA, landcover_item, mosaic_item

SCHEMAS = Path(__file__).parents[1] / "data/stac_schemas"
RES = 1_200


def findings(value: dict[str, Any]) -> dict[str, list[str]]:
    """What each declared extension's schema objects to, by the extension's name (where there is a schema)."""
    out = {}
    for uri in value["stac_extensions"]:
        name = uri.split("/")[3]
        path = SCHEMAS / f"{name}.json"
        if name == "eo" or not path.exists():
            continue
        text = re.sub(rf"(stac-extensions.github.io/{name}/)v[\d.]+", rf"\1{uri.split('/')[4]}", path.read_text())
        registry: Registry[Any] = Registry(retrieve=lambda at: Resource.opaque({"$id": at}))  # PROJJSON: not used
        validator = jsonschema.Draft7Validator(json.loads(text), registry=registry)
        out[name] = [error.message for error in validator.iter_errors(value)]
        if name == "classification":  # older than STAC 1.1: it does not look into `bands` by itself
            fields = validator.evolve(schema={**validator.schema, "allOf": [], "$ref": "#/definitions/fields"})
            assets = (value.get("assets") or {}).values()
            bands = [band for asset in assets for band in asset.get("bands", [])]
            out[name] += [error.message for band in bands for error in fields.iter_errors(band)]
    return out


def collections() -> list[dict[str, Any]]:
    whole = stac_collection.ProductIndexFile("mosaic.gti.gpkg", SHA, 10, "all", "application/geopackage+sqlite3")
    files = stac_collection.build_catalog({"33TWL": mosaic_item()}, {"33TWL": landcover_item()}, {"mosaic": [whole]})
    return [json.loads(files[f"{kind}/collection.json"]) for kind in ("mosaic", "landcover")]


@pytest.mark.parametrize("item", [mosaic_item(), landcover_item(), mosaic_item("01KAB")])
def test_items_follow_the_schemas_of_their_extensions(item: dict[str, Any]) -> None:
    found = findings(item)
    assert set(found) == {"projection", "classification", "file", "processing", "grid"}
    assert not any(found.values()), found


def test_collections_follow_the_schemas_of_their_extensions() -> None:
    for value in collections():
        found = findings(value)
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
def test_a_wrong_field_is_found_by_its_schema(place: tuple[Any, ...], value: object, extension: str) -> None:
    item = json.loads(json.dumps(landcover_item()))
    inner = item
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert [name for name, wrong in findings(item).items() if wrong] == [extension]


def test_bands_have_the_common_names_of_the_eo_extension() -> None:
    known = json.loads((SCHEMAS / "eo.json").read_text())["definitions"]["bands"]["items"]["properties"]["common_name"]
    names = [band["eo:common_name"] for band in mosaic_item()["assets"]["mosaic"]["bands"]]
    assert names == ["red", "green", "blue", "nir"]
    assert set(names) <= set(known["enum"])


def write(folder: Path, names: tuple[str, ...], kind: CogKind, bands: tuple[str, ...]) -> dict[Tile, str]:
    """Tiles whose pixels are 1 in the first, 2 in the second."""
    located = {}
    for value, name in enumerate(names, 1):
        one, key = parse_tile(name), f"product/{name}/data.tif"
        (folder / key).parent.mkdir(parents=True)
        geobox = one.build_geobox(60).zoom_to(resolution=RES)
        file = SlabFile(folder / key, geobox, bands, kind)
        file.write(np.full((len(bands), *geobox.shape), value, np.uint8))
        file.finish()
        located[one] = key
    return located


def values(path: Path, longitude: float, latitude: float) -> list[int]:
    with rasterio.open(path) as src:
        return [int(value) for value in next(src.sample([(longitude, latitude)]))]


def test_the_index_is_one_raster_across_zones_and_can_be_moved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    located = write(run, ("32TQS", "33TUM"), IMAGERY, ("red", "green", "blue", "nir"))
    (run / "mosaic.gti.gpkg").write_bytes(build_tile_index(located, RES, ("red", "green", "blue", "nir"), 0, smooth=False))
    moved = run.rename(tmp_path / "elsewhere") / "mosaic.gti.gpkg"
    with rasterio.open(moved) as src:
        assert (src.driver, src.count, src.nodata, src.crs.to_epsg()) == ("GTI", 4, 0, 4326)
        assert src.descriptions == ("red", "green", "blue", "nir")
        assert [one.name for one in src.colorinterp] == ["red", "green", "blue", "undefined"]
    assert values(moved, 11.9, 46.4) == [1] * 4
    assert values(moved, 13.5, 46.4) == [2] * 4
    assert values(moved, 11.59, 45.9)[0] == 0  # inside the box, outside the tiles


def test_the_index_of_classes_has_their_colours(tmp_path: Path) -> None:
    located = write(tmp_path, ("33TUM",), CLASSES, ("class",))
    path = tmp_path / "landcover.gti.gpkg"
    path.write_bytes(build_tile_index(located, RES, ("class",), 0, smooth=False, palette=stac_collection.LANDCOVER_PALETTE))
    with rasterio.open(path) as src:
        assert src.colormap(1)[3] == (0, 97, 26, 255)
        assert src.colormap(1)[0][3] == 0


def test_tiles_on_both_sides_of_the_antimeridian_are_one_raster(tmp_path: Path) -> None:
    located = write(tmp_path, ("01KBB", "60KXG"), IMAGERY, ("red",))
    path = tmp_path / "mosaic.gti.gpkg"
    path.write_bytes(build_tile_index(located, RES, ("red",), 0, smooth=False))
    for value, name in enumerate(("01KBB", "60KXG"), 1):
        middle = parse_tile(name).footprint.centroid
        assert values(path, middle.x, middle.y) == [value]
    assert values(path, 0, -16.7) == [0]


def test_mosaicjson_is_read_by_cogeo_mosaic_and_finds_every_tile() -> None:
    located = {parse_tile(name): f"mosaic/{name}/mosaic.tif" for name in ("32TQS", "33TUM", "01KAB")}
    document = MosaicJSON.model_validate(build_mosaicjson(located, 10, "mosaic"))
    assert (document.mosaicjson, document.minzoom, document.maxzoom) == ("0.0.3", 8, 14)
    assert {asset for assets in document.tiles.values() for asset in assets} == set(located.values())
    by_key = document.tiles
    for name, longitude, latitude in (("32TQS", 11.9, 46.4), ("33TUM", 13.5, 46.4)):
        square = square_of(longitude, latitude, document.quadkey_zoom or 0)
        assert by_key[square][0] == f"mosaic/{name}/mosaic.tif"


def square_of(longitude: float, latitude: float, zoom: int) -> str:
    """Quadkey of a place, by the formula of the web map."""
    x = int((longitude + 180) / 360 * 2**zoom)
    y = int((1 - np.arcsinh(np.tan(np.radians(latitude))) / np.pi) / 2 * 2**zoom)
    return "".join(str(((x >> bit) & 1) + 2 * ((y >> bit) & 1)) for bit in reversed(range(zoom)))


def test_equal_tiles_in_another_order_give_the_same_index() -> None:
    located = {parse_tile(name): f"mosaic/{name}/mosaic.tif" for name in ("32TQS", "33TUM")}
    back = dict(reversed(located.items()))
    assert build_tile_index(located, 10, ("red",), 0, smooth=True) == build_tile_index(back, 10, ("red",), 0, smooth=True)
    assert build_mosaicjson(located, 10, "mosaic") == build_mosaicjson(back, 10, "mosaic")


def test_no_tile_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="at least one tile"):
        build_tile_index({}, 10, ("red",), 0, smooth=True)
    with pytest.raises(InputError, match="at least one tile"):
        build_mosaicjson({}, 10, "mosaic")
