"""The simulated world: the same everywhere and always, with everything in it that the chain must cope with."""

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
from s2ops.simulate.atmosphere import CLEAN, HAZY, Sky, overcast, random_sky, sun
from s2ops.simulate.ground import ground, world_xy
from s2ops.simulate.noise import NOISE_STD, Points, fbm, value_noise
from s2ops.simulate.scoring import CompositeSums, landcover_score, lines, mask_score, score_run
from s2ops.simulate.training_patches import overlay, patch, preview
from s2ops.simulate.world import Lens, passes
from s2ops.simulate.writer import simulate

DATES = [date(2023, 8, day) for day in (1, 6, 9, 14)]
TILES = [parse_tile("33TYM"), parse_tile("34TCS")]
COARSE = 1220  # metres: 90 x 90 pixels a tile, coarser than any real run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world of two tiles in two UTM zones."""
    out = tmp_path_factory.mktemp("world")
    simulate(out, TILES, DATES, COARSE, 7)
    return out


def window(x: float, y: float, size: int, res: float) -> Points:
    span = np.arange(size, dtype=np.float64) * res
    return Points(x + span[None, :], y - span[:, None], res)


def tangled(at: Points) -> Points:
    """The same window with full coordinate arrays, as a rotated grid has them."""
    x, y = np.broadcast_arrays(at.x, at.y)
    return Points(x.copy(), y.copy(), at.finest)


def some_sky(cover: float, **changes: float) -> Sky:
    sky = random_sky(np.random.default_rng(5), cover, (150.0, 40.0), hazy=False)
    return replace(sky, **{"cirrus": 0.0, **changes})


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cell=st.floats(50, 1e5), x=st.floats(-1e7, 1e7), y=st.floats(-1e7, 1e7))
def test_noise_is_the_same_in_any_window(seed: int, cell: float, x: float, y: float) -> None:
    whole = value_noise(seed, window(x, y, 40, 100.0), cell)
    part = value_noise(seed, window(x, y, 17, 100.0), cell)
    turned = value_noise(seed, tangled(window(x, y, 40, 100.0)), cell)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(part, whole[:17, :17])
    np.testing.assert_allclose(turned, whole, atol=1e-6)


def test_noise_has_the_stated_spread_everywhere() -> None:
    noise = value_noise(3, window(0, 0, 600, 97.0), 1000.0)
    assert abs(float(noise.std()) - NOISE_STD) < 0.02
    assert abs(float(fbm(3, window(0, 0, 600, 970.0), 10_000.0, 5).std()) - 1) < 0.06


def test_the_ground_is_the_same_in_any_window() -> None:
    x, y = (float(v) for v in world_xy(np.array(16.0), np.array(46.0)))
    whole, part = ground(9, window(x, y, 300, 20.0)), ground(9, window(x, y, 130, 20.0))
    np.testing.assert_array_equal(part.kind, whole.kind[:130, :130])


@pytest.mark.parametrize("pair", [("33TXM", "33TYM"), ("33TYM", "34TCS"), ("01KAB", "60KYG")])
def test_two_tiles_see_the_same_ground_also_across_zones(pair: tuple[str, str]) -> None:
    first, second = (parse_tile(name) for name in pair)
    lon, lat = common_points(first, second)
    kinds = []
    for each in (first, second):
        easts, norths = Transformer.from_crs("EPSG:4326", f"EPSG:{each.epsg}", always_xy=True).transform(lon, lat)
        lens = Lens.of(each)
        kinds.append(ground(7000, Points(lens.x.ev(norths, easts), lens.y.ev(norths, easts), 20.0)).kind)
    assert np.unique(kinds[0]).size > 1
    assert float((kinds[0] == kinds[1]).mean()) > 0.999


def common_points(first: Tile, second: Tile) -> tuple[Float64, Float64]:
    shared = first.footprint.intersection(second.footprint)
    part = max(getattr(shared, "geoms", [shared]), key=lambda each: each.area)
    west, south, east, north = part.bounds
    lon, lat = (each.ravel() for each in np.meshgrid(np.linspace(west, east, 90), np.linspace(south, north, 90)))
    inside = shapely.contains_xy(part, lon, lat)
    return lon[inside][None, :], lat[inside][None, :]


def test_shadows_lie_on_the_side_away_from_the_sun() -> None:
    at = window(1e6, 5e6, 500, 20.0)
    sky = some_sky(0.08, broken=1.0, cumulus=2500.0, height=1500.0, sun_azimuth=135.0, thickness=8.0)
    mask, _ = overcast(sky, np.full((4, 500, 500), 0.1, np.float32), at)
    cloud, shadow = mask == Mask.CLOUD, mask == Mask.SHADOW
    reach = round(1500 / np.tan(np.radians(40)) / 20 * np.sqrt(0.5))
    inner = np.s_[reach:-reach, reach:-reach]  # further out the cloud may lie outside the window
    away, towards = shifted(cloud, -reach, -reach)[inner], shifted(cloud, reach, reach)[inner]
    shadow = shadow[inner]
    assert shadow.sum() > 200
    assert (shadow & away).sum() > 0.95 * shadow.sum()
    assert (shadow & towards).sum() < 0.3 * shadow.sum()


