"""Label fusion: training labels of real scenes from visual inspection, ESA's scene classification and teachers."""

import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from scipy import ndimage

from s2ops.constants import Bool, Float32, LandCover, UInt8
from s2ops.imaging.tone_curve import SCALE, build_reflectance_table
from s2ops.training.datasets.label_rasters import rasterize_labels
from s2ops.training.datasets.packed_scenes import CHIP_COVER_CODES, ChipSet, PackedData, PackedScene
from s2ops.training.datasets.pools import BUILT, GREEN, LAND, OPEN
from s2ops.training.datasets.real_scenes import RGBN_BANDS, RealScene, convert_scl_to_mask, read_eurosat_ms, read_scenes
from s2ops.training.datasets.shoreline_labels import (
    classify_water_by_swir,
    detect_basin,
    detect_open_water,
    refine_shoreline,
)
from s2ops.training.datasets.spectral_library import build_library
from s2ops.training.datasets.teacher_models import (
    DYNAMIC_WORLD_BANDS,
    MAX_SHRUB_NDVI,
    label_clouds,
    label_clouds_cloudsen,
    label_land_cover,
)
from s2ops.training.datasets.vegetation_labels import (
    MAX_BARE_NDVI,
    MIN_GRASS_NDVI,
    MIN_TREE_NDVI,
    MIN_VEGETATION_NDVI,
    classify_vegetation,
    compute_ndvi,
    is_smooth,
)

CLOUD_TEACHER_PLACES: Final = ("boadella", "exeter", "zurich", "brandenburg")
"""Places labelled by the cloud teachers; all other scenes are clear by visual inspection."""

COVER_TEACHER_PLACES: Final = ("boadella", "zurich", "brandenburg")
"""Places labelled by the land-cover teacher, which needs nine bands."""

UNINHABITED_PLACES: Final = ("dsen2-australia", "spyndex", "patagonia")
"""Places without houses."""

FOUR_BAND_PLACES: Final = ("virginia", "dsen2-germany")
"""Clear places with four bands, too few for the teacher: green ground is labelled by NDVI and texture."""

RESERVOIR_PLACE: Final = "boadella"
"""Place with a reservoir whose water level changes between dates."""

OPAQUE_SCENES: Final = ("boadella-2020-01-18", "boadella-2020-01-23")
"""Scenes in which no ground is visible."""

UNKNOWN: Final = 255
"""Mask code of pixels whose label is not known."""

MAX_SCENE_SIDE_PX: Final = 1200
"""Maximum side of a packed scene, pixels; larger scenes are cropped around their centre."""

MIN_CLOUD_PX: Final = 300
"""Minimum area of a cloud, pixels: the teacher classifies single bright roofs as cloud."""

CHIPS_PER_CLASS: Final = {
    "Residential": 900,
    "Industrial": 900,
    "Highway": 450,
    "River": 350,
    "Forest": 150,
    "SeaLake": 150,
}
"""Number of EuroSAT RGB chips that are packed, by class; 300 of every other class."""

QUARTER_RIM_PX: Final = 6
"""Width of the unlabelled margin around the outline of a quarter, pixels."""

MIN_TREE_FREQUENCY: Final = 1 / 3
"""Minimum fraction of a place's dates on which the teacher must find trees."""


