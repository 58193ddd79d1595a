"""Parser of STAC items: recorded items of all providers, DN offsets, names, duplicates, broken items."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.catalog.hrefs import Origin
from s2ops.catalog.items import (
    Granule,
    determine_dn_offset,
    group_processings,
    parse_item,
    read_acquisition_time,
    read_tile_name,
)
from s2ops.constants import Json
from s2ops.errors import CatalogError
from tests.helpers.real_data import find_real_data
from tests.helpers.stac_items import make_item, replace_asset

ITEM_URL = "https://stac.test/v1/collections/sentinel-2-l2a/items/any"
REMOTE = Origin.from_location("https://stac.test/v1/catalog.json")


def load_recorded_items(name: str) -> list[Json]:
    document = json.loads(find_real_data("stac-fixtures", name).read_text())
    features: list[Json] = document.get("features", [document])
    return features


def deduplicate(*items: Json) -> list[str]:
    """Return the ids of the newest processings."""
    return [newest.id for newest, *_ in group_processings(parse(item) for item in items)]


def parse(item: Json) -> Granule:
    return parse_item(item, ITEM_URL, REMOTE)


@pytest.mark.parametrize(
    ("name", "tile", "count", "offset", "band", "preview"),
    [
        ("earthsearch_v1_sentinel-2-c1-l2a_items.json", "13TDE", 10, -1000, "B04.tif", "L2A_PVI.tif"),
        ("earthsearch_v1_search_l1c.json", "27VWK", 1, -1000, "B04.jp2", "preview.jpg"),
        ("planetarycomputer_S2B_T06VVN_20190629.json", "06VVN", 1, 0, "B04_10m.tif", "PVI.tif"),
        ("planetarycomputer_two_items.json", "13TDE", 2, -1000, "B04_10m.tif", "TCI_10m.tif"),
        ("cdse_stac_v1.1_sentinel-2-l2a.json", "36NYH", 1, -1000, "B04_10m.jp2", "-ql.jpg"),
    ],
)
def test_parse_item_reads_recorded_items_of_every_provider(
    name: str, tile: str, count: int, offset: int, band: str, preview: str
) -> None:
    items = load_recorded_items(name)
    assert len(items) == count
    for item in items:
        scene = parse(item).scene
        assert (scene.id, scene.tile, scene.offset) == (item["id"], tile, offset)
        assert [key for key, _ in scene.bands] == ["red", "green", "blue", "nir"]
        assert scene.band_hrefs["red"].endswith(band)
        assert scene.band_hrefs["nir"].endswith(band.replace("4", "8", 1))
        assert scene.preview is not None
        assert scene.preview.endswith(preview)
        assert scene.cloud_cover == item["properties"]["eo:cloud_cover"]
        assert scene.datetime == datetime.fromisoformat(item["properties"]["datetime"])
        assert scene.platform in {"sentinel-2a", "sentinel-2b"}
        assert scene.orbit is not None


def test_parse_item_takes_cdse_bands_and_thumbnail_from_the_object_store() -> None:
    (item,) = load_recorded_items("cdse_stac_v1.1_sentinel-2-l2a.json")
    scene = parse(item).scene
    assert all(href.startswith("s3://eodata/") for href in [*scene.band_hrefs.values(), scene.preview or ""])
    assert scene.processed == "05.00 2023-06-12T21:42:23Z"


JP2 = "s3://sentinel-s2-l2a/tiles/33/T/WL/2023/8/15/0/B04.jp2"


@pytest.mark.parametrize(
    ("why", "changes", "offset"),
    [
        ("before 04.00 there is none", {"s2:processing_baseline": "03.01", "earthsearch:boa_offset_applied": False}, 0),
        ("the flag states that the offset is applied", {"earthsearch:boa_offset_applied": True}, 0),
        ("33UXP_20250302: corrected, the flag is wrong", {"earthsearch:boa_offset_applied": False}, 0),
        (
            "52SFA_20220126: not corrected",
            {"earthsearch:boa_offset_applied": False, "s2:generation_time": "2022-01-26T06:00:00Z"},
            -1000,
        ),
        ("without a flag the offset of the asset decides", {"earthsearch:boa_offset_applied": None}, -1000),
    ],
)
def test_determine_dn_offset_of_earth_search(why: str, changes: Json, offset: int) -> None:
    assert determine_dn_offset(make_item(**changes)) == offset, why


def test_determine_dn_offset_ignores_the_flag_for_jpeg2000() -> None:
    assert determine_dn_offset(replace_asset(make_item(), "red", JP2)) == -1000
    assert determine_dn_offset(replace_asset(make_item(**{"s2:processing_baseline": "02.14"}), "red", JP2)) == 0


def test_determine_dn_offset_trusts_a_false_flag_outside_earth_search() -> None:
    item = make_item(folder="./files", **{"earthsearch:boa_offset_applied": False})
    assert determine_dn_offset(item) == -1000


@pytest.mark.parametrize(("stated", "offset"), [(0, 0), (-0.1, -1000)])
def test_determine_dn_offset_uses_the_stated_offset_without_a_flag(stated: float, offset: int) -> None:
    item = make_item(**{"earthsearch:boa_offset_applied": None})
    item["assets"]["red"]["raster:bands"][0]["offset"] = stated
    assert determine_dn_offset(item) == offset
    item["assets"]["red"] = {"href": "https://host/B04.tif", "raster:offset": stated}  # STAC 1.1
    assert determine_dn_offset(item) == offset


def test_determine_dn_offset_raises_for_an_unknown_or_missing_offset() -> None:
    nothing = {"earthsearch:boa_offset_applied": None, "s2:processing_baseline": None, "s2:product_uri": None}
    item = make_item(**nothing)
    item["assets"]["red"]["raster:bands"][0]["offset"] = -0.05
    with pytest.raises(CatalogError, match=r"the offset of its red band is -0\.05; expected 0 or -0\.1"):
        determine_dn_offset(item)
    del item["assets"]["red"]["raster:bands"]
    with pytest.raises(CatalogError, match="s2:processing_baseline and the offset of its red band are missing"):
        determine_dn_offset(item)


@pytest.mark.parametrize(
    "properties",
    [
        {"grid:code": "MGRS-33TWL"},
        {"s2:mgrs_tile": "33TWL"},
        {"mgrs:utm_zone": 33, "mgrs:latitude_band": "T", "mgrs:grid_square": "WL"},
        {},
    ],
)
def test_read_tile_name_from_each_providers_property_or_the_id(properties: Json) -> None:
    assert read_tile_name({"id": "S2A_33TWL_20230815_0_L2A", "properties": properties}) == "33TWL"


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        ("S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531", "06VVN"),
        ("S2A_T13TDE_20240422T174753_L2A", "13TDE"),
        ("S2B_6VVN_20190629_0_L2A", "06VVN"),
    ],
)
def test_read_tile_name_from_each_providers_ids(name: str, tile: str) -> None:
    assert read_tile_name({"id": name, "properties": {}}) == tile


@pytest.mark.parametrize("code", ["MGRS-6VVN", "MGRS-06VVN"])
def test_read_tile_name_pads_zones_below_ten(code: str) -> None:
    assert read_tile_name({"id": "any", "properties": {"grid:code": code}}) == "06VVN"


UNSAFE_IDS = ["../x", "a/b", ".hidden", "", "x" * 201, "a b", "ä", "a\n", "acquired", "x.mask", None, 7]


@pytest.mark.parametrize("name", UNSAFE_IDS)
def test_parse_item_raises_for_an_id_that_is_unsafe_as_a_file_name(name: object) -> None:
    with pytest.raises(CatalogError, match="Cannot use its id as a file name"):
        parse(make_item() | {"id": name})


@given(st.text())
def test_parse_item_accepts_no_id_that_leaves_its_folder(name: str) -> None:
    try:
        scene = parse(make_item() | {"id": name}).scene
    except CatalogError:
        return
    assert re.fullmatch(r"(?!\.)[A-Za-z0-9._-]{1,200}", scene.id)


def test_group_processings_puts_the_newest_of_one_acquisition_first() -> None:
    old = make_item("S2A_33TWL_20230815_0_L2A")
    new = make_item("S2A_33TWL_20230815_1_L2A", **{"s2:processing_baseline": "05.10"})
    later = make_item("S2A_33TWL_20230815_2_L2A", **{"s2:generation_time": "2023-08-16T00:00:00Z"})
    assert deduplicate(old, later, new) == ["S2A_33TWL_20230815_1_L2A"]
    assert deduplicate(later, old) == deduplicate(old, later) == ["S2A_33TWL_20230815_2_L2A"]


def test_group_processings_keeps_both_halves_of_a_split_granule() -> None:
    upper = make_item("S2A_33TWL_20230815_0_L2A")
    strip = "S2A_OPER_MSI_L2A_DS_VGS4_20230815T155057_S20230815T095755_N05.09"
    lower = make_item("S2A_33TWL_20230815_1_L2A", **{"s2:datastrip_id": strip})
    assert deduplicate(upper, lower) == ["S2A_33TWL_20230815_0_L2A", "S2A_33TWL_20230815_1_L2A"]


def test_group_processings_keeps_different_orbits_platforms_and_tiles_of_one_day() -> None:
    names = ["S2A_33TWL_20230815_0_L2A", "S2B_33TWL_20230815_0_L2A", "S2A_33TWM_20230815_0_L2A"]
    other_orbit = make_item(
        "S2A_33TWL_20230815_1_L2A",
        **{
            "datetime": "2023-08-15T11:38:11Z",
            "sat:relative_orbit": 80,
            "s2:datastrip_id": "S2A_OPER_MSI_L2A_DS_2APS_20230815T155057_S20230815T113511_N05.09",
        },
    )
    assert len(deduplicate(*(make_item(name) for name in names), other_orbit)) == 4


def test_group_processings_compares_time_or_day_and_orbit_without_datastrips() -> None:
    first = make_item("S2A_33TWL_20230815_0_L2A", **{"s2:datastrip_id": None})
    shifted = {"s2:datastrip_id": None, "datetime": "2023-08-15T09:50:31Z"}
    assert len(deduplicate(first, make_item("S2A_33TWL_20230815_1_L2A", **shifted))) == 1
    no_orbit = shifted | {"s2:product_uri": None}
    assert len(deduplicate(first, make_item("S2A_33TWL_20230815_1_L2A", **no_orbit))) == 2


@given(st.permutations([make_item(f"S2A_33TWL_202308{day}_{n}_L2A") for day in (10, 15, 20) for n in (0, 1)]))
def test_group_processings_does_not_depend_on_the_order_of_items(items: list[Json]) -> None:
    assert deduplicate(*items) == [f"S2A_33TWL_202308{day}_1_L2A" for day in (10, 15, 20)]


def test_read_acquisition_time_converts_every_time_zone_to_utc() -> None:
    item = make_item(datetime="2023-08-16T01:30:00+02:00")
    assert read_acquisition_time(item) == datetime(2023, 8, 15, 23, 30, tzinfo=UTC)
    assert parse(item).scene.date == "2023-08-15"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (make_item() | {"assets": {}}, "item S2A_33TWL_20230815_0_L2A: band red is missing"),
        (make_item(**{"eo:cloud_cover": None}), "its eo:cloud_cover is None; expected a percentage"),
        (make_item(**{"eo:cloud_cover": "5"}), "its eo:cloud_cover is '5'"),
        (make_item(**{"eo:cloud_cover": float("nan")}), "its eo:cloud_cover is nan"),
        (make_item(datetime="yesterday"), ": ValueError Invalid isoformat string"),
        (make_item(datetime=None), ": KeyError 'start_datetime'"),
        (make_item() | {"properties": []}, "Cannot parse item"),
        (make_item() | {"assets": None}, "Cannot parse item"),
        (replace_asset(make_item(), "nir", None), "its href 'None' is not a valid path or URL"),
    ],
)
def test_parse_item_names_the_defect_of_a_broken_item(broken: Json, reason: str) -> None:
    with pytest.raises(CatalogError, match=re.escape(reason)):
        parse(broken)


def test_parse_item_raises_for_a_hostile_preview() -> None:
    with pytest.raises(CatalogError, match="its href 'file:///etc/shadow'"):
        parse(replace_asset(make_item(), "thumbnail", "file:///etc/shadow"))