def shifted(mask: Bool, down: int, right: int) -> Bool:
    return np.roll(mask, (down, right), axis=(0, 1))


def test_shadow_darkens_near_infrared_most_and_cloud_brightens_blue() -> None:
    at = window(1e6, 5e6, 300, 20.0)
    sky = some_sky(0.15, broken=1.0, haze=0.0, thickness=10.0)
    image = np.full((4, 300, 300), 0.1, np.float32)
    mask, _ = overcast(sky, image, at)
    dark = image[:, mask == Mask.SHADOW].mean(axis=1)
    assert dark.argmin() == 3
    assert (dark < 0.09).all()
    assert image[2, mask == Mask.CLOUD].mean() > 0.25


@pytest.mark.parametrize("cover", [0.1, 0.3, 0.6])
def test_cloud_cover_is_about_what_is_asked_for(cover: float) -> None:
    found = []
    for seed in range(12):
        sky = replace(some_sky(cover), seed=seed * 97, sheet=20e3)
        mask, _ = overcast(sky, np.zeros((4, 200, 200), np.float32), window(seed * 1e6, 4e6, 200, 600.0))
        found.append(float((mask == Mask.CLOUD).mean()))
    assert abs(float(np.mean(found)) - cover) < 0.07


def test_cloudiness_is_the_mean_over_the_dates() -> None:
    days = [date.fromordinal(738_000 + 5 * n) for n in range(40)]
    covers = [flight.sky.cover for flight in passes(TILES, days, 3, 0.35)]
    assert abs(float(np.mean(covers)) - 0.35) < 0.03
    assert min(covers) < 0.05
    assert max(covers) > 0.8
    assert {flight.sky.cover for flight in passes(TILES, days, 3, 0.0)} == {0.0}


def test_every_third_pass_keeps_the_offset_and_some_but_not_the_clearest_is_hazy() -> None:
    flights = passes(TILES, DATES, 7, 0.35)
    assert [flight.offset for flight in flights] == [0, -1000, 0, 0]
    clearest = min(flights, key=lambda flight: flight.sky.cover)
    assert sum(flight.sky.hazy for flight in flights) == 1
    assert not clearest.sky.hazy


def test_the_sun_stands_south_at_noon_in_the_north_and_higher_in_summer() -> None:
    azimuth, elevation = sun(45, 172, hour=12)
    assert azimuth == pytest.approx(180, abs=0.1)
    assert elevation == pytest.approx(68.4, abs=0.2)
    assert sun(45, 355)[1] < 25
    assert sun(45, 172)[0] < 180  # in the morning it stands in the east


