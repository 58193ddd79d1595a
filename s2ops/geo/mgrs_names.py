"""Which MGRS squares the Sentinel-2 tiling grid has: 56,686, by rule instead of a list.

A square is a UTM zone, a `row` (its lower edge is `row` x 100 km from the equator, negative in the south) and a
`column` (its left edge lies at `column` x 100 km easting). In every row a zone has one unbroken run of columns, and all
zones share the same runs but for zones 1 and 60, which meet at the antimeridian, and those around Norway and Svalbard.
The runs were read off the official grid; `tests/geo/test_mgrs_tiles.py` compares all of them with it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

ZONES: Final = range(1, 61)
ROWS: Final = range(-93, 94)

_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"
_BAND_STARTS: Final = (-93, -80, -71, -62, -53, -44, -35, -27, -18, -9, 0, 9, 18, 27, 35, 44, 53, 62, 71, 80)
"""First row of each latitude band."""
_COLUMN_LETTERS: Final = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
"""Columns 1 to 8 of zones 1, 2, 3, and so on in turn."""
_ROW_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUV"
"""Rows 0 to 19 of odd zones; even zones begin at F."""
_NAME: Final = re.compile(r"(\d\d)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])")

Run = tuple[int, int, int, int]
"""First and last row, first and last column; a first column above the last means that no square is there."""

_COMMON: Final[tuple[Run, ...]] = (
    (-93, -92, 5, 5),
    (-91, -82, 4, 5),
    (-81, -72, 4, 6),
    (-71, -61, 3, 6),
    (-60, -48, 3, 7),
    (-47, -30, 2, 7),
    (-29, 28, 2, 8),
    (29, 46, 2, 7),
    (47, 59, 3, 7),
    (60, 70, 3, 6),
    (71, 80, 4, 6),
    (81, 90, 4, 5),
    (91, 93, 5, 5),
)
_ODD_SVALBARD: Final[tuple[Run, ...]] = ((79, 80, 3, 7), (81, 85, 3, 6), (86, 90, 4, 6), (91, 93, 4, 5))
_EVEN_SVALBARD: Final[tuple[Run, ...]] = ((79, 79, 5, 6), (80, 93, 1, 0))
_SPECIAL: Final[dict[int, tuple[Run, ...]]] = {
    1: (
        (-93, -92, 4, 5),
        (-81, -72, 3, 6),
        (-60, -48, 2, 7),
        (-29, 28, 1, 8),
        (47, 59, 2, 7),
        (71, 80, 3, 6),
        (91, 93, 4, 5),
    ),
    31: ((63, 69, 3, 5), (79, 80, 4, 7), (81, 90, 4, 6)),
    32: ((63, 70, 2, 6), *_EVEN_SVALBARD),
    33: _ODD_SVALBARD,
    34: _EVEN_SVALBARD,
    35: _ODD_SVALBARD,
    36: _EVEN_SVALBARD,
    37: ((79, 80, 3, 6), (81, 85, 3, 5), (91, 93, 4, 5)),
    60: (
        (-93, -92, 1, 0),
        (-81, -72, 4, 5),
        (-60, -48, 3, 6),
        (-29, 28, 2, 7),
        (47, 59, 3, 6),
        (71, 80, 4, 5),
        (91, 93, 1, 0),
    ),
}
"""Runs that replace the common ones in a zone."""


def columns(zone: int, row: int) -> range:
    """The columns of the squares in a row of a zone; empty where there is none."""
    for first, last, west, east in (*_SPECIAL.get(zone, ()), *_COMMON):
        if first <= row <= last:
            return range(west, east + 1)
    return range(0)


def square_name(zone: int, row: int, column: int) -> str:
    """The MGRS name of a square, such as '33TWL'."""
    band = _BANDS[bisect_right(_BAND_STARTS, row) - 1]
    letter = _COLUMN_LETTERS[(zone - 1) % 3][column - 1]
    return f"{zone:02}{band}{letter}{_ROW_LETTERS[(row + _first_row_letter(zone)) % 20]}"


def parse_square(name: str) -> tuple[int, int, int] | None:
    """(zone, row, column) of a five-character name, or None when the grid has no such square."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) not in ZONES:
        return None
    zone = int(match[1])
    column = _COLUMN_LETTERS[(zone - 1) % 3].find(match[3]) + 1
    start = _BAND_STARTS[_BANDS.index(match[2])]
    letter = (_ROW_LETTERS.index(match[4]) - _first_row_letter(zone)) % 20
    row = start + (letter - start) % 20  # a band has fewer than 20 rows, so the letter names one
    if column not in columns(zone, row) or square_name(zone, row, column) != name:
        return None
    return zone, row, column


def squares() -> Iterator[tuple[int, int, int]]:
    """(zone, row, column) of all 56,686 squares."""
    for zone in ZONES:
        for row in ROWS:
            for column in columns(zone, row):
                yield zone, row, column


@lru_cache(maxsize=1)
def all_names() -> tuple[str, ...]:
    """The names of all squares, sorted."""
    return tuple(sorted(square_name(*square) for square in squares()))


def _first_row_letter(zone: int) -> int:
    return 0 if zone % 2 else 5
