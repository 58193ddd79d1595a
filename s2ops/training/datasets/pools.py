"""Pools of training samples (data set storage): square samples of one kind, as three arrays in a folder.

The module also contains the label tables: which class of a network each cover or mask code is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from s2ops.constants import BANDS, LandCover, UInt8
from s2ops.errors import ConfigError
from s2ops.imaging.tone_curve import build_reflectance_table, compute_tci_levels
from s2ops.models.registry import TRAINABLE

IGNORE: Final = 255
"""Label of pixels that do not count in loss and scores."""

EITHER: Final = 254
"""Label of pixels that belong to one of the network's `EITHER_CLASSES`, which is not known."""

EITHER_CLASSES: Final = {"building": slice(1, 3), "vegetation": slice(1, 3), "all-classes": slice(3, 5)}
"""Pair of classes of `EITHER` by network: residential and industrial, or grass and tree."""

BUILT: Final = 7
"""Cover code in addition to `LandCover`: residential or industrial; the teacher does not separate them."""

LAND: Final = 8
"""Cover code: anything but water."""

OPEN: Final = 9
"""Cover code: no built-up quarter; for example roads, rivers, single farms, vegetation."""

GREEN: Final = 10
"""Cover code: grass or tree, which is not known, without houses."""

GARDEN: Final = 11
"""Cover code: grass or tree in a place too small to exclude houses."""

Sample = tuple[UInt8, UInt8, UInt8]
"""Levels (4, y, x), cover (y, x), mask (y, x); previews have 3 bands of TCI levels."""


@dataclass(frozen=True)
class Pool:
    """Pool of samples of one kind; arrays may be memory maps."""

    image: UInt8
    """Levels (n, band, y, x)."""
    cover: UInt8
    """Codes (n, y, x) of `LandCover` or `BUILT` to `GARDEN`, 0 is unknown; for previews 1 everywhere if hazy."""
    mask: UInt8
    """Mask (n, y, x): 0 clear, 1 cloud, 2 shadow, 255 unknown or no data."""

    @classmethod
    def from_samples(cls, samples: Iterable[Sample]) -> Self:
        """Stack samples of one size to a pool."""
        parts = list(zip(*samples, strict=True))
        return cls(*(np.stack(part) for part in parts))

    def save(self, folder: Path) -> None:
        """Write three .npy files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("image", "cover", "mask"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a pool as memory maps.

        Raises:
            ConfigError: If its three files are missing, broken, or of different shapes.
        """
        try:
            pool = cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "cover", "mask")))
        except FileNotFoundError as error:
            raise ConfigError(
                f"There is no pool of samples at {folder}; "
                "make it with `python -m s2ops.training.datasets pools` (docs/how-to/train-a-network.md)"
            ) from error
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"The pool of samples at {folder} is broken: {error}; make it again.") from error
        count, *_ = pool.image.shape
        if pool.image.ndim != 4 or not pool.cover.shape == pool.mask.shape == (count, *pool.image.shape[2:]):
            raise ConfigError(
                f"The pool of samples at {folder} is broken: its images are {pool.image.shape}, its cover is "
                f"{pool.cover.shape} and its mask is {pool.mask.shape} instead of (n, band, y, x) and twice (n, y, x); "
                "make it again."
            )
        return pool


def _build_label_table(codes: dict[int, int]) -> UInt8:
    """Build the table from codes (0 to 255) to labels; other codes become `IGNORE`."""
    table = np.full(256, IGNORE, np.uint8)
    for code, label in codes.items():
        table[code] = label
    return table


COVER_LABELS: Final[dict[str, UInt8]] = {
    "water": _build_label_table({1: 1, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, BUILT: 0, LAND: 0, GREEN: 0, GARDEN: 0}),
    "vegetation": _build_label_table({1: 0, 2: 1, 3: 2, 4: 0, 5: 0, 6: 0, BUILT: 0, GREEN: EITHER, GARDEN: EITHER}),
    "building": _build_label_table({1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 6: 0, BUILT: EITHER, OPEN: 0, GREEN: 0}),
    "all-classes": _build_label_table({**{code: code - 1 for code in range(1, 7)}, BUILT: EITHER}),
}
"""Label of each cover code, by network of land cover."""
_MASK_LABELS: Final[dict[str, UInt8]] = {
    "scene-cloud": _build_label_table({0: 0, 1: 1, 2: 2}),
    "preview-cloud": _build_label_table({0: 0, 1: 1, 2: 0}),
}


def derive_labels(network: str, pool: Pool) -> UInt8:
    """Derive the labels of a network from a pool.

    Args:
        network: Name of the network.
        pool: Pool of samples.

    Returns:
        Class indices (n, y, x), `EITHER` or `IGNORE`; for haze 0 or 1, shape (n,). For a network with several heads:
        cover codes (n, y, x), which `COVER_LABELS` converts to the labels of each head.
    """
    if network == "preview-haze":
        return np.array(pool.cover[:, 0, 0])
    if network in _MASK_LABELS:
        return _MASK_LABELS[network][np.asarray(pool.mask)]
    # ground below clouds and in their shadow is not used in training: a run fills it from other dates
    seen = np.where(np.asarray(pool.mask) == 0, np.asarray(pool.cover), LandCover.NODATA).astype(np.uint8)
    return seen if TRAINABLE[network].heads else COVER_LABELS[network][seen]


def _build_tci_table() -> UInt8:
    """Build the table from levels of the tone curve to levels of the true-colour image."""
    table = compute_tci_levels(np.nan_to_num(build_reflectance_table()))
    table[0] = 0
    return table


def select_images(network: str, pool: Pool) -> UInt8:
    """Select the bands of a network, and convert scenes to true-colour levels for networks of previews.

    Returns:
        Levels (n, band, y, x).

    Raises:
        ConfigError: If the samples lack one of the bands.
    """
    wanted = TRAINABLE[network].bands
    bands = [BANDS.index(band) for band in wanted]
    if max(bands) >= pool.image.shape[1]:
        raise ConfigError(
            f"Cannot train {network}: it needs {', '.join(wanted)}, but a pool has {pool.image.shape[1]} bands (of "
            f"{', '.join(BANDS)}, in that order); remove the pool from `sources` and `validation`."
        )
    picked = np.ascontiguousarray(pool.image[:, bands])
    if network.startswith("preview") and pool.image.shape[1] == len(BANDS):
        return _build_tci_table()[picked]
    return picked
