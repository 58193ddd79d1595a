"""Labels for training: shorelines, vegetation, and the fusion of teachers, outlines and visual inspection."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra 'torch'")

from s2ops.constants import Bool, Float32, LandCover  # noqa: E402
from s2ops.imaging.tone_curve import apply_tone_curve  # noqa: E402
from s2ops.training.datasets import label_fusion  # noqa: E402
from s2ops.training.datasets.build_pools import build_single_chips, make_pools, restore_linear_levels  # noqa: E402
from s2ops.training.datasets.packed_scenes import (  # noqa: E402
    CHIP_REFLECTANCE_PER_LEVEL,
    RAYLEIGH_REFLECTANCE,
    ChipSet,
    PackedData,
    PackedScene,
    load_packed,
    save_packed,
)
from s2ops.training.datasets.pools import BUILT, EITHER, GARDEN, GREEN, IGNORE, LAND, Pool, derive_labels  # noqa: E402
from s2ops.training.datasets.real_scenes import RealScene  # noqa: E402
from s2ops.training.datasets.shoreline_labels import (  # noqa: E402
    classify_water_by_swir,
    compute_otsu_threshold,
    detect_basin,
    refine_shoreline,
)

SHAPE = (64, 64)


def make_band(value: float) -> Float32:
    return np.full(SHAPE, value, np.float32)


def make_lake() -> tuple[Bool, dict[str, Float32]]:
    """Make a lake in meadow with its shore at column 30, and bands with a little noise."""
    rng = np.random.default_rng(0)
    water = np.zeros(SHAPE, bool)
    water[:, :30] = True
    bands = {}
    for name, wet, dry in (("B04", 0.03, 0.05), ("B03", 0.05, 0.07), ("B02", 0.03, 0.04), ("B08", 0.02, 0.35)):
        bands[name] = (np.where(water, wet, dry) + rng.normal(0, 0.004, SHAPE)).astype(np.float32)
    bands["B11"] = (np.where(water, 0.01, 0.2) + rng.normal(0, 0.002, SHAPE)).astype(np.float32)
    return water, bands


def make_scene(place: str, bands: dict[str, Float32], *, clear: bool = True, l1c: bool = False) -> RealScene:
    return RealScene("x", place, 10, np.full((4, *SHAPE), 100, np.uint8), clear, bands, l1c=l1c)


def test_refined_shoreline_corrects_a_shore_that_is_two_pixels_off() -> None:
    water, bands = make_lake()
    image = np.stack([bands[name] for name in ("B04", "B03", "B02", "B08")])
    everywhere = np.ones(SHAPE, bool)
    for shift in (-2, 2):
        rough = np.roll(water, shift, axis=1) & (np.arange(64) < 40)
        assert (refine_shoreline(rough, image, everywhere)[:, 5:] == water[:, 5:]).all()


def test_refined_shoreline_contains_pixels_that_are_mostly_water() -> None:
    water, bands = make_lake()
    image = np.stack([bands[name] for name in ("B04", "B03", "B02", "B08")])
    wet, dry = image[:, :, :28].mean(axis=(1, 2)), image[:, :, 34:44].mean(axis=(1, 2))
    for part, found in ((0.6, False), (0.85, True)):
        image[:, :, 30] = (part * wet + (1 - part) * dry)[:, None]
        assert (refine_shoreline(water, image, np.ones(SHAPE, bool))[:, 30] == found).all()


def test_water_by_swir_is_found_under_haze() -> None:
    water, bands = make_lake()
    for haze in (0.0, 0.04):
        veiled = {name: band + np.float32(haze) for name, band in bands.items()}
        assert (classify_water_by_swir(veiled, np.ones(SHAPE, bool)) == water).mean() > 0.98


def test_water_by_swir_excludes_winter_shadow_and_includes_floating_objects() -> None:
    water, bands = make_lake()
    winter = dict(bands, B11=bands["B11"].copy())
    winter["B11"][:, 45:] = 0.01
    winter["B11"][10:12, 10:12] = 0.2
    inner = np.s_[2:-2, 2:-2]
    assert (classify_water_by_swir(winter, detect_basin([bands]))[inner] == water[inner]).all()


def test_otsu_threshold_separates_two_modes() -> None:
    values = np.concatenate([np.full(500, -0.4), np.full(100, 0.5)]).astype(np.float32)
    assert -0.4 < compute_otsu_threshold(values) < 0.5


def test_cover_labels_prefer_outlines_and_ndvi_over_the_teacher() -> None:
    bands = {"B04": make_band(0.04), "B03": make_band(0.06), "B02": make_band(0.04), "B08": make_band(0.1)}
    bands["B08"][:, 32:] = 0.5
    quarters = {"residential": np.zeros(SHAPE, bool)}
    quarters["residential"][20:40, 8:24] = True
    taught = np.full(SHAPE, LandCover.GRASS, np.uint8)
    taught[:4] = BUILT
    mask = np.zeros(SHAPE, np.uint8)
    mask[60:] = 1
    cover = label_fusion.fuse_cover_labels(make_scene("zurich", bands), taught, mask, quarters)
    assert (cover[22:38, 10:22] == LandCover.RESIDENTIAL).all()
    assert (cover[22:38, 4:8] == LandCover.NODATA).all()  # the margin of the outline
    assert (cover[:4] != BUILT).all()
    assert (cover[10:58, 34:] == LandCover.GRASS).all()
    assert not (cover[:, :32] == LandCover.GRASS).any()  # not green enough to be a meadow
    assert (cover[60:] == LandCover.NODATA).all()


def make_crowns(rng: np.random.Generator) -> Float32:
    """Make near infrared of a wood: 15 % rougher than a field."""
    return np.asarray(0.4 * rng.normal(1, 0.15, SHAPE), np.float32)


def test_cover_labels_of_parks_in_a_quarter_are_not_houses() -> None:
    rng = np.random.default_rng(0)
    bands = {"B04": make_band(0.1), "B03": make_band(0.1), "B02": make_band(0.1), "B08": make_band(0.2)}
    parks = {"wood": np.s_[20:28, 10:20], "lawn": np.s_[20:30, 30:40], "unsure": np.s_[40:48, 10:20]}
    taught = np.full(SHAPE, LandCover.GRASS, np.uint8)  # Dynamic World also classifies the houses as grass
    for name, park in parks.items():
        bands["B04"][park], bands["B08"][park] = 0.03, 0.45 if name == "lawn" else make_crowns(rng)[park]
        taught[park] = {"wood": LandCover.TREE, "lawn": LandCover.TREE, "unsure": BUILT}[name]
    garden = np.s_[40:43, 40:43]
    bands["B04"][garden], bands["B08"][garden] = 0.03, 0.45
    inside = np.ones(SHAPE, bool)
    cover = label_fusion.fuse_cover_labels(
        make_scene("zurich", bands), taught, np.zeros(SHAPE, np.uint8), {"residential": inside}
    )
    assert (cover[:18] == LandCover.RESIDENTIAL).all()
    assert (cover[parks["wood"]] == LandCover.TREE).all()
    assert (cover[parks["lawn"]][3:-3, 3:-3] == LandCover.GRASS).all()  # smooth, so the teacher's trees are wrong
    assert (cover[parks["unsure"]] == GREEN).all()
    assert (cover[garden] == GARDEN).all()
    pool = Pool(np.full((1, 4, *SHAPE), 9, np.uint8), cover[None], np.zeros((1, *SHAPE), np.uint8))
    houses, plants = derive_labels("building", pool)[0], derive_labels("vegetation", pool)[0]
    assert [int(houses[at]) for at in ((24, 15), (25, 35), (44, 15), (41, 41), (5, 5))] == [0, 0, 0, IGNORE, 1]
    assert [int(plants[at]) for at in ((24, 15), (25, 35), (44, 15), (41, 41), (5, 5))] == [2, 1, EITHER, EITHER, 0]


def test_packed_chips_label_green_pixels_of_built_up_chips_as_garden(tmp_path: Path) -> None:
    linear = np.full((3, 64, 64), 150, np.uint8)
    linear[:, 8:16, 8:16] = np.array([110, 160, 150], np.uint8)[:, None, None]
    stream = io.BytesIO()
    Image.fromarray(np.moveaxis(linear, 0, -1)).save(stream, "JPEG", quality=98, subsampling=0)
    chips = ChipSet(np.full((1, 4, 64, 64), 90, np.uint8), np.full((1, 64, 64), 3, np.uint8))
    names = ["Residential", "HerbaceousVegetation"]
    save_packed(
        PackedData((), {"chips-ms": chips}, {"soil": np.ones((2, 4), np.float32)}),
        (names, [stream.getvalue()] * 2),
        tmp_path / "real.npz",
    )
    cover = load_packed(tmp_path / "real.npz").chips["chips-rgb"].cover
    assert (cover[0, 10:14, 10:14] == GARDEN).all()
    assert (cover[0, 20:] == LandCover.RESIDENTIAL).all()
    assert (cover[1] == LandCover.GRASS).all()


def test_cover_labels_of_the_reservoir_have_a_sharp_shore_and_lasting_trees() -> None:
    water, bands = make_lake()
    dates = {str(day): np.full(SHAPE, LandCover.TREE if day < 2 else LandCover.GRASS, np.uint8) for day in range(5)}
    lasting = label_fusion.propagate_lasting_trees(dates)
    assert all((land == LandCover.TREE).all() for land in lasting.values())
    cover = label_fusion.fuse_cover_labels(
        make_scene("boadella", bands), lasting["4"], np.zeros(SHAPE, np.uint8), {}, np.ones(SHAPE, bool)
    )
    assert (cover[water] == LandCover.WATER).all()
    assert (cover[:, 30:33] == LAND).all()
    assert (cover[:, 36:] == LandCover.TREE).all()


def test_cloud_labels_prefer_the_stronger_teacher() -> None:
    weak, strong = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    weak[:20], strong[:10], strong[40:50] = 1, 1, 2
    bands: dict[str, Float32] = {}
    by_eye = label_fusion.fuse_cloud_labels(make_scene("zurich", bands), weak, strong)
    assert [int(by_eye[row, 0]) for row in (5, 15, 45, 60)] == [255, 0, 255, 0]
    cloudy = label_fusion.fuse_cloud_labels(make_scene("zurich", bands, clear=False), weak, strong)
    assert (cloudy == strong).all()
    both = label_fusion.fuse_cloud_labels(make_scene("brandenburg", bands, clear=False, l1c=True), weak, strong)
    assert [int(both[row, 0]) for row in (5, 15, 45, 60)] == [1, 255, 255, 0]


def test_linear_levels_of_a_chip_are_restored() -> None:
    raw = np.random.default_rng(0).integers(90, 250, (3, 8, 8))
    reflectance = (
        raw * np.float32(CHIP_REFLECTANCE_PER_LEVEL) - np.array(RAYLEIGH_REFLECTANCE[:3], np.float32)[:, None, None]
    )
    levels = np.rint(apply_tone_curve(reflectance)).astype(np.uint8)
    assert np.abs(restore_linear_levels(levels).astype(int) - raw).max() <= 3


def test_single_chips_have_their_class_up_to_the_edge() -> None:
    chips = np.full((8, 3, 64, 64), 90, np.uint8)
    cover = np.full((8, 64, 64), 4, np.uint8)
    samples = list(build_single_chips(chips, cover, plain=True, seed=0))
    assert all((land == 4).all() and image.shape == (4, 64, 64) for image, land, _ in samples)
    assert 0 < sum(bool((image[0] != 90).any()) for image, _, _ in samples) < 8


def test_pools_are_made_by_place_and_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (4, 64, 64), dtype=np.uint8)
    cover, mask = np.full(SHAPE, 3, np.uint8), np.full(SHAPE, 1, np.uint8)
    scenes = tuple(PackedScene(place, place, False, image, cover, mask) for place in ("here", "there"))
    chips = {"chips-ms": ChipSet(np.stack([image] * 10), np.stack([cover] * 10))}
    make_pools(tmp_path, PackedData(scenes, chips, {}), 16, 1, ("real", "chips"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chips-ms", "chips-ms-single", "chips-ms-single-val", "chips-ms-val",
        "clouds-here", "clouds-there", "cover-here", "cover-there",
    ]  # fmt: skip
    assert (np.asarray(Pool.load(tmp_path / "clouds-here").mask) == 1).all()
    assert (np.asarray(Pool.load(tmp_path / "cover-here").mask) == 0).all()  # known ground counts as clear
    assert len(Pool.load(tmp_path / "chips-ms-single").image) == 8
    assert len(Pool.load(tmp_path / "chips-ms-single-val").image) == 2
