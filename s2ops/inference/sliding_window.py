"""Sliding window inference (tiled inference) over images of any size, with blended overlaps.

All engines use this module, so a map does not depend on where its network ran. Along each axis the first window starts
at 0, the last one ends at the image's end, and the others are spread evenly. Neighbouring windows overlap by at least
`2 * WINDOW_HALO_PX` pixels. In an overlap the probabilities are averaged with raised-cosine weights that increase from
each window's edge, because near an edge a network lacks context. Weights and sums are integers, so the order of
operations cannot change a byte.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np

from s2ops.constants import BANDS, Bool, Int32, UInt8
from s2ops.inference.protocols import Segmenter

WINDOW_HALO_PX: Final = 32
"""Width in pixels of a window's margin, whose probabilities get low weight."""

WINDOWS_PER_CALL: Final = 8
"""Maximum number of windows per call: all 27 windows of a full tile's row, with their results, would hold 140 MB."""

WINDOW_MULTIPLE_PX: Final = 32
"""Divisor of a window's height and width in pixels: the networks halve their input five times."""

_MAX_WEIGHT: Final = 64
"""Largest weight along an axis: 255 * 64 * 64 from each of up to 16 windows stays well within 32 bits."""

ReadRows: TypeAlias = Callable[[int, int], UInt8]
"""`read(y0, y1)` -> (band, y1 - y0, width) levels, bands in the order of `BANDS` (the first three suffice for RGB)."""


