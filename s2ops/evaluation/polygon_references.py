"""Against what we drew by hand: land cover of two towns, clouds over Brandenburg (folder data/, visual interpretation).

Each polygon is one unit of the intervals; pixels of one polygon resemble each other.
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

from s2ops.acquisition.cloud_mask import scene_mask
from s2ops.constants import Float64, UInt8, UInt16
from s2ops.evaluation import baseline_methods, published_models
from s2ops.evaluation.accuracy import UNKNOWN, Seen, Subject, bins_of, confusion, f1, macro_f1
from s2ops.evaluation.simulated_scenes import CLOUD, Tally
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.raster.reader import read_all
from s2ops.single_image import Options, classify
from s2ops.training.datasets.real_scenes import RealScene, scenes

FOLDER: Final = Path(__file__).parent / "data"

CLASSES: Final = ("built", "tree", "grass", "water", "barren")
"""Residential and industrial are one: nobody can draw them apart everywhere."""
NONE: Final = len(CLASSES)
"""Of a map: not classified, or a class that nothing here has."""

OURS: Final = np.array([NONE, 3, 2, 1, 0, 0, 4], np.uint8)
"""Index in `CLASSES` of each `LandCover`."""
DYNAMIC_WORLDS: Final = np.array([3, 1, 2, NONE, 2, NONE, 0, 4, NONE], np.uint8)
"""Of each class of Dynamic World; its crops are handled apart."""

CLEAR_DATE: Final = "2024-06-02"
"""Of Exeter, on which its polygons were drawn."""
BESIDE: Final = "2024-06-17"
"""Of Exeter: lies 80 m beside the other dates, whose files were brought to one another without their datum's shift."""


def polygons(name: str, crs: str, transform: Affine, shape: tuple[int, int]) -> tuple[list[str], UInt16]:
    """The class of each polygon of a file, and (y, x) which polygon (from 1) a pixel's middle lies in; 0 is none."""
    content = json.loads((FOLDER / f"{name}.geojson").read_text())
    labels = [str(feature["properties"]["class"]) for feature in content["features"]]
    shapes = [
        (transform_geom("EPSG:4326", crs, feature["geometry"]), number)
        for number, feature in enumerate(content["features"], 1)
    ]
    numbers: UInt16 = rasterize(shapes, out_shape=shape, transform=transform, dtype="uint16")
    return labels, numbers


def overall(table: Float64) -> float:
    """Part of the pixels that are right."""
    return float(table.diagonal().sum() / table.sum()) if table.sum() else float("nan")


Map = tuple[str, UInt8, Seen]
"""How it was made, (y, x) indices in `CLASSES`, whether training knew the place."""


def towns(tally: Tally, root: Path) -> None:
    """Exeter (20 m) by its clear date, and by all that lie on one another; Zurich (10 m) by its one date."""
    with TemporaryDirectory() as folder:
        work = Path(folder)
        found = (path for path in (root / "exeter-series").glob("*.tif") if BESIDE not in path.name)
        dates = sorted(found, key=lambda path: (CLEAR_DATE not in path.name, path.name))
        bands = Options(bands=(3, 2, 1, 4), offset=-1000)
        _town(tally, "exeter", "Exeter, 20 m, its clear date", dates[:1], bands, work, [])
        _town(tally, "exeter", "Exeter, 20 m, four dates", dates, bands, work, [])
        plain = work / "zurich.tif"
        plain.write_bytes(decompress(next((root / "zurich").glob("*.xz")).read_bytes()))
        scene = next(scene for scene in scenes(root) if scene.place == "zurich")
        others = _dynamic_world(root, scene)
        _town(tally, "zurich", "Zurich, 10 m, one cloudy date", [plain], Options(), work, others)


def _dynamic_world(root: Path, scene: RealScene) -> list[Map]:
    found = published_models.dynamic_world(root, scene.bands)
    if found is None:
        return []
    made = DYNAMIC_WORLDS[found]
    red, nir = scene.bands["B04"], scene.bands["B08"]
    made[(found == published_models.CROPS) & (nir - red < 0.3 * (nir + red))] = CLASSES.index("barren")  # NDVI < 0.3
    return [(published_models.DYNAMIC_WORLD, made, "no training")]


