"""Items of all providers, static catalogs, hostile input, and servers that fail."""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.env import get_gdal_config

from s2ops.catalog.hrefs import Origin, SasTokens, gdal_options, gdal_path, sign, stac_io
from s2ops.catalog.items import Granule, acquired, dn_offset, granule_of, newest_processings, tile_of
from s2ops.catalog.search import ApiCatalog, Found, _found, _Question, open_catalog
from s2ops.errors import CatalogError, CatalogUnreachable
from tests.helpers.stac_items import any_item, with_asset, write_catalog, write_root

ALWAYS = (date(2010, 1, 1), date(2040, 1, 1), 100.0)
ITEM_URL = "https://stac.test/v1/collections/sentinel-2-l2a/items/any"
REMOTE = Origin.of("https://stac.test/v1/catalog.json")


def real_data(*parts: str) -> Path:
    folder = os.environ.get("S2OPS_REAL_DATA")
    if folder is None:
        pytest.skip("S2OPS_REAL_DATA is not set: no recorded items")
    return Path(folder, *parts)


def recorded(name: str) -> list[dict[str, Any]]:
    document = json.loads(real_data("stac-fixtures", name).read_text())
    features: list[dict[str, Any]] = document.get("features", [document])
    return features


def scenes(*items: dict[str, Any]) -> list[str]:
    """Ids after duplicates collapsed."""
    return [scene.id for scene in newest_processings(granule(item) for item in items)]


def granule(item: dict[str, Any]) -> Granule:
    return granule_of(item, ITEM_URL, REMOTE)


# Recorded items of every provider.


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
def test_recorded_items_become_scenes(name: str, tile: str, count: int, offset: int, band: str, preview: str) -> None:
    items = recorded(name)
    assert len(items) == count
    for item in items:
        scene = granule(item).scene
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


def test_cdse_bands_and_thumbnail_come_from_the_object_store_and_not_from_the_login_pages() -> None:
    (item,) = recorded("cdse_stac_v1.1_sentinel-2-l2a.json")
    scene = granule(item).scene
    assert all(href.startswith("s3://eodata/") for href in [*scene.band_hrefs.values(), scene.preview or ""])
    assert scene.processed == "05.00 2023-06-12T21:42:23Z"


def test_the_zagreb_catalog_has_five_scenes_on_each_tile_with_corrected_numbers() -> None:
    catalog = open_catalog(str(real_data("zagreb-two-tiles", "catalog.json")))
    for tile in ("33TWL", "33TWM"):
        found = catalog.scenes(tile, date(2023, 8, 10), date(2023, 8, 20), 100.0)
        assert [scene.date[-2:] for scene in found.scenes] == ["10", "13", "15", "18", "20"]
        assert {scene.offset for scene in found.scenes} == {0}  # raster:bands still says -0.1
        assert {scene.preview for scene in found.scenes} == {None}  # it lies elsewhere than the bands
        assert all(Path(href).is_file() for scene in found.scenes for href in scene.band_hrefs.values())
        assert found.left_out == ()


def test_dates_and_cloud_cover_limit_what_is_found() -> None:
    catalog = open_catalog(str(real_data("zagreb-two-tiles", "catalog.json")))
    clear = catalog.scenes("33TWL", date(2023, 8, 13), date(2023, 8, 18), 45.0)
    assert [scene.date for scene in clear.scenes] == ["2023-08-13", "2023-08-15"]
    assert catalog.scenes("20HMD", *ALWAYS) == Found(())


# The DN offset.


JP2 = "s3://sentinel-s2-l2a/tiles/33/T/WL/2023/8/15/0/B04.jp2"


@pytest.mark.parametrize(
    ("why", "changes", "offset"),
    [
        ("before 04.00 there is none", {"s2:processing_baseline": "03.01", "earthsearch:boa_offset_applied": False}, 0),
        ("the flag says corrected", {"earthsearch:boa_offset_applied": True}, 0),
        ("33UXP_20250302: corrected, the flag is wrong", {"earthsearch:boa_offset_applied": False}, 0),
        (
            "52SFA_20220126: not corrected",
            {"earthsearch:boa_offset_applied": False, "s2:generation_time": "2022-01-26T06:00:00Z"},
            -1000,
        ),
        ("no flag: what the asset says", {"earthsearch:boa_offset_applied": None}, -1000),
    ],
)
def test_the_offset_of_earth_search(why: str, changes: dict[str, Any], offset: int) -> None:
    assert dn_offset(any_item(**changes)) == offset, why


