"""Training samples of foreign ground: spectra, biomes, recoloured windows and open water."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from s2ops.constants import Float32, LandCover
from s2ops.imaging.tone_curve import apply_tone_curve, build_reflectance_table, invert_tone_curve
from s2ops.simulate.palette import WORLD_PALETTE
from s2ops.simulate.training_patches import simulate_patch
from s2ops.training.augmentation import augment_radiometry
from s2ops.training.config import TrainConfig
from s2ops.training.datasets.biomes import BiomeSampler, relabel_by_greenness
from s2ops.training.datasets.build_pools import make_pools
from s2ops.training.datasets.label_fusion import label_bare_ground, label_sparse_cover, limit_trees_to_green
from s2ops.training.datasets.packed_scenes import ChipSet, PackedData, PackedScene
from s2ops.training.datasets.pools import LAND, OPEN, Pool
from s2ops.training.datasets.recolour import Recolourer
from s2ops.training.datasets.shoreline_labels import detect_open_water
from s2ops.training.datasets.spectral_library import BAND_RANGES_UM, MATERIALS, compute_library_ndvi, convolve_bands
from s2ops.training.datasets.water_samples import WaterSimulator


@pytest.fixture(scope="module")
def library() -> dict[str, Float32]:
    """A made library: greys of every brightness, and canopies from bare to closed."""
    grey = np.linspace(0.05, 0.6, 12, dtype=np.float32)[:, None] * np.array([1, 0.8, 0.6, 1.2], np.float32)
    red = np.linspace(0.25, 0.02, 200, dtype=np.float32)
    canopy = np.stack([red, red * 0.8 + 0.03, red * 0.5, np.float32(0.55) - red], axis=1)
    return {name: canopy if name == "canopy" else grey for name in MATERIALS}


def fill_image(*values: float) -> Float32:
    """Fill a small image with one reflectance of red, green, blue, nir."""
    return np.broadcast_to(np.array(values, np.float32)[:, None, None], (4, 64, 64)).copy()


def test_band_convolution_averages_inside_the_band_only() -> None:
    wavelengths = np.arange(0.40, 1.0, 0.001)
    low, high = BAND_RANGES_UM[3]
    spectra = np.stack([np.full(len(wavelengths), 0.3), np.where(wavelengths < low - 0.001, 0.9, 0.1)])
    found = convolve_bands(wavelengths, spectra.astype(np.float32))
    assert found[0] == pytest.approx(0.3)
    assert found[1] == pytest.approx([0.9, 0.9, 0.9, 0.1])
    assert high > low


def test_biome_water_is_darker_in_near_infrared_than_in_green(library: dict[str, Float32]) -> None:
    biome = BiomeSampler(library, np.random.default_rng(1))
    drawn = np.stack([biome.draw_water() for _ in range(300)])
    assert (drawn > 0).all()
    assert (drawn[:, 3] < drawn[:, 1]).all()
    assert drawn[:, 0].max() > 0.12  # brown with silt
    assert drawn[:, 1].min() < 0.03  # clear and deep


def test_biome_palette_has_other_colours_but_green_woods(library: dict[str, Float32]) -> None:
    biome = BiomeSampler(library, np.random.default_rng(2))
    palettes = [biome.draw_palette() for _ in range(20)]
    assert all((one.low != WORLD_PALETTE.low).any(axis=0).sum() > 10 for one in palettes)
    trees = np.stack([biome.draw_tree_canopy() for _ in range(100)])
    assert compute_library_ndvi(trees).min() >= 0.6


def test_default_palette_leaves_the_simulated_world_as_it_is(library: dict[str, Float32]) -> None:
    plain = simulate_patch(3, 64, 10)
    assert np.array_equal(simulate_patch(3, 64, 10, WORLD_PALETTE).image, plain.image)
    other = simulate_patch(3, 64, 10, BiomeSampler(library, np.random.default_rng(3)).draw_palette())
    assert np.array_equal(other.classes, plain.classes)
    assert (other.image != plain.image).mean() > 0.5


@pytest.mark.parametrize(
    ("nir", "code"), [(0.4, LandCover.TREE), (0.192, LandCover.GRASS), (0.12, LandCover.BARREN), (0.225, 0)]
)
def test_woods_without_green_are_labelled_by_their_ndvi(nir: float, code: int) -> None:
    cover = np.full((64, 64), LandCover.TREE, np.uint8)
    assert (relabel_by_greenness(cover, fill_image(0.1, 0.09, 0.06, nir)) == code).all()
    leafless = relabel_by_greenness(cover, fill_image(0.1, 0.09, 0.06, nir), np.ones((64, 64), bool))
    assert (leafless == (code if code == LandCover.TREE else LandCover.NODATA)).all()


def test_recoloured_class_keeps_its_texture_and_changes_its_colour(library: dict[str, Float32]) -> None:
    rng = np.random.default_rng(5)
    image = fill_image(0.1, 0.09, 0.08, 0.15) * rng.uniform(0.7, 1.3, (1, 64, 64)).astype(np.float32)
    levels = np.rint(apply_tone_curve(image)).astype(np.uint8)
    levels[:, :4] = 0
    cover = np.full((64, 64), LandCover.BARREN, np.uint8)
    changed = 0
    for seed in range(12):
        out, land, _ = Recolourer(library).recolour(
            (levels, cover, np.zeros((64, 64), np.uint8)), np.random.default_rng(seed)
        )
        assert (out[:, :4] == 0).all()
        assert (land == LandCover.BARREN).all()
        ratio = np.nan_to_num(build_reflectance_table())[out][:, 8:] / image[:, 8:]
        if abs(float(np.median(ratio)) - 1) > 0.1:
            changed += 1
    assert changed >= 6


def test_window_without_near_infrared_is_not_recoloured(library: dict[str, Float32]) -> None:
    levels = np.full((4, 64, 64), 80, np.uint8)
    levels[3] = 0
    sample = (levels, np.full((64, 64), LandCover.RESIDENTIAL, np.uint8), np.zeros((64, 64), np.uint8))
    assert Recolourer(library).recolour(sample, np.random.default_rng(1)) is sample


def test_open_water_samples_are_whole_windows_and_some_are_dark_land(library: dict[str, Float32]) -> None:
    simulate = WaterSimulator(library, 64)
    made = [simulate(seed) for seed in range(40)]
    codes = [np.unique(cover).tolist() for _, cover, _ in made]
    assert all(code in ([LandCover.WATER], [LandCover.BARREN]) for code in codes)
    assert 5 < codes.count([LandCover.BARREN]) < 25
    assert np.array_equal(simulate(7)[0], made[7][0])
    assert all((levels > 0).all() for levels, _, _ in made)


def test_pools_of_foreign_ground_are_made(library: dict[str, Float32], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 200, (4, 64, 64), dtype=np.uint8)
    cover, mask = np.full((64, 64), LandCover.GRASS, np.uint8), np.zeros((64, 64), np.uint8)
    packed = PackedData(
        (PackedScene("here", "here", True, image, cover, mask),),
        {"chips-ms": ChipSet(np.stack([image] * 10), np.stack([cover] * 10))},
        library,
    )
    make_pools(tmp_path, packed, 6, 1, ("biomes", "open-water", "recoloured"))
    assert [len(Pool.load(tmp_path / name).image) for name in ("biomes", "open-water", "recoloured")] == [6, 1, 3]
    assert len(Pool.load(tmp_path / "biomes-val").image) == 8
    assert np.isin(np.asarray(Pool.load(tmp_path / "recoloured").cover), (0, LandCover.GRASS, LandCover.BARREN)).all()


def test_noise_acts_on_reflectance_and_is_strong_in_some_samples_only() -> None:
    dark = int(apply_tone_curve(np.array([0.02], np.float32)).round()[0])
    levels = torch.full((64, 4, 32, 32), dark, dtype=torch.uint8)
    bands = ("red", "green", "blue", "nir")
    seen = augment_radiometry(levels, bands, (0.0, 0.0, 0.0), 0.0, 0.01, torch.Generator().manual_seed(1))
    spread = invert_tone_curve(seen.numpy()).std(axis=(1, 2, 3))
    assert spread.max() < 0.012
    assert (spread > 0.004).sum() > 5
    assert (spread < 0.001).sum() > 10
    plain = augment_radiometry(levels, bands, (0.0, 0.0, 0.0), 0.0, 0.0, torch.Generator().manual_seed(1))
    assert torch.equal(plain, levels)


def test_configuration_refuses_untaught_pools_that_it_does_not_draw_from() -> None:
    given = {"sources": {"biomes": 1.0}, "validation": ["biomes-val"], "trained_on": ["simulated"]}
    assert TrainConfig.model_validate(given | {"untaught": ["biomes"]}).untaught == ("biomes",)
    with pytest.raises(ValidationError, match="untaught names sea; name only pools"):
        TrainConfig.model_validate(given | {"untaught": ["sea"]})


def test_open_water_is_the_noisy_sea_without_ponds_and_land() -> None:
    image = np.concatenate([fill_image(0.1, 0.09, 0.06, 0.3), fill_image(0.01, 0.02, 0.03, 0.008)], axis=2)
    image[:, 20:24, 10:14] = np.array([0.01, 0.02, 0.03, 0.008], np.float32)[:, None, None]
    image += np.random.default_rng(1).normal(0, 0.003, image.shape).astype(np.float32)
    found = detect_open_water(image.astype(np.float32))
    assert found[4:-4, 70:124].mean() > 0.99
    assert not found[:, :60].any()


def test_trees_are_limited_to_ground_that_is_green_on_some_date() -> None:
    greenest = np.array([[0.2, 0.35, 0.45, 0.7]], np.float32)
    found = limit_trees_to_green({"june": np.full((1, 4), LandCover.TREE, np.uint8)}, greenest)["june"]
    assert found.tolist() == [[LandCover.BARREN, LandCover.GRASS, LandCover.NODATA, LandCover.TREE]]


def test_sparse_ground_is_grass_or_barren_by_the_ndvi_of_the_date() -> None:
    image = np.concatenate([fill_image(0.1, 0.09, 0.06, 0.2), fill_image(0.1, 0.09, 0.06, 0.12)], axis=2)
    cover = np.full((64, 128), LAND, np.uint8)
    cover[:8] = LandCover.RESIDENTIAL
    sparse = np.ones((64, 128), bool)
    sparse[-8:] = False
    found = label_sparse_cover(cover, image, sparse)
    assert (found[:8] == LandCover.RESIDENTIAL).all()
    assert (found[-8:] == LAND).all()
    assert (found[8:-8, :64] == LandCover.GRASS).all()
    assert (found[8:-8, 64:] == LandCover.BARREN).all()


def test_bare_ground_of_a_place_without_a_teacher_is_labelled_by_its_colour() -> None:
    image = np.concatenate([fill_image(0.3, 0.2, 0.1, 0.36), fill_image(0.05, 0.06, 0.03, 0.4)], axis=2)
    water = np.zeros((64, 128), bool)
    water[:10] = True
    found = label_bare_ground(image, water)
    assert (found[:10] == LandCover.WATER).all()
    assert (found[10:13] == LandCover.NODATA).all()
    assert (found[13:, :64] == LandCover.BARREN).all()
    assert (found[13:, 64:] == OPEN).all()
