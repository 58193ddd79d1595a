"""Href validation: hostile hrefs, relative hrefs and symbolic links, in remote and local catalogs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.catalog.hrefs import Origin
from s2ops.catalog.items import parse_item
from s2ops.catalog.search import open_catalog
from s2ops.errors import CatalogError
from tests.helpers.stac_items import ALWAYS, make_item, replace_asset, write_catalog

ITEM_URL = "https://stac.test/v1/collections/sentinel-2-l2a/items/any"
REMOTE = Origin.from_location("https://stac.test/v1/catalog.json")

HOSTILE_HREFS = [
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


@pytest.mark.parametrize("href", HOSTILE_HREFS)
def test_find_scenes_leaves_out_items_with_hostile_hrefs_of_remote_and_local_catalogs(
    tmp_path: Path, href: object
) -> None:
    item = replace_asset(make_item(), "green", href)
    with pytest.raises(CatalogError, match="href"):
        parse_item(item, ITEM_URL, REMOTE)
    good = make_item("S2A_33TWL_20230820_0_L2A")
    found = open_catalog(write_catalog(tmp_path, item, good)).find_scenes("33TWL", *ALWAYS)
    assert [scene.id for scene in found.scenes] == [good["id"]]
    ((name, reason),) = found.left_out
    assert name == item["id"]
    assert "href" in reason


@given(st.text(min_size=1), st.booleans())
def test_origin_of_a_remote_catalog_resolves_any_href_to_a_remote_file_or_raises(href: str, climb: bool) -> None:
    try:
        resolved = REMOTE.resolve(("../" if climb else "") + href, ITEM_URL)
    except CatalogError:
        return
    assert resolved.partition("://")[0].lower() in {"http", "https", "s3", "gs", "az"}
    assert "/../" not in resolved


def test_origin_resolves_relative_hrefs_of_a_remote_catalog_against_the_items_url() -> None:
    assert REMOTE.resolve("./B04.tif", "https://stac.test/v1/a/item.json") == "https://stac.test/v1/a/B04.tif"
    assert REMOTE.resolve("../b/B04.tif", "https://stac.test/v1/a/item.json") == "https://stac.test/v1/b/B04.tif"
    with pytest.raises(CatalogError, match="is outside the catalog's folder"):
        REMOTE.resolve("../../b/B04.tif", "https://stac.test/v1/a/item.json")


def test_origin_rejects_a_symbolic_link_out_of_a_local_catalog(tmp_path: Path) -> None:
    outside = tmp_path / "outside.tif"
    outside.write_bytes(b"secret")
    folder = tmp_path / "catalog"
    path = write_catalog(folder, replace_asset(make_item(folder="."), "red", "link.tif"))
    (folder / "item0" / "link.tif").symlink_to(outside)
    ((_, reason),) = open_catalog(path).find_scenes("33TWL", *ALWAYS).left_out
    assert "'link.tif' is outside the catalog's folder" in reason


def test_origin_resolves_relative_hrefs_and_previews_of_a_local_catalog_beside_the_item(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, make_item(folder="./files"))
    (scene,) = open_catalog(path).find_scenes("33TWL", *ALWAYS).scenes
    folder = tmp_path / "item0" / "files" / "S2A_33TWL_20230815_0_L2A"
    assert scene.band_hrefs["nir"] == str(folder / "B08.tif")
    assert scene.preview == str(folder / "thumbnail.jpg")
