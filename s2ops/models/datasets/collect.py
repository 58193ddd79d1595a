"""Collect the real scenes with what is known of them: the eye, ESA's scene classification, the teachers."""

import zipfile
from pathlib import Path
from typing import Final

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from scipy import ndimage

from s2ops.codes import Bool, UInt8
from s2ops.models.datasets.pack import BUILDING_OF_CHIP, Chips, Packed, PackedScene
from s2ops.models.datasets.real import RealScene, eurosat_ms, mask_of_scl, scenes
from s2ops.models.datasets.teachers import DYNAMIC_WORLD_BANDS, cloud_mask, land_cover
from s2ops.radiometry import SCALE

CLOUDY_PLACES: Final = ("boadella", "exeter", "zurich", "brandenburg")
"""Where the cloud teacher is asked; the other scenes are clear by eye."""

UNKNOWN: Final = 255

LARGEST: Final = 1200
"""Pixels; larger scenes are cut to their middle."""

UNSURE_RIM: Final = 40
"""Pixels around thin clouds (Brandenburg) whose label is left open."""

SMALLEST_CLOUD: Final = 300
"""Pixels; the teacher takes single bright roofs for clouds."""

CHIPS_PER_CLASS: Final = {"Residential": 600, "Industrial": 600}
"""EuroSAT RGB chips taken; 100 of every other class."""


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


def chips_by_class(names: list[str]) -> dict[str, list[str]]:
    """Members of the EuroSAT archive by class, sorted; chips 1 to 20 of each class belong to the other set."""
    by_class: dict[str, list[str]] = {}
    for name in sorted(names):
        if name.endswith(".jpg") and int(Path(name).stem.split("_")[1]) > 20:
            by_class.setdefault(name.split("/")[0], []).append(name)
    return dict(sorted(by_class.items()))


def taken(label: str, members: list[str]) -> list[str]:
    """The chips of a class that are packed, evenly spread; of these every fifth is for validation."""
    if label not in BUILDING_OF_CHIP:
        return []
    count = CHIPS_PER_CLASS.get(label, 100)
    return [members[index * len(members) // count] for index in range(count)]


def rgb_chips(archive: Path) -> tuple[list[str], list[bytes]]:
    """Labels and JPEG bytes of the EuroSAT RGB chips that are packed."""
    names, data = [], []
    with zipfile.ZipFile(archive) as chips:
        for label, members in chips_by_class(chips.namelist()).items():
            for name in taken(label, members):
                data.append(chips.read(name))
                names.append(label)
    return names, data


def teach(root: Path, csmask: Path) -> tuple[dict[str, UInt8], dict[str, UInt8]]:
    """Clouds and land cover by scene name, as the two teachers see them; 'eurosat' holds the chips' land cover.

    `csmask` is the unpacked ukis_csmask package; Dynamic World lies in `root` and needs tensorflow.
    """
    options = SessionOptions()
    options.intra_op_num_threads = 2
    models = {False: csmask / "model_4b_l2a.onnx", True: csmask / "model_4b_l1c.onnx"}
    sessions = {l1c: InferenceSession(str(path), options) for l1c, path in models.items()}
    world = root / "dynamicworld-model" / "forward"
    clouds, cover = {}, {}
    for scene in scenes(root):
        if scene.place in CLOUDY_PLACES:
            clouds[scene.name] = cloud_mask(sessions[scene.l1c], scene)
        if all(band in scene.bands for band in DYNAMIC_WORLD_BANDS):
            cover[scene.name] = land_cover(world, scene.bands)
    with np.load(root / "eurosat_ms_200" / "eurosat_ms_200.npz", allow_pickle=False) as data:
        names = [str(name) for name in data["bands"]]
        chips = [dict(zip(names, chip.astype(np.float32) / SCALE, strict=True)) for chip in data["x"]]
    cover["eurosat"] = np.stack([land_cover(world, chip) for chip in chips])
    return clouds, cover
