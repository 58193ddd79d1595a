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
from s2ops.imaging.tone_curve import SCALE, build_reflectance_table
from s2ops.training.datasets.label_rasters import rasterize_labels
from s2ops.training.datasets.packed_scenes import CHIP_COVER_CODES, ChipSet, PackedData, PackedScene
from s2ops.training.datasets.pools import BUILT, GREEN, LAND, OPEN
from s2ops.training.datasets.real_scenes import RGBN_BANDS, RealScene, convert_scl_to_mask, read_eurosat_ms, read_scenes
from s2ops.training.datasets.shoreline_labels import classify_water_by_swir, detect_basin, refine_shoreline
from s2ops.training.datasets.teacher_models import (
    DYNAMIC_WORLD_BANDS,
    label_clouds,
    label_clouds_cloudsen,
    label_land_cover,
)
from s2ops.training.datasets.vegetation_labels import MIN_VEGETATION_NDVI, classify_vegetation, compute_ndvi, is_smooth

CLOUD_TEACHER_PLACES: Final = ("boadella", "exeter", "zurich", "brandenburg")
"""Where the cloud teachers are asked; the other scenes are clear by eye."""

COVER_TEACHER_PLACES: Final = ("boadella", "zurich", "brandenburg")
"""Where the land-cover teacher is asked: it needs nine bands."""

UNINHABITED_PLACES: Final = ("dsen2-australia", "spyndex", "patagonia")
"""Places without a house in sight."""

FOUR_BAND_PLACES: Final = ("virginia", "dsen2-germany")
"""Clear places of four bands, too few for the teacher: the index and the texture know the green ground."""

RESERVOIR_PLACE: Final = "boadella"
"""Where the level of the water differs from date to date."""

OPAQUE_SCENES: Final = ("boadella-2020-01-18", "boadella-2020-01-23")
"""Scenes with nothing of the ground to be seen."""

UNKNOWN: Final = 255

MAX_SCENE_SIDE_PX: Final = 1200
"""Pixels; larger scenes are cut to their middle."""

MIN_CLOUD_PX: Final = 300
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

QUARTER_RIM_PX: Final = 6
"""Pixels around the outline of a quarter that stay open."""

MIN_TREE_FREQUENCY: Final = 1 / 3
"""Part of a place's dates on which the teacher must see trees."""


def fuse_cloud_labels(scene: RealScene, taught: UInt8 | None, stronger: UInt8 | None = None) -> UInt8:
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
        esa = convert_scl_to_mask(scene.scl)
        mask = np.where((esa == taught) | (esa == 1), esa, UNKNOWN).astype(np.uint8)
        mask[(scene.scl == 10) & (taught == 0)] = UNKNOWN  # cirrus that only band 10 sees
    elif scene.l1c and taught is not None and stronger is not None:
        cloud = _remove_small_clouds(taught == 1)  # made for L2A, the stronger one alone takes ice for cloud
        mask[(taught == 0) & (stronger == 0)] = 0
        mask[cloud & (stronger == 1)] = 1
    elif stronger is not None:
        mask = stronger.copy()
    mask[empty] = UNKNOWN
    return mask


def _remove_small_clouds(cloud: Bool) -> Bool:
    parts, _ = ndimage.label(cloud)
    sizes = np.bincount(parts.ravel())
    out: Bool = cloud & (sizes[parts] >= MIN_CLOUD_PX)
    return out