def fuse_cloud_labels(scene: RealScene, taught: UInt8 | None, stronger: UInt8 | None = None) -> UInt8:
    """Fuse the cloud labels of visual inspection (`scene.clear`), ESA's SCL and the teachers.

    Args:
        scene: Real scene.
        taught: Mask of ukis-csmask (four bands, 30 m).
        stronger: Mask of the CloudSEN12 U-net of sentle (twelve bands), preferred if the scene has one.

    Returns:
        Mask (y, x): 0 clear, 1 cloud, 2 shadow, 255 where the sources disagree or there is no data.
    """
    empty = (scene.levels == 0).all(axis=0)
    mask = np.full(empty.shape, UNKNOWN, np.uint8)
    if scene.clear:
        mask[:] = 0
        if stronger is not None:
            mask[stronger != 0] = UNKNOWN
    elif scene.scl is not None and taught is not None:
        esa = convert_scl_to_mask(scene.scl)
        mask = np.where((esa == taught) | (esa == 1), esa, UNKNOWN).astype(np.uint8)
        mask[(scene.scl == 10) & (taught == 0)] = UNKNOWN  # cirrus that only band 10 shows
    elif scene.l1c and taught is not None and stronger is not None:
        cloud = _remove_small_clouds(
            taught == 1
        )  # the stronger teacher is made for L2A, and alone it classifies ice as cloud
        mask[(taught == 0) & (stronger == 0)] = 0
        mask[cloud & (stronger == 1)] = 1
    elif stronger is not None:
        mask = stronger.copy()
    mask[empty] = UNKNOWN
    return mask


def _remove_small_clouds(cloud: Bool) -> Bool:
    """Remove clouds of less than `MIN_CLOUD_PX` from a mask (y, x)."""
    parts, _ = ndimage.label(cloud)
    sizes = np.bincount(parts.ravel())
    out: Bool = cloud & (sizes[parts] >= MIN_CLOUD_PX)
    return out


def fuse_cover_labels(
    scene: RealScene, taught: UInt8, mask: UInt8, quarters: Mapping[str, Bool], lake: Bool | None = None
) -> UInt8:
    """Fuse land-cover labels: Dynamic World under a clear sky, corrected by outlines, NDVI, texture and shorelines.

    Args:
        scene: Real scene.
        taught: Cover codes of Dynamic World (y, x).
        mask: Cloud mask (y, x); only 0 is labelled.
        quarters: Hand-drawn outlines (y, x) by class. In scenes with outlines the teacher's "built" is ignored, and so
            are its meadows on ground that is not green, since it misses most houses of Zurich. Green ground in a
            quarter is not a house, and a smooth wood is a field (`classify_vegetation`).
        lake: Basin of a reservoir (y, x), whose shoreline is detected again.

    Returns:
        Cover codes (y, x); 0 is unknown.
    """
    cover = np.where(mask == 0, taught, 0).astype(np.uint8)
    image = np.stack([scene.bands[band] for band in RGBN_BANDS])
    ndvi, clear = compute_ndvi(image), mask == 0
    if quarters:
        drawn = np.logical_or.reduce(list(quarters.values()))
        near = ndimage.binary_dilation(drawn, iterations=QUARTER_RIM_PX)
        cover[near | (taught == BUILT) | ((taught == LandCover.GRASS) & (ndvi < 0.5))] = LandCover.NODATA
        bare = ndimage.binary_opening(
            (ndvi < 0.35) & (image[0] < 0.25) & (image[3] > 0.12) & clear & ~near, iterations=2
        )
        cover[bare & (cover == LandCover.NODATA)] = LandCover.BARREN  # fields without crops are wide and dark
        for name, inside in quarters.items():
            cover[inside & (ndvi < MIN_VEGETATION_NDVI) & clear] = LandCover[name.upper()]
        unsaid = clear & ((cover == LandCover.NODATA) | ((cover == LandCover.TREE) & is_smooth(image[3])))
        cover = np.where(unsaid & (ndvi >= MIN_VEGETATION_NDVI), classify_vegetation(image, taught), cover)
    if lake is not None:
        water = refine_shoreline(classify_water_by_swir(scene.bands, lake), image, lake)
        beside = ndimage.binary_dilation(water, iterations=20) & ~water
        cover[(cover == LandCover.WATER) | (beside & (cover == LandCover.NODATA))] = LAND
        cover[ndimage.binary_dilation(water, iterations=3) & (cover != LAND)] = LAND
        cover[water] = LandCover.WATER
        if not scene.clear:  # haze hides the ground from the teacher, but not from band 11
            cover[~water & (cover != LandCover.TREE)] = LAND
    return cover


