"""Simulated world: reproducible, equal in all windows, with all difficulties that the chain must handle."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rio_cogeo import cog_validate

from s2ops.constants import Bool, Float64, LandCover, Mask
from s2ops.errors import ConfigError
from s2ops.geo.mgrs_tiles import Tile, parse_tile
from s2ops.imaging.classification_metrics import count_confusion
from s2ops.simulate.atmosphere import (
    MAX_CLEAN_PATH,
    MIN_HAZY_PATH,
    Sky,
    apply_atmosphere,
    compute_sun_position,
    draw_sky,
)
from s2ops.simulate.ground import project_to_world, simulate_ground
from s2ops.simulate.noise import NOISE_STD, SamplePoints, compute_fbm, compute_value_noise
from s2ops.simulate.scoring import CompositeSums, format_scores, score_landcover, score_masks, score_run
from s2ops.simulate.training_patches import overlay_sky, simulate_patch, simulate_preview
from s2ops.simulate.world import TileProjection, plan_passes
from s2ops.simulate.writer import simulate

DATES = [date(2023, 8, day) for day in (1, 6, 9, 14)]
TILES = [parse_tile("33TYM"), parse_tile("34TCS")]
COARSE = 1220  # metres: 90 x 90 pixels per tile, coarser than any real run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small world of two tiles in two UTM zones."""
    out = tmp_path_factory.mktemp("world")
    simulate(out, TILES, DATES, COARSE, 7)
    return out


def make_window(x: float, y: float, size: int, res: float) -> SamplePoints:
    span = np.arange(size, dtype=np.float64) * res
    return SamplePoints(x + span[None, :], y - span[:, None], res)


def expand_window(at: SamplePoints) -> SamplePoints:
    """Return the window with full coordinate arrays, like those of a rotated grid."""
    x, y = np.broadcast_arrays(at.x, at.y)
    return SamplePoints(x.copy(), y.copy(), at.finest)


def make_any_sky(cover: float, **changes: float) -> Sky:
    sky = draw_sky(np.random.default_rng(5), cover, (150.0, 40.0), hazy=False)
    return replace(sky, **{"cirrus": 0.0, **changes})


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cell=st.floats(50, 1e5), x=st.floats(-1e7, 1e7), y=st.floats(-1e7, 1e7))
def test_value_noise_is_equal_in_all_windows(seed: int, cell: float, x: float, y: float) -> None:
    whole = compute_value_noise(seed, make_window(x, y, 40, 100.0), cell)
    part = compute_value_noise(seed, make_window(x, y, 17, 100.0), cell)
    turned = compute_value_noise(seed, expand_window(make_window(x, y, 40, 100.0)), cell)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(part, whole[:17, :17])
    np.testing.assert_allclose(turned, whole, atol=1e-6)


def test_value_noise_has_its_documented_standard_deviation() -> None:
    noise = compute_value_noise(3, make_window(0, 0, 600, 97.0), 1000.0)
    assert abs(float(noise.std()) - NOISE_STD) < 0.02
    assert abs(float(compute_fbm(3, make_window(0, 0, 600, 970.0), 10_000.0, 5).std()) - 1) < 0.06


def test_simulate_ground_is_equal_in_all_windows() -> None:
    x, y = (float(v) for v in project_to_world(np.array(16.0), np.array(46.0)))
    whole, part = simulate_ground(9, make_window(x, y, 300, 20.0)), simulate_ground(9, make_window(x, y, 130, 20.0))
    np.testing.assert_array_equal(part.kind, whole.kind[:130, :130])


@pytest.mark.parametrize("pair", [("33TXM", "33TYM"), ("33TYM", "34TCS"), ("01KAB", "60KYG")])
def test_simulate_ground_is_equal_in_tiles_of_two_zones(pair: tuple[str, str]) -> None:
    first, second = (parse_tile(name) for name in pair)
    lon, lat = find_common_points(first, second)
    kinds = []
    for each in (first, second):
        easts, norths = Transformer.from_crs("EPSG:4326", f"EPSG:{each.epsg}", always_xy=True).transform(lon, lat)
        projection = TileProjection.from_tile(each)
        kinds.append(
            simulate_ground(
                7000, SamplePoints(projection.x.ev(norths, easts), projection.y.ev(norths, easts), 20.0)
            ).kind
        )
    assert np.unique(kinds[0]).size > 1
    assert float((kinds[0] == kinds[1]).mean()) > 0.999