def test_a_jpeg2000_file_carries_esas_own_offset_whatever_the_flag_says() -> None:
    assert dn_offset(with_asset(any_item(), "red", JP2)) == -1000
    assert dn_offset(with_asset(any_item(**{"s2:processing_baseline": "02.14"}), "red", JP2)) == 0


def test_elsewhere_a_false_flag_is_believed() -> None:
    item = any_item(folder="./files", **{"earthsearch:boa_offset_applied": False})
    assert dn_offset(item) == -1000


@pytest.mark.parametrize(("stated", "offset"), [(0, 0), (-0.1, -1000)])
def test_a_stated_offset_decides_where_there_is_no_flag(stated: float, offset: int) -> None:
    item = any_item(**{"earthsearch:boa_offset_applied": None})
    item["assets"]["red"]["raster:bands"][0]["offset"] = stated
    assert dn_offset(item) == offset
    item["assets"]["red"] = {"href": "https://host/B04.tif", "raster:offset": stated}  # STAC 1.1
    assert dn_offset(item) == offset


def test_an_unheard_of_offset_and_no_hint_at_all_are_refused() -> None:
    nothing = {"earthsearch:boa_offset_applied": None, "s2:processing_baseline": None, "s2:product_uri": None}
    item = any_item(**nothing)
    item["assets"]["red"]["raster:bands"][0]["offset"] = -0.05
    with pytest.raises(CatalogError, match=r"states an offset of -0\.05, not 0 or -0\.1"):
        dn_offset(item)
    del item["assets"]["red"]["raster:bands"]
    with pytest.raises(CatalogError, match="neither s2:processing_baseline nor an offset"):
        dn_offset(item)


# Names.


@pytest.mark.parametrize(
    "properties",
    [
        {"grid:code": "MGRS-33TWL"},
        {"s2:mgrs_tile": "33TWL"},
        {"mgrs:utm_zone": 33, "mgrs:latitude_band": "T", "mgrs:grid_square": "WL"},
        {},
    ],
)
def test_the_tile_is_read_from_each_providers_property_or_the_id(properties: dict[str, Any]) -> None:
    assert tile_of({"id": "S2A_33TWL_20230815_0_L2A", "properties": properties}) == "33TWL"


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        ("S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531", "06VVN"),
        ("S2A_T13TDE_20240422T174753_L2A", "13TDE"),
        ("S2B_6VVN_20190629_0_L2A", "06VVN"),
    ],
)
def test_the_tile_is_read_from_each_providers_ids(name: str, tile: str) -> None:
    assert tile_of({"id": name, "properties": {}}) == tile


@pytest.mark.parametrize("code", ["MGRS-6VVN", "MGRS-06VVN"])
def test_zones_below_ten_are_padded(code: str) -> None:
    assert tile_of({"id": "any", "properties": {"grid:code": code}}) == "06VVN"


UNSAFE_IDS = ["../x", "a/b", ".hidden", "", "x" * 201, "a b", "ä", "a\n", "acquired", "x.mask", None, 7]


@pytest.mark.parametrize("name", UNSAFE_IDS)
def test_an_id_that_is_no_safe_file_name_is_refused(name: object) -> None:
    with pytest.raises(CatalogError, match="its id is unsafe as a file name"):
        granule(any_item() | {"id": name})


@given(st.text())
def test_no_accepted_id_can_leave_its_folder(name: str) -> None:
    try:
        scene = granule(any_item() | {"id": name}).scene
    except CatalogError:
        return
    assert re.fullmatch(r"(?!\.)[A-Za-z0-9._-]{1,200}", scene.id)


# Duplicates.


def test_reprocessings_of_one_acquisition_collapse_to_the_newest() -> None:
    old = any_item("S2A_33TWL_20230815_0_L2A")
    new = any_item("S2A_33TWL_20230815_1_L2A", **{"s2:processing_baseline": "05.10"})
    later = any_item("S2A_33TWL_20230815_2_L2A", **{"s2:generation_time": "2023-08-16T00:00:00Z"})
    assert scenes(old, later, new) == ["S2A_33TWL_20230815_1_L2A"]
    assert scenes(later, old) == scenes(old, later) == ["S2A_33TWL_20230815_2_L2A"]


