"""Users' ground truth: folders of images with label rasters or polygons, and the errors of invalid ones."""

import json
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from rasterio.warp import transform_geom

pytest.importorskip("torch", reason="training needs the extra 'torch'")

from s2ops.errors import ConfigError, RasterError, S2opsError
from s2ops.models.registry import find_weights
from s2ops.training.config import TrainConfig, load_config
from s2ops.training.datasets.build_pools import build_chip_mosaics
from s2ops.training.datasets.folder_config import FolderConfig
from s2ops.training.datasets.folder_dataset import make_folder_pools
from s2ops.training.train import train

EAST, NORTH = 500_000.0, 5_000_000.0
CRS = "EPSG:32633"


def write_image(path: Path, data: np.ndarray, east: float = EAST, crs: str | None = CRS, res: float = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": data.dtype, "count": len(data), "height": data.shape[1]}
    transform = from_origin(east, NORTH, res, res)
    with rasterio.open(path, "w", width=data.shape[2], crs=crs, transform=transform, **profile) as out:
        out.write(data)
    return path


def make_place(number: int, height: int = 80, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Make digital numbers of meadow with a lake in the north-west, and labels: 7 lake, 9 meadow, 0 unlabelled."""
    rng = np.random.default_rng(number)
    image = rng.integers(900, 1100, (4, height, width)).astype(np.uint16)
    image[3] = 4000
    labels = np.full((1, height, width), 9, np.uint8)
    image[:, :30, :40] //= 4
    image[3, :30, :40] = 150
    labels[0, :30, :40] = 7
    labels[0, 70:] = 0
    return image, labels


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for number in range(3):
        image, labels = make_place(number)
        write_image(tmp_path / "images" / f"place{number}.tif", image)
        write_image(tmp_path / "labels" / f"place{number}.tif", labels)
    return tmp_path


def make_folder(root: Path, **changes: object) -> FolderConfig:
    given: dict[str, object] = {
        "images": root / "images", "labels": root / "labels", "classes": {7: "water", 9: "grass", 0: "ignore"},
        "val": ["place2"],
    }  # fmt: skip
    return FolderConfig.model_validate(given | changes)


def make_lake_polygon() -> dict[str, object]:
    """Make the polygon of every place's lake in degrees: 400 m to the east and 300 m to the south of the corner."""
    lake = shapely.geometry.mapping(shapely.box(EAST, NORTH - 300, EAST + 400, NORTH))
    return transform_geom(CRS, "OGC:CRS84", lake)


def write_geojson(root: Path, geometry: dict[str, object], **properties: object) -> Path:
    path = root / "lakes.geojson"
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def write_geopackage(path: Path, polygon: shapely.Polygon, kind: str) -> Path:
    """Write a GeoPackage like QGIS: a header with a bounding box (32 bytes) precedes the well-known binary."""
    west, south, east, north = polygon.bounds
    blob = struct.pack("<2sBBi4d", b"GP", 0, 0b11, 32633, west, east, south, north) + shapely.to_wkb(polygon)
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE gpkg_spatial_ref_sys (srs_id INTEGER, organization TEXT, organization_coordsys_id INTEGER);"
            "CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, srs_id INTEGER);"
            "INSERT INTO gpkg_spatial_ref_sys VALUES (32633, 'EPSG', 32633);"
            "INSERT INTO gpkg_geometry_columns VALUES ('land use', 'geom', 32633);"
            'CREATE TABLE "land use" (fid INTEGER, geom BLOB, kind TEXT);'
        )
        database.execute('INSERT INTO "land use" VALUES (1, ?, ?)', (blob, kind))
    database.close()
    return path


def test_folder_pools_have_the_codes_of_label_rasters_and_split_by_place(places: Path) -> None:
    pools = make_folder_pools("water", [make_folder(places)], 64)
    assert list(pools) == ["images", "images-val"]
    assert pools["images"].image.shape == (8, 4, 64, 64)
    assert pools["images-val"].image.shape == (4, 4, 64, 64)
    first = pools["images"].cover[0]
    assert first.dtype == np.uint8
    assert (first[:30, :40] == 1).all()
    assert (first[30:, :] == 2).all()
    assert (pools["images"].mask[0] == 0).all()


def test_folder_pools_keep_ignored_classes_unknown(places: Path) -> None:
    pool = make_folder_pools("water", [make_folder(places, val=[])], 96)["images"]
    assert pool.image.shape == (3, 4, 96, 96)
    assert (pool.cover[:, 70:] == 0).all()
    assert (pool.mask[:, 70:] == 255).all()


def test_folder_pools_of_cloud_labels_have_no_land_cover(places: Path) -> None:
    given = make_folder(places, classes={7: "cloud", 9: "clear", 0: "shadow"}, val=[])
    pool = make_folder_pools("scene-cloud", [given], 96)["images"]
    assert set(np.unique(pool.cover)) == {0}
    assert (pool.mask[:, :30, :40] == 1).all()
    assert (pool.mask[:, 71:80] == 2).all()


def test_label_rasters_of_another_pixel_size_are_resampled_to_the_image(places: Path) -> None:
    coarse = np.full((1, 20, 24), 9, np.uint8)
    coarse[0, :6, :8] = 7  # the lake in pixels of 50 m; 20 x 24 of them extend beyond the image
    for number in range(3):
        write_image(places / "labels" / f"place{number}.tif", coarse, res=50)
    cover = make_folder_pools("water", [make_folder(places, val=[])], 96)["images"].cover
    assert (cover[0, :30, :40] == 1).all()
    assert (cover[0, 30:80] == 2).all()


def test_label_polygons_in_degrees_become_codes(places: Path) -> None:
    lakes = write_geojson(places, make_lake_polygon(), **{"class": "lake"})
    given = make_folder(places, labels=lakes, classes={"lake": "water"}, unlabelled="grass", val=[])
    cover = make_folder_pools("water", [given], 64)["images"].cover[0]
    assert (cover[1:29, 1:39] == 1).all()
    assert (cover[32:] == 2).all()


def test_label_polygons_of_a_geopackage_become_codes(places: Path) -> None:
    path = write_geopackage(places / "lakes.gpkg", shapely.box(EAST, NORTH - 300, EAST + 400, NORTH), "lake")
    given = make_folder(places, labels=path, classes={"lake": "water"}, attribute="kind", val=[])
    pool = make_folder_pools("water", [given], 64)["images"]
    assert (pool.cover[0, :30, :40] == 1).all()
    assert (pool.cover[0, 30:] == 0).all()


def test_folder_trains_a_network_on_the_cpu(places: Path, tmp_path: Path) -> None:
    (tmp_path / "water.yaml").write_text(
        f"folders:\n- images: {places}/images\n  labels: {places}/labels\n  val: [place2]\n"
        "  classes: {7: water, 9: grass, 0: ignore}\n"
        "trained_on: [lakes]\nwidth: 4\nsteps: 60\nbatch: 4\ncrop: 64\nlearning_rate: 0.01\ncheckpoint_every: 1\n"
    )
    given = load_config(tmp_path / "water.yaml"), tmp_path, tmp_path / "out"
    train("water", *given, device="cpu", until=1)
    assert json.loads((tmp_path / "out" / "state.json").read_text())["step"] == 1
    meta = train("water", *given, device="cpu")
    assert meta.scores["images-val: iou water"] > 0.8
    assert find_weights("water", str(tmp_path / "out")).meta == meta


BAD: dict[str, tuple[dict[str, object], str]] = {
    "a value that is not mapped": (
        {"classes": {7: "water"}},
        r"place0\.tif contains the class 0, 9, which `classes` does not map \(it maps 7\); add it there",
    ),
    "labels of nothing that the network learns": (
        {"classes": {7: "cloud", 9: "clear", 0: "ignore"}},
        r"contain no class of water \(other, water\) in place0\.tif, place1\.tif; map their values",
    ),
    "a missing label file": ({"labels": "images/.."}, r"has no labels for place0\.tif; add place0\.tif"),
    "no labels at all": ({"labels": "nowhere"}, r"There are no labels at .*nowhere"),
    "bands that the image lacks": ({"bands": [4, 3, 2, 8]}, r"has 4 bands, but `bands` names 4, 3, 2, 8"),
    "val that matches nothing": ({"val": ["place9"]}, r"val 'place9' matches no image in .*place0\.tif, place1\.tif"),
    "val that matches all": ({"val": ["*.tif"]}, r"val \*\.tif holds out every image"),
    "no images": ({"images": "."}, r"Cannot find images in .*: it has no GeoTIFF \(\.tif\)"),
    "a folder that is not there": ({"images": "nowhere"}, r"Cannot list the images in .*nowhere: No such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_folder_errors_name_the_file_and_the_remedy(case: str, places: Path) -> None:
    changes, message = BAD[case]
    paths = {key: places / str(value) for key, value in changes.items() if key in ("images", "labels")}
    with pytest.raises(S2opsError, match=message):
        make_folder_pools("water", [make_folder(places, **(changes | paths))], 64)


def test_folder_of_five_bands_needs_band_numbers(places: Path) -> None:
    write_image(places / "images" / "place0.tif", np.ones((5, 80, 96), np.uint16))
    with pytest.raises(ConfigError, match=r"place0\.tif has 5 bands; give the numbers of red, green, blue and nir"):
        make_folder_pools("water", [make_folder(places)], 64)


def test_labels_that_do_not_overlap_the_image_are_refused(places: Path) -> None:
    write_image(places / "labels" / "place0.tif", make_place(0)[1], east=EAST + 90_000)
    with pytest.raises(RasterError, match=r"place0\.tif do not overlap the image .*place0\.tif"):
        make_folder_pools("water", [make_folder(places)], 64)
    far = shapely.geometry.mapping(shapely.box(3, 3, 4, 4))
    lakes = write_geojson(places, far, **{"class": "lake"})
    with pytest.raises(RasterError, match=r"lakes\.geojson do not overlap the image"):
        make_folder_pools("water", [make_folder(places, labels=lakes, classes={"lake": "water"})], 64)


def test_labels_that_are_not_integers_or_not_a_raster_are_refused(places: Path) -> None:
    write_image(places / "labels" / "place0.tif", make_place(0)[1].astype(np.float32))
    with pytest.raises(RasterError, match=r"has 1 bands of float32 .*; give labels as one band of integers"):
        make_folder_pools("water", [make_folder(places)], 64)
    (places / "labels" / "place0.tif").write_bytes(b"no raster")
    with pytest.raises(RasterError, match=r"Cannot read .*labels.place0\.tif"):
        make_folder_pools("water", [make_folder(places)], 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is not a valid GeoJSON feature collection"),
        ('{"features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {"class": "lake"}}]}',
         r"feature 1 is a Point, but a polygon is needed"),
        ('{"features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {"name": "x"}}]}',
         r"feature 1 has no attribute 'class' \(it has name\)"),
    ],
)  # fmt: skip
def test_label_polygon_errors_name_the_feature(text: str, message: str, places: Path) -> None:
    (places / "lakes.geojson").write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_folder_pools(
            "water", [make_folder(places, labels=places / "lakes.geojson", classes={"lake": "water"})], 64
        )


def test_broken_geopackage_is_named(places: Path) -> None:
    (places / "lakes.gpkg").write_bytes(b"SQLite format 3 or not")
    with pytest.raises(ConfigError, match=r"lakes\.gpkg is not a valid GeoPackage with a layer of polygons"):
        make_folder_pools("water", [make_folder(places, labels=places / "lakes.gpkg", classes={"lake": "water"})], 64)


def test_training_on_a_folder_names_a_class_without_labels(places: Path, tmp_path: Path) -> None:
    config = TrainConfig(folders=(make_folder(places),), trained_on=("lakes",), crop=64, width=4)
    with pytest.raises(ConfigError, match="Cannot train vegetation: no training label is tree"):
        train("vegetation", config, tmp_path, tmp_path / "out", device="cpu")


def test_folders_of_the_same_name_need_different_names(places: Path) -> None:
    with pytest.raises(ConfigError, match="Two folders have the same name: images, images; give each its own `name`"):
        make_folder_pools("water", [make_folder(places), make_folder(places)], 64)


def test_chip_mosaics_show_chips_together_and_alone() -> None:
    rng = np.random.default_rng(0)
    chips = rng.integers(1, 255, (6, 4, 64, 64), dtype=np.uint8)
    cover = np.arange(1, 7, dtype=np.uint8)[:, None, None] * np.ones((1, 64, 64), np.uint8)
    samples = list(build_chip_mosaics(chips, cover, 10, 0))
    kinds = [len(set(np.unique(land)) - {0}) for _, land, _ in samples]
    assert [kind == 1 for kind in kinds] == [False, False, False, True, True] * 2
    image, land, mask = samples[3]
    assert image.shape == (4, 256, 256)
    assert (land > 0).all()
    assert not mask.any()
    assert (samples[0][1][:6] == 0).all()


def test_folders_are_refused_for_the_haze_network(places: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot train preview-haze on folders: it needs one label per image"):
        make_folder_pools("preview-haze", [make_folder(places)], 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trained_on: [x]\n", "there is nothing to train on; name pools as sources, or folders of images"),
        (
            "trained_on: [x]\nsources: {a: 1}\n",
            "nothing is held out for validation; name pools as validation, or files",
        ),
        ("trained_on: [x]\nsources: {a: 1}\nvalidation: [b]\nlearn: last\n", "learn: last needs weights to start"),
        ("trained_on: [x]\nsources: {a: 1}\nvalidation: [b]\nkeep: 0.5\n", "keep needs weights of the same network"),
        ("trained_on: [x]\nfolders: [{images: a, labels: b, classes: {1: lake}}]\n", "folders.0.classes.1.*'lake'"),
    ],
)
def test_configuration_errors_name_the_reason(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "bad.yaml")


def test_example_of_the_documentation_is_a_valid_configuration(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/train-a-network.md").read_text()
    (tmp_path / "example.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    example = load_config(tmp_path / "example.yaml").folders[0]
    assert example.bands == (3, 2, 1, 4)
    assert example.classes[1] == "water"