def find_common_points(first: Tile, second: Tile) -> tuple[Float64, Float64]:
    shared = first.footprint.intersection(second.footprint)
    part = max(getattr(shared, "geoms", [shared]), key=lambda each: each.area)
    west, south, east, north = part.bounds
    lon, lat = (each.ravel() for each in np.meshgrid(np.linspace(west, east, 90), np.linspace(south, north, 90)))
    inside = shapely.contains_xy(part, lon, lat)
    return lon[inside][None, :], lat[inside][None, :]


def test_apply_atmosphere_casts_shadows_away_from_the_sun() -> None:
    at = make_window(1e6, 5e6, 500, 20.0)
    sky = make_any_sky(0.08, broken=1.0, cumulus=2500.0, height=1500.0, sun_azimuth=135.0, thickness=8.0)
    mask, _ = apply_atmosphere(sky, np.full((4, 500, 500), 0.1, np.float32), at)
    cloud, shadow = mask == Mask.CLOUD, mask == Mask.SHADOW
    reach = round(1500 / np.tan(np.radians(40)) / 20 * np.sqrt(0.5))
    inner = np.s_[reach:-reach, reach:-reach]  # near the edge the cloud may lie outside the window
    away, towards = shift_mask(cloud, -reach, -reach)[inner], shift_mask(cloud, reach, reach)[inner]
    shadow = shadow[inner]
    assert shadow.sum() > 200
    assert (shadow & away).sum() > 0.95 * shadow.sum()
    assert (shadow & towards).sum() < 0.3 * shadow.sum()


def shift_mask(mask: Bool, down: int, right: int) -> Bool:
    return np.roll(mask, (down, right), axis=(0, 1))


def test_apply_atmosphere_darkens_near_infrared_most_and_brightens_blue() -> None:
    at = make_window(1e6, 5e6, 300, 20.0)
    sky = make_any_sky(0.15, broken=1.0, haze=0.0, thickness=10.0)
    image = np.full((4, 300, 300), 0.1, np.float32)
    mask, _ = apply_atmosphere(sky, image, at)
    dark = image[:, mask == Mask.SHADOW].mean(axis=1)
    assert dark.argmin() == 3
    assert (dark < 0.09).all()
    assert image[2, mask == Mask.CLOUD].mean() > 0.25


@pytest.mark.parametrize("cover", [0.1, 0.3, 0.6])
def test_apply_atmosphere_cloud_cover_is_close_to_the_requested_one(cover: float) -> None:
    found = []
    for seed in range(12):
        sky = replace(make_any_sky(cover), seed=seed * 97, sheet=20e3)
        mask, _ = apply_atmosphere(sky, np.zeros((4, 200, 200), np.float32), make_window(seed * 1e6, 4e6, 200, 600.0))
        found.append(float((mask == Mask.CLOUD).mean()))
    assert abs(float(np.mean(found)) - cover) < 0.07


def test_plan_passes_mean_cover_is_the_cloudiness() -> None:
    days = [date.fromordinal(738_000 + 5 * n) for n in range(40)]
    covers = [flight.sky.cover for flight in plan_passes(TILES, days, 3, 0.35)]
    assert abs(float(np.mean(covers)) - 0.35) < 0.03
    assert min(covers) < 0.05
    assert max(covers) > 0.8
    assert {flight.sky.cover for flight in plan_passes(TILES, days, 3, 0.0)} == {0.0}


def test_plan_passes_has_offsets_and_haze_except_on_the_clearest_date() -> None:
    flights = plan_passes(TILES, DATES, 7, 0.35)
    assert [flight.offset for flight in flights] == [0, -1000, 0, 0]
    clearest = min(flights, key=lambda flight: flight.sky.cover)
    assert sum(flight.sky.is_hazy for flight in flights) == 1
    assert not clearest.sky.is_hazy


def test_compute_sun_position_is_south_at_noon_and_higher_in_summer() -> None:
    azimuth, elevation = compute_sun_position(45, 172, hour=12)
    assert azimuth == pytest.approx(180, abs=0.1)
    assert elevation == pytest.approx(68.4, abs=0.2)
    assert compute_sun_position(45, 355)[1] < 25
    assert compute_sun_position(45, 172)[0] < 180  # in the east in the morning


