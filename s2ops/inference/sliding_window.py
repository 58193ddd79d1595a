"""How an image of any size is cut into windows for a network, and how the answers are put together again.

Used by every engine, so that the map does not depend on where the network ran. Along each axis the first window starts
at 0, the last ends at the image's end, and the others are spread evenly, at least `2 * HALO` of each pair overlapping.
Across an overlap the answers are averaged with weights that rise like a raised cosine from each window's edge: near its
edge a network has not seen enough surroundings. Weights and sums are integers, so no order of work can change a byte.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np

from s2ops.constants import BANDS, Bool, Int32, UInt8
from s2ops.inference.protocols import Segmenter

HALO: Final = 32
"""Pixels at a window's edge that count little."""

TOGETHER: Final = 8
"""Windows asked for at once: all 27 of a full tile's row and their answers would hold 140 MB."""

MULTIPLE: Final = 32
"""Networks halve their input five times: windows are multiples of 32 pixels high and wide."""

_FULL: Final = 64
"""Largest weight along an axis: 255 * 64 * 64 from each of up to 16 windows stays far within 32 bits."""

ReadRows: TypeAlias = Callable[[int, int], UInt8]
"""`read(y0, y1)` -> (band, y1 - y0, width) levels, bands in the order of `BANDS` (the first three suffice for RGB)."""


def window_size(length: int, window: int) -> int:
    """Side of the windows along an axis: `window`, or for a short axis the next multiple of 32."""
    return min(window, -(-length // MULTIPLE) * MULTIPLE)


def window_starts(length: int, window: int) -> list[int]:
    """First pixels of the windows along an axis of `length` pixels."""
    if length <= window:
        return [0]
    count = -(-(length - window) // (window - 2 * HALO)) + 1
    return [index * (length - window) // (count - 1) for index in range(count)]


def slab_bounds(height: int, window: int) -> list[tuple[int, int]]:
    """(y0, y1) of the slabs that `segment_slabs` gives: the same for every network with that window."""
    starts = [*window_starts(height, window), height]
    return list(pairwise(starts))


def window_weights(size: int) -> Int32:
    """Weights 1..64 along a window of `size` pixels, shape (size,): a raised cosine over 2 * HALO at each end."""
    distance = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    ramp = np.sin(np.minimum(distance / (2 * HALO), 1.0) * (np.pi / 2)) ** 2
    weights: Int32 = np.maximum(np.rint(ramp * _FULL), 1).astype(np.int32)
    return weights


def _total_weights(starts: list[int], size: int, length: int) -> Int32:
    """Sum of the windows' weights at each pixel of an axis."""
    total = np.zeros(max(length, size), np.int32)
    for start in starts:
        total[start : start + size] += window_weights(size)
    return total[:length]


def segment_slabs(
    segmenter: Segmenter, read: ReadRows, height: int, width: int, wanted: Callable[[int, int], Bool] | None = None
) -> Iterator[tuple[int, int, UInt8]]:
    """Class probabilities of an image, as finished slabs (y0, y1, (class, y1 - y0, width)) from top to bottom.

    Reads each row once, in order; holds one row of windows. Probabilities are 0 in every class where all bands are 0
    (no data); windows without any data are not run. Of `wanted` (from row, to row -> (rows, width), rows may end
    early) only windows that hold a wanted pixel are: what is wanted is as without it, the rest is anything.
    """
    bands = [BANDS.index(band) for band in segmenter.bands]
    tall, wide = window_size(height, segmenter.window), window_size(width, segmenter.window)
    rows, columns = window_starts(height, tall), window_starts(width, wide)
    row_total, column_total = _total_weights(rows, tall, height), _total_weights(columns, wide, width)
    carry = np.zeros((len(segmenter.classes), 0, max(width, wide)), np.int32)
    image = read(0, min(tall, height))
    for y0, y1 in slab_bounds(height, tall):
        sums = np.zeros((carry.shape[0], tall, carry.shape[2]), np.int32)
        sums[:, : carry.shape[1]] = carry
        needed = None if wanted is None else wanted(y0, min(y0 + tall, height))
        _add_row(segmenter, _padded(image[bands], tall, wide), columns, sums, needed)
        done = y1 - y0
        total = row_total[y0:y1, None] * column_total
        probs = _means(sums[:, :done, :width], total)
        probs[:, (image[bands, :done] == 0).all(axis=0)] = 0
        # while the caller works, only the rows that the next windows share are held: many streams may wait at once
        carry, image = sums[:, done:].copy(), image[:, done:].copy()
        del sums, total
        yield y0, y1, probs
        del probs
        if y1 < height:
            image = np.concatenate([image, read(y0 + tall, y1 + tall)], axis=1)


def _means(sums: Int32, total: Int32) -> UInt8:
    """(class, y, x) sums over (y, x) `total` weights, rounded; class by class: a tile's rows of all are 160 MB."""
    half, out = total // 2, np.empty(sums.shape, np.uint8)
    for mean, summed in zip(out, sums, strict=True):
        mean[:] = (summed + half) // total
    return out


def _padded(image: UInt8, tall: int, wide: int) -> UInt8:
    """A short image continued by reflection to the size of a window; others as they are."""
    below, right = max(tall - image.shape[1], 0), max(wide - image.shape[2], 0)
    if not below and not right:
        return image
    return np.pad(image, ((0, 0), (0, below), (0, right)), mode="reflect")


def _add_row(segmenter: Segmenter, image: UInt8, columns: list[int], sums: Int32, needed: Bool | None) -> None:
    """Run one row of windows, those with a `needed` pixel, and add their weighted answers to `sums`."""
    tall = image.shape[1]
    wide = window_size(image.shape[2], segmenter.window)
    filled = [x0 for x0 in columns if image[:, :, x0 : x0 + wide].any()]
    if needed is not None:
        filled = [x0 for x0 in filled if needed[:, x0 : x0 + wide].any()]
    weights = window_weights(tall)[:, None] * window_weights(wide)
    for first in range(0, len(filled), TOGETHER):
        some = filled[first : first + TOGETHER]
        windows = np.stack([image[:, :, x0 : x0 + wide] for x0 in some])
        for x0, probs in zip(some, segmenter.predict(windows), strict=True):
            sums[:, :, x0 : x0 + wide] += probs * weights


def segment(segmenter: Segmenter, image: UInt8) -> UInt8:
    """(band, y, x) levels in the order of `BANDS` -> (class, y, x) probabilities; the slabs, put together."""
    _, height, width = image.shape
    out = np.empty((len(segmenter.classes), height, width), np.uint8)
    for y0, y1, probs in segment_slabs(segmenter, lambda top, end: image[:, top:end], height, width):
        out[:, y0:y1] = probs
    return out
