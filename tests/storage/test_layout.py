"""Layout of the outputs: the keys and their parsers agree."""

import pytest

from s2ops.storage import layout


def test_tile_and_scene_keys_are_known_keys() -> None:
    tile, scene = layout.TileKeys("33TWL"), layout.SceneKeys("33TWL", "S2A_33TWL_20230602_0_L2A")
    keys = [
        tile.selection, tile.previews, tile.base_selection, tile.base_previews, tile.acquired, tile.corrections,
        tile.get_run_record("acquire"), tile.get_failure("acquire"), scene.image, scene.mask, scene.record,
        *(tile.get_item(product) for product in layout.PRODUCTS), tile.get_raster("composite", "provenance"),
        layout.PLAN, layout.BALANCE, layout.OVERLAPS, layout.CATALOG, layout.REPORT, layout.SCORES, layout.RATES,
        layout.FORECAST, layout.get_group_key("blend", 7), layout.get_collection_key("mosaic"),
        layout.get_vrt_key("mosaic", 32633), layout.get_tile_index_key("mosaic"), layout.get_mosaicjson_key("mosaic"),
    ]  # fmt: skip
    assert [key for key in keys if not layout.is_known(key)] == []
    assert not layout.is_known("mosaic/33TWL/copy of mosaic.tif")


@pytest.mark.parametrize("product", layout.PRODUCTS)
def test_parse_item_key_inverts_get_item(product: str) -> None:
    assert layout.parse_item_key(layout.TileKeys("33TWL").get_item(product)) == (product, "33TWL")
    assert layout.parse_item_key(layout.TileKeys("33TWL").get_raster(product, product)) is None


def test_parse_selection_key_and_parse_acquired_key_return_the_tile() -> None:
    keys = layout.TileKeys("33TWL")
    assert layout.parse_selection_key(keys.selection) == layout.parse_acquired_key(keys.acquired) == "33TWL"
    assert layout.parse_selection_key(keys.base_selection) is None
    assert layout.parse_acquired_key(layout.SceneKeys("33TWL", "S2A").record) is None


def test_is_run_record_excludes_failures() -> None:
    keys = layout.TileKeys("33TWL")
    assert layout.is_run_record(keys.get_run_record("blend"))
    assert not layout.is_run_record(keys.get_failure("blend"))
    assert not layout.is_run_record(layout.RATES)
