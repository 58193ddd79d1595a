"""Collect the real scenes with what is known of them: the eye, ESA's scene classification, the teachers."""

import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from scipy import ndimage

from s2ops.constants import Bool, Float32, LandCover, UInt8
from s2ops.imaging.tone_curve import SCALE, reflectance_table
from s2ops.training.datasets.label_rasters import of_vectors
from s2ops.training.datasets.packed_scenes import BUILDING_OF_CHIP, Chips, Packed, PackedScene
from s2ops.training.datasets.pools import BUILT, GREEN, LAND, OPEN
from s2ops.training.datasets.real_scenes import FIRST_BANDS, RealScene, eurosat_ms, mask_of_scl, scenes
from s2ops.training.datasets.shoreline_labels import basin, sharpened, water_by_swir
from s2ops.training.datasets.teacher_models import DYNAMIC_WORLD_BANDS, cloud_mask, cloudsen_mask, land_cover
from s2ops.training.datasets.vegetation_labels import GREEN_FROM, index, plants, smooth

CLOUDY_PLACES: Final = ("boadella", "exeter", "zurich", "brandenburg")
"""Where the cloud teachers are asked; the other scenes are clear by eye."""

COVERED: Final = ("boadella", "zurich", "brandenburg")
"""Where the land-cover teacher is asked: it needs nine bands."""

EMPTY: Final = ("dsen2-australia", "spyndex", "patagonia")
"""Places without a house in sight."""

UNTAUGHT: Final = ("virginia", "dsen2-germany")
"""Clear places of four bands, too few for the teacher: the index and the texture know the green ground."""

RESERVOIR: Final = "boadella"
"""Where the level of the water differs from date to date."""

OPAQUE: Final = ("boadella-2020-01-18", "boadella-2020-01-23")
"""Scenes with nothing of the ground to be seen."""

UNKNOWN: Final = 255

LARGEST: Final = 1200
"""Pixels; larger scenes are cut to their middle."""

SMALLEST_CLOUD: Final = 300
"""Pixels; the teacher takes single bright roofs for clouds."""

CHIPS_PER_CLASS: Final = {
    "Residential": 900,
    "Industrial": 900,
    "Highway": 450,
    "River": 350,
    "Forest": 150,
    "SeaLake": 150,
}
"""EuroSAT RGB chips taken; 300 of every other class."""

QUARTER_RIM: Final = 6
"""Pixels around the outline of a quarter that stay open."""

TREES_OFTEN: Final = 1 / 3
"""Part of a place's dates on which the teacher must see trees."""


def cloud_labels(scene: RealScene, taught: UInt8 | None, stronger: UInt8 | None = None) -> UInt8:
    """(y, x) mask from what is known: the eye (`clear`), ESA's SCL, the teachers; 255 where they leave it open.

    `taught` is ukis-csmask's (four bands, 30 m), `stronger` that of sentle (twelve bands), which goes first where it
    has seen the scene.
    """
    empty = (scene.levels == 0).all(axis=0)
    mask = np.full(empty.shape, UNKNOWN, np.uint8)
    if scene.clear:
        mask[:] = 0
        if stronger is not None:
            mask[stronger != 0] = UNKNOWN
    elif scene.scl is not None and taught is not None:
        esa = mask_of_scl(scene.scl)
        mask = np.where((esa == taught) | (esa == 1), esa, UNKNOWN).astype(np.uint8)
        mask[(scene.scl == 10) & (taught == 0)] = UNKNOWN  # cirrus that only band 10 sees
    elif scene.l1c and taught is not None and stronger is not None:
        cloud = _without_specks(taught == 1)  # made for L2A, the stronger one alone takes ice for cloud
        mask[(taught == 0) & (stronger == 0)] = 0
        mask[cloud & (stronger == 1)] = 1
    elif stronger is not None:
        mask = stronger.copy()
    mask[empty] = UNKNOWN
    return mask


def _without_specks(cloud: Bool) -> Bool:
    parts, _ = ndimage.label(cloud)
    sizes = np.bincount(parts.ravel())
    out: Bool = cloud & (sizes[parts] >= SMALLEST_CLOUD)
    return out


