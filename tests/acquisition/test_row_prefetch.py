"""Facts about rows that are read ahead of whoever computes on them."""

import time
from collections.abc import Iterator
from threading import Event, Lock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.acquisition.row_prefetch import AHEAD, Arriving, settled
from s2ops.constants import UInt8
from s2ops.errors import RasterError
from s2ops.imaging.tone_curve import settle_bands
from s2ops.raster.reader import slabs

HEIGHT, WIDTH = 31, 17


def scene(seed: int) -> UInt8:
    """Rows with a swath's edge, bands that end apart, and gaps."""
    levels = np.random.default_rng(seed).integers(0, 3, (4, HEIGHT, WIDTH), dtype=np.uint8)
    levels[:, :, :5] = 0
    levels[:, seed % HEIGHT, 5:9] = 0
    return levels


@given(seed=st.integers(0, 40), heights=st.lists(st.integers(1, 12), min_size=1), edge=st.integers(1, 9))
def test_rows_settled_as_they_come_are_the_whole_settled(seed: int, heights: list[int], edge: int) -> None:
    levels = scene(seed)

    def parts() -> Iterator[UInt8]:
        top = 0
        for height in [*heights, HEIGHT]:
            if top < HEIGHT:
                yield levels[:, top : top + height].copy()
            top += height

    found = np.concatenate(list(settled(parts(), edge)), axis=1)
    settle_bands(levels, edge)
    np.testing.assert_array_equal(found, levels)


def test_rows_come_in_any_pieces_but_each_once_and_in_order() -> None:
    levels = scene(3)
    rows = Arriving(lambda part: levels[:, part].copy(), slabs(HEIGHT, 4), 2)
    whole = levels.copy()
    settle_bands(whole, 2)
    np.testing.assert_array_equal(rows.read(0, 9), whole[:, :9])
    np.testing.assert_array_equal(rows.read(9, 10), whole[:, 9:10])
    with pytest.raises(ValueError, match="rows from 9 are asked for, but 10 is next"):
        rows.read(9, 12)
    np.testing.assert_array_equal(rows.read(10, HEIGHT), whole[:, 10:])
    with pytest.raises(ValueError, match="there are none after 31"):
        rows.read(HEIGHT, HEIGHT + 1)


def test_while_the_first_rows_are_computed_on_the_next_ones_are_read_and_no_more() -> None:
    begun, lock, enough = [], Lock(), Event()

    def read(rows: slice) -> UInt8:
        with lock:
            begun.append(rows.start)
            if len(begun) > AHEAD:
                enough.set()
        return np.ones((4, rows.stop - rows.start, WIDTH), np.uint8)

    rows = Arriving(read, slabs(40 * AHEAD, 4), 1)
    rows.read(0, 3)
    assert enough.wait(20)
    time.sleep(0.05)  # what would be read beyond the bound has begun by then
    assert max(begun) < 4 * (AHEAD + 3)
    assert rows.read(3, 40 * AHEAD).all()
    assert sorted(begun) == list(range(0, 40 * AHEAD, 4))


def test_a_row_that_cannot_be_read_is_an_error_in_its_place() -> None:
    def read(rows: slice) -> UInt8:
        if rows.start == 8:
            raise RasterError("band red is truncated")
        return np.ones((4, rows.stop - rows.start, WIDTH), np.uint8)

    rows = Arriving(read, slabs(20, 4), 1)
    assert rows.read(0, 7).all()
    with pytest.raises(RasterError, match="truncated"):
        rows.read(7, 20)
