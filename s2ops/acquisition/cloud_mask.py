"""Cloud mask and shadow mask from network probabilities: thresholds, removal of small objects, dilation (buffer).

Sizes are metres and square metres on the ground, so that the same parameters apply at every resolution. A slab that is
cut with `compute_halo_px` more rows on each side has, inside, exactly the mask of the whole image.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy

from s2ops.constants import Bool, Mask, UInt8

_EIGHT_CONNECTED: Final = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class CloudMaskParams:
    """Thresholds (probability, 0 to 255) and sizes of the cloud mask."""

    cloud_threshold: int = 89
    """35 %: a missed cloud spoils the mosaic; a lost clear pixel costs nothing while another scene shows it."""
    shadow_threshold: int = 165
    """65 %: dark woods resemble shadow. Of those drawn at Zurich 22 % are masked at 45 %, 15 % at 65 %."""
    min_object_m2: float = 2500.0
    """Smaller clouds and shadows are bright roofs and dark ponds."""
    cloud_buffer_m: float = 40.0
    """Margin that ukis-csmask lacks against masks drawn by people, who draw generously."""
    shadow_buffer_m: float = 20.0
    edge_threshold: int = 77
    """30 %: if the buffer is less than half a pixel, a pixel beside a cloud is masked only from this probability on."""

    def to_facts(self) -> dict[str, float]:
        """Convert to the facts of a scene's fingerprint; their names must not change."""
        return {
            "cloud": self.cloud_threshold,
            "shadow": self.shadow_threshold,
            "speck_m2": self.min_object_m2,
            "cloud_buffer_m": self.cloud_buffer_m,
            "shadow_buffer_m": self.shadow_buffer_m,
            "fringe": self.edge_threshold,
        }

    def compute_min_object_px(self, res: float) -> int:
        """Compute the smallest number of pixels of a cloud or shadow at `res` metres."""
        return max(1, round(self.min_object_m2 / res**2))

    def compute_halo_px(self, res: float) -> int:
        """Compute the number of rows around a slab that its mask depends on.

        A pixel in the slab may be masked by a pixel one buffer away (or by its neighbour). The object of that pixel, if
        it has fewer than `compute_min_object_px` pixels, extends at most that number minus one further.
        """
        buffer_px = max(to_px(self.cloud_buffer_m, res), to_px(self.shadow_buffer_m, res), 1)
        return buffer_px + self.compute_min_object_px(res) - 1


DEFAULT_PARAMS: Final = CloudMaskParams()


def to_px(metres: float, res: float) -> int:
    """Convert a distance to whole pixels: 40 m are 4 at 10 m, 1 at 60 m and 0 at 120 m."""
    return int(metres / res + 0.5)


def compute_scene_mask(probs: UInt8, valid: Bool, res: float, params: CloudMaskParams = DEFAULT_PARAMS) -> UInt8:
    """Compute the mask of a scene at full resolution; cloud takes precedence over shadow.

    Args:
        probs: Probabilities of the network scene-cloud (clear, cloud, shadow; y, x), 0 to 255.
        valid: (y, x): False outside the swath; these pixels become 255, regardless of their probabilities.
        res: Pixel size in metres.
        params: Thresholds and sizes.

    Returns:
        Codes of `Mask` (y, x).
    """
    least_px = params.compute_min_object_px(res)
    cloud = remove_small_objects((probs[1] >= params.cloud_threshold) & valid, least_px)
    buffer_px = to_px(params.cloud_buffer_m, res)
    cloud = dilate(cloud, buffer_px) if buffer_px else _add_cloud_edge(cloud, probs[1], params)
    shadow = (probs[2] >= params.shadow_threshold) & (probs[2] >= probs[1]) & valid
    shadow = dilate(remove_small_objects(shadow, least_px), to_px(params.shadow_buffer_m, res))
    mask = np.zeros(valid.shape, np.uint8)
    mask[shadow] = Mask.SHADOW
    mask[cloud] = Mask.CLOUD
    mask[~valid] = Mask.NODATA
    return mask


def compute_preview_mask(probs: UInt8, valid: Bool, params: CloudMaskParams = DEFAULT_PARAMS) -> UInt8:
    """Compute the cloud mask of a preview.

    Its pixels of some 320 m are far larger than the soft edge of a cloud. So clouds are not dilated: only adjacent
    pixels above the edge threshold are added.

    Args:
        probs: Probabilities of the network preview-cloud (clear, cloud; y, x), 0 to 255.
        valid: (y, x): False outside the swath.
        params: Thresholds.

    Returns:
        Codes 0, 1 and 255 of `Mask` (y, x).
    """
    cloud = _add_cloud_edge((probs[1] >= params.cloud_threshold) & valid, probs[1], params)
    mask = np.where(cloud, np.uint8(Mask.CLOUD), np.uint8(Mask.CLEAR))
    mask[~valid] = Mask.NODATA
    return mask


def _add_cloud_edge(cloud: Bool, prob: UInt8, params: CloudMaskParams) -> Bool:
    """Add to `cloud` (y, x) the adjacent pixels whose probability reaches the edge threshold."""
    joined: Bool = cloud | (dilate(cloud, 1) & (prob >= params.edge_threshold))
    return joined


def remove_small_objects(mask: Bool, least_px: int) -> Bool:
    """Remove 8-connected objects of fewer than `least_px` pixels from `mask` (y, x)."""
    if least_px <= 1:
        return mask
    labels, count = scipy.ndimage.label(mask, _EIGHT_CONNECTED)
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= least_px
    keep[0] = False
    kept: Bool = keep[labels]
    return kept


def dilate(mask: Bool, radius: int) -> Bool:
    """Dilate `mask` (y, x) by a disc of `radius` pixels, which favours no direction."""
    grown = mask.copy()
    height, width = mask.shape
    for dy in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        reach = min(int((radius**2 - dy**2) ** 0.5), width - 1)
        into, out_of = slice(max(dy, 0), height + min(dy, 0)), slice(max(-dy, 0), height - max(dy, 0))
        for dx in range(-reach, reach + 1):
            left, right = slice(max(dx, 0), width + min(dx, 0)), slice(max(-dx, 0), width - max(dx, 0))
            grown[into, left] |= mask[out_of, right]
    return grown