def cover_labels(
    scene: RealScene, taught: UInt8, mask: UInt8, quarters: Mapping[str, Bool], lake: Bool | None = None
) -> UInt8:
    """(y, x) cover codes: Dynamic World where the sky is clear, put right by what is known better.

    `quarters` (class -> y, x) are outlines drawn by people. Where a scene has them the teacher's "built" counts for
    nothing, and neither do its meadows on ground that is not green: it overlooks most houses of Zurich. What is green
    in a quarter is no house, and a smooth wood is a field (`green.plants`). `lake` is the basin of a reservoir, whose
    shores are found anew.
    """
    cover = np.where(mask == 0, taught, 0).astype(np.uint8)
    image = np.stack([scene.bands[band] for band in FIRST_BANDS])
    ndvi, clear = index(image), mask == 0
    if quarters:
        drawn = np.logical_or.reduce(list(quarters.values()))
        near = ndimage.binary_dilation(drawn, iterations=QUARTER_RIM)
        cover[near | (taught == BUILT) | ((taught == LandCover.GRASS) & (ndvi < 0.5))] = LandCover.NODATA
        bare = ndimage.binary_opening(
            (ndvi < 0.35) & (image[0] < 0.25) & (image[3] > 0.12) & clear & ~near, iterations=2
        )
        cover[bare & (cover == LandCover.NODATA)] = LandCover.BARREN  # a field without crops, wide and dark
        for name, inside in quarters.items():
            cover[inside & (ndvi < GREEN_FROM) & clear] = LandCover[name.upper()]
        unsaid = clear & ((cover == LandCover.NODATA) | ((cover == LandCover.TREE) & smooth(image[3])))
        cover = np.where(unsaid & (ndvi >= GREEN_FROM), plants(image, taught), cover)
    if lake is not None:
        water = sharpened(water_by_swir(scene.bands, lake), image, lake)
        beside = ndimage.binary_dilation(water, iterations=20) & ~water
        cover[(cover == LandCover.WATER) | (beside & (cover == LandCover.NODATA))] = LAND
        cover[ndimage.binary_dilation(water, iterations=3) & (cover != LAND)] = LAND
        cover[water] = LandCover.WATER
        if not scene.clear:  # the teacher does not see through the veil; band 11 does
            cover[~water & (cover != LandCover.TREE)] = LAND
    return cover


def lasting_trees(dates: dict[str, UInt8]) -> dict[str, UInt8]:
    """Cover of several dates of one place, with trees on every date where a third of the dates shows them.

    The teacher calls broad-leaved woods now trees, now shrub, now meadow; woods do not come and go.
    """
    if not dates:
        return {}
    often = np.mean([land == LandCover.TREE for land in dates.values()], axis=0) >= TREES_OFTEN
    return {name: np.where(often, LandCover.TREE, land).astype(np.uint8) for name, land in dates.items()}