def compute_window_size(length: int, window: int) -> int:
    """Return the windows' side along an axis: `window`, or for a shorter axis the next multiple of 32 pixels."""
    return min(window, -(-length // WINDOW_MULTIPLE_PX) * WINDOW_MULTIPLE_PX)


def compute_window_starts(length: int, window: int) -> list[int]:
    """Return the first pixel of each window along an axis of `length` pixels."""
    if length <= window:
        return [0]
    count = -(-(length - window) // (window - 2 * WINDOW_HALO_PX)) + 1
    return [index * (length - window) // (count - 1) for index in range(count)]


def compute_slab_bounds(height: int, window: int) -> list[tuple[int, int]]:
    """Return the rows (y0, y1) of the slabs of `segment_slabs`; networks with equal windows have equal slabs."""
    starts = [*compute_window_starts(height, window), height]
    return list(pairwise(starts))


def compute_window_weights(size: int) -> Int32:
    """Compute the blending weights along a window: a raised cosine over 2 * WINDOW_HALO_PX at each end.

    Args:
        size: Side of the window in pixels.

    Returns:
        int32 (size,), 1 to 64.
    """
    distance = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    ramp = np.sin(np.minimum(distance / (2 * WINDOW_HALO_PX), 1.0) * (np.pi / 2)) ** 2
    weights: Int32 = np.maximum(np.rint(ramp * _MAX_WEIGHT), 1).astype(np.int32)
    return weights


def _sum_window_weights(starts: list[int], size: int, length: int) -> Int32:
    """Sum the weights of all windows at each pixel of an axis."""
    total = np.zeros(max(length, size), np.int32)
    for start in starts:
        total[start : start + size] += compute_window_weights(size)
    return total[:length]


def segment_slabs(
    segmenter: Segmenter, read: ReadRows, height: int, width: int, wanted: Callable[[int, int], Bool] | None = None
) -> Iterator[tuple[int, int, UInt8]]:
    """Segment an image slab by slab, from top to bottom.

    Each row is read once, in order, and only one row of windows is in memory. Windows without any data are not
    computed.

    Args:
        segmenter: Network to run.
        read: Function that reads rows of the image.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        wanted: Function from (first row, end row) to a mask (y, width) of pixels whose result is needed; the mask may
            have fewer rows. Only windows with a wanted pixel are computed. Results of wanted pixels are not affected,
            results of other pixels are undefined. None means all pixels.

    Yields:
        (y0, y1, probabilities): rows y0 to y1 are finished; uint8 (class, y1 - y0, width), 255 is certainty. All
        classes are 0 where all bands are 0 (no data).
    """
    bands = [BANDS.index(band) for band in segmenter.bands]
    tall, wide = compute_window_size(height, segmenter.window), compute_window_size(width, segmenter.window)
    rows, columns = compute_window_starts(height, tall), compute_window_starts(width, wide)
    row_total = _sum_window_weights(rows, tall, height)
    column_total = _sum_window_weights(columns, wide, width)
    carry = np.zeros((len(segmenter.classes), 0, max(width, wide)), np.int32)
    image = read(0, min(tall, height))
    for y0, y1 in compute_slab_bounds(height, tall):
        sums = np.zeros((carry.shape[0], tall, carry.shape[2]), np.int32)
        sums[:, : carry.shape[1]] = carry
        needed = None if wanted is None else wanted(y0, min(y0 + tall, height))
        _add_window_row(segmenter, _pad_by_reflection(image[bands], tall, wide), columns, sums, needed)
        done = y1 - y0
        total = row_total[y0:y1, None] * column_total
        probs = _divide_by_weights(sums[:, :done, :width], total)
        probs[:, (image[bands, :done] == 0).all(axis=0)] = 0
        # during the yield keep only the rows shared with the next windows, because many streams may wait at once
        carry, image = sums[:, done:].copy(), image[:, done:].copy()
        del sums, total
        yield y0, y1, probs
        del probs
        if y1 < height:
            image = np.concatenate([image, read(y0 + tall, y1 + tall)], axis=1)


def _divide_by_weights(sums: Int32, total: Int32) -> UInt8:
    """Divide sums (class, y, x) by total weights (y, x) and round.

    Works class by class, because the temporary arrays of all classes of a tile's row would need 160 MB.
    """
    half, out = total // 2, np.empty(sums.shape, np.uint8)
    for mean, summed in zip(out, sums, strict=True):
        mean[:] = (summed + half) // total
    return out


def _pad_by_reflection(image: UInt8, tall: int, wide: int) -> UInt8:
    """Pad an image (band, y, x) that is smaller than a window to the window's size, by reflection."""
    below, right = max(tall - image.shape[1], 0), max(wide - image.shape[2], 0)
    if not below and not right:
        return image
    return np.pad(image, ((0, 0), (0, below), (0, right)), mode="reflect")


def _add_window_row(segmenter: Segmenter, image: UInt8, columns: list[int], sums: Int32, needed: Bool | None) -> None:
    """Run those windows of one row that contain data and a `needed` pixel; add their weighted results to `sums`."""
    tall = image.shape[1]
    wide = compute_window_size(image.shape[2], segmenter.window)
    filled = [x0 for x0 in columns if image[:, :, x0 : x0 + wide].any()]
    if needed is not None:
        filled = [x0 for x0 in filled if needed[:, x0 : x0 + wide].any()]
    weights = compute_window_weights(tall)[:, None] * compute_window_weights(wide)
    for first in range(0, len(filled), WINDOWS_PER_CALL):
        batch = filled[first : first + WINDOWS_PER_CALL]
        windows = np.stack([image[:, :, x0 : x0 + wide] for x0 in batch])
        for x0, probs in zip(batch, segmenter.predict(windows), strict=True):
            sums[:, :, x0 : x0 + wide] += probs * weights


def segment(segmenter: Segmenter, image: UInt8) -> UInt8:
    """Segment a whole image in memory.

    Args:
        segmenter: Network to run.
        image: uint8 levels (band, y, x), bands in the order of `BANDS`.

    Returns:
        uint8 probabilities (class, y, x), 255 is certainty, 0 in every class where all bands are 0 (no data).
    """
    _, height, width = image.shape
    out = np.empty((len(segmenter.classes), height, width), np.uint8)
    for y0, y1, probs in segment_slabs(segmenter, lambda top, end: image[:, top:end], height, width):
        out[:, y0:y1] = probs
    return out
