"""Cloud and shadow mask of a whole image (tiled inference in slabs), from rows that are read once."""

import numpy as np

from s2ops.acquisition.cloud_mask import DEFAULT_PARAMS, compute_scene_mask
from s2ops.constants import UInt8
from s2ops.inference.protocols import Segmenter
from s2ops.inference.sliding_window import ReadRows, segment_slabs


def predict_cloud_mask(segmenter: Segmenter, read: ReadRows, height: int, width: int, res: float) -> UInt8:
    """Predict the cloud and shadow mask of an image.

    The mask is computed in slabs, each with the halo of rows that dilation and removal of small objects need. So the
    probabilities of a whole tile are never in memory, and the result does not depend on the slabs.

    Args:
        segmenter: Network scene-cloud.
        read: Function that reads the rows `top` to `end` as (4, end - top, width) uint8 levels.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        res: Pixel size in metres.

    Returns:
        Codes of `Mask` (y, x).
    """
    halo = DEFAULT_PARAMS.compute_halo_px(res)
    mask = np.empty((height, width), np.uint8)
    probs_held, valid_held = np.empty((3, 0, width), np.uint8), np.empty((0, width), np.bool_)
    first, done = 0, 0
    for _, end, probs in segment_slabs(segmenter, read, height, width):
        probs_held = np.concatenate([probs_held, probs], axis=1)
        valid_held = np.concatenate([valid_held, probs.any(axis=0)])  # probabilities are 0 only where there is no data
        ready = height if end == height else end - halo
        if ready <= done:
            continue
        mask[done:ready] = compute_scene_mask(probs_held, valid_held, res)[done - first : ready - first]
        done = ready
        keep = max(done - halo, 0)
        probs_held, valid_held, first = probs_held[:, keep - first :], valid_held[keep - first :], keep
    return mask