def propagate_lasting_trees(dates: dict[str, UInt8]) -> dict[str, UInt8]:
    """Propagate trees to all dates of a place where at least a third of the dates has them.

    The teacher classifies broad-leaved woods as trees, shrub or meadow depending on the date.

    Args:
        dates: Cover codes (y, x) by date.
    """
    if not dates:
        return {}
    often = np.mean([land == LandCover.TREE for land in dates.values()], axis=0) >= MIN_TREE_FREQUENCY
    return {name: np.where(often, LandCover.TREE, land).astype(np.uint8) for name, land in dates.items()}


def limit_trees_to_green(dates: dict[str, UInt8], greenest: Float32) -> dict[str, UInt8]:
    """Limit trees to ground that is green on at least one date.

    Args:
        dates: Cover codes (y, x) by date.
        greenest: Highest NDVI over the clear dates (y, x).

    Returns:
        Cover codes by date: where the greenest date is below `MIN_TREE_NDVI` trees are grass, or barren below
        `MIN_GRASS_NDVI`; trees that are hardly greener than the limit are unknown.
    """
    found = {}
    for name, cover in dates.items():
        land = cover.copy()
        trees = land == LandCover.TREE
        land[trees & (greenest < MIN_TREE_NDVI + 0.1)] = LandCover.NODATA
        land[trees & (greenest < MIN_TREE_NDVI)] = LandCover.GRASS
        land[trees & (greenest < MIN_GRASS_NDVI)] = LandCover.BARREN
        found[name] = land
    return found


def label_sparse_cover(cover: UInt8, image: Float32, sparse: Bool) -> UInt8:
    """Label ground that is sparsely covered on most dates: rock, scrub and fields, which the teacher leaves open.

    Args:
        cover: Cover codes (y, x); water, built-up and shores keep theirs.
        image: Reflectance (4, y, x) of red, green, blue, nir of this date.
        sparse: Sparsely covered ground (y, x).

    Returns:
        Cover codes (y, x): grass or barren by the NDVI of this date.
    """
    ndvi = compute_ndvi(image)
    shore = ndimage.binary_dilation(cover == LandCover.WATER, iterations=3)
    open_ground = sparse & ~shore & np.isin(cover, (LandCover.NODATA, LAND, LandCover.TREE))
    out = cover.copy()
    out[open_ground] = np.where(ndvi >= MIN_GRASS_NDVI, LandCover.GRASS, LandCover.BARREN)[open_ground]
    return out


def label_bare_ground(image: Float32, water: Bool) -> UInt8:
    """Label bare ground and open water of a place without a teacher.

    Args:
        image: Reflectance (4, y, x) of red, green, blue, nir.
        water: Open water (y, x).

    Returns:
        Cover codes (y, x): water, barren where NDVI is at most `MAX_BARE_NDVI`, grass or "no building" elsewhere.
    """
    ndvi = compute_ndvi(image)
    near = ndimage.binary_dilation(water, iterations=3)
    cover = np.full(water.shape, OPEN, np.uint8)
    cover[(ndvi >= MIN_GRASS_NDVI + 0.05) & (ndvi < MIN_TREE_NDVI)] = LandCover.GRASS
    cover[(ndvi < MAX_BARE_NDVI) & (image[3] > image[1])] = LandCover.BARREN
    cover[near] = LandCover.NODATA
    cover[water] = LandCover.WATER
    return cover


