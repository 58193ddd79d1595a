"""Verify finds nothing in a clean run, and each defect by name in a broken one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from s2ops.constants import BANDS
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.publishing.stac_item import encode_multihash
from s2ops.quality.findings import Finding
from s2ops.quality.verify import compute_sha256, verify
from s2ops.raster.cog import CLASSES, CODES, IMAGERY, PERCENT, CogKind, SlabFile
from s2ops.run.raster_writer import build_imagery_tags
from s2ops.storage.object_store import Store
from tests.helpers.finished_run import small_run

CogFacts = tuple[CogKind, tuple[str, ...]]
KINDS: dict[str, CogFacts] = {
    "mosaic": (IMAGERY, BANDS),
    "composite": (IMAGERY, BANDS),
    "provenance": (CODES, ("scene",)),
    "landcover": (CLASSES, ("class",)),
    "confidence": (PERCENT, ("confidence",)),
}
Edit = Callable[[np.ndarray], None]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean-run")
    small_run(folder)
    return folder


@pytest.fixture
def run(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "run"))


def errors(run: Path, **options: Any) -> list[str]:
    return [str(finding) for finding in verify(Store(str(run)), **options) if finding.severity == "error"]


def edit_item(run: Path, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = run / key
    item = json.loads(path.read_text())
    change(item)
    path.write_text(json.dumps(item))


def sign(run: Path, key: str) -> None:
    """State the file's present checksum in its item, so that only what it holds is wrong."""
    folder, name = key.rsplit("/", 1)
    stated = encode_multihash(compute_sha256(Store(str(run)), key))
    stem = name.removesuffix(".tif")
    edit_item(run, f"{folder}/item.json", lambda item: item["assets"][stem].update({"file:checksum": stated}))


def edit_pixels(run: Path, key: str, edit: Edit, kind: CogKind | None = None, **tags: str) -> None:
    """Change pixels of a COG and sign it again."""
    stem = key.rsplit("/", 1)[1].removesuffix(".tif")
    with rasterio.open(run / key) as src:
        pixels = src.read()
    edit(pixels)
    usual, names = KINDS[stem]
    tags = tags or (build_imagery_tags() if usual is IMAGERY else {})
    made = SlabFile(run / key, parse_tile(key.split("/")[1]).build_geobox(120), names, kind or usual, tags)
    made.write(pixels)
    made.finish()
    sign(run, key)


def put(region: Any, value: int) -> Edit:
    def edit(pixels: np.ndarray) -> None:
        pixels[region] = value

    return edit


def test_a_clean_run_has_no_finding(clean: Path) -> None:
    assert verify(Store(str(clean))) == []


def test_a_run_with_holes_and_without_land_cover_is_clean(tmp_path: Path) -> None:
    small_run(tmp_path, ("33TWL",), scenes={"33TWL": []}, landcover=False)
    assert verify(Store(str(tmp_path))) == []


def test_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    assert [str(finding) for finding in verify(Store(str(tmp_path)))] == [
        "error: plan/plan.json is missing or no JSON object: this folder holds no run of s2ops"
    ]


def test_all_findings_come_at_once_errors_before_warnings(run: Path) -> None:
    (run / "mosaic/33TWL/mosaic.tif").unlink()
    (run / "composite/33TWM/provenance.tif").unlink()
    (run / "notes.txt").write_text("hello")
    found = verify(Store(str(run)))
    assert [(each.severity, each.key) for each in found] == [
        ("error", "composite/33TWM/provenance.tif"),
        ("error", "mosaic/33TWL/mosaic.tif"),
        ("warning", "notes.txt"),
    ]
    assert found[2] == Finding("warning", "notes.txt", "is not a file that s2ops writes")


@pytest.mark.parametrize(
    "key",
    ["mosaic/33TWL/mosaic.tif", "landcover/33TWM/confidence.tif", "scenes/33TWL/S2A_33TWL_20230820_0_L2A.mask.tif"],
)
def test_an_altered_byte_is_a_wrong_checksum(run: Path, key: str) -> None:
    data = bytearray((run / key).read_bytes())
    data[-1] ^= 1
    (run / key).write_bytes(data)
    (message,) = errors(run)
    assert message.startswith(f"error: {key} does not match its checksum: SHA-256 ")


