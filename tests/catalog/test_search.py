"""Catalog search: static catalogs and STAC APIs, broken items, and servers that fail."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.catalog.hrefs import Origin
from s2ops.catalog.http_client import create_stac_io
from s2ops.catalog.search import ApiCatalog, Provider, SearchResult, _collect_scenes, _Query, open_catalog
from s2ops.constants import Json
from s2ops.errors import CatalogError, CatalogUnreachable
from tests.helpers.http_server import serve_json
from tests.helpers.real_data import find_real_data
from tests.helpers.stac_items import ALWAYS, make_item, write_catalog, write_root

ITEM_URL = "https://stac.test/v1/collections/sentinel-2-l2a/items/any"
REMOTE = Origin.from_location("https://stac.test/v1/catalog.json")


def test_find_scenes_in_the_zagreb_catalog_returns_five_corrected_scenes_per_tile() -> None:
    catalog = open_catalog(str(find_real_data("zagreb-two-tiles", "catalog.json")))
    for tile in ("33TWL", "33TWM"):
        found = catalog.find_scenes(tile, date(2023, 8, 10), date(2023, 8, 20), 100.0)
        assert [scene.date[-2:] for scene in found.scenes] == ["10", "13", "15", "18", "20"]
        assert {scene.offset for scene in found.scenes} == {0}  # although raster:bands states -0.1
        assert {scene.preview for scene in found.scenes} == {None}  # it lies elsewhere than the bands
        assert all(Path(href).is_file() for scene in found.scenes for href in scene.band_hrefs.values())
        assert found.left_out == ()


def test_find_scenes_respects_dates_and_cloud_cover() -> None:
    catalog = open_catalog(str(find_real_data("zagreb-two-tiles", "catalog.json")))
    clear = catalog.find_scenes("33TWL", date(2023, 8, 13), date(2023, 8, 18), 45.0)
    assert [scene.date for scene in clear.scenes] == ["2023-08-13", "2023-08-15"]
    assert catalog.find_scenes("20HMD", *ALWAYS) == SearchResult(())


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


PROPERTY_KEYS = [*make_item()["properties"], "sat:relative_orbit", "mgrs:utm_zone", "s2:mgrs_tile", "start_datetime"]


@given(key=st.sampled_from(PROPERTY_KEYS), also=st.sampled_from(PROPERTY_KEYS), value=ANY_JSON, other=ANY_JSON)
def test_collect_scenes_survives_any_value_of_any_property(key: str, also: str, value: Any, other: Any) -> None:
    broken = make_item()
    broken["properties"] |= {key: value, also: other}
    good = make_item("S2A_33TWL_20230820_0_L2A")
    found = _collect_scenes([(broken, ITEM_URL), (good, ITEM_URL)], REMOTE, _Query("33TWL", *ALWAYS))
    assert good["id"] in {scene.id for scene in found.scenes}


@given(st.sampled_from(["id", "type", "properties", "assets", "links", "collection"]), ANY_JSON)
def test_collect_scenes_survives_any_value_of_any_member(key: str, value: Any) -> None:
    good = make_item("S2A_33TWL_20230820_0_L2A")
    items = [(make_item() | {key: value}, ITEM_URL), (good, ITEM_URL)]
    found = _collect_scenes(items, REMOTE, _Query("33TWL", *ALWAYS))
    assert good["id"] in {scene.id for scene in found.scenes}


@given(st.sampled_from(["red", "thumbnail"]), ANY_JSON)
def test_collect_scenes_survives_any_value_of_any_asset(key: str, value: Any) -> None:
    broken = make_item()
    broken["assets"][key] = value
    good = make_item("S2A_33TWL_20230820_0_L2A")
    found = _collect_scenes([(broken, ITEM_URL), (good, ITEM_URL)], REMOTE, _Query("33TWL", *ALWAYS))
    assert good["id"] in {scene.id for scene in found.scenes}


def test_static_catalog_leaves_out_unreadable_items_and_finds_the_others(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, make_item(), make_item("S2A_33TWL_20230820_0_L2A"))
    (tmp_path / "item0" / "item.json").write_text('{"type": "Feature", ')
    document = json.loads(Path(path).read_text())
    document["links"] += [
        {"rel": "item", "href": "./gone/gone.json"},
        {"rel": "item", "href": "file:///etc/passwd"},
        {"rel": "child", "href": "../../other/catalog.json"},
        {"rel": "child", "href": "./catalog.json"},  # a cycle
        {"rel": "item"},
    ]
    Path(path).write_text(json.dumps(document))
    found = open_catalog(path).find_scenes("33TWL", *ALWAYS)
    assert [scene.id for scene in found.scenes] == ["S2A_33TWL_20230820_0_L2A"]
    reasons = dict(found.left_out)
    assert "it is not JSON" in reasons["item.json"]
    assert "No such file" in reasons["gone.json"]
    assert "is neither a relative path nor a URL of http" in reasons["passwd"]
    assert "is outside the catalog's folder" in reasons["catalog.json"]
    assert "is not a valid path or URL" in reasons["None"]


def test_find_scenes_leaves_out_the_second_of_two_acquisitions_with_one_id(tmp_path: Path) -> None:
    other = make_item("S2A_33TWL_20230820_0_L2A") | {"id": "S2A_33TWL_20230815_0_L2A"}
    found = open_catalog(write_catalog(tmp_path, other, make_item())).find_scenes("33TWL", *ALWAYS)
    assert [scene.date for scene in found.scenes] == ["2023-08-15"]
    ((name, reason),) = found.left_out
    assert (name, "Another acquisition has the same id" in reason) == ("S2A_33TWL_20230815_0_L2A", True)


def test_find_scenes_lists_cloudy_scenes_and_older_processings_with_the_reason(tmp_path: Path) -> None:
    newest = make_item("S2A_33TWL_20230815_1_L2A", **{"s2:processing_baseline": "05.10"})
    cloudy = make_item("S2A_33TWL_20230820_0_L2A", **{"eo:cloud_cover": 97.0})
    late = make_item("S2A_33TWL_20230901_0_L2A", **{"eo:cloud_cover": 99.0})
    path = write_catalog(tmp_path, make_item(), newest, cloudy, late)
    found = open_catalog(path).find_scenes("33TWL", date(2023, 8, 1), date(2023, 8, 31), 80.0)
    assert [scene.id for scene in found.scenes] == ["S2A_33TWL_20230815_1_L2A"]
    assert found.left_out == ()
    assert found.excluded == (
        ("S2A_33TWL_20230815_0_L2A", "Older processing of the same acquisition as S2A_33TWL_20230815_1_L2A."),
        ("S2A_33TWL_20230820_0_L2A", "Its cloud cover of 97 % is above max_cloud (80 %)."),
    )


def test_static_catalog_can_be_limited_to_a_collection(tmp_path: Path) -> None:
    raw = make_item("S2A_33TWL_20230820_0_L1C") | {"collection": "sentinel-2-l1c"}
    path = write_catalog(tmp_path, make_item(), raw)
    found = open_catalog(f"{path}#sentinel-2-l1c").find_scenes("33TWL", *ALWAYS)
    assert [scene.id for scene in found.scenes] == ["S2A_33TWL_20230820_0_L1C"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is not JSON"),
        ("[]", "expected a JSON object"),
        ('{"type": "Banana"}', "a STAC document of type 'Banana'"),
    ],
)
def test_static_catalog_raises_for_a_file_that_is_not_a_catalog(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(content)
    with pytest.raises(CatalogError, match=message):
        open_catalog(str(path)).find_scenes("33TWL", *ALWAYS)


def test_open_catalog_raises_for_a_missing_path_and_a_misspelt_name(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogError, match=r"Cannot open the catalog 'earthsearch': .*; give a path, a URL, or one of earth-search"
    ):
        open_catalog("earthsearch")
    write_root(tmp_path, [])
    with pytest.raises(CatalogError, match=r"did you mean .*catalog\.json\?"):
        open_catalog(str(tmp_path))
    with pytest.raises(CatalogError, match=r"Cannot read the catalog s3://bucket/catalog.json: its scheme is not http"):
        open_catalog("s3://bucket/catalog.json")


def open_provider(spec: str) -> Provider:
    """Open a STAC API and return its provider."""
    catalog = open_catalog(spec)
    assert isinstance(catalog, ApiCatalog)
    return catalog.provider


def test_open_catalog_recognizes_providers_by_name_and_url_and_accepts_a_collection() -> None:
    earth_search, cdse = open_provider("earth-search"), open_provider("cdse")
    assert (earth_search.url, earth_search.collection) == (
        "https://earth-search.aws.element84.com/v1",
        "sentinel-2-l2a",
    )
    assert (cdse.url, cdse.collection) == ("https://stac.dataspace.copernicus.eu/v1", "sentinel-2-l2a")
    chosen = open_provider("earth-search#sentinel-2-c1-l2a")
    assert (chosen.url, chosen.collection) == (earth_search.url, "sentinel-2-c1-l2a")
    by_url = open_provider("https://planetarycomputer.microsoft.com/api/stac/v1/")
    assert by_url == open_provider("planetary-computer")


def serve_static_catalog(*items: Json) -> Callable[[str], tuple[int, Any]]:
    links = [{"rel": "item", "href": f"items/{number}.json"} for number in range(len(items))]
    root = {"type": "Catalog", "id": "any", "stac_version": "1.0.0", "description": "any", "links": links}
    files = {"/catalog.json": root} | {f"/items/{number}.json": item for number, item in enumerate(items)}
    return lambda path: (200, files[path]) if path in files else (404, {})


def test_static_catalog_on_a_web_server_is_read_once_and_returns_urls() -> None:
    with serve_json(serve_static_catalog(make_item(folder="./files"))) as (url, requested):
        catalog = open_catalog(f"{url}/catalog.json")
        (scene,) = catalog.find_scenes("33TWL", *ALWAYS).scenes
        catalog.find_scenes("33TWM", *ALWAYS)
        assert scene.band_hrefs["red"] == f"{url}/items/files/S2A_33TWL_20230815_0_L2A/B04.tif"
        assert requested == ["/catalog.json", "/items/0.json"]


def test_catalog_retries_while_the_server_is_busy() -> None:
    files, refusals = serve_static_catalog(make_item()), iter([503, 503])

    def answer(path: str) -> tuple[int, Any]:
        status = next(refusals, None)
        return files(path) if status is None else (status, {})

    with serve_json(answer) as (url, requested):
        found = open_catalog(f"{url}/catalog.json", create_stac_io(backoff_s=0.01)).find_scenes("33TWL", *ALWAYS)
    assert len(found.scenes) == 1
    assert requested == ["/catalog.json"] * 3 + ["/items/0.json"]


@pytest.mark.parametrize("path", ["", "/catalog.json"])
def test_catalog_is_unreachable_if_the_server_stays_busy(path: str) -> None:
    with serve_json(lambda _: (503, {})) as (url, requested):
        catalog = open_catalog(url + path, create_stac_io(retries=2, backoff_s=0.01))
        with pytest.raises(
            CatalogUnreachable, match=rf"Cannot reach {url}{path}: the server responds with status 503; try again later"
        ) as error:
            catalog.find_scenes("33TWL", *ALWAYS)
        assert error.value.exit_code == 75
        assert len(requested) == 3


@pytest.mark.parametrize("path", ["", "/catalog.json"])
def test_catalog_is_unreachable_if_the_connection_is_refused(path: str) -> None:
    with serve_json(lambda _: (200, {})) as (url, _):
        pass  # the port is closed from here on
    catalog = open_catalog(url + path, create_stac_io(retries=1, backoff_s=0.01))
    with pytest.raises(
        CatalogUnreachable, match=rf"Cannot reach {url}{path}: no response .*refused.*; try again later"
    ):
        catalog.find_scenes("33TWL", *ALWAYS)


def test_catalog_is_unreachable_instead_of_incomplete_if_an_item_cannot_be_fetched() -> None:
    """A gap that a retry would fill must not look like a property of the tile."""
    files = serve_static_catalog(make_item())
    with serve_json(lambda path: files(path) if path == "/catalog.json" else (500, {})) as (url, _):
        catalog = open_catalog(f"{url}/catalog.json", create_stac_io(retries=1, backoff_s=0.01))
        with pytest.raises(CatalogUnreachable, match=r"items/0.json: the server responds with status 500"):
            catalog.find_scenes("33TWL", *ALWAYS)


def answer_api_request(url: str, path: str, page: Any) -> tuple[int, Any]:
    """Return the root of a minimal STAC API that searches by GET, or its only page of results."""
    if path.startswith("/search"):
        return 200, page
    conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
    root = {"type": "Catalog", "id": "any", "stac_version": "1.0.0", "description": "any", "conformsTo": conforms}
    return 200, root | {"links": [{"rel": "search", "href": f"{url}/search", "type": "application/geo+json"}]}


@pytest.mark.parametrize("page", [{"features": 7}, [], {"features": [make_item()], "links": 7}])
def test_api_catalog_raises_if_the_response_is_not_a_list_of_items(page: Any) -> None:
    with serve_json(lambda path: answer_api_request(url, path, page)) as (url, _):
        catalog = open_catalog(url, create_stac_io(retries=0))
        with pytest.raises(CatalogError, match=f"Cannot search {url}: its response is not a list of items"):
            catalog.find_scenes("33TWL", *ALWAYS)


def test_api_catalog_searches_by_get_if_the_api_has_no_post() -> None:
    page = {"features": ["no item", make_item(), make_item(**{"eo:cloud_cover": 90})], "links": []}
    with serve_json(lambda path: answer_api_request(url, path, page)) as (url, requested):
        found = open_catalog(url, create_stac_io(retries=0)).find_scenes(
            "33TWL", date(2023, 8, 1), date(2023, 8, 31), 80.0
        )
    assert [scene.id for scene in found.scenes] == ["S2A_33TWL_20230815_0_L2A"]
    assert [name for name, _ in found.left_out] == ["None"]
    assert "collections=sentinel-2-l2a" in requested[1]


def test_catalog_does_not_retry_a_wrong_url() -> None:
    with (
        serve_json(lambda _: (404, {"code": "NotFound"})) as (url, requested),
        pytest.raises(CatalogError, match=r"responds with status 404 .*; check the URL"),
    ):
        open_catalog(url).find_scenes("33TWL", *ALWAYS)
    assert len(requested) == 1
