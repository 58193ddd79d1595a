"""Pools: many square samples of one kind, as three arrays in a folder, from which training draws its batches."""

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
"""Label of pixels that do not count."""

EITHER: Final = 254
"""Label of pixels that belong to one of the network's `EITHER_CLASSES`, nobody knows to which."""

EITHER_CLASSES: Final = {"building": slice(1, 3), "vegetation": slice(1, 3), "all-classes": slice(3, 5)}
"""Which of a network's classes are residential and industrial; grass and tree."""

BUILT: Final = 7
"""Cover code beside `LandCover`: residential or industrial, the teacher cannot say which."""

LAND: Final = 8
"""Cover code: anything but water."""

OPEN: Final = 9
"""Cover code: no quarter of houses or halls; roads, rivers, single farms, and what grows there."""

GREEN: Final = 10
"""Cover code: grass or tree, nobody knows which, and no houses."""

GARDEN: Final = 11
"""Cover code: grass or tree in too small a place to say that no houses are there."""

Sample = tuple[UInt8, UInt8, UInt8]
"""(4, y, x) levels, (y, x) cover, (y, x) mask; a preview has 3 bands of TCI levels."""


@dataclass(frozen=True)
class Pool:
    """Samples of one kind; arrays may be memory maps."""

    image: UInt8
    """(n, band, y, x) levels."""
    cover: UInt8
    """(n, y, x) `LandCover` codes, `BUILT` to `GARDEN`, 0 unknown; previews: 1 in every pixel of a hazy one."""
    mask: UInt8
    """(n, y, x) 0 clear, 1 cloud, 2 shadow, 255 unknown or no data."""

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Self:
        """Stack samples of one size."""
        parts = list(zip(*samples, strict=True))
        return cls(*(np.stack(part) for part in parts))

    def save(self, folder: Path) -> None:
        """Write three .npy files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("image", "cover", "mask"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map the three files. Raises ConfigError where they are missing, broken, or do not belong together."""
        try:
            pool = cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "cover", "mask")))
        except FileNotFoundError as error:
            raise ConfigError(
                f"no pool of samples at {folder}: "
                "make it with `python -m s2ops.training.datasets pools` (docs/how-to/train-a-network.md)"
            ) from error
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"the pool of samples at {folder} is broken ({error}): make it again") from error
        count, *_ = pool.image.shape
        if pool.image.ndim != 4 or not pool.cover.shape == pool.mask.shape == (count, *pool.image.shape[2:]):
            raise ConfigError(
                f"the pool at {folder} holds images of {pool.image.shape}, cover of {pool.cover.shape} and masks of "
                f"{pool.mask.shape}: they are (n, band, y, x) and twice (n, y, x); make it again"
            )
        return pool


def _build_label_table(codes: dict[int, int]) -> UInt8:
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
"""Of each network that knows land cover, the label of each cover code."""
_MASK_LABELS: Final[dict[str, UInt8]] = {
    "scene-cloud": _build_label_table({0: 0, 1: 1, 2: 2}),
    "preview-cloud": _build_label_table({0: 0, 1: 1, 2: 0}),
}


def derive_labels(network: str, pool: Pool) -> UInt8:
    """What `network` should answer: (n, y, x) class indices with 255 to ignore; for haze (n,) 0 or 1.

    For a network of several heads: cover codes, of which each head's labels are made by `COVER_LABELS`.
    """
    if network == "preview-haze":
        return np.array(pool.cover[:, 0, 0])
    if network in _MASK_LABELS:
        return _MASK_LABELS[network][np.asarray(pool.mask)]
    # ground below clouds and in their shadow is not asked for: it is filled from other dates
    seen = np.where(np.asarray(pool.mask) == 0, np.asarray(pool.cover), LandCover.NODATA).astype(np.uint8)
    return seen if TRAINABLE[network].heads else COVER_LABELS[network][seen]


def _build_tci_table() -> UInt8:
    table = compute_tci_levels(np.nan_to_num(build_reflectance_table()))
    table[0] = 0
    return table


def select_images(network: str, pool: Pool) -> UInt8:
    """(n, band, y, x): the network's bands; scenes become true-colour levels for the preview networks.

    Raises ConfigError where the samples lack one of them.
    """
    wanted = TRAINABLE[network].bands
    bands = [BANDS.index(band) for band in wanted]
    if max(bands) >= pool.image.shape[1]:
        raise ConfigError(
            f"{network} looks at {', '.join(wanted)}, but a pool has samples of {pool.image.shape[1]} bands (of "
            f"{', '.join(BANDS)}, in that order): take it out of `sources` and `validation`"
        )
    picked = np.ascontiguousarray(pool.image[:, bands])
    if network.startswith("preview") and pool.image.shape[1] == len(BANDS):
        return _build_tci_table()[picked]
    return picked