def test_a_missing_asset_names_the_item_that_points_to_it(run: Path) -> None:
    (run / "mosaic/33TWL/mosaic.tif").unlink()
    assert errors(run) == [
        "error: mosaic/33TWL/mosaic.tif is missing; asset mosaic of mosaic/33TWL/item.json points to it"
    ]


def test_a_missing_item_is_a_tile_not_done_and_its_data_do_not_count(run: Path) -> None:
    (run / "landcover/33TWL/item.json").unlink()
    found = errors(run)
    assert "error: landcover/33TWL/item.json is missing: the tile is planned but not done; run again" in found
    assert any(
        "landcover.tif has no landcover/33TWL/item.json beside it: the step was stopped" in each for each in found
    )
    assert "error: landcover/collection.json links to landcover/33TWL/item.json as item, which is missing" in found


@pytest.mark.parametrize(
    ("key", "edit", "message"),
    [
        ("mosaic/33TWL/mosaic.tif", put(np.s_[:, 7, 5:9], 0), "4 pixels (0.00048 %) are no data although provenance"),
        ("mosaic/33TWL/mosaic.tif", put(np.s_[:, 600, 5], 0), "composite covers them; the first at row 600, column 5"),
        ("mosaic/33TWL/mosaic.tif", put(np.s_[2, 7, 5], 0), "hold data in some bands and none in others"),
        ("composite/33TWL/provenance.tif", put(np.s_[:, 2, 3], 9), "name a scene beyond the item's list of 2"),
        ("composite/33TWL/provenance.tif", put(np.s_[:, 2, 3], 0), "hold data although provenance calls them a hole"),
        ("landcover/33TWL/landcover.tif", put(np.s_[:, 2, 3], 7), "hold a class code above 6; the first at row 2"),
        ("landcover/33TWL/landcover.tif", put(np.s_[:, 2, 3], 0), "have no class although the mosaic covers them"),
        ("landcover/33TWL/landcover.tif", put(np.s_[:, 2, 3], 0), "disagree with the land cover on what is no data"),
        ("landcover/33TWL/confidence.tif", put(np.s_[:, 2, 3], 101), "lie outside 0 to 100 percent"),
    ],
)
def test_a_wrong_pixel_is_counted_and_placed(run: Path, key: str, edit: Edit, message: str) -> None:
    edit_pixels(run, key, edit)
    assert any(message in each for each in errors(run)), errors(run)
    assert errors(run, pixels=False) == []


def test_a_tiled_tiff_without_overviews_is_no_cog(run: Path) -> None:
    key = "mosaic/33TWL/mosaic.tif"
    with rasterio.open(run / key) as src:
        profile, pixels = src.profile, src.read()
    profile.update(driver="GTiff", tiled=False, photometric="MINISBLACK", blockxsize=None, blockysize=None)
    with rasterio.open(run / key, "w", **{k: v for k, v in profile.items() if v is not None}) as dst:
        dst.write(pixels)
        dst.descriptions = BANDS
        dst.update_tags(**build_imagery_tags())
    sign(run, key)
    assert any(f"{key} is not a valid cloud-optimised GeoTIFF" in each for each in errors(run))


@pytest.mark.parametrize(
    ("key", "kind", "tags", "message"),
    [
        ("mosaic/33TWL/mosaic.tif", None, {"OTHER": "1"}, "lacks the metadata S2OPS_LEVELS"),
        ("landcover/33TWL/landcover.tif", CODES, {"OTHER": "1"}, "lacks the colour table of the six classes"),
        ("landcover/33TWL/confidence.tif", CODES, {"OTHER": "1"}, "states no data as 0.0, not 255"),
    ],
)
def test_wrong_metadata_of_a_raster_is_named(
    run: Path, key: str, kind: CogKind | None, tags: dict[str, str], message: str
) -> None:
    edit_pixels(run, key, put(np.s_[:0], 0), kind, **tags)
    (found,) = errors(run)
    assert message in found


