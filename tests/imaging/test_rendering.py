"""Rendering: fixed stretches, the classes' colours, and files that decode to the rendered pixels."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from s2ops.constants import CLASS_COLOURS, LandCover
from s2ops.imaging import rendering
from s2ops.imaging.tone_curve import apply_tone_curve


def compute_level(reflectance: float) -> int:
    return int(np.rint(apply_tone_curve(np.float32(reflectance))))


def test_display_table_is_monotone_and_keeps_texture_in_dark_and_bright() -> None:
    table = rendering.build_display_table()
    assert table.dtype == np.uint8
    assert table[0] == 0
    assert (np.diff(table[1:].astype(int)) >= 0).all()
    assert table[compute_level(0.03)] - table[compute_level(0.01)] > 20
    assert table[compute_level(0.5)] - table[compute_level(0.3)] > 10


def test_render_true_colour_has_red_first_and_no_data_transparent() -> None:
    levels = np.zeros((4, 2, 3), np.uint8)
    levels[:, 1, 2] = compute_level(0.3), compute_level(0.1), compute_level(0.02), compute_level(0.4)
    image = rendering.render_true_colour(levels)
    assert image.shape == (2, 3, 4)
    assert image.dtype == np.uint8
    red, green, blue, alpha = image[1, 2].tolist()
    assert red > green > blue > 0
    assert alpha == 255
    assert image[0, 0].tolist() == [0, 0, 0, 0]


def test_render_land_cover_has_the_colours_of_the_paper() -> None:
    image = rendering.render_land_cover(np.array([[0, 1], [3, 6]], np.uint8))
    assert image[0, 0].tolist() == [0, 0, 0, 0]
    assert image[0, 1].tolist() == [*CLASS_COLOURS[LandCover.WATER], 255]
    assert image[1, 1].tolist() == [*CLASS_COLOURS[LandCover.BARREN], 255]


def test_render_confidence_is_transparent_without_data() -> None:
    image = rendering.render_confidence(np.array([[0, 100, 255]], np.uint8))
    assert image[0, :, 3].tolist() == [255, 255, 0]
    assert image[0, 0, 0] > image[0, 1, 0]


def test_date_colours_follow_age_and_are_equal_for_equal_dates() -> None:
    colours = rendering.assign_date_colours(["2023-08-20", "2023-08-10", "2023-08-20", "2023-08-15"])
    assert list(colours) == ["2023-08-10", "2023-08-15", "2023-08-20"]
    assert colours["2023-08-10"] == (68, 57, 130)
    assert colours["2023-08-20"] == (250, 200, 40)
    assert len(set(colours.values())) == 3
    assert rendering.assign_date_colours([]) == {}


def test_render_provenance_has_the_nth_colour_and_transparent_holes() -> None:
    image = rendering.render_provenance(np.array([[0, 1, 2]], np.uint8), [(1, 2, 3), (4, 5, 6)])
    assert image[0].tolist() == [[0, 0, 0, 0], [1, 2, 3, 255], [4, 5, 6, 255]]


def test_encode_image_as_png_keeps_class_pixels() -> None:
    codes = np.arange(7, dtype=np.uint8).repeat(11).reshape(7, 11)
    image = rendering.render_land_cover(codes)
    decoded = np.asarray(Image.open(io.BytesIO(rendering.encode_image(image, "png"))).convert("RGBA"))
    np.testing.assert_array_equal(decoded, image)


def test_encode_image_as_jpeg_shows_no_data_grey_and_the_rest_nearly_unchanged() -> None:
    image = np.zeros((32, 32, 4), np.uint8)
    image[:, 16:] = (200, 100, 50, 255)
    decoded = np.asarray(Image.open(io.BytesIO(rendering.encode_image(image, "jpeg", 95))))
    assert decoded[16, 4].tolist() == pytest.approx([128, 128, 128], abs=4)
    assert decoded[16, 28].tolist() == pytest.approx([200, 100, 50], abs=6)


def test_data_uri_contains_the_bytes() -> None:
    uri = rendering.build_data_uri(b"\x00picture", "png")
    assert uri.startswith("data:image/png;base64,")
    assert base64.b64decode(uri.split(",")[1]) == b"\x00picture"
    assert rendering.format_hex_colour((0, 92, 230)) == "#005ce6"
