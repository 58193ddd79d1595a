"""Removal of the coloured fringe at a swath's edge, where not all bands have data."""

import numpy as np
import scipy

from s2ops.constants import UInt8, UInt16
from s2ops.imaging.tone_curve import convert_bands_to_levels


def clean_swath_edge(levels: UInt8, edge_px: int, rows: int = 512) -> None:
    """Give every pixel data in all bands or in none, in place.

    The bands' detectors end up to a kilometre apart, so the swath's edge is a coloured fringe. A pixel that lacks a
    band, and has a pixel without any data within `edge_px` (rows and columns apart), becomes no data. Elsewhere such
    a pixel is black, because offset-corrected products clip water at 0: its empty bands become level 1.

    Args:
        levels: (band, y, x) levels from `convert_bands_to_levels`; changed in place.
        edge_px: Width of the fringe, in pixels.
        rows: Rows that are processed at a time; they do not change the result.
    """
    empty = levels[0] == 0
    for band in levels[1:]:
        empty &= band == 0
    height = levels.shape[1]
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        lacking = (levels[:, part] == 0).any(axis=0)
        if (lacking == empty[part]).all():
            continue
        around = slice(max(top - edge_px, 0), min(part.stop + edge_px, height))
        near = empty[around].astype(np.uint8)
        for axis in (0, 1):
            near = scipy.ndimage.maximum_filter1d(near, 2 * edge_px + 1, axis=axis, mode="constant")
        fringe = lacking & (near[part.start - around.start :][: part.stop - top] > 0)
        np.maximum(levels[:, part], 1, out=levels[:, part], where=(lacking & ~fringe)[None])
        levels[:, part][:, fringe] = 0


def convert_image_to_levels(numbers: UInt16, offset: int, edge_px: int) -> UInt8:
    """Convert the (band, y, x) digital numbers of a whole image to levels, without the fringe at its swath's edge."""
    levels = convert_bands_to_levels(numbers, offset)
    clean_swath_edge(levels, edge_px)
    return levels
