"""A scene's rows as they arrive: read ahead on threads of their own, so that the network works while we compute.

The rows ahead are few (`AHEAD` slabs), whatever the network gives: memory is bounded, and nothing holds a whole scene.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from s2ops.constants import UInt8
from s2ops.imaging.tone_curve import settle_bands
from s2ops.runtime.threads import in_order

AHEAD: Final = 4
"""Slabs that are on their way at once: a request takes its time to be answered, whatever the bandwidth."""


def settled(parts: Iterable[UInt8], edge_px: int) -> Iterator[UInt8]:
    """`radiometry.settle_bands` of rows that come in parts (band, rows, x) of any height, from top to bottom.

    Rows come out once the `edge_px` rows below them are in; together they are exactly the whole, settled.
    """
    held: UInt8 | None = None
    above = 0  # rows of `held` that are out already, and only looked at
    for part in parts:
        held = part if held is None else np.concatenate([held, part], axis=1)
        ready = held.shape[1] - edge_px
        if ready > above:
            yield _settled(held, edge_px, above, ready)
            drop = max(ready - edge_px, 0)
            held, above = held[:, drop:].copy(), ready - drop
    if held is not None and held.shape[1] > above:
        yield _settled(held, edge_px, above, held.shape[1])


def _settled(held: UInt8, edge_px: int, above: int, ready: int) -> UInt8:
    whole = held.copy()
    settle_bands(whole, edge_px)
    return whole[:, above:ready]


class Arriving:
    """Rows read one after another, each once; `read` waits for those that are not there yet."""

    def __init__(self, read: Callable[[slice], UInt8], slabs: Iterable[slice], edge_px: int) -> None:
        self._parts = settled(in_order(read, slabs, AHEAD), edge_px)
        self._held: UInt8 | None = None
        self._top = 0

    def read(self, top: int, end: int) -> UInt8:
        """(band, end - top, x): the next rows. Raises ValueError for others, and past the last row."""
        if top != self._top:
            raise ValueError(f"rows from {top} are asked for, but {self._top} is next: read each once, in order")
        held = self._held
        while held is None or held.shape[1] < end - top:
            part = next(self._parts, None)
            if part is None:
                raise ValueError(f"rows to {end} are asked for, but there are none after {top}")
            held = part if held is None else np.concatenate([held, part], axis=1)
        self._held, self._top = held[:, end - top :], end
        return held[:, : end - top]