def fuse_cover_labels(
    scene: RealScene, taught: UInt8, mask: UInt8, quarters: Mapping[str, Bool], lake: Bool | None = None
) -> UInt8:
    """(y, x) cover codes: Dynamic World where the sky is clear, put right by what is known better.

    `quarters` (class -> y, x) are outlines drawn by people. Where a scene has them the teacher's "built" counts for
    nothing, and neither do its meadows on ground that is not green: it overlooks most houses of Zurich. What is green
    in a quarter is no house, and a smooth wood is a field (`green.plants`). `lake` is the basin of a reservoir, whose
    shores are found anew.
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
        cover[bare & (cover == LandCover.NODATA)] = LandCover.BARREN  # a field without crops, wide and dark
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
        if not scene.clear:  # the teacher does not see through the veil; band 11 does
            cover[~water & (cover != LandCover.TREE)] = LAND
    return cover


def propagate_lasting_trees(dates: dict[str, UInt8]) -> dict[str, UInt8]:
    """Cover of several dates of one place, with trees on every date where a third of the dates shows them.

    The teacher calls broad-leaved woods now trees, now shrub, now meadow; woods do not come and go.
    """
    if not dates:
        return {}
    often = np.mean([land == LandCover.TREE for land in dates.values()], axis=0) >= MIN_TREE_FREQUENCY
    return {name: np.where(often, LandCover.TREE, land).astype(np.uint8) for name, land in dates.items()}


def pack_real_data(
    root: Path, clouds: dict[str, UInt8], stronger: dict[str, UInt8], cover: dict[str, UInt8], drawn: Path | None
) -> PackedData:
    """Read everything below `root` (`S2OPS_REAL_DATA`) and put the teachers' labels, by scene name, to it.

    `drawn` is a GeoJSON of quarters at Zurich (property `class`: residential or industrial).
    """
    packed = []
    lake = detect_reservoir(root)
    cover = cover | propagate_lasting_trees({name: land for name, land in cover.items() if name.startswith("boadella")})
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
        elif scene.place in UNINHABITED_PLACES:
            land[mask == 0] = OPEN
        elif scene.place in FOUR_BAND_PLACES:
            land = np.where(mask == 0, classify_vegetation(_to_reflectance(scene.levels), land), land)
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
    return PackedData(tuple(packed), {"chips-ms": ChipSet(levels, sure)})


def detect_reservoir(root: Path) -> Bool:
    """(y, x) the basin of the reservoir, from its clear dates under a high sun."""
    return detect_basin(
        scene.bands
        for scene in read_scenes(root)
        if scene.place == RESERVOIR_PLACE and scene.clear and _is_summer(scene)
    )


def _is_summer(scene: RealScene) -> bool:
    return 6 <= date.fromisoformat(scene.name.removeprefix(f"{scene.place}-")).month <= 9


def _read_quarters(root: Path, scene: RealScene, drawn: Path | None) -> dict[str, Bool]:
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
    codes = rasterize_labels(source, scene.grid, names, attribute)
    return {name: codes == names.index(name) for name in ("residential", "industrial") if name in names}


def _to_reflectance(levels: UInt8) -> Float32:
    return np.nan_to_num(build_reflectance_table())[levels]


def _fuse_chip_cover(label: str, taught: UInt8, image: Float32) -> UInt8:
    """The chip's own label where it is pure, the teacher's pixels elsewhere; only "no building" where that is open.

    What is green on a built-up chip is no house.
    """
    if label in {"Forest", "SeaLake"}:
        return np.full_like(taught, CHIP_COVER_CODES[label])
    green = classify_vegetation(image, taught)
    if label in {"Residential", "Industrial"}:
        return np.where(green == LandCover.NODATA, CHIP_COVER_CODES[label], green).astype(np.uint8)
    unsaid = (taught == LandCover.NODATA) | (taught == BUILT)
    return np.where(unsaid, np.where(green == LandCover.NODATA, OPEN, GREEN), taught).astype(np.uint8)


def group_chips_by_class(names: list[str]) -> dict[str, list[str]]:
    """Members of the EuroSAT archive by class, sorted; chips 1 to 20 of each class belong to the other set."""
    by_class: dict[str, list[str]] = {}
    for name in sorted(names):
        if name.endswith(".jpg") and int(Path(name).stem.split("_")[1]) > 20:
            by_class.setdefault(name.split("/")[0], []).append(name)
    return dict(sorted(by_class.items()))


def select_packed_chips(label: str, members: list[str]) -> list[str]:
    """The chips of a class that are packed, evenly spread; of these every fifth is for validation."""
    if label not in CHIP_COVER_CODES:
        return []
    count = CHIPS_PER_CLASS.get(label, 300)
    return [members[index * len(members) // count] for index in range(count)]


def read_packed_chips(archive: Path) -> tuple[list[str], list[bytes]]:
    """Labels and JPEG bytes of the EuroSAT RGB chips that are packed."""
    names, data = [], []
    with zipfile.ZipFile(archive) as chips:
        for label, members in group_chips_by_class(chips.namelist()).items():
            for name in select_packed_chips(label, members):
                data.append(chips.read(name))
                names.append(label)
    return names, data


def run_teachers(root: Path, csmask: Path, sentle: Path) -> tuple[dict[str, UInt8], dict[str, UInt8], dict[str, UInt8]]:
    """By scene name: clouds of ukis-csmask, clouds of sentle, land cover; 'eurosat' holds the chips' land cover.

    `csmask` and `sentle` are the unpacked packages; Dynamic World lies in `root` and needs tensorflow.
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