def _town(
    tally: Tally, place: str, data: str, dates: Sequence[Path], options: Options, work: Path, others: Sequence[Map]
) -> None:
    target = work / f"{place}-{len(dates)}.tif"
    percent = read_all(str(classify(dates, target, options)))[0]
    with rasterio.open(target) as src:
        codes = src.read(1)
        labels, numbers = polygons(place, str(src.crs), src.transform, src.shape)
    seen: Seen = "seen" if place == "zurich" else "held out"
    scores: dict[str, Callable[[Float64], float]] = {"overall accuracy": overall, "macro F1": macro_f1}
    scores |= {f"F1 {name}": f1(index) for index, name in enumerate(CLASSES)}
    truth = painted(labels, numbers, CLASSES)
    for method, found, known in [("s2ops classify", OURS[codes], seen), *others]:
        tables = [confusion(part, values, NONE + 1) for part, values in by_polygon(truth, found, numbers)]
        tally.figures += Subject("land cover", data, method, "polygons", known).of_tables(tables, scores)
    bins = [
        bins_of(part[part != UNKNOWN] / 100.0, right[part != UNKNOWN] > 0)
        for right, part in by_polygon((OURS[codes] == truth).astype(np.uint8), percent, numbers)
    ]
    tally.calibration(Subject("land cover", data, "s2ops classify", "polygons", seen), bins)


def painted(labels: Sequence[str], numbers: UInt16, classes: Sequence[str]) -> UInt8:
    """(y, x) index of the class, 255 outside all polygons."""
    table = np.array([UNKNOWN, *(classes.index(label) for label in labels)], np.uint8)
    out: UInt8 = table[numbers]
    return out


def by_polygon(first: UInt8, second: UInt8, numbers: UInt16) -> Iterator[tuple[UInt8, UInt8]]:
    """The pixels of both images in each polygon that has any."""
    for number in np.unique(numbers[numbers > 0]):
        inside = numbers == number
        yield first[inside], second[inside]


def clouds(tally: Tally, root: Path) -> None:
    """Brandenburg in February: thin and thicker streaks of cloud, frozen lakes; L1C."""
    scene = next(scene for scene in scenes(root) if scene.place == "brandenburg")
    path = next((root / "brandenburg" / "IMG_DATA").glob("*B02.jp2"))
    with rasterio.open(path) as src:
        labels, numbers = polygons("brandenburg", str(src.crs), src.transform, src.shape)
    truth = painted(labels, numbers, ("clear", "cloud"))
    data = "Brandenburg, 10 m, L1C, drawn by hand"
    for method, found, seen in _cloud_maps(scene):
        tables = [confusion(part, values, 2) for part, values in by_polygon(truth, found, numbers)]
        subject = Subject("scene-cloud", data, method, "polygons", seen)
        tally.figures += subject.of_tables(tables, {**CLOUD, "overall accuracy": overall})


def _cloud_maps(scene: RealScene) -> Iterator[Map]:
    probs = segment(open_segmenter("scene-cloud"), scene.levels)
    mask = scene_mask(probs, np.asarray((scene.levels > 0).all(axis=0)), scene.res)
    yield "s2ops network", (probs.argmax(axis=0) == 1).astype(np.uint8), "seen"
    yield "s2ops mask (grown)", (mask == 1).astype(np.uint8), "seen"
    yield "B02 > 0.18", (scene.bands["B02"] > baseline_methods.BRIGHT).astype(np.uint8), "no training"
    for method, other in baseline_methods.csmasks(scene.levels, scene.res):
        yield method, (other == 1).astype(np.uint8), "no training"
    pixelwise = published_models.cloudless(scene.bands)
    if pixelwise is not None:
        yield published_models.CLOUDLESS, pixelwise, "no training"
