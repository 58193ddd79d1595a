"""Pictures: fixed stretches, the classes' colours, and files that decode to what went in."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from s2ops.constants import CLASS_COLOURS, LandCover
from s2ops.imaging import rendering
from s2ops.imaging.tone_curve import levels_of


def level(reflectance: float) -> int:
    return int(np.rint(levels_of(np.float32(reflectance))))


def test_the_display_table_is_monotone_and_keeps_texture_in_dark_and_bright() -> None:
    table = rendering.display_table()
    assert table.dtype == np.uint8
    assert table[0] == 0
    assert (np.diff(table[1:].astype(int)) >= 0).all()
    assert table[level(0.03)] - table[level(0.01)] > 20
    assert table[level(0.5)] - table[level(0.3)] > 10


def test_true_colour_puts_red_first_and_no_data_transparent() -> None:
    levels = np.zeros((4, 2, 3), np.uint8)
    levels[:, 1, 2] = level(0.3), level(0.1), level(0.02), level(0.4)
    image = rendering.true_colour(levels)
    assert image.shape == (2, 3, 4)
    assert image.dtype == np.uint8
    red, green, blue, alpha = image[1, 2].tolist()
    assert red > green > blue > 0
    assert alpha == 255
    assert image[0, 0].tolist() == [0, 0, 0, 0]


def test_land_cover_has_the_papers_colours() -> None:
    image = rendering.land_cover(np.array([[0, 1], [3, 6]], np.uint8))
    assert image[0, 0].tolist() == [0, 0, 0, 0]
    assert image[0, 1].tolist() == [*CLASS_COLOURS[LandCover.WATER], 255]
    assert image[1, 1].tolist() == [*CLASS_COLOURS[LandCover.BARREN], 255]


def test_confidence_is_transparent_where_there_is_none() -> None:
    image = rendering.confidence(np.array([[0, 100, 255]], np.uint8))
    assert image[0, :, 3].tolist() == [255, 255, 0]
    assert image[0, 0, 0] > image[0, 1, 0]


def test_dates_are_coloured_by_age_and_equal_dates_alike() -> None:
    colours = rendering.date_colours(["2023-08-20", "2023-08-10", "2023-08-20", "2023-08-15"])
    assert list(colours) == ["2023-08-10", "2023-08-15", "2023-08-20"]
    assert colours["2023-08-10"] == (68, 57, 130)
    assert colours["2023-08-20"] == (250, 200, 40)
    assert len(set(colours.values())) == 3
    assert rendering.date_colours([]) == {}


def test_provenance_takes_the_nth_colour_and_holes_are_transparent() -> None:
    image = rendering.by_number(np.array([[0, 1, 2]], np.uint8), [(1, 2, 3), (4, 5, 6)])
    assert image[0].tolist() == [[0, 0, 0, 0], [1, 2, 3, 255], [4, 5, 6, 255]]


def test_a_png_decodes_to_the_classes_pixels() -> None:
    codes = np.arange(7, dtype=np.uint8).repeat(11).reshape(7, 11)
    image = rendering.land_cover(codes)
    decoded = np.asarray(Image.open(io.BytesIO(rendering.encode(image, "png"))).convert("RGBA"))
    np.testing.assert_array_equal(decoded, image)


def test_a_jpeg_shows_no_data_grey_and_the_rest_nearly_as_it_is() -> None:
    image = np.zeros((32, 32, 4), np.uint8)
    image[:, 16:] = (200, 100, 50, 255)
    decoded = np.asarray(Image.open(io.BytesIO(rendering.encode(image, "jpeg", 95))))
    assert decoded[16, 4].tolist() == pytest.approx([128, 128, 128], abs=4)
    assert decoded[16, 28].tolist() == pytest.approx([200, 100, 50], abs=6)


def test_a_data_uri_carries_the_bytes() -> None:
    uri = rendering.data_uri(b"\x00picture", "png")
    assert uri.startswith("data:image/png;base64,")
    assert base64.b64decode(uri.split(",")[1]) == b"\x00picture"
    assert rendering.hexa((0, 92, 230)) == "#005ce6"