@pytest.mark.parametrize("res", [10, 120])
def test_a_patch_depends_on_its_seed_alone(res: int) -> None:
    one, same, other = patch(5, 96, res), patch(5, 96, res), patch(6, 96, res)
    for name in ("image", "classes", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert getattr(one, name).dtype == np.uint8
    assert one.image.shape == (4, 96, 96)
    assert (one.image != other.image).any()


def test_patches_hold_all_classes_masks_and_kinds_of_haze() -> None:
    patches = [patch(seed, 64, 20) for seed in range(60)]
    classes = {int(code) for each in patches for code in np.unique(each.classes)}
    assert classes == {int(code) for code in LandCover}
    assert {int(code) for each in patches for code in np.unique(each.mask)} == {0, 1, 2, 255}
    for each in patches:
        np.testing.assert_array_equal(each.mask == Mask.NODATA, (each.image == 0).all(axis=0))
        assert not CLEAN < each.haze < HAZY


def test_a_preview_is_rgb_with_a_sure_haze_label() -> None:
    found = [preview(seed, 60) for seed in range(8)]
    assert {label for _, _, label in found} == {0.0, 1.0}
    image, mask, _ = found[0]
    assert image.shape == (3, 60, 60)
    assert image.dtype == mask.dtype == np.uint8


def test_overlay_keeps_no_data_and_leaves_its_input_alone() -> None:
    clear = np.full((4, 80, 70), 0.08, np.float32)
    clear[:, :, :10] = 0
    before = clear.copy()
    out, mask, haze = overlay(clear, 10, 3)
    np.testing.assert_array_equal(clear, before)
    assert out.dtype == np.float32
    assert haze >= 0
    assert (mask[:, :10] == Mask.NODATA).all()
    assert (out[:, :, :10] == 0).all()
    assert (mask[:, 10:] != Mask.NODATA).all()


def test_the_same_arguments_give_the_same_bytes_with_any_workers_and_order(world: Path, tmp_path: Path) -> None:
    simulate(tmp_path, TILES[::-1], DATES[::-1], COARSE, 7, workers=2)
    files = sorted(path.relative_to(world) for path in world.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in files if (world / name).read_bytes() != (tmp_path / name).read_bytes()] == []


def test_the_catalog_is_valid_stac_with_the_properties_that_the_chain_reads(world: Path) -> None:
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


def test_every_raster_is_a_valid_cog(world: Path) -> None:
    paths = sorted(world.rglob("*.tif"))
    assert len(paths) > 40
    assert [path for path in paths if not cog_validate(str(path), quiet=True)[0]] == []


def test_both_conventions_of_numbers_decode_to_the_ground(world: Path) -> None:
    truth = json.loads((world / "truth/truth.json").read_text())
    applied = set()
    for name, facts in truth["scenes"].items():
        item = json.loads((world / f"sentinel-2-l2a/{name}/{name}.json").read_text())
        offset = 0 if item["properties"]["earthsearch:boa_offset_applied"] else -1000
        nir, mask, surface = read(world, name, facts)
        clear = mask == Mask.CLEAR
        assert (
            abs(float(np.median(nir[clear] + offset - surface[3][clear].astype(float)))) < 500
        )  # gain, haze and noise; half an offset
        applied.add(offset)
    assert applied == {0, -1000}


def read(world: Path, name: str, facts: dict[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with rasterio.open(world / f"sentinel-2-l2a/{name}/B08.tif") as src:
        nir = src.read(1).astype(float)
    with rasterio.open(world / f"truth/{facts['tile']}/{name}.mask.tif") as src:
        mask = src.read(1)
    with rasterio.open(world / f"truth/{facts['tile']}/surface-{facts['date']}.tif") as src:
        surface = src.read()
    return nir, mask, surface


def test_a_swath_edge_runs_from_the_upper_right_to_the_lower_left(world: Path) -> None:
    edges = []
    for path in sorted(world.glob("truth/*/*.mask.tif")):
        with rasterio.open(path) as src:
            outside = src.read(1) == Mask.NODATA
        columns = [np.flatnonzero(np.diff(row.astype(int))) for row in outside]
        full = [(n, int(found[0])) for n, found in enumerate(columns) if found.size == 1]
        if len(full) > 40:
            edges.append(np.polyfit(*np.array(full).T, 1)[0])
    assert edges
    assert all(-0.35 < slope < -0.1 for slope in edges)  # tan 12 degrees, turned a little by the zone's convergence


def test_stated_cloud_cover_is_that_of_the_true_mask(world: Path) -> None:
    for name, facts in json.loads((world / "truth/truth.json").read_text())["scenes"].items():
        _, mask, _ = read(world, name, facts)
        seen = mask != Mask.NODATA
        item = json.loads((world / f"sentinel-2-l2a/{name}/{name}.json").read_text())
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(100 * (mask[seen] == Mask.CLOUD).mean(), abs=1e-4)


def test_all_six_classes_occur_over_a_region(world: Path) -> None:
    codes = [np.unique(rasterio.open(path).read(1)) for path in world.glob("truth/*/classes.tif")]
    assert set(np.concatenate(codes).tolist()) == {1, 2, 3, 4, 5, 6}


def test_a_world_without_dates_or_with_impossible_cloudiness_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="given are 2 and 0"):
        simulate(tmp_path, TILES, [], COARSE, 1)
    with pytest.raises(ConfigError, match=r"not 1\.5"):
        simulate(tmp_path, TILES, DATES, COARSE, 1, cloudiness=1.5)


def test_scores_of_a_perfect_and_of_a_wrong_map() -> None:
    truth = np.array([[1, 1, 2], [3, 6, 6]], np.uint8)
    assert landcover_score(count_confusion(truth, truth, 7))["mean_f1"] == 1.0
    wrong = np.array([[1, 2, 2], [3, 6, 0]], np.uint8)
    score = landcover_score(count_confusion(truth, wrong, 7))
    assert (score["water"], score["grass"], score["barren"]) == (0.6667, 0.6667, 1.0)
    masks = count_confusion(np.array([0, 1, 1, 2, 255], np.uint8), np.array([0, 1, 2, 2, 1], np.uint8), 3)
    assert mask_score(masks) == {"cloud_iou": 0.5, "shadow_iou": 0.5, "cloud_or_shadow_iou": 1.0, "accuracy": 0.75}


def test_composite_sums_count_errors_holes_and_residual_cloud() -> None:
    sums = CompositeSums()
    image = np.full((4, 1, 2), 1, np.uint8)  # level 1 is reflectance 0
    surface = np.full((4, 1, 2), 500, np.uint16)
    sums.add(image, surface, np.array([[0, 2]], np.uint8), np.array([[1, 1]], np.uint8))
    sums.holes = 2
    score = sums.score()
    assert score["reflectance_error"] == pytest.approx(0.05, abs=1e-4)
    assert (score["holes"], score["residual"]) == (0.5, 0.5)


def test_a_run_that_found_the_truth_scores_full_marks(world: Path, tmp_path: Path) -> None:
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
    assert lines(groups)[0] == "mask"
    assert "  accuracy               1" in lines(groups)
