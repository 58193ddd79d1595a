"""From a network's probabilities to masks: threshold, drop specks, grow to the cloud's soft edge.

Sizes are metres and square metres on the ground, so that one rule serves every resolution. A slab cut with
`halo_px` rows more on each side gives, inside, exactly the mask of the whole.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.constants import Bool, Mask, UInt8
from s2ops.runtime.lazy_scipy import ndimage

_TOUCHING: Final = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class MaskRule:
    """Thresholds (probability of 255) and sizes."""

    cloud: int = 89
    """A cloud missed spoils the mosaic, a clear pixel lost costs nothing while another scene sees it: 35 %."""
    shadow: int = 165
    """65 %: dark woods look like shadow. Of those drawn at Zurich 22 % are masked at 45 %, 15 % at 65 %."""
    speck_m2: float = 2500.0
    """Smaller clouds and shadows are bright roofs and dark ponds."""
    cloud_buffer_m: float = 40.0
    """What ukis-csmask lacks against masks drawn by people, who draw generously."""
    shadow_buffer_m: float = 20.0
    fringe: int = 77
    """30 %: where the buffer is less than half a pixel, of the pixels beside a cloud only these are cloud too."""

    def speck_px(self, res: float) -> int:
        """Fewest pixels that a cloud or shadow has."""
        return max(1, round(self.speck_m2 / res**2))

    def halo_px(self, res: float) -> int:
        """Rows around a slab that its mask depends on.

        A pixel in the slab may be masked by one `buffer` away (or by its neighbour), whose object of fewer than
        `speck_px` pixels reaches at most `speck_px - 1` further.
        """
        return max(grow_px(self.cloud_buffer_m, res), grow_px(self.shadow_buffer_m, res), 1) + self.speck_px(res) - 1


DEFAULT: Final = MaskRule()


def grow_px(metres: float, res: float) -> int:
    """A distance in whole pixels: 40 m are 4 at 10 m, 1 at 60 m and 0 at 120 m."""
    return int(metres / res + 0.5)


def scene_mask(probs: UInt8, valid: Bool, res: float, rule: MaskRule = DEFAULT) -> UInt8:
    """Codes of `Mask` (y, x) from scene-cloud's probabilities (clear, cloud, shadow; y, x).

    `valid` (y, x) is False outside the swath: those pixels become 255, whatever the network says of them.
    Cloud wins over shadow.
    """
    speck = rule.speck_px(res)
    cloud = without_specks((probs[1] >= rule.cloud) & valid, speck)
    reach = grow_px(rule.cloud_buffer_m, res)
    cloud = grow(cloud, reach) if reach else _with_fringe(cloud, probs[1], rule)
    shadow = (probs[2] >= rule.shadow) & (probs[2] >= probs[1]) & valid
    shadow = grow(without_specks(shadow, speck), grow_px(rule.shadow_buffer_m, res))
    mask = np.zeros(valid.shape, np.uint8)
    mask[shadow] = Mask.SHADOW
    mask[cloud] = Mask.CLOUD
    mask[~valid] = Mask.NODATA
    return mask


def preview_mask(probs: UInt8, valid: Bool, rule: MaskRule = DEFAULT) -> UInt8:
    """Codes 0, 1, 255 (y, x) from preview-cloud's probabilities (clear, cloud; y, x).

    Its pixels of some 320 m are far larger than a cloud's soft edge: only doubtful ones beside a cloud join it.
    """
    cloud = _with_fringe((probs[1] >= rule.cloud) & valid, probs[1], rule)
    mask = np.where(cloud, np.uint8(Mask.CLOUD), np.uint8(Mask.CLEAR))
    mask[~valid] = Mask.NODATA
    return mask


def _with_fringe(cloud: Bool, prob: UInt8, rule: MaskRule) -> Bool:
    """`cloud` (y, x) and those of its neighbours that are perhaps cloud."""
    joined: Bool = cloud | (grow(cloud, 1) & (prob >= rule.fringe))
    return joined


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