def pack_real_data(
    root: Path, clouds: dict[str, UInt8], stronger: dict[str, UInt8], cover: dict[str, UInt8], drawn: Path | None
) -> PackedData:
    """Read all real scenes and chips, and combine them with their labels.

    Args:
        root: Folder of the real data (`S2OPS_REAL_DATA`).
        clouds: Cloud masks of ukis-csmask by scene name.
        stronger: Cloud masks of the CloudSEN12 U-net by scene name.
        cover: Cover codes of Dynamic World by scene name; 'eurosat' are those of the chips.
        drawn: GeoJSON of quarters at Zurich (property `class`: residential or industrial).
    """
    packed = []
    lake = detect_reservoir(root)
    series = {name: land for name, land in cover.items() if name.startswith(RESERVOIR_PLACE)}
    greenness = _read_greenness(root)
    cover = cover | limit_trees_to_green(propagate_lasting_trees(series), greenness.max(axis=0))
    sparse = np.median(greenness, axis=0) < MAX_SHRUB_NDVI
    for scene in read_scenes(root):
        mask = fuse_cloud_labels(scene, clouds.get(scene.name), stronger.get(scene.name))
        land = np.zeros_like(mask)
        if scene.name in cover and scene.place in COVER_TEACHER_PLACES and scene.name not in OPAQUE_SCENES:
            sky = np.where(mask == UNKNOWN, mask, 0) if scene.place == RESERVOIR_PLACE else mask
            land = fuse_cover_labels(
                scene,
                cover[scene.name],
                sky,
                _read_quarters(root, scene, drawn),
                lake if scene.place == RESERVOIR_PLACE else None,
            )
            if scene.place == RESERVOIR_PLACE and scene.clear:
                land = label_sparse_cover(land, _to_reflectance(scene.levels), sparse)
        elif scene.place in UNINHABITED_PLACES:
            image = _to_reflectance(scene.levels)
            land = np.where(mask == 0, label_bare_ground(image, detect_open_water(image)), land)
        elif scene.place in FOUR_BAND_PLACES:
            image = _to_reflectance(scene.levels)
            land = np.where(mask == 0, classify_vegetation(image, land), land)
            land[detect_open_water(image) & (mask == 0)] = LandCover.WATER
        middle = tuple(
            slice(max((side - MAX_SCENE_SIDE_PX) // 2, 0), (side + MAX_SCENE_SIDE_PX) // 2) for side in mask.shape
        )
        packed.append(
            PackedScene(scene.name, scene.place, scene.clear, scene.levels[:, *middle], land[middle], mask[middle])
        )
    names, levels = read_eurosat_ms(root)
    images = _to_reflectance(levels)
    taught = cover["eurosat"]
    sure = np.stack([_fuse_chip_cover(*chip) for chip in zip(names, taught, images, strict=True)])
    return PackedData(tuple(packed), {"chips-ms": ChipSet(levels, sure)}, build_library(root / "earthlib"))


def _read_greenness(root: Path) -> Float32:
    """Read NDVI (date, y, x) of the reservoir's surroundings on its clear dates."""
    return np.stack(
        [
            compute_ndvi(_to_reflectance(scene.levels))
            for scene in read_scenes(root)
            if scene.place == RESERVOIR_PLACE and scene.clear
        ]
    )


def detect_reservoir(root: Path) -> Bool:
    """Detect the basin of the reservoir (y, x) from its clear summer dates."""
    return detect_basin(
        scene.bands
        for scene in read_scenes(root)
        if scene.place == RESERVOIR_PLACE and scene.clear and _is_summer(scene)
    )


def _is_summer(scene: RealScene) -> bool:
    """Return whether the scene is from June to September."""
    return 6 <= date.fromisoformat(scene.name.removeprefix(f"{scene.place}-")).month <= 9


def _read_quarters(root: Path, scene: RealScene, drawn: Path | None) -> dict[str, Bool]:
    """Read outlines (y, x) by class on the scene's grid: OpenStreetMap at Brandenburg, drawn by us at Zurich."""
    if scene.grid is None:
        return {}
    if scene.place == "zurich" and drawn is not None:
        names, source, attribute = ["residential", "industrial"], drawn, "class"
    elif scene.place == "brandenburg":
        source, attribute = next((root / "brandenburg").glob("gis_osm*.gpkg")), "fclass"
        names = ["residential", "farm", "forest", "grass", "meadow", "scrub", "water", "wetland"]
    else:
        return {}
    codes = rasterize_labels(source, scene.grid, names, attribute)
    return {name: codes == names.index(name) for name in ("residential", "industrial") if name in names}


def _to_reflectance(levels: UInt8) -> Float32:
    """Convert levels of the tone curve to reflectance; no data is 0."""
    return np.nan_to_num(build_reflectance_table())[levels]


def _fuse_chip_cover(label: str, taught: UInt8, image: Float32) -> UInt8:
    """Fuse the label of a EuroSAT chip with the teacher's pixels.

    Chips of forest and lake get their label everywhere. On built-up chips green ground is not a house. On other chips
    the teacher's pixels count, and unknown pixels are "no building".

    Args:
        label: EuroSAT class of the chip.
        taught: Cover codes of Dynamic World (y, x).
        image: Reflectance (4, y, x).
    """
    if label in {"Forest", "SeaLake"}:
        return np.full_like(taught, CHIP_COVER_CODES[label])
    green = classify_vegetation(image, taught)
    if label in {"Residential", "Industrial"}:
        return np.where(green == LandCover.NODATA, CHIP_COVER_CODES[label], green).astype(np.uint8)
    unsaid = (taught == LandCover.NODATA) | (taught == BUILT)
    return np.where(unsaid, np.where(green == LandCover.NODATA, OPEN, GREEN), taught).astype(np.uint8)


def group_chips_by_class(names: list[str]) -> dict[str, list[str]]:
    """Group the members of the EuroSAT RGB archive by class, sorted; chips 1 to 20 of each are in the other set."""
    by_class: dict[str, list[str]] = {}
    for name in sorted(names):
        if name.endswith(".jpg") and int(Path(name).stem.split("_")[1]) > 20:
            by_class.setdefault(name.split("/")[0], []).append(name)
    return dict(sorted(by_class.items()))


def select_packed_chips(label: str, members: list[str]) -> list[str]:
    """Select the chips of a class that are packed, evenly spread; every fifth of them is for validation."""
    if label not in CHIP_COVER_CODES:
        return []
    count = CHIPS_PER_CLASS.get(label, 300)
    return [members[index * len(members) // count] for index in range(count)]


def read_packed_chips(archive: Path) -> tuple[list[str], list[bytes]]:
    """Read labels and JPEG bytes of the EuroSAT RGB chips that are packed."""
    names, data = [], []
    with zipfile.ZipFile(archive) as chips:
        for label, members in group_chips_by_class(chips.namelist()).items():
            for name in select_packed_chips(label, members):
                data.append(chips.read(name))
                names.append(label)
    return names, data


def run_teachers(root: Path, csmask: Path, sentle: Path) -> tuple[dict[str, UInt8], dict[str, UInt8], dict[str, UInt8]]:
    """Run all teacher models on the real scenes and the EuroSAT chips.

    Args:
        root: Folder of the real data, which contains Dynamic World (needs tensorflow).
        csmask: Folder of the unpacked package ukis-csmask.
        sentle: Folder of the unpacked package sentle (needs torch).

    Returns:
        By scene name: cloud masks of ukis-csmask, cloud masks of sentle, cover codes of Dynamic World. The last one
        also has the chips' cover codes as 'eurosat'.
    """
    options = SessionOptions()
    options.intra_op_num_threads = 2
    models = {False: csmask / "model_4b_l2a.onnx", True: csmask / "model_4b_l1c.onnx"}
    sessions = {l1c: InferenceSession(str(path), options) for l1c, path in models.items()}
    world = root / "dynamicworld-model" / "forward"
    clouds, stronger, cover = {}, {}, {}
    for scene in read_scenes(root):
        if scene.place in CLOUD_TEACHER_PLACES:
            clouds[scene.name] = label_clouds(sessions[scene.l1c], scene)
            seen = label_clouds_cloudsen(sentle / "data" / "cloudmodel.pt", scene)
            if seen is not None:
                stronger[scene.name] = seen
        if all(band in scene.bands for band in DYNAMIC_WORLD_BANDS):
            cover[scene.name] = label_land_cover(world, scene.bands)
    with np.load(root / "eurosat_ms_200" / "eurosat_ms_200.npz", allow_pickle=False) as data:
        names = [str(name) for name in data["bands"]]
        chips = [dict(zip(names, chip.astype(np.float32) / SCALE, strict=True)) for chip in data["x"]]
    cover["eurosat"] = np.stack([label_land_cover(world, chip) for chip in chips])
    return clouds, stronger, cover
