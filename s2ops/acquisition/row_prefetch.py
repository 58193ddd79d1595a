"""Row prefetching (read-ahead) of a scene on threads, so that downloads and computation overlap.

At most `PREFETCH_SLABS` slabs are read ahead, however fast the network is: memory is bounded, and no scene is in memory
as a whole.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from s2ops.constants import UInt8
from s2ops.imaging.swath_edge import clean_swath_edge
from s2ops.runtime.threads import map_ordered

PREFETCH_SLABS: Final = 4
"""Slabs requested at the same time: a request has a latency, whatever the bandwidth."""


def clean_swath_edge_stream(parts: Iterable[UInt8], edge_px: int) -> Iterator[UInt8]:
    """Apply `clean_swath_edge` to rows that arrive in parts.

    Rows are yielded once the `edge_px` rows below them have arrived. Together they equal the cleaned whole image.

    Args:
        parts: (band, rows, x) of any height, from top to bottom.
        edge_px: Width of the swath's edge in pixels.
    """
    held: UInt8 | None = None
    above = 0  # rows of `held` that have been yielded and serve as context only
    for part in parts:
        held = part if held is None else np.concatenate([held, part], axis=1)
        ready = held.shape[1] - edge_px
        if ready > above:
            yield _clean_rows(held, edge_px, above, ready)
            drop = max(ready - edge_px, 0)
            held, above = held[:, drop:].copy(), ready - drop
    if held is not None and held.shape[1] > above:
        yield _clean_rows(held, edge_px, above, held.shape[1])


def _clean_rows(held: UInt8, edge_px: int, above: int, ready: int) -> UInt8:
    """Return the rows `above` to `ready` of a cleaned copy of `held`."""
    whole = held.copy()
    clean_swath_edge(whole, edge_px)
    return whole[:, above:ready]


class RowPrefetcher:
    """Reader of consecutive rows, each once; `read` waits for rows that have not arrived."""

    def __init__(self, read: Callable[[slice], UInt8], slabs: Iterable[slice], edge_px: int) -> None:
        """Start reading: `read` reads a slab, `edge_px` is the width of the swath's edge in pixels."""
        self._parts = clean_swath_edge_stream(map_ordered(read, slabs, PREFETCH_SLABS), edge_px)
        self._held: UInt8 | None = None
        self._top = 0

    def read(self, top: int, end: int) -> UInt8:
        """Read the next rows (band, end - top, x).

        Raises:
            ValueError: If `top` is not the next row, or `end` is beyond the last row.
        """
        if top != self._top:
            raise ValueError(f"Cannot read rows from {top}: the next row is {self._top}; read each row once, in order.")
        held = self._held
        while held is None or held.shape[1] < end - top:
            part = next(self._parts, None)
            if part is None:
                raise ValueError(f"Cannot read rows to {end}: there are too few rows after {top}; read fewer.")
            held = part if held is None else np.concatenate([held, part], axis=1)
        self._held, self._top = held[:, end - top :], end
        return held[:, : end - top]
