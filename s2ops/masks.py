"""From a network's probabilities to masks: threshold, drop specks, grow to the cloud's soft edge.

Sizes are metres and square metres on the ground, so that one rule serves every resolution. A slab cut with
`halo_px` rows more on each side gives, inside, exactly the mask of the whole.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.codes import Bool, Mask, UInt8

_TOUCHING: Final = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class MaskRule:
    """Thresholds (probability of 255) and sizes."""

    cloud: int = 102
    """A cloud missed spoils the mosaic, a clear pixel lost costs nothing while another scene sees it: 40 %."""
    shadow: int = 115
    """45 %."""
    speck_m2: float = 2500.0
    """Smaller clouds and shadows are bright roofs and dark ponds."""
    cloud_buffer_m: float = 40.0
    shadow_buffer_m: float = 20.0

    def speck_px(self, res: float) -> int:
        """Fewest pixels that a cloud or shadow has."""
        return max(1, round(self.speck_m2 / res**2))

    def halo_px(self, res: float) -> int:
        """Rows around a slab that its mask depends on.

        A pixel in the slab may be masked by one `buffer` away, whose object of fewer than `speck_px` pixels
        reaches at most `speck_px - 1` further.
        """
        return grow_px(max(self.cloud_buffer_m, self.shadow_buffer_m), res) + self.speck_px(res) - 1


DEFAULT: Final = MaskRule()


def grow_px(metres: float, res: float) -> int:
    """Pixels that cover a distance: 40 m are 4 at 10 m, and 1 at 60 and 120 m."""
    return ceil(metres / res)


def scene_mask(probs: UInt8, valid: Bool, res: float, rule: MaskRule = DEFAULT) -> UInt8:
    """Codes of `Mask` (y, x) from scene-cloud's probabilities (clear, cloud, shadow; y, x).

    `valid` (y, x) is False outside the swath: those pixels become 255, whatever the network says of them.
    Cloud wins over shadow.
    """
    speck = rule.speck_px(res)
    cloud = grow(without_specks((probs[1] >= rule.cloud) & valid, speck), grow_px(rule.cloud_buffer_m, res))
    shadow = (probs[2] >= rule.shadow) & (probs[2] >= probs[1]) & valid
    shadow = grow(without_specks(shadow, speck), grow_px(rule.shadow_buffer_m, res))
    mask = np.zeros(valid.shape, np.uint8)
    mask[shadow] = Mask.SHADOW
    mask[cloud] = Mask.CLOUD
    mask[~valid] = Mask.NODATA
    return mask


def preview_mask(probs: UInt8, valid: Bool, rule: MaskRule = DEFAULT) -> UInt8:
    """Codes 0, 1, 255 (y, x) from preview-cloud's probabilities (clear, cloud; y, x).

    Grown by one pixel to each side (some 320 m): enough for the edge that a preview blurs.
    """
    cloud = grow((probs[1] >= rule.cloud) & valid, 1)
    mask = np.where(cloud, np.uint8(Mask.CLOUD), np.uint8(Mask.CLEAR))
    mask[~valid] = Mask.NODATA
    return mask


def without_specks(mask: Bool, least_px: int) -> Bool:
    """`mask` (y, x) without its objects (8-connected) of fewer than `least_px` pixels."""
    if least_px <= 1:
        return mask
    labels, count = ndimage.label(mask, _TOUCHING)
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= least_px
    keep[0] = False
    kept: Bool = keep[labels]
    return kept


def grow(mask: Bool, radius: int) -> Bool:
    """`mask` (y, x) with every pixel within `radius` of it: a disc, so that no direction is favoured."""
    grown = mask.copy()
    height, width = mask.shape
    for dy in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        reach = min(int((radius**2 - dy**2) ** 0.5), width - 1)
        into, out_of = slice(max(dy, 0), height + min(dy, 0)), slice(max(-dy, 0), height - max(dy, 0))
        for dx in range(-reach, reach + 1):
            left, right = slice(max(dx, 0), width + min(dx, 0)), slice(max(-dx, 0), width - max(dx, 0))
            grown[into, left] |= mask[out_of, right]
    return grown