def test_a_grid_that_differs_from_the_items_is_named(run: Path) -> None:
    edit_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"proj:code": "EPSG:32634"}))
    assert [each for each in errors(run) if "is in EPSG:32633, its item says EPSG:32634" in each]


def test_invalid_stac_is_explained(run: Path) -> None:
    edit_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].pop("end_datetime"))
    (found,) = errors(run)
    assert found.startswith("error: mosaic/33TWL/item.json is not valid STAC")
    assert "end_datetime" in found


def test_a_visible_seam_is_an_error_above_the_limit_only(run: Path) -> None:
    def worsen(item: dict[str, Any]) -> None:
        item["properties"]["s2ops:seams"][0]["after"]["excess"] = 1.5

    edit_item(run, "mosaic/33TWL/item.json", worsen)
    (found,) = errors(run)
    assert "has a visible seam with 33TWM: its step is 1.50 times that of the landscape, the limit is 1.25" in found
    assert errors(run, max_seam=1.6) == []


def test_a_blurred_blend_is_an_error_and_visible_patches_a_warning(run: Path) -> None:
    visible = {"s2ops:patches": {"excess": 1.7, "energy": 2.0, "pixels": 900}}
    edit_item(run, "composite/33TWL/item.json", lambda item: item["properties"].update(visible))
    edit_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"s2ops:energy_kept": 0.7}))
    (found,) = errors(run)
    assert "mosaic/33TWL/item.json is blurred where tiles overlap: 0.70 of the gradient energy is left" in found
    warnings = [str(one) for one in verify(Store(str(run))) if one.severity == "warning"]
    assert any("composite/33TWL/item.json shows where one scene gives way to another" in one for one in warnings)


def test_a_seam_that_is_not_stated_is_an_error(run: Path) -> None:
    edit_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"s2ops:seams": []}))
    assert errors(run) == ["error: mosaic/33TWL/item.json states no seam figures for its edge with 33TWM"]


def test_a_composite_made_again_after_the_mosaic_is_noticed(run: Path) -> None:
    edit_item(run, "composite/33TWL/item.json", lambda item: item["properties"].update({"s2ops:fingerprint": "newer"}))
    (found,) = errors(run)
    assert "was blended from another composite/33TWL/item.json" in found


@pytest.mark.parametrize("name", ["mosaic/33TWL/mosaic.tif.aux.xml", "mosaic-32633.vrt.aux.xml"])
def test_statistics_that_qgis_left_beside_a_raster_are_no_finding(run: Path, name: str) -> None:
    (run / name).write_text("<PAMDataset/>")
    assert verify(Store(str(run)), pixels=False) == []


@pytest.mark.parametrize("name", ["mosaic.plain.tif", "mosaic.tif#1", "mosaic.tif.part"])
def test_a_temporary_file_is_an_error(run: Path, name: str) -> None:
    (run / "mosaic/33TWL" / name).write_bytes(b"half")
    assert errors(run) == [f"error: mosaic/33TWL/{name} is a temporary file that a run left behind; delete it"]


@pytest.mark.parametrize("key", ["mosaic/33TWL/item.json", "catalog.json", "select/33TWL.json"])
def test_a_record_cut_off_is_named(run: Path, key: str) -> None:
    data = (run / key).read_bytes()
    (run / key).write_bytes(data[: len(data) // 2])
    assert [each for each in errors(run) if each.startswith(f"error: {key} ")]


def test_holes_that_are_not_stated_are_an_error(run: Path) -> None:
    edit_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"s2ops:holes": 0.25}))
    assert errors(run) == ["error: mosaic/33TWL/provenance.tif has holes in 0 of the tile, its item says 0.25"]


def test_an_item_that_the_collection_does_not_link_is_named(run: Path) -> None:
    def unlink(collection: dict[str, Any]) -> None:
        collection["links"] = [link for link in collection["links"] if link.get("title") != "33TWM"]

    edit_item(run, "mosaic/collection.json", unlink)
    assert errors(run) == ["error: mosaic/collection.json does not link mosaic/33TWM/item.json: publish again"]
