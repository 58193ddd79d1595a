"""Accuracy against hand-drawn reference polygons (visual interpretation): land cover of two towns, clouds.

The polygons lie in the folder data/. Each polygon is one unit of the intervals, since its pixels resemble each other.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from lzma import decompress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import rasterio
from affine import Affine
from rasterio.features import rasterize
from rasterio.warp import transform_geom

from s2ops.acquisition.cloud_mask import compute_scene_mask
from s2ops.constants import Float64, UInt8, UInt16
from s2ops.evaluation import baseline_methods, published_models
from s2ops.evaluation.accuracy import UNKNOWN_TRUTH, Subject, TrainingExposure, build_f1_score, count_by_confidence
from s2ops.evaluation.simulated_scenes import CLOUD_SCORES, FigureCollection
from s2ops.imaging.classification_metrics import compute_macro_f1, compute_overall_accuracy, count_confusion
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.raster.reader import read_all
from s2ops.single_image import ImageOptions, classify
from s2ops.training.datasets.real_scenes import RealScene, read_scenes

POLYGON_FOLDER: Final = Path(__file__).parent / "data"

CLASSES: Final = ("built", "tree", "grass", "water", "barren")
"""Classes of the polygons; residential and industrial are one, since they cannot be separated by eye everywhere."""
OTHER_CLASS: Final = len(CLASSES)
"""Index of map pixels that are not classified, or whose class no polygon has."""

LAND_COVER_INDEX: Final = np.array([OTHER_CLASS, 3, 2, 1, 0, 0, 4], np.uint8)
"""Index in `CLASSES` of each `LandCover`."""
DYNAMIC_WORLD_INDEX: Final = np.array([3, 1, 2, OTHER_CLASS, 2, OTHER_CLASS, 0, 4, OTHER_CLASS], np.uint8)
"""Index in `CLASSES` of each class of Dynamic World; crops are handled separately."""

CLEAR_DATE: Final = "2024-06-02"
"""Date of Exeter on which its polygons were drawn."""
MISREGISTERED_DATE: Final = "2024-06-17"
"""Date of Exeter that lies 80 m beside the others: the files were aligned without the shift of their datum."""

EXETER_OPTIONS: Final = ImageOptions(bands=(3, 2, 1, 4), offset=-1000)
"""Bands and offset of the files of Exeter."""


def list_exeter_files(root: Path) -> list[Path]:
    """List the aligned dates of Exeter, the clear one first."""
    paths = [path for path in (root / "exeter-series").glob("*.tif") if MISREGISTERED_DATE not in path.name]
    return sorted(paths, key=lambda path: (CLEAR_DATE not in path.name, path.name))


def rasterize_polygons(name: str, crs: str, transform: Affine, shape: tuple[int, int]) -> tuple[list[str], UInt16]:
    """Rasterize the polygons of a file.

    Args:
        name: Name of the GeoJSON file in data/, without suffix.
        crs: Coordinate system of the grid.
        transform: Affine transform of the grid.
        shape: Shape (y, x) of the grid.

    Returns:
        Class of each polygon, and the number of the polygon (from 1) that contains a pixel's centre (y, x), 0 for none.
    """
    content = json.loads((POLYGON_FOLDER / f"{name}.geojson").read_text())
    labels = [str(feature["properties"]["class"]) for feature in content["features"]]
    shapes = [
        (transform_geom("EPSG:4326", crs, feature["geometry"]), number)
        for number, feature in enumerate(content["features"], 1)
    ]
    numbers: UInt16 = rasterize(shapes, out_shape=shape, transform=transform, dtype="uint16")
    return labels, numbers


MethodMap = tuple[str, UInt8, TrainingExposure]
"""Method name, class index (y, x), use of the place in training."""


def score_towns(tally: FigureCollection, root: Path) -> None:
    """Score land cover of Exeter (20 m; its clear date, and all aligned dates) and of Zurich (10 m, one date)."""
    with TemporaryDirectory() as folder:
        work = Path(folder)
        dates = list_exeter_files(root)
        _score_town(tally, "exeter", "Exeter, 20 m, its clear date", dates[:1], EXETER_OPTIONS, work, [])
        _score_town(tally, "exeter", "Exeter, 20 m, four dates", dates, EXETER_OPTIONS, work, [])
        plain = work / "zurich.tif"
        plain.write_bytes(decompress(next((root / "zurich").glob("*.xz")).read_bytes()))
        scene = next(scene for scene in read_scenes(root) if scene.place == "zurich")
        others = _map_dynamic_world(root, scene)
        _score_town(tally, "zurich", "Zurich, 10 m, one cloudy date", [plain], ImageOptions(), work, others)


def _map_dynamic_world(root: Path, scene: RealScene) -> list[MethodMap]:
    """Classify the scene with Dynamic World in our classes; empty if it cannot run."""
    found = published_models.classify_with_dynamic_world(root, scene.bands)
    if found is None:
        return []
    made = DYNAMIC_WORLD_INDEX[found]
    red, nir = scene.bands["B04"], scene.bands["B08"]
    bare = nir - red < 0.3 * (nir + red)  # NDVI below 0.3
    made[(found == published_models.CROPS_CLASS) & bare] = CLASSES.index("barren")
    return [(published_models.DYNAMIC_WORLD, made, "no training")]


def _score_town(
    tally: FigureCollection,
    place: str,
    data: str,
    dates: Sequence[Path],
    options: ImageOptions,
    work: Path,
    others: Sequence[MethodMap],
) -> None:
    """Score the map that `s2ops classify` makes of the dates, and the maps of other methods."""
    target = work / f"{place}-{len(dates)}.tif"
    percent = read_all(str(classify(dates, target, options)))[0]
    with rasterio.open(target) as src:
        codes = src.read(1)
        labels, numbers = rasterize_polygons(place, str(src.crs), src.transform, src.shape)
    seen: TrainingExposure = "seen" if place == "zurich" else "held out"
    scores: dict[str, Callable[[Float64], float]] = {
        "overall accuracy": compute_overall_accuracy,
        "macro F1": compute_macro_f1,
    }
    scores |= {f"F1 {name}": build_f1_score(index) for index, name in enumerate(CLASSES)}
    truth = assign_classes(labels, numbers, CLASSES)
    for method, found, known in [("s2ops classify", LAND_COVER_INDEX[codes], seen), *others]:
        tables = [
            count_confusion(part, values, OTHER_CLASS + 1) for part, values in split_by_polygon(truth, found, numbers)
        ]
        tally.figures += Subject("land cover", data, method, "polygons", known).score_tables(tables, scores)
    bins = [
        count_by_confidence(part[part != UNKNOWN_TRUTH] / 100.0, right[part != UNKNOWN_TRUTH] > 0)
        for right, part in split_by_polygon((LAND_COVER_INDEX[codes] == truth).astype(np.uint8), percent, numbers)
    ]
    tally.add_calibration(Subject("land cover", data, "s2ops classify", "polygons", seen), bins)


def assign_classes(labels: Sequence[str], numbers: UInt16, classes: Sequence[str]) -> UInt8:
    """Return the index in `classes` of each pixel (y, x), 255 outside all polygons."""
    table = np.array([UNKNOWN_TRUTH, *(classes.index(label) for label in labels)], np.uint8)
    out: UInt8 = table[numbers]
    return out


def split_by_polygon(first: UInt8, second: UInt8, numbers: UInt16) -> Iterator[tuple[UInt8, UInt8]]:
    """Yield the pixels of both images in each polygon that contains any."""
    for number in np.unique(numbers[numbers > 0]):
        inside = numbers == number
        yield first[inside], second[inside]


def score_clouds(tally: FigureCollection, root: Path) -> None:
    """Score clouds over Brandenburg in February (L1C): thin and thicker streaks of cloud, frozen lakes."""
    scene = next(scene for scene in read_scenes(root) if scene.place == "brandenburg")
    path = next((root / "brandenburg" / "IMG_DATA").glob("*B02.jp2"))
    with rasterio.open(path) as src:
        labels, numbers = rasterize_polygons("brandenburg", str(src.crs), src.transform, src.shape)
    truth = assign_classes(labels, numbers, ("clear", "cloud"))
    data = "Brandenburg, 10 m, L1C, drawn by hand"
    for method, found, seen in _iterate_cloud_maps(scene):
        tables = [count_confusion(part, values, 2) for part, values in split_by_polygon(truth, found, numbers)]
        subject = Subject("scene-cloud", data, method, "polygons", seen)
        tally.figures += subject.score_tables(tables, {**CLOUD_SCORES, "overall accuracy": compute_overall_accuracy})


def _iterate_cloud_maps(scene: RealScene) -> Iterator[MethodMap]:
    """Yield the cloud mask (1 is cloud) of each method."""
    probs = segment(open_segmenter("scene-cloud"), scene.levels)
    mask = compute_scene_mask(probs, np.asarray((scene.levels > 0).all(axis=0)), scene.res)
    yield "s2ops network", (probs.argmax(axis=0) == 1).astype(np.uint8), "seen"
    yield "s2ops mask (grown)", (mask == 1).astype(np.uint8), "seen"
    yield "B02 > 0.18", (scene.bands["B02"] > baseline_methods.MIN_CLOUD_BLUE).astype(np.uint8), "no training"
    for method, other in baseline_methods.iterate_csmask_variants(scene.levels, scene.res):
        yield method, (other == 1).astype(np.uint8), "no training"
    pixelwise = published_models.mask_with_s2cloudless(scene.bands)
    if pixelwise is not None:
        yield published_models.S2CLOUDLESS, pixelwise, "no training"