@pytest.mark.parametrize("res", [10, 120])
def test_simulate_patch_depends_on_its_seed_only(res: int) -> None:
    one, same, other = simulate_patch(5, 96, res), simulate_patch(5, 96, res), simulate_patch(6, 96, res)
    for name in ("image", "classes", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert getattr(one, name).dtype == np.uint8
    assert one.image.shape == (4, 96, 96)
    assert (one.image != other.image).any()


def test_simulate_patch_covers_all_classes_and_masks_without_doubtful_haze() -> None:
    patches = [simulate_patch(seed, 64, 20) for seed in range(60)]
    classes = {int(code) for each in patches for code in np.unique(each.classes)}
    assert classes == {int(code) for code in LandCover}
    assert {int(code) for each in patches for code in np.unique(each.mask)} == {0, 1, 2, 255}
    for each in patches:
        np.testing.assert_array_equal(each.mask == Mask.NODATA, (each.image == 0).all(axis=0))
        assert not MAX_CLEAN_PATH < each.haze < MIN_HAZY_PATH


def test_simulate_preview_is_rgb_with_a_certain_haze_label() -> None:
    found = [simulate_preview(seed, 60) for seed in range(8)]
    assert {label for _, _, label in found} == {0.0, 1.0}
    image, mask, _ = found[0]
    assert image.shape == (3, 60, 60)
    assert image.dtype == mask.dtype == np.uint8


def test_overlay_sky_keeps_nodata_and_does_not_change_its_input() -> None:
    clear = np.full((4, 80, 70), 0.08, np.float32)
    clear[:, :, :10] = 0
    before = clear.copy()
    out, mask, haze = overlay_sky(clear, 10, 3)
    np.testing.assert_array_equal(clear, before)
    assert out.dtype == np.float32
    assert haze >= 0
    assert (mask[:, :10] == Mask.NODATA).all()
    assert (out[:, :, :10] == 0).all()
    assert (mask[:, 10:] != Mask.NODATA).all()


def test_simulate_bytes_do_not_depend_on_workers_and_order(world: Path, tmp_path: Path) -> None:
    simulate(tmp_path, TILES[::-1], DATES[::-1], COARSE, 7, workers=2)
    files = sorted(path.relative_to(world) for path in world.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in files if (world / name).read_bytes() != (tmp_path / name).read_bytes()] == []


def test_simulate_catalog_is_valid_stac_with_the_properties_that_the_chain_reads(world: Path) -> None:
    catalog = pystac.Catalog.from_file(str(world / "catalog.json"))
    items = list(catalog.get_items(recursive=True))
    assert 6 <= len(items) <= len(TILES) * len(DATES)
    for item in items:
        written = json.loads(Path(str(item.get_self_href())).read_text())["properties"]
        name = written["grid:code"].removeprefix("MGRS-")
        assert item.id.split("_")[1] == name
        assert (written["proj:epsg"], written["proj:code"]) == (parse_tile(name).epsg, f"EPSG:{parse_tile(name).epsg}")
        assert set(item.assets) == {"red", "green", "blue", "nir", "scl", "thumbnail"}
        for asset in item.assets.values():
            assert Path(str(asset.get_absolute_href())).is_file()
        with rasterio.open(item.assets["red"].get_absolute_href()) as src:
            assert list(src.shape) == item.assets["red"].extra_fields["proj:shape"]
            assert list(src.transform)[:6] == item.assets["red"].extra_fields["proj:transform"]
            assert (src.dtypes[0], src.nodata) == ("uint16", 0)


def test_simulate_writes_valid_cogs(world: Path) -> None:
    paths = sorted(world.rglob("*.tif"))
    assert len(paths) > 40
    assert [path for path in paths if not cog_validate(str(path), quiet=True)[0]] == []


def test_simulate_scenes_of_both_offset_conventions_decode_to_the_ground(world: Path) -> None:
    truth = json.loads((world / "truth/truth.json").read_text())
    applied = set()
    for name, facts in truth["scenes"].items():
        item = json.loads((world / f"sentinel-2-l2a/{name}/{name}.json").read_text())
        offset = 0 if item["properties"]["earthsearch:boa_offset_applied"] else -1000
        nir, mask, surface = read_scene(world, name, facts)
        clear = mask == Mask.CLEAR
        assert (
            abs(float(np.median(nir[clear] + offset - surface[3][clear].astype(float)))) < 500
        )  # gain, haze and noise; half an offset
        applied.add(offset)
    assert applied == {0, -1000}


def read_scene(world: Path, name: str, facts: dict[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with rasterio.open(world / f"sentinel-2-l2a/{name}/B08.tif") as src:
        nir = src.read(1).astype(float)
    with rasterio.open(world / f"truth/{facts['tile']}/{name}.mask.tif") as src:
        mask = src.read(1)
    with rasterio.open(world / f"truth/{facts['tile']}/surface-{facts['date']}.tif") as src:
        surface = src.read()
    return nir, mask, surface


def test_simulate_swath_edge_runs_from_the_upper_right_to_the_lower_left(world: Path) -> None:
    edges = []
    for path in sorted(world.glob("truth/*/*.mask.tif")):
        with rasterio.open(path) as src:
            outside = src.read(1) == Mask.NODATA
        columns = [np.flatnonzero(np.diff(row.astype(int))) for row in outside]
        full = [(n, int(found[0])) for n, found in enumerate(columns) if found.size == 1]
        if len(full) > 40:
            edges.append(np.polyfit(*np.array(full).T, 1)[0])
    assert edges
    assert all(-0.35 < slope < -0.1 for slope in edges)  # tan 12 degrees, changed slightly by meridian convergence


def test_simulate_cloud_cover_of_items_equals_the_true_mask(world: Path) -> None:
    for name, facts in json.loads((world / "truth/truth.json").read_text())["scenes"].items():
        _, mask, _ = read_scene(world, name, facts)
        seen = mask != Mask.NODATA
        item = json.loads((world / f"sentinel-2-l2a/{name}/{name}.json").read_text())
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(100 * (mask[seen] == Mask.CLOUD).mean(), abs=1e-4)


def test_simulate_ground_has_all_six_classes_in_a_region(world: Path) -> None:
    codes = [np.unique(rasterio.open(path).read(1)) for path in world.glob("truth/*/classes.tif")]
    assert set(np.concatenate(codes).tolist()) == {1, 2, 3, 4, 5, 6}


def test_simulate_rejects_no_dates_and_impossible_cloudiness(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot simulate 2 tiles on 0 dates"):
        simulate(tmp_path, TILES, [], COARSE, 1)
    with pytest.raises(ConfigError, match=r"Invalid cloudiness 1\.5"):
        simulate(tmp_path, TILES, DATES, COARSE, 1, cloudiness=1.5)


def test_score_landcover_and_score_masks_of_right_and_wrong_maps() -> None:
    truth = np.array([[1, 1, 2], [3, 6, 6]], np.uint8)
    assert score_landcover(count_confusion(truth, truth, 7))["mean_f1"] == 1.0
    wrong = np.array([[1, 2, 2], [3, 6, 0]], np.uint8)
    score = score_landcover(count_confusion(truth, wrong, 7))
    assert (score["water"], score["grass"], score["barren"]) == (0.6667, 0.6667, 1.0)
    masks = count_confusion(np.array([0, 1, 1, 2, 255], np.uint8), np.array([0, 1, 2, 2, 1], np.uint8), 3)
    assert score_masks(masks) == {"cloud_iou": 0.5, "shadow_iou": 0.5, "cloud_or_shadow_iou": 1.0, "accuracy": 0.75}


def test_composite_sums_count_errors_holes_and_residual_cloud() -> None:
    sums = CompositeSums()
    image = np.full((4, 1, 2), 1, np.uint8)  # level 1 is reflectance 0
    surface = np.full((4, 1, 2), 500, np.uint16)
    sums.add(image, surface, np.array([[0, 2]], np.uint8), np.array([[1, 1]], np.uint8))
    sums.holes = 2
    score = sums.score()
    assert score["reflectance_error"] == pytest.approx(0.05, abs=1e-4)
    assert (score["holes"], score["residual"]) == (0.5, 0.5)


def test_score_run_of_the_truth_is_perfect(world: Path, tmp_path: Path) -> None:
    name = min(json.loads((world / "truth/truth.json").read_text())["scenes"])
    own = name.split("_")[1]
    for source, target in (
        (f"truth/{own}/{name}.mask.tif", f"scenes/{own}/{name}.mask.tif"),
        (f"truth/{own}/classes.tif", f"landcover/{own}/landcover.tif"),
    ):
        (tmp_path / target).parent.mkdir(parents=True)
        (tmp_path / target).write_bytes((world / source).read_bytes())
    groups = score_run(tmp_path, world)
    assert sorted(groups) == ["landcover", "mask"]
    assert groups["landcover"]["accuracy"] == groups["mask"]["accuracy"] == 1.0
    assert format_scores(groups)[0] == "mask"
    assert "  accuracy               1" in format_scores(groups)
