"""Verification reports nothing for a correct run, and each kind of defect with its key."""

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
from s2ops.quality.verify import compute_object_sha256, verify
from s2ops.raster.cog import CLASSES, CODES, IMAGERY, PERCENT, CogProfile, CogWriter
from s2ops.run.raster_writer import build_imagery_tags
from s2ops.storage.object_store import Store
from tests.helpers.finished_run import write_small_run

CogFacts = tuple[CogProfile, tuple[str, ...]]
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
    write_small_run(folder)
    return folder


@pytest.fixture
def run(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "run"))


def list_errors(run: Path, **options: Any) -> list[str]:
    """List the errors that verification finds in a run."""
    return [str(finding) for finding in verify(Store(str(run)), **options) if finding.severity == "error"]


def change_item(run: Path, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON object at a key."""
    path = run / key
    item = json.loads(path.read_text())
    change(item)
    path.write_text(json.dumps(item))


def update_checksum(run: Path, key: str) -> None:
    """Update the checksum of a file in its item, so that only its content is wrong."""
    folder, name = key.rsplit("/", 1)
    stated = encode_multihash(compute_object_sha256(Store(str(run)), key))
    stem = name.removesuffix(".tif")
    change_item(run, f"{folder}/item.json", lambda item: item["assets"][stem].update({"file:checksum": stated}))


def change_pixels(run: Path, key: str, edit: Edit, kind: CogProfile | None = None, **tags: str) -> None:
    """Change pixels of a COG and update its checksum."""
    stem = key.rsplit("/", 1)[1].removesuffix(".tif")
    with rasterio.open(run / key) as src:
        pixels = src.read()
    edit(pixels)
    default, names = KINDS[stem]
    tags = tags or (build_imagery_tags() if default is IMAGERY else {})
    made = CogWriter(run / key, parse_tile(key.split("/")[1]).build_geobox(120), names, kind or default, tags)
    made.write(pixels)
    made.finish()
    update_checksum(run, key)


def set_pixels(region: Any, value: int) -> Edit:
    """Return an edit that sets the pixels of a region to a value."""

    def set_region(pixels: np.ndarray) -> None:
        pixels[region] = value

    return set_region


def test_verify_of_a_clean_run_finds_nothing(clean: Path) -> None:
    assert verify(Store(str(clean))) == []


def test_verify_of_a_run_with_holes_and_without_land_cover_finds_nothing(tmp_path: Path) -> None:
    write_small_run(tmp_path, ("33TWL",), scenes={"33TWL": []}, landcover=False)
    assert verify(Store(str(tmp_path))) == []


def test_verify_of_an_empty_folder_reports_that_it_is_not_a_run(tmp_path: Path) -> None:
    assert [str(finding) for finding in verify(Store(str(tmp_path)))] == [
        "error: plan/plan.json is missing or not a JSON object: this folder does not contain a run of s2ops"
    ]


def test_verify_of_a_missing_folder_reports_it_and_creates_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new-folder"
    assert [str(finding) for finding in verify(Store(str(folder)))] == [
        f"error: {folder} does not exist; give the `out` of a run"
    ]
    assert not list(tmp_path.iterdir())


def test_verify_reports_all_findings_errors_before_warnings(run: Path) -> None:
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
def test_verify_reports_a_changed_byte_as_wrong_checksum(run: Path, key: str) -> None:
    data = bytearray((run / key).read_bytes())
    data[-1] ^= 1
    (run / key).write_bytes(data)
    (message,) = list_errors(run)
    assert message.startswith(f"error: {key} does not match its checksum: SHA-256 is ")


def test_verify_reports_a_missing_asset_with_its_item(run: Path) -> None:
    (run / "mosaic/33TWL/mosaic.tif").unlink()
    assert list_errors(run) == [
        "error: mosaic/33TWL/mosaic.tif is missing; asset mosaic of mosaic/33TWL/item.json refers to it"
    ]


def test_verify_reports_a_missing_item_and_its_orphaned_files(run: Path) -> None:
    (run / "landcover/33TWL/item.json").unlink()
    found = list_errors(run)
    assert "error: landcover/33TWL/item.json is missing: the tile is planned but not finished; run again" in found
    assert any(
        "landcover.tif has no landcover/33TWL/item.json beside it: the step was stopped" in each for each in found
    )
    assert "error: landcover/collection.json links to landcover/33TWL/item.json as item, which is missing" in found


@pytest.mark.parametrize(
    ("key", "edit", "message"),
    [
        (
            "mosaic/33TWL/mosaic.tif",
            set_pixels(np.s_[:, 7, 5:9], 0),
            "4 pixels (0.00048 %) have no data, but provenance",
        ),
        (
            "mosaic/33TWL/mosaic.tif",
            set_pixels(np.s_[:, 600, 5], 0),
            "the composite of the tile covers them; the first at row 600, column 5",
        ),
        ("mosaic/33TWL/mosaic.tif", set_pixels(np.s_[2, 7, 5], 0), "1 pixels (0.00012 %) have data in some bands only"),
        (
            "composite/33TWL/provenance.tif",
            set_pixels(np.s_[:, 2, 3], 9),
            "have a provenance number above the item's 2 scenes",
        ),
        (
            "composite/33TWL/provenance.tif",
            set_pixels(np.s_[:, 2, 3], 0),
            "have data, but provenance marks a hole",
        ),
        (
            "landcover/33TWL/landcover.tif",
            set_pixels(np.s_[:, 2, 3], 7),
            "have a class code above 6; the first at row 2",
        ),
        (
            "landcover/33TWL/landcover.tif",
            set_pixels(np.s_[:, 2, 3], 0),
            "have no class, but the mosaic covers them",
        ),
        (
            "landcover/33TWL/landcover.tif",
            set_pixels(np.s_[:, 2, 3], 0),
            "differ from the land cover on what is no data",
        ),
        ("landcover/33TWL/confidence.tif", set_pixels(np.s_[:, 2, 3], 101), "are outside 0 to 100 percent"),
    ],
)
def test_verify_reports_number_and_position_of_wrong_pixels(run: Path, key: str, edit: Edit, message: str) -> None:
    change_pixels(run, key, edit)
    assert any(message in each for each in list_errors(run)), list_errors(run)
    assert list_errors(run, pixels=False) == []


def test_verify_reports_a_tiff_without_overviews_as_invalid_cog(run: Path) -> None:
    key = "mosaic/33TWL/mosaic.tif"
    with rasterio.open(run / key) as src:
        profile, pixels = src.profile, src.read()
    profile.update(driver="GTiff", tiled=False, photometric="MINISBLACK", blockxsize=None, blockysize=None)
    with rasterio.open(run / key, "w", **{k: v for k, v in profile.items() if v is not None}) as dst:
        dst.write(pixels)
        dst.descriptions = BANDS
        dst.update_tags(**build_imagery_tags())
    update_checksum(run, key)
    assert any(f"{key} is not a valid cloud-optimised GeoTIFF" in each for each in list_errors(run))


@pytest.mark.parametrize(
    ("key", "kind", "tags", "message"),
    [
        ("mosaic/33TWL/mosaic.tif", None, {"OTHER": "1"}, "lacks the tag S2OPS_LEVELS"),
        ("landcover/33TWL/landcover.tif", CODES, {"OTHER": "1"}, "lacks the colour table of the six classes"),
        ("landcover/33TWL/confidence.tif", CODES, {"OTHER": "1"}, "has the no-data value 0.0, not 255"),
    ],
)
def test_verify_reports_wrong_raster_metadata(
    run: Path, key: str, kind: CogProfile | None, tags: dict[str, str], message: str
) -> None:
    change_pixels(run, key, set_pixels(np.s_[:0], 0), kind, **tags)
    (found,) = list_errors(run)
    assert message in found


def test_verify_reports_a_grid_that_differs_from_the_item(run: Path) -> None:
    change_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"proj:code": "EPSG:32634"}))
    assert [each for each in list_errors(run) if "is in EPSG:32633, but its item states EPSG:32634" in each]


def test_verify_explains_invalid_stac(run: Path) -> None:
    change_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].pop("end_datetime"))
    (found,) = list_errors(run)
    assert found.startswith("error: mosaic/33TWL/item.json is not valid STAC")
    assert "end_datetime" in found


def test_verify_reports_a_visible_seam_only_above_the_limit(run: Path) -> None:
    def increase_excess(item: dict[str, Any]) -> None:
        item["properties"]["s2ops:seams"][0]["after"]["excess"] = 1.5

    change_item(run, "mosaic/33TWL/item.json", increase_excess)
    (found,) = list_errors(run)
    assert "has a visible seam with 33TWM: its step is 1.50 times that of the landscape, the limit is 1.25" in found
    assert list_errors(run, max_seam=1.6) == []


def test_verify_reports_blur_as_error_and_visible_patches_as_warning(run: Path) -> None:
    visible = {"s2ops:patches": {"excess": 1.7, "energy": 2.0, "pixels": 900}}
    change_item(run, "composite/33TWL/item.json", lambda item: item["properties"].update(visible))
    change_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"s2ops:energy_kept": 0.7}))
    (found,) = list_errors(run)
    assert "mosaic/33TWL/item.json is blurred where tiles overlap: 0.70 of the gradient energy is left" in found
    warnings = [str(one) for one in verify(Store(str(run))) if one.severity == "warning"]
    assert any("composite/33TWL/item.json has visible borders between scenes" in one for one in warnings)


def test_verify_reports_a_missing_seam_metric(run: Path) -> None:
    change_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"s2ops:seams": []}))
    assert list_errors(run) == ["error: mosaic/33TWL/item.json has no seam metrics for its edge with 33TWM"]


def test_verify_reports_a_composite_that_is_newer_than_the_mosaic(run: Path) -> None:
    change_item(
        run, "composite/33TWL/item.json", lambda item: item["properties"].update({"s2ops:fingerprint": "newer"})
    )
    (found,) = list_errors(run)
    assert "was blended from another version of composite/33TWL/item.json" in found


@pytest.mark.parametrize("name", ["mosaic/33TWL/mosaic.tif.aux.xml", "mosaic-32633.vrt.aux.xml"])
def test_verify_ignores_statistics_files_of_qgis(run: Path, name: str) -> None:
    (run / name).write_text("<PAMDataset/>")
    assert verify(Store(str(run)), pixels=False) == []


@pytest.mark.parametrize("name", ["mosaic.plain.tif", "mosaic.tif#1", "mosaic.tif.part"])
def test_verify_reports_a_temporary_file(run: Path, name: str) -> None:
    (run / "mosaic/33TWL" / name).write_bytes(b"half")
    assert list_errors(run) == [f"error: mosaic/33TWL/{name} is a temporary file of a run that was stopped; delete it"]


@pytest.mark.parametrize("key", ["mosaic/33TWL/item.json", "catalog.json", "select/33TWL.json"])
def test_verify_reports_a_truncated_record(run: Path, key: str) -> None:
    data = (run / key).read_bytes()
    (run / key).write_bytes(data[: len(data) // 2])
    assert [each for each in list_errors(run) if each.startswith(f"error: {key} ")]


def test_verify_reports_holes_that_the_item_does_not_state(run: Path) -> None:
    change_item(run, "mosaic/33TWL/item.json", lambda item: item["properties"].update({"s2ops:holes": 0.25}))
    assert list_errors(run) == [
        "error: mosaic/33TWL/provenance.tif has holes in 0 of the tile, but its item states 0.25"
    ]


def test_verify_reports_an_item_that_the_collection_does_not_link(run: Path) -> None:
    def unlink(collection: dict[str, Any]) -> None:
        collection["links"] = [link for link in collection["links"] if link.get("title") != "33TWM"]

    change_item(run, "mosaic/collection.json", unlink)
    assert list_errors(run) == ["error: mosaic/collection.json does not link to mosaic/33TWM/item.json; publish again"]