def test_the_two_halves_of_a_granule_cut_between_ground_stations_both_stay() -> None:
    upper = any_item("S2A_33TWL_20230815_0_L2A")
    strip = "S2A_OPER_MSI_L2A_DS_VGS4_20230815T155057_S20230815T095755_N05.09"
    lower = any_item("S2A_33TWL_20230815_1_L2A", **{"s2:datastrip_id": strip})
    assert scenes(upper, lower) == ["S2A_33TWL_20230815_0_L2A", "S2A_33TWL_20230815_1_L2A"]


def test_different_orbits_platforms_and_tiles_of_one_day_all_stay() -> None:
    names = ["S2A_33TWL_20230815_0_L2A", "S2B_33TWL_20230815_0_L2A", "S2A_33TWM_20230815_0_L2A"]
    other_orbit = any_item(
        "S2A_33TWL_20230815_1_L2A",
        **{
            "datetime": "2023-08-15T11:38:11Z",
            "sat:relative_orbit": 80,
            "s2:datastrip_id": "S2A_OPER_MSI_L2A_DS_2APS_20230815T155057_S20230815T113511_N05.09",
        },
    )
    assert len(scenes(*(any_item(name) for name in names), other_orbit)) == 4


def test_without_datastrips_time_or_day_and_orbit_decide() -> None:
    first = any_item("S2A_33TWL_20230815_0_L2A", **{"s2:datastrip_id": None})
    shifted = {"s2:datastrip_id": None, "datetime": "2023-08-15T09:50:31Z"}
    assert len(scenes(first, any_item("S2A_33TWL_20230815_1_L2A", **shifted))) == 1
    no_orbit = shifted | {"s2:product_uri": None}
    assert len(scenes(first, any_item("S2A_33TWL_20230815_1_L2A", **no_orbit))) == 2


@given(st.permutations([any_item(f"S2A_33TWL_202308{day}_{n}_L2A") for day in (10, 15, 20) for n in (0, 1)]))
def test_the_order_of_items_changes_nothing(items: list[dict[str, Any]]) -> None:
    assert scenes(*items) == [f"S2A_33TWL_202308{day}_1_L2A" for day in (10, 15, 20)]


def test_times_are_utc_whatever_zone_the_item_uses() -> None:
    item = any_item(datetime="2023-08-16T01:30:00+02:00")
    assert acquired(item) == datetime(2023, 8, 15, 23, 30, tzinfo=UTC)
    assert granule(item).scene.date == "2023-08-15"


# Broken and hostile items.


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (any_item() | {"assets": {}}, "item S2A_33TWL_20230815_0_L2A: band red is missing"),
        (any_item(**{"eo:cloud_cover": None}), "its eo:cloud_cover is None, not a percentage"),
        (any_item(**{"eo:cloud_cover": "5"}), "its eo:cloud_cover is '5'"),
        (any_item(**{"eo:cloud_cover": float("nan")}), "its eo:cloud_cover is nan"),
        (any_item(datetime="yesterday"), "is malformed: ValueError"),
        (any_item(datetime=None), "is malformed: KeyError 'start_datetime'"),
        (any_item() | {"properties": []}, "is malformed"),
        (any_item() | {"assets": None}, "is malformed"),
        (with_asset(any_item(), "nir", None), "its href 'None' is no plain path or URL"),
    ],
)
def test_a_broken_item_says_what_is_wrong_with_it(broken: dict[str, Any], reason: str) -> None:
    with pytest.raises(CatalogError, match=re.escape(reason)):
        granule(broken)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
READ = [*any_item()["properties"], "sat:relative_orbit", "mgrs:utm_zone", "s2:mgrs_tile", "start_datetime"]


@given(key=st.sampled_from(READ), also=st.sampled_from(READ), value=any_json, other=any_json)
def test_no_value_of_any_property_ends_a_tile(key: str, also: str, value: Any, other: Any) -> None:
    broken = any_item()
    broken["properties"] |= {key: value, also: other}
    good = any_item("S2A_33TWL_20230820_0_L2A")
    found = _found([(broken, ITEM_URL), (good, ITEM_URL)], REMOTE, _Question("33TWL", *ALWAYS))
    assert good["id"] in {scene.id for scene in found.scenes}


