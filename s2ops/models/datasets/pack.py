"""The real scenes with their teachers' labels in one small file, so that training needs no GDAL and no teacher."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from scipy import ndimage

from s2ops.codes import Bool, LandCover, UInt8
from s2ops.models.datasets.real import RAYLEIGH, RealScene, eurosat_ms, mask_of_scl, scenes
from s2ops.radiometry import levels_of

UNKNOWN: Final = 255

LARGEST: Final = 1200
"""Pixels; larger scenes are cut to their middle."""

UNSURE_RIM: Final = 40
"""Pixels around thin clouds (Brandenburg) whose label is left open."""

SMALLEST_CLOUD: Final = 300
"""Pixels; the teacher takes single bright roofs for clouds."""

CHIPS_PER_CLASS: Final = {"Residential": 400, "Industrial": 400}
"""EuroSAT RGB chips taken; 100 of every other class."""

BUILDING_OF_CHIP: Final[dict[str, int]] = {
    "Residential": LandCover.RESIDENTIAL,
    "Industrial": LandCover.INDUSTRIAL,
    "AnnualCrop": LandCover.GRASS,
    "PermanentCrop": LandCover.GRASS,
    "HerbaceousVegetation": LandCover.GRASS,
    "Pasture": LandCover.GRASS,
    "Forest": LandCover.TREE,
    "SeaLake": LandCover.WATER,
}
"""Cover of RGB chips, good enough for 'no building'; rivers and highways have houses beside them and are left out."""


@dataclass(frozen=True)
class PackedScene:
    """Levels (4, y, x), cover and mask (y, x) of a real scene; see `Pool` for the codes."""

    name: str
    place: str
    clear: bool
    levels: UInt8
    cover: UInt8
    mask: UInt8


@dataclass(frozen=True)
class Chips:
    """Levels (n, band, 64, 64) and cover (n, 64, 64)."""

    levels: UInt8
    cover: UInt8


@dataclass(frozen=True)
class Packed:
    """All that training takes from real data."""

    scenes: tuple[PackedScene, ...]
    chips: dict[str, Chips]


def cloud_labels(scene: RealScene, taught: UInt8 | None) -> UInt8:
    """(y, x) mask from what is known: the eye (`clear`), ESA's SCL, the teacher; 255 where they leave it open."""
    empty = (scene.levels == 0).all(axis=0)
    mask = np.full(empty.shape, UNKNOWN, np.uint8)
    if scene.clear:
        mask[:] = 0
    elif scene.scl is not None and taught is not None:
        esa = mask_of_scl(scene.scl)
        mask = np.where((esa == taught) | (esa == 1), esa, UNKNOWN).astype(np.uint8)
        mask[(scene.scl == 10) & (taught == 0)] = UNKNOWN  # cirrus that only band 10 sees
    elif taught is not None and scene.place != "boadella":
        cloud = _without_specks(taught == 1)
        near = ndimage.binary_dilation(cloud, iterations=UNSURE_RIM if scene.l1c else 1)
        mask[(taught == 0) & ~near] = 0
        mask[cloud] = 1
    elif taught is not None:
        mask[taught == 1] = 1  # in the haze around it the teacher is of no use
    mask[empty] = UNKNOWN
    return mask


def _without_specks(cloud: Bool) -> Bool:
    parts, _ = ndimage.label(cloud)
    sizes = np.bincount(parts.ravel())
    out: Bool = cloud & (sizes[parts] >= SMALLEST_CLOUD)
    return out


