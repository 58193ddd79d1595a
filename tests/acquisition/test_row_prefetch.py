"""Row prefetching: rows arrive in order, cleaned, and a bounded number is read ahead."""

import time
from collections.abc import Iterator
from threading import Event, Lock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.acquisition.row_prefetch import PREFETCH_SLABS, RowPrefetcher, clean_swath_edge_stream
from s2ops.constants import UInt8
from s2ops.errors import RasterError
from s2ops.imaging.swath_edge import clean_swath_edge
from s2ops.raster.reader import split_rows

HEIGHT, WIDTH = 31, 17


def make_levels(seed: int) -> UInt8:
    """Make rows with a swath's edge, bands that end at different columns, and gaps."""
    levels = np.random.default_rng(seed).integers(0, 3, (4, HEIGHT, WIDTH), dtype=np.uint8)
    levels[:, :, :5] = 0
    levels[:, seed % HEIGHT, 5:9] = 0
    return levels


@given(seed=st.integers(0, 40), heights=st.lists(st.integers(1, 12), min_size=1), edge=st.integers(1, 9))
def test_clean_swath_edge_stream_equals_clean_swath_edge_of_the_whole(seed: int, heights: list[int], edge: int) -> None:
    levels = make_levels(seed)

    def split_rows() -> Iterator[UInt8]:
        top = 0
        for height in [*heights, HEIGHT]:
            if top < HEIGHT:
                yield levels[:, top : top + height].copy()
            top += height

    found = np.concatenate(list(clean_swath_edge_stream(split_rows(), edge)), axis=1)
    clean_swath_edge(levels, edge)
    np.testing.assert_array_equal(found, levels)


def test_row_prefetcher_reads_any_number_of_rows_once_and_in_order() -> None:
    levels = make_levels(3)
    rows = RowPrefetcher(lambda part: levels[:, part].copy(), split_rows(HEIGHT, 4), 2)
    whole = levels.copy()
    clean_swath_edge(whole, 2)
    np.testing.assert_array_equal(rows.read(0, 9), whole[:, :9])
    np.testing.assert_array_equal(rows.read(9, 10), whole[:, 9:10])
    with pytest.raises(ValueError, match="Cannot read rows from 9: the next row is 10"):
        rows.read(9, 12)
    np.testing.assert_array_equal(rows.read(10, HEIGHT), whole[:, 10:])
    with pytest.raises(ValueError, match="Cannot read rows to 32: there are too few rows after 31"):
        rows.read(HEIGHT, HEIGHT + 1)


def test_row_prefetcher_reads_a_bounded_number_of_rows_ahead() -> None:
    begun, lock, enough = [], Lock(), Event()

    def read(rows: slice) -> UInt8:
        with lock:
            begun.append(rows.start)
            if len(begun) > PREFETCH_SLABS:
                enough.set()
        return np.ones((4, rows.stop - rows.start, WIDTH), np.uint8)

    rows = RowPrefetcher(read, split_rows(40 * PREFETCH_SLABS, 4), 1)
    rows.read(0, 3)
    assert enough.wait(20)
    time.sleep(0.05)  # by then, any read beyond the bound would have begun
    assert max(begun) < 4 * (PREFETCH_SLABS + 3)
    assert rows.read(3, 40 * PREFETCH_SLABS).all()
    assert sorted(begun) == list(range(0, 40 * PREFETCH_SLABS, 4))


def test_row_prefetcher_raises_the_error_of_a_row_where_it_is_read() -> None:
    def read(rows: slice) -> UInt8:
        if rows.start == 8:
            raise RasterError("band red is truncated")
        return np.ones((4, rows.stop - rows.start, WIDTH), np.uint8)

    rows = RowPrefetcher(read, split_rows(20, 4), 1)
    assert rows.read(0, 7).all()
    with pytest.raises(RasterError, match="truncated"):
        rows.read(7, 20)