@given(st.sampled_from(["id", "type", "properties", "assets", "links", "collection"]), any_json)
def test_no_value_of_any_member_ends_a_tile(key: str, value: Any) -> None:
    good = any_item("S2A_33TWL_20230820_0_L2A")
    items = [(any_item() | {key: value}, ITEM_URL), (good, ITEM_URL)]
    found = _found(items, REMOTE, _Question("33TWL", *ALWAYS))
    assert good["id"] in {scene.id for scene in found.scenes}


@given(st.sampled_from(["red", "thumbnail"]), any_json)
def test_no_value_of_any_asset_ends_a_tile(key: str, value: Any) -> None:
    broken = any_item()
    broken["assets"][key] = value
    good = any_item("S2A_33TWL_20230820_0_L2A")
    found = _found([(broken, ITEM_URL), (good, ITEM_URL)], REMOTE, _Question("33TWL", *ALWAYS))
    assert good["id"] in {scene.id for scene in found.scenes}


HOSTILE_ANYWHERE = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "/etc/passwd",
    "/vsicurl/https://host/x.tif",
    "/vsizip//etc/x.zip/x",
    "ftp://host/x.tif",
    "//host/x.tif",
    "vrt:///etc/passwd",
    "../../../../../../../../../../etc/passwd",
    "https://host/a/../../x.tif",
    "https://host/a/%2e%2e/x.tif",
    "https:///x.tif",
    "https://user:word@host/x.tif",
    "https://[host/x.tif",
    "x.tif\n/etc/passwd",
    "a\\..\\b",
    "",
    None,
    ["x.tif"],
]


@pytest.mark.parametrize("href", HOSTILE_ANYWHERE)
def test_hostile_hrefs_are_left_out_of_remote_and_local_catalogs(tmp_path: Path, href: object) -> None:
    item = with_asset(any_item(), "green", href)
    with pytest.raises(CatalogError, match="href"):
        granule_of(item, ITEM_URL, REMOTE)
    good = any_item("S2A_33TWL_20230820_0_L2A")
    found = open_catalog(write_catalog(tmp_path, item, good)).scenes("33TWL", *ALWAYS)
    assert [scene.id for scene in found.scenes] == [good["id"]]
    ((name, reason),) = found.left_out
    assert name == item["id"]
    assert "href" in reason


def test_a_hostile_preview_counts_as_a_hostile_item() -> None:
    with pytest.raises(CatalogError, match="its href 'file:///etc/shadow'"):
        granule(with_asset(any_item(), "thumbnail", "file:///etc/shadow"))


@given(st.text(min_size=1), st.booleans())
def test_whatever_the_href_a_remote_catalog_gives_only_remote_files(href: str, climb: bool) -> None:
    try:
        resolved = REMOTE.resolve(("../" if climb else "") + href, ITEM_URL)
    except CatalogError:
        return
    assert resolved.partition("://")[0].lower() in {"http", "https", "s3", "gs", "az"}
    assert "/../" not in resolved


def test_relative_hrefs_of_a_remote_catalog_are_taken_from_the_items_url() -> None:
    assert REMOTE.resolve("./B04.tif", "https://stac.test/v1/a/item.json") == "https://stac.test/v1/a/B04.tif"
    assert REMOTE.resolve("../b/B04.tif", "https://stac.test/v1/a/item.json") == "https://stac.test/v1/b/B04.tif"
    with pytest.raises(CatalogError, match="leaves the catalog's folder"):
        REMOTE.resolve("../../b/B04.tif", "https://stac.test/v1/a/item.json")


def test_a_symbolic_link_out_of_a_local_catalog_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.tif"
    outside.write_bytes(b"secret")
    folder = tmp_path / "catalog"
    path = write_catalog(folder, with_asset(any_item(folder="."), "red", "link.tif"))
    (folder / "item0" / "link.tif").symlink_to(outside)
    ((_, reason),) = open_catalog(path).scenes("33TWL", *ALWAYS).left_out
    assert "'link.tif' leaves the catalog's folder" in reason


