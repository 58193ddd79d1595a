"""Packed real scenes (one .npz file): images with their labels, so that training needs neither GDAL nor teachers."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from s2ops.constants import LandCover, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve, build_reflectance_table
from s2ops.training.datasets.pools import GARDEN, OPEN
from s2ops.training.datasets.spectral_library import SpectralLibrary
from s2ops.training.datasets.vegetation_labels import is_green

RAYLEIGH_REFLECTANCE: Final = (0.022, 0.042, 0.075, 0.008)
"""Typical path reflectance of clear air in L1C (Rayleigh scattering): red, green, blue, nir.

It is subtracted, since s2ops uses L2A.
"""

CHIP_COVER_CODES: Final[dict[str, int]] = {
    "Residential": LandCover.RESIDENTIAL,
    "Industrial": LandCover.INDUSTRIAL,
    "AnnualCrop": LandCover.GRASS,
    "PermanentCrop": LandCover.GRASS,
    "HerbaceousVegetation": LandCover.GRASS,
    "Pasture": LandCover.GRASS,
    "Forest": LandCover.TREE,
    "SeaLake": LandCover.WATER,
    "Highway": OPEN,
    "River": OPEN,
}
"""Cover code of EuroSAT RGB chips by label; accurate enough as 'no building'."""


@dataclass(frozen=True)
class PackedScene:
    """Real scene with its labels: levels (4, y, x), cover and mask (y, x); `Pool` describes the codes."""

    name: str
    place: str
    clear: bool
    levels: UInt8
    cover: UInt8
    mask: UInt8


@dataclass(frozen=True)
class ChipSet:
    """EuroSAT chips with labels: levels (n, band, 64, 64) and cover (n, 64, 64)."""

    levels: UInt8
    cover: UInt8


@dataclass(frozen=True)
class PackedData:
    """All real data for training: labelled scenes, sets of chips by name, and spectra."""

    scenes: tuple[PackedScene, ...]
    chips: dict[str, ChipSet]
    spectra: SpectralLibrary


CHIP_REFLECTANCE_PER_LEVEL: Final = 0.2754 / 255
"""L1C reflectance of one level of a EuroSAT RGB chip, which is linear."""


def decode_chip(jpeg: bytes) -> UInt8:
    """Decode a EuroSAT RGB chip (JPEG) to levels (3, 64, 64).

    The chips are linear: L1C reflectance = value * 0.2754 / 255. This was fitted on the chips that the data set also
    has with all bands: 10.8 DN per value, correlation 0.998.
    """
    with Image.open(io.BytesIO(jpeg)) as image:
        reflectance = np.moveaxis(np.asarray(image.convert("RGB"), np.float32), -1, 0) * np.float32(
            CHIP_REFLECTANCE_PER_LEVEL
        )
    clean = np.maximum(reflectance - np.array(RAYLEIGH_REFLECTANCE[:3], np.float32)[:, None, None], 0.001)
    out: UInt8 = np.rint(apply_tone_curve(clean)).astype(np.uint8)
    return out


def save_packed(packed: PackedData, rgb: tuple[list[str], list[bytes]], path: Path) -> None:
    """Save the data to one .npz file without pickles; `rgb` are labels and JPEG bytes of EuroSAT RGB chips."""
    arrays: dict[str, np.ndarray] = {}
    for scene in packed.scenes:
        key = f"scene/{scene.place}/{scene.name}/{int(scene.clear)}"
        arrays |= {f"{key}/levels": scene.levels, f"{key}/cover": scene.cover, f"{key}/mask": scene.mask}
    for name, chips in packed.chips.items():
        arrays |= {f"chips/{name}/levels": chips.levels, f"chips/{name}/cover": chips.cover}
    arrays |= {f"spectra/{name}": found for name, found in packed.spectra.items()}
    arrays["rgb/labels"] = np.array(rgb[0])
    arrays["rgb/sizes"] = np.array([len(item) for item in rgb[1]])
    arrays["rgb/bytes"] = np.frombuffer(b"".join(rgb[1]), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load_packed(path: Path) -> PackedData:
    """Load a file of `save_packed`; RGB chips are decoded and labelled."""
    with np.load(path, allow_pickle=False) as data:
        keys = [key for key in data.files if key.startswith("scene/") and key.endswith("/levels")]
        found = []
        for key in keys:
            _, place, name, clear, _ = key.split("/")
            stem = key.removesuffix("/levels")
            found.append(PackedScene(name, place, clear == "1", data[key], data[f"{stem}/cover"], data[f"{stem}/mask"]))
        chips = {
            key.split("/")[1]: ChipSet(data[key], data[key.replace("levels", "cover")])
            for key in data.files
            if key.startswith("chips/") and key.endswith("/levels")
        }
        spectra = {key.split("/")[1]: data[key] for key in data.files if key.startswith("spectra/")}
        ends = np.cumsum(data["rgb/sizes"])
        stream = data["rgb/bytes"].tobytes()
        levels = np.stack(
            [decode_chip(stream[end - size : end]) for end, size in zip(ends, data["rgb/sizes"], strict=True)]
        )
        codes = np.array([CHIP_COVER_CODES[str(label)] for label in data["rgb/labels"]], np.uint8)
    cover = np.broadcast_to(codes[:, None, None], (len(codes), 64, 64)).copy()
    built = np.isin(codes, (LandCover.RESIDENTIAL, LandCover.INDUSTRIAL))[:, None, None]
    cover[built & is_green(np.nan_to_num(build_reflectance_table())[levels])] = GARDEN
    return PackedData(tuple(found), chips | {"chips-rgb": ChipSet(levels, cover)}, spectra)
