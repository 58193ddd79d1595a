"""Names of the 56,686 MGRS 100 km squares in the Sentinel-2 tiling grid, computed by rule instead of from a list.

A square has a UTM zone, a `row` (its lower edge is `row` x 100 km from the equator, negative in the south) and a
`column` (its left edge lies at `column` x 100 km easting). In each row, a zone has one contiguous run of columns. All
zones share the same runs, except zones 1 and 60 at the antimeridian and the zones around Norway and Svalbard.
The runs were derived from the official grid; `tests/geo/test_mgrs_tiles.py` compares all squares with it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

ZONES: Final = range(1, 61)
ROWS: Final = range(-93, 94)

_BAND_LETTERS: Final = "CDEFGHJKLMNPQRSTUVWX"
_BAND_STARTS: Final = (-93, -80, -71, -62, -53, -44, -35, -27, -18, -9, 0, 9, 18, 27, 35, 44, 53, 62, 71, 80)
"""First row of each latitude band."""
_COLUMN_LETTERS: Final = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
"""Letters of columns 1 to 8 in zones 1, 2 and 3; the three sets repeat from zone 4."""
_ROW_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUV"
"""Letters of rows 0 to 19 in odd zones; even zones start at F."""
_SQUARE_NAME_PATTERN: Final = re.compile(r"(\d\d)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])")

ColumnRun = tuple[int, int, int, int]
"""First and last row, first and last column. A first column above the last column means that the rows are empty."""

_COMMON_RUNS: Final[tuple[ColumnRun, ...]] = (
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
_ODD_SVALBARD_RUNS: Final[tuple[ColumnRun, ...]] = ((79, 80, 3, 7), (81, 85, 3, 6), (86, 90, 4, 6), (91, 93, 4, 5))
_EVEN_SVALBARD_RUNS: Final[tuple[ColumnRun, ...]] = ((79, 79, 5, 6), (80, 93, 1, 0))
_ZONE_RUNS: Final[dict[int, tuple[ColumnRun, ...]]] = {
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
    32: ((63, 70, 2, 6), *_EVEN_SVALBARD_RUNS),
    33: _ODD_SVALBARD_RUNS,
    34: _EVEN_SVALBARD_RUNS,
    35: _ODD_SVALBARD_RUNS,
    36: _EVEN_SVALBARD_RUNS,
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
"""Runs of single zones; each has priority over the common runs."""


def list_columns(zone: int, row: int) -> range:
    """List the columns of the squares in a row of a zone; the range is empty if the row has no squares."""
    for first, last, west, east in (*_ZONE_RUNS.get(zone, ()), *_COMMON_RUNS):
        if first <= row <= last:
            return range(west, east + 1)
    return range(0)


def format_square_name(zone: int, row: int, column: int) -> str:
    """Format the MGRS name of a square, such as '33TWL'."""
    band = _BAND_LETTERS[bisect_right(_BAND_STARTS, row) - 1]
    letter = _COLUMN_LETTERS[(zone - 1) % 3][column - 1]
    return f"{zone:02}{band}{letter}{_ROW_LETTERS[(row + _get_first_row_letter(zone)) % 20]}"


def parse_square(name: str) -> tuple[int, int, int] | None:
    """Parse a five-character name into (zone, row, column); None if the grid has no such square."""
    match = _SQUARE_NAME_PATTERN.fullmatch(name)
    if match is None or int(match[1]) not in ZONES:
        return None
    zone = int(match[1])
    column = _COLUMN_LETTERS[(zone - 1) % 3].find(match[3]) + 1
    start = _BAND_STARTS[_BAND_LETTERS.index(match[2])]
    letter = (_ROW_LETTERS.index(match[4]) - _get_first_row_letter(zone)) % 20
    row = start + (letter - start) % 20  # a band has fewer than 20 rows, so the letter is unique in it
    if column not in list_columns(zone, row) or format_square_name(zone, row, column) != name:
        return None
    return zone, row, column


def iterate_squares() -> Iterator[tuple[int, int, int]]:
    """Iterate over (zone, row, column) of all 56,686 squares."""
    for zone in ZONES:
        for row in ROWS:
            for column in list_columns(zone, row):
                yield zone, row, column


@lru_cache(maxsize=1)
def list_square_names() -> tuple[str, ...]:
    """List the names of all squares, sorted."""
    return tuple(sorted(format_square_name(*square) for square in iterate_squares()))


def _get_first_row_letter(zone: int) -> int:
    return 0 if zone % 2 else 5