def test_relative_hrefs_and_previews_of_a_local_catalog_are_found_beside_the_item(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, any_item(folder="./files"))
    (scene,) = open_catalog(path).scenes("33TWL", *ALWAYS).scenes
    folder = tmp_path / "item0" / "files" / "S2A_33TWL_20230815_0_L2A"
    assert scene.band_hrefs["nir"] == str(folder / "B08.tif")
    assert scene.preview == str(folder / "thumbnail.jpg")


# Static catalogs.


def test_items_that_cannot_be_read_are_left_out_and_the_others_found(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, any_item(), any_item("S2A_33TWL_20230820_0_L2A"))
    (tmp_path / "item0" / "item.json").write_text('{"type": "Feature", ')
    document = json.loads(Path(path).read_text())
    document["links"] += [
        {"rel": "item", "href": "./gone/gone.json"},
        {"rel": "item", "href": "file:///etc/passwd"},
        {"rel": "child", "href": "../../other/catalog.json"},
        {"rel": "child", "href": "./catalog.json"},  # a circle
        {"rel": "item"},
    ]
    Path(path).write_text(json.dumps(document))
    found = open_catalog(path).scenes("33TWL", *ALWAYS)
    assert [scene.id for scene in found.scenes] == ["S2A_33TWL_20230820_0_L2A"]
    reasons = dict(found.left_out)
    assert "is not JSON" in reasons["item.json"]
    assert "No such file" in reasons["gone.json"]
    assert "none of http" in reasons["passwd"]
    assert "leaves the catalog's folder" in reasons["catalog.json"]
    assert "no plain path or URL" in reasons["None"]


def test_two_acquisitions_with_one_id_would_share_files_so_the_second_is_left_out(tmp_path: Path) -> None:
    other = any_item("S2A_33TWL_20230820_0_L2A") | {"id": "S2A_33TWL_20230815_0_L2A"}
    found = open_catalog(write_catalog(tmp_path, other, any_item())).scenes("33TWL", *ALWAYS)
    assert [scene.date for scene in found.scenes] == ["2023-08-15"]
    ((name, reason),) = found.left_out
    assert (name, "another acquisition has the same id" in reason) == ("S2A_33TWL_20230815_0_L2A", True)


def test_a_collection_can_be_picked_in_a_static_catalog(tmp_path: Path) -> None:
    raw = any_item("S2A_33TWL_20230820_0_L1C") | {"collection": "sentinel-2-l1c"}
    path = write_catalog(tmp_path, any_item(), raw)
    found = open_catalog(f"{path}#sentinel-2-l1c").scenes("33TWL", *ALWAYS)
    assert [scene.id for scene in found.scenes] == ["S2A_33TWL_20230820_0_L1C"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "holds no JSON object"), ('{"type": "Banana"}', "a STAC document of type 'Banana'")],
)
def test_a_file_that_is_no_catalog_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(content)
    with pytest.raises(CatalogError, match=message):
        open_catalog(str(path)).scenes("33TWL", *ALWAYS)


def test_a_missing_path_and_a_misspelt_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="'earthsearch' is neither a file, nor a URL, nor one of earth-search"):
        open_catalog("earthsearch")
    write_root(tmp_path, [])
    with pytest.raises(CatalogError, match=r"did you mean .*catalog\.json\?"):
        open_catalog(str(tmp_path))
    with pytest.raises(CatalogError, match="cannot be read: give an http"):
        open_catalog("s3://bucket/catalog.json")


def test_the_named_catalogs_are_known_by_url_and_take_a_collection() -> None:
    assert open_catalog("earth-search").identity == "https://earth-search.aws.element84.com/v1#sentinel-2-l2a"
    assert open_catalog("cdse").identity == "https://stac.dataspace.copernicus.eu/v1#sentinel-2-l2a"
    chosen = open_catalog("earth-search#sentinel-2-c1-l2a")
    assert chosen.identity == "https://earth-search.aws.element84.com/v1#sentinel-2-c1-l2a"
    by_url = open_catalog("https://planetarycomputer.microsoft.com/api/stac/v1/")
    assert isinstance(by_url, ApiCatalog)
    assert by_url.provider == open_catalog("planetary-computer").provider  # type: ignore[attr-defined]


# Servers.