def pack(
    root: Path, clouds: dict[str, UInt8], stronger: dict[str, UInt8], cover: dict[str, UInt8], drawn: Path | None
) -> Packed:
    """Read everything below `root` (`S2OPS_REAL_DATA`) and put the teachers' labels, by scene name, to it.

    `drawn` is a GeoJSON of quarters at Zurich (property `class`: residential or industrial).
    """
    packed = []
    lake = reservoir(root)
    cover = cover | lasting_trees({name: land for name, land in cover.items() if name.startswith("boadella")})
    for scene in scenes(root):
        mask = cloud_labels(scene, clouds.get(scene.name), stronger.get(scene.name))
        land = np.zeros_like(mask)
        if scene.name in cover and scene.place in COVERED and scene.name not in OPAQUE:
            sky = np.where(mask == UNKNOWN, mask, 0) if scene.place == RESERVOIR else mask
            land = cover_labels(
                scene, cover[scene.name], sky, _quarters(root, scene, drawn), lake if scene.place == RESERVOIR else None
            )
        elif scene.place in EMPTY:
            land[mask == 0] = OPEN
        elif scene.place in UNTAUGHT:
            land = np.where(mask == 0, plants(_reflectance(scene.levels), land), land)
        middle = tuple(slice(max((side - LARGEST) // 2, 0), (side + LARGEST) // 2) for side in mask.shape)
        packed.append(
            PackedScene(scene.name, scene.place, scene.clear, scene.levels[:, *middle], land[middle], mask[middle])
        )
    names, levels = eurosat_ms(root)
    images = _reflectance(levels)
    taught = cover["eurosat"]
    sure = np.stack([_chip_cover(*chip) for chip in zip(names, taught, images, strict=True)])
    return Packed(tuple(packed), {"chips-ms": Chips(levels, sure)})


def reservoir(root: Path) -> Bool:
    """(y, x) the basin of the reservoir, from its clear dates under a high sun."""
    return basin(scene.bands for scene in scenes(root) if scene.place == RESERVOIR and scene.clear and _summer(scene))


def _summer(scene: RealScene) -> bool:
    return 6 <= date.fromisoformat(scene.name.removeprefix(f"{scene.place}-")).month <= 9


def _quarters(root: Path, scene: RealScene, drawn: Path | None) -> dict[str, Bool]:
    """Outlines by class on the scene's grid: OpenStreetMap's at Brandenburg, ours at Zurich."""
    if scene.grid is None:
        return {}
    if scene.place == "zurich" and drawn is not None:
        names, source, attribute = ["residential", "industrial"], drawn, "class"
    elif scene.place == "brandenburg":
        source, attribute = next((root / "brandenburg").glob("gis_osm*.gpkg")), "fclass"
        names = ["residential", "farm", "forest", "grass", "meadow", "scrub", "water", "wetland"]
    else:
        return {}
    codes = of_vectors(source, scene.grid, names, attribute)
    return {name: codes == names.index(name) for name in ("residential", "industrial") if name in names}


def _reflectance(levels: UInt8) -> Float32:
    return np.nan_to_num(reflectance_table())[levels]


def _chip_cover(label: str, taught: UInt8, image: Float32) -> UInt8:
    """The chip's own label where it is pure, the teacher's pixels elsewhere; only "no building" where that is open.

    What is green on a built-up chip is no house.
    """
    if label in {"Forest", "SeaLake"}:
        return np.full_like(taught, BUILDING_OF_CHIP[label])
    green = plants(image, taught)
    if label in {"Residential", "Industrial"}:
        return np.where(green == LandCover.NODATA, BUILDING_OF_CHIP[label], green).astype(np.uint8)
    unsaid = (taught == LandCover.NODATA) | (taught == BUILT)
    return np.where(unsaid, np.where(green == LandCover.NODATA, OPEN, GREEN), taught).astype(np.uint8)


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
    count = CHIPS_PER_CLASS.get(label, 300)
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


def teach(root: Path, csmask: Path, sentle: Path) -> tuple[dict[str, UInt8], dict[str, UInt8], dict[str, UInt8]]:
    """By scene name: clouds of ukis-csmask, clouds of sentle, land cover; 'eurosat' holds the chips' land cover.

    `csmask` and `sentle` are the unpacked packages; Dynamic World lies in `root` and needs tensorflow.
    """
    options = SessionOptions()
    options.intra_op_num_threads = 2
    models = {False: csmask / "model_4b_l2a.onnx", True: csmask / "model_4b_l1c.onnx"}
    sessions = {l1c: InferenceSession(str(path), options) for l1c, path in models.items()}
    world = root / "dynamicworld-model" / "forward"
    clouds, stronger, cover = {}, {}, {}
    for scene in scenes(root):
        if scene.place in CLOUDY_PLACES:
            clouds[scene.name] = cloud_mask(sessions[scene.l1c], scene)
            seen = cloudsen_mask(sentle / "data" / "cloudmodel.pt", scene)
            if seen is not None:
                stronger[scene.name] = seen
        if all(band in scene.bands for band in DYNAMIC_WORLD_BANDS):
            cover[scene.name] = land_cover(world, scene.bands)
    with np.load(root / "eurosat_ms_200" / "eurosat_ms_200.npz", allow_pickle=False) as data:
        names = [str(name) for name in data["bands"]]
        chips = [dict(zip(names, chip.astype(np.float32) / SCALE, strict=True)) for chip in data["x"]]
    cover["eurosat"] = np.stack([land_cover(world, chip) for chip in chips])
    return clouds, stronger, cover