def pack(root: Path, clouds: dict[str, UInt8], cover: dict[str, UInt8]) -> Packed:
    """Read everything below `root` (`S2OPS_REAL_DATA`) and put the teachers' labels, by scene name, to it."""
    packed = []
    for scene in scenes(root):
        mask = cloud_labels(scene, clouds.get(scene.name))
        land = np.zeros_like(mask)
        if scene.name in cover and (scene.clear or scene.place in ("zurich", "brandenburg")):
            land = np.where(mask == 0, cover[scene.name], 0).astype(np.uint8)
        middle = tuple(slice(max((side - LARGEST) // 2, 0), (side + LARGEST) // 2) for side in mask.shape)
        packed.append(
            PackedScene(scene.name, scene.place, scene.clear, scene.levels[:, *middle], land[middle], mask[middle])
        )
    names, levels = eurosat_ms(root)
    sure = np.stack([_chip_cover(name, land) for name, land in zip(names, cover["eurosat"], strict=True)])
    return Packed(tuple(packed), {"chips-ms": Chips(levels, sure)})


def _chip_cover(label: str, taught: UInt8) -> UInt8:
    """The chip's own label where it is pure, the teacher's pixels elsewhere; highways stay out."""
    pure = {"Forest", "SeaLake", "Residential", "Industrial"}
    if label in pure:
        return np.full_like(taught, BUILDING_OF_CHIP[label])
    return np.zeros_like(taught) if label == "Highway" else taught


def rgb_chips(archive: Path) -> tuple[list[str], list[bytes]]:
    """Labels and JPEG bytes of the EuroSAT RGB chips, evenly over each class; chips 1 to 20 belong to the other set."""
    names, data = [], []
    with zipfile.ZipFile(archive) as chips:
        by_class: dict[str, list[str]] = {}
        for name in sorted(chips.namelist()):
            if name.endswith(".jpg") and int(Path(name).stem.split("_")[1]) > 20:
                by_class.setdefault(name.split("/")[0], []).append(name)
        for label, members in sorted(by_class.items()):
            if label in BUILDING_OF_CHIP:
                count = CHIPS_PER_CLASS.get(label, 100)
                for index in range(count):
                    data.append(chips.read(members[index * len(members) // count]))
                    names.append(label)
    return names, data


def chip_levels(jpeg: bytes) -> UInt8:
    """A EuroSAT RGB chip -> (3, 64, 64) levels. The chips are linear: L1C reflectance = level * 0.2754 / 255.

    (Fitted on the chips that the data set also has with all bands: 10.8 DN a level, correlation 0.998.)
    """
    with Image.open(io.BytesIO(jpeg)) as image:
        reflectance = np.moveaxis(np.asarray(image.convert("RGB"), np.float32), -1, 0) * np.float32(0.2754 / 255)
    clean = np.maximum(reflectance - np.array(RAYLEIGH[:3], np.float32)[:, None, None], 0.001)
    out: UInt8 = np.rint(levels_of(clean)).astype(np.uint8)
    return out


def save(packed: Packed, rgb: tuple[list[str], list[bytes]], path: Path) -> None:
    """One .npz without pickles."""
    arrays: dict[str, np.ndarray] = {}
    for scene in packed.scenes:
        key = f"scene/{scene.place}/{scene.name}/{int(scene.clear)}"
        arrays |= {f"{key}/levels": scene.levels, f"{key}/cover": scene.cover, f"{key}/mask": scene.mask}
    for name, chips in packed.chips.items():
        arrays |= {f"chips/{name}/levels": chips.levels, f"chips/{name}/cover": chips.cover}
    arrays["rgb/labels"] = np.array(rgb[0])
    arrays["rgb/sizes"] = np.array([len(item) for item in rgb[1]])
    arrays["rgb/bytes"] = np.frombuffer(b"".join(rgb[1]), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Packed:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as data:
        keys = [key for key in data.files if key.startswith("scene/") and key.endswith("/levels")]
        found = []
        for key in keys:
            _, place, name, clear, _ = key.split("/")
            stem = key.removesuffix("/levels")
            found.append(PackedScene(name, place, clear == "1", data[key], data[f"{stem}/cover"], data[f"{stem}/mask"]))
        chips = {
            key.split("/")[1]: Chips(data[key], data[key.replace("levels", "cover")])
            for key in data.files
            if key.startswith("chips/") and key.endswith("/levels")
        }
        ends = np.cumsum(data["rgb/sizes"])
        stream = data["rgb/bytes"].tobytes()
        levels = np.stack(
            [chip_levels(stream[end - size : end]) for end, size in zip(ends, data["rgb/sizes"], strict=True)]
        )
        codes = np.array([BUILDING_OF_CHIP[str(label)] for label in data["rgb/labels"]], np.uint8)
    cover = np.broadcast_to(codes[:, None, None], (len(codes), 64, 64))
    return Packed(tuple(found), chips | {"chips-rgb": Chips(levels, cover)})