@contextmanager
def server(answer: Callable[[str], tuple[int, Any]]) -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback: `answer(path)` gives status and JSON. Yields its URL and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = answer(self.path)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}", asked
        finally:
            http.shutdown()
            thread.join()


def static_files(*items: dict[str, Any]) -> Callable[[str], tuple[int, Any]]:
    links = [{"rel": "item", "href": f"items/{number}.json"} for number in range(len(items))]
    root = {"type": "Catalog", "id": "any", "stac_version": "1.0.0", "description": "any", "links": links}
    files = {"/catalog.json": root} | {f"/items/{number}.json": item for number, item in enumerate(items)}
    return lambda path: (200, files[path]) if path in files else (404, {})


def test_a_static_catalog_on_a_web_server_is_read_once_and_gives_urls() -> None:
    with server(static_files(any_item(folder="./files"))) as (url, asked):
        catalog = open_catalog(f"{url}/catalog.json")
        (scene,) = catalog.scenes("33TWL", *ALWAYS).scenes
        catalog.scenes("33TWM", *ALWAYS)
        assert scene.band_hrefs["red"] == f"{url}/items/files/S2A_33TWL_20230815_0_L2A/B04.tif"
        assert asked == ["/catalog.json", "/items/0.json"]


def test_a_server_that_is_busy_twice_is_asked_again() -> None:
    files, refusals = static_files(any_item()), iter([503, 503])

    def answer(path: str) -> tuple[int, Any]:
        status = next(refusals, None)
        return files(path) if status is None else (status, {})

    with server(answer) as (url, asked):
        found = open_catalog(f"{url}/catalog.json", stac_io(backoff_s=0.01)).scenes("33TWL", *ALWAYS)
    assert len(found.scenes) == 1
    assert asked == ["/catalog.json"] * 3 + ["/items/0.json"]


@pytest.mark.parametrize("path", ["", "/catalog.json"])
def test_a_server_that_stays_busy_is_unreachable(path: str) -> None:
    with server(lambda _: (503, {})) as (url, asked):
        catalog = open_catalog(url + path, stac_io(retries=2, backoff_s=0.01))
        with pytest.raises(CatalogUnreachable, match=rf"{url}{path} answers 503: try again later") as error:
            catalog.scenes("33TWL", *ALWAYS)
        assert error.value.exit_code == 75
        assert len(asked) == 3


@pytest.mark.parametrize("path", ["", "/catalog.json"])
def test_a_refused_connection_is_unreachable(path: str) -> None:
    with server(lambda _: (200, {})) as (url, _):
        pass  # nobody listens there any more
    catalog = open_catalog(url + path, stac_io(retries=1, backoff_s=0.01))
    with pytest.raises(CatalogUnreachable, match=rf"{url}{path} does not answer .*refused.*: try again later"):
        catalog.scenes("33TWL", *ALWAYS)


def test_an_item_whose_server_fails_makes_the_catalog_unreachable_and_not_smaller() -> None:
    """A gap that a second try would fill must not be taken for a fact about the tile."""
    files = static_files(any_item())
    with server(lambda path: files(path) if path == "/catalog.json" else (500, {})) as (url, _):
        catalog = open_catalog(f"{url}/catalog.json", stac_io(retries=1, backoff_s=0.01))
        with pytest.raises(CatalogUnreachable, match=r"items/0.json answers 500"):
            catalog.scenes("33TWL", *ALWAYS)


def api_that_answers(url: str, path: str, page: Any) -> tuple[int, Any]:
    """The root of a minimal STAC API that searches by GET, and one page of results."""
    if path.startswith("/search"):
        return 200, page
    conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
    root = {"type": "Catalog", "id": "any", "stac_version": "1.0.0", "description": "any", "conformsTo": conforms}
    return 200, root | {"links": [{"rel": "search", "href": f"{url}/search", "type": "application/geo+json"}]}


@pytest.mark.parametrize("page", [{"features": 7}, [], {"features": [any_item()], "links": 7}])
def test_a_search_answered_with_no_list_of_items_is_refused(page: Any) -> None:
    with server(lambda path: api_that_answers(url, path, page)) as (url, _):
        catalog = open_catalog(url, stac_io(retries=0))
        with pytest.raises(CatalogError, match=f"{url} answers a search with no list of items"):
            catalog.scenes("33TWL", *ALWAYS)


