"""The cloud and shadow mask of a whole image, from rows that are read once."""

import numpy as np

from s2ops.acquisition.cloud_mask import DEFAULT, scene_mask
from s2ops.constants import UInt8
from s2ops.inference.protocols import Segmenter
from s2ops.inference.sliding_window import ReadRows, segment_slabs


def whole_mask(segmenter: Segmenter, read: ReadRows, height: int, width: int, res: float) -> UInt8:
    """(y, x) codes of `Mask` of an image that `read(top, end)` gives as (4, end - top, width) levels.

    Computed in slabs, each with the rows around it that growing and speck removal reach: probabilities of a whole tile
    are never held, and the result does not depend on the slabs.
    """
    reach = DEFAULT.halo_px(res)
    mask = np.empty((height, width), np.uint8)
    probs_held, valid_held = np.empty((3, 0, width), np.uint8), np.empty((0, width), np.bool_)
    first, done = 0, 0
    for _, end, probs in segment_slabs(segmenter, read, height, width):
        probs_held = np.concatenate([probs_held, probs], axis=1)
        valid_held = np.concatenate([valid_held, probs.any(axis=0)])  # probabilities are 0 only where there is no data
        ready = height if end == height else end - reach
        if ready <= done:
            continue
        mask[done:ready] = scene_mask(probs_held, valid_held, res)[done - first : ready - first]
        done = ready
        keep = max(done - reach, 0)
        probs_held, valid_held, first = probs_held[:, keep - first :], valid_held[keep - first :], keep
    return mask
