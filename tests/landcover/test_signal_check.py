"""Images too dark to classify, saturated pixels, veils, and the confidence of doubtful observations."""

import numpy as np
import pytest

from s2ops.constants import Float32, Mask, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve
from s2ops.landcover.date_fusion import (
    MAX_THIN_CLOUD_CONFIDENCE,
    NO_CONFIDENCE,
    THIN_CLOUD_WEIGHT,
    DateFusion,
    find_thin_cloud_or_shadow,
)
from s2ops.landcover.signal_check import BrightnessHistogram, find_saturated

MEADOW = (0.05, 0.08, 0.04, 0.4)
SEA = (0.008, 0.015, 0.025, 0.004)


def make_levels(*reflectance: float, noise: float = 0.002) -> UInt8:
    """Make levels (4, 40, 40) of one reflectance of red, green, blue, nir with noise."""
    rng = np.random.default_rng(1)
    image: Float32 = (np.array(reflectance)[:, None, None] + rng.normal(0, noise, (4, 40, 40))).astype(np.float32)
    return np.rint(apply_tone_curve(np.maximum(image, 0.0005))).astype(np.uint8)


@pytest.mark.parametrize(
    ("reflectance", "is_dark"),
    [(MEADOW, False), (SEA, False), ((0.012, 0.014, 0.015, 0.018), True), ((0.05, 0.045, 0.04, 0.06), False)],
    ids=["meadow", "sea", "dusk", "dark soil"],
)
def test_image_is_dark_at_dusk_but_not_over_the_sea(reflectance: tuple[float, ...], is_dark: bool) -> None:
    brightness = BrightnessHistogram()
    for rows in np.split(make_levels(*reflectance), 4, axis=1):
        brightness.add(rows)
    assert brightness.is_dark() == is_dark


def test_dark_image_ignores_no_data_and_single_lamps() -> None:
    levels = make_levels(0.012, 0.014, 0.015, 0.018)
    levels[:, :20] = 0
    levels[:, 30, 7] = 250
    brightness = BrightnessHistogram()
    brightness.add(levels)
    assert brightness.is_dark()
    nothing = BrightnessHistogram()
    nothing.add(np.zeros((4, 8, 8), np.uint8))
    assert not nothing.is_dark()


def test_pixel_is_saturated_only_in_all_bands() -> None:
    levels = np.full((4, 2, 2), 255, np.uint8)
    levels[3, 0, 0] = 200
    assert find_saturated(levels).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(
    ("reflectance", "is_visible"),
    [
        ((0.09, 0.1, 0.11, 0.35), True),
        ((0.12, 0.12, 0.13, 0.05), True),
        ((0.15, 0.15, 0.16, 0.17), False),
        ((0.3, 0.3, 0.31, 0.5), False),
    ],
    ids=["veil over plants", "veil over water", "opaque flat veil", "bright cloud"],
)
def test_ground_is_visible_through_a_veil_only_if_near_infrared_differs(
    reflectance: tuple[float, ...], is_visible: bool
) -> None:
    mask = np.full((40, 40), Mask.CLOUD, np.uint8)
    assert (find_thin_cloud_or_shadow(mask, make_levels(*reflectance)) == is_visible).all()
    mask[:] = Mask.SHADOW
    assert find_thin_cloud_or_shadow(mask, make_levels(*reflectance)).all()


def test_class_without_a_clear_observation_has_a_confidence_of_at_most_fifty() -> None:
    heads = [np.zeros((size, 1, 3), np.uint8) for size in (2, 3, 3)]
    heads[0][1], heads[1][0], heads[2][0] = 255, 255, 255  # surely water
    fusion = DateFusion((1, 3))
    for _ in range(4):
        fusion.feed(*heads, weight=np.array([[THIN_CLOUD_WEIGHT, 1.0, 0.0]], np.float32))
    classes, confidence = fusion.decide()
    assert classes.tolist() == [[1, 1, 0]]
    assert confidence[0, 0] == MAX_THIN_CLOUD_CONFIDENCE
    assert confidence[0, 1] > 95
    assert confidence[0, 2] == NO_CONFIDENCE