def test_an_api_that_only_knows_search_by_get_is_asked_by_get() -> None:
    page = {"features": ["no item", any_item(), any_item(**{"eo:cloud_cover": 90})], "links": []}
    with server(lambda path: api_that_answers(url, path, page)) as (url, asked):
        found = open_catalog(url, stac_io(retries=0)).scenes("33TWL", date(2023, 8, 1), date(2023, 8, 31), 80.0)
    assert [scene.id for scene in found.scenes] == ["S2A_33TWL_20230815_0_L2A"]
    assert [name for name, _ in found.left_out] == ["None"]
    assert "collections=sentinel-2-l2a" in asked[1]


def test_a_url_that_is_wrong_is_no_reason_to_try_again() -> None:
    with (
        server(lambda _: (404, {"code": "NotFound"})) as (url, asked),
        pytest.raises(CatalogError, match=r"answers 404: .*; check the URL"),
    ):
        open_catalog(url).scenes("33TWL", *ALWAYS)
    assert len(asked) == 1


# Access.


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("https://host/a/B04.tif", "/vsicurl/https://host/a/B04.tif"),
        ("s3://bucket/a/B04.jp2", "/vsis3/bucket/a/B04.jp2"),
        ("gs://bucket/B04.tif", "/vsigs/bucket/B04.tif"),
        ("az://container/B04.tif", "/vsiaz/container/B04.tif"),
        ("/data/B04.tif", "/data/B04.tif"),
    ],
)
def test_gdal_paths(href: str, path: str) -> None:
    assert gdal_path(href) == path


@pytest.mark.parametrize("href", ["file:///etc/passwd", "/vsicurl/https://host/x", "vsi://x"])
def test_gdal_never_gets_another_kind_of_path(href: str) -> None:
    with pytest.raises(CatalogError, match=r"cannot be read|own file systems"):
        gdal_path(href)


def test_gdal_takes_the_options_and_bounds_its_cache() -> None:
    with rasterio.Env(**gdal_options()):
        assert get_gdal_config("GDAL_CACHEMAX") == 128
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
        assert get_gdal_config("GDAL_PAM_ENABLED") == "NO"


BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/06/V/VN/B04.tif"


@contextmanager
def token_server(lifetime: timedelta) -> Iterator[tuple[SasTokens, list[str]]]:
    expiry = (datetime.now(UTC) + lifetime).isoformat()
    numbers = iter(range(100))
    answer = {"msft:expiry": expiry}
    with server(lambda _: (200, answer | {"token": f"se=soon&sig={next(numbers)}"})) as (url, asked):
        yield SasTokens(url, stac_io(retries=0)), asked


def test_the_planetary_computers_files_are_signed_with_one_token_per_container() -> None:
    with token_server(timedelta(hours=1)) as (tokens, asked):
        assert sign(BLOB, tokens) == f"{BLOB}?se=soon&sig=0"
        assert sign(BLOB.replace("B04", "B08"), tokens).endswith("B08.tif?se=soon&sig=0")
        assert asked == ["/sentinel2l2a01/sentinel2-l2"]
        assert "sig" not in repr(tokens)


def test_a_token_about_to_expire_is_fetched_anew() -> None:
    with token_server(timedelta(minutes=2)) as (tokens, asked):
        assert [sign(BLOB, tokens)[-1] for _ in range(2)] == ["0", "1"]
        assert len(asked) == 2


@pytest.mark.parametrize(
    "href",
    [
        "https://host/sentinel2-l2/B04.tif",
        "https://sentinel2l2a01.blob.core.windows.net.evil.test/sentinel2-l2/B04.tif",
        "https://other.blob.core.windows.net/sentinel2-l2/B04.tif",
        "http://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/B04.tif",
        f"{BLOB}?sig=there",
        "s3://bucket/B04.tif",
        "/data/B04.tif",
    ],
)
def test_nobody_else_gets_a_token(href: str) -> None:
    with token_server(timedelta(hours=1)) as (tokens, asked):
        assert sign(href, tokens) == href
        assert asked == []


def test_a_token_server_that_fails_is_transient() -> None:
    with server(lambda _: (500, {})) as (url, _), pytest.raises(CatalogUnreachable, match="answers 500"):
        sign(BLOB, SasTokens(url, stac_io(retries=0)))
