"""Comparison of three single-task networks with one network for all six classes (a claim of the paper).

The network that makes the maps lies between the two: it has the three tasks as heads of one trunk (multi-task network).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from s2ops.constants import Float64, Int64, UInt8, UInt16
from s2ops.evaluation import polygon_references
from s2ops.evaluation.accuracy import Subject, TrainingExposure, build_f1_score, count_by_confidence
from s2ops.evaluation.simulated_scenes import FIRST_SEED, SAMPLE_SIZE_PX, FigureCollection
from s2ops.imaging.classification_metrics import compute_macro_f1, compute_overall_accuracy, count_confusion
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.protocols import Segmenter
from s2ops.inference.sliding_window import segment
from s2ops.landcover.date_fusion import CLASS_ORDER, combine_tasks
from s2ops.models.registry import LANDCOVER, list_tasks, split_by_head
from s2ops.simulate.training_patches import simulate_patch
from s2ops.training.datasets.pools import Pool, derive_labels
from s2ops.training.datasets.real_scenes import RealScene, read_scenes

ALL_CLASSES: Final = "all-classes"
"""Network for all classes: same width and training as the three, on red, green, blue, nir; not in the package."""

TITLE: Final = "three networks or one"

THREE: Final = "three networks combined"
SHARED: Final = "one trunk with three heads (s2ops)"
SINGLE: Final = "one network for all classes"

MethodAnswer = tuple[str, UInt8, Float64]
"""Method name, index in `CLASSES` (y, x), confidence 0 to 1 (y, x)."""


def iterate_answers(
    three: Sequence[Segmenter], shared: Segmenter, one: Segmenter, levels: UInt8
) -> Iterator[MethodAnswer]:
    """Yield the map and its confidence of each of the three methods."""
    ways = {
        THREE: [segment(network, levels) for network in three],
        SHARED: split_by_head(LANDCOVER, segment(shared, levels)),
    }
    for method, (water, vegetation, building) in ways.items():
        together = combine_tasks(water, vegetation, building)
        yield method, together.argmax(axis=0).astype(np.uint8), together.max(axis=0).astype(np.float64)
    probs = segment(one, levels).astype(np.float64)
    sure = probs.max(axis=0) / np.maximum(probs.sum(axis=0), 1)
    yield SINGLE, probs.argmax(axis=0).astype(np.uint8), sure


def compare_networks(tally: FigureCollection, root: Path | None, folder: str, count: int) -> None:
    """Compare the methods on clear ground of the simulated world at 10 and 120 m, and on the towns with drawn polygons.

    Args:
        tally: Collection that receives the figures.
        root: Folder of the real data; None leaves the towns out.
        folder: Folder or URI with the network for all classes.
        count: Number of simulated places per resolution.
    """
    three = [open_segmenter(task.name) for task in list_tasks(LANDCOVER)]
    shared, one = open_segmenter(LANDCOVER), open_segmenter(ALL_CLASSES, folder)
    for res in (10, 120):
        tables: dict[str, list[Int64]] = {}
        bins: dict[str, list[Float64]] = {}
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            sample = simulate_patch(seed, SAMPLE_SIZE_PX, res)
            truth = derive_labels(ALL_CLASSES, Pool(sample.image[None], sample.classes[None], sample.mask[None]))[0]
            for method, found, sure in iterate_answers(three, shared, one, sample.image):
                tables.setdefault(method, []).append(count_confusion(truth, found, len(CLASS_ORDER)))
                known = truth < len(CLASS_ORDER)
                bins.setdefault(method, []).append(count_by_confidence(sure[known], found[known] == truth[known]))
        data = f"{TITLE} · simulated, {res} m"
        for method, table in tables.items():
            scores = {"macro F1": compute_macro_f1} | {
                f"F1 {code.name.lower()}": build_f1_score(i) for i, code in enumerate(CLASS_ORDER)
            }
            subject = Subject("land cover", data, method, "places")
            tally.figures += subject.score_tables(table, scores)
            if method == SHARED:
                tally.add_calibration(subject, bins[method])
    if root is not None:
        _score_towns(tally, root, three, shared, one)


def _score_towns(
    tally: FigureCollection, root: Path, three: Sequence[Segmenter], shared: Segmenter, one: Segmenter
) -> None:
    """Score the methods against the polygons drawn at Exeter and Zurich, without a cloud mask."""
    scores: dict[str, Callable[[Float64], float]] = {
        "overall accuracy": compute_overall_accuracy,
        "macro F1": compute_macro_f1,
    }
    for scene in read_scenes(root):
        if scene.name == f"exeter-{polygon_references.CLEAR_DATE}" or scene.place == "zurich":
            truth, numbers = _read_polygons(root, scene)
            seen: TrainingExposure = "seen" if scene.place == "zurich" else "held out"
            for method, found, _ in iterate_answers(three, shared, one, scene.levels):
                tables = [
                    count_confusion(part, values, polygon_references.OTHER_CLASS + 1)
                    for part, values in polygon_references.split_by_polygon(
                        truth, polygon_references.LAND_COVER_INDEX[found + 1], numbers
                    )
                ]
                data = f"{TITLE} · {scene.place.capitalize()}, drawn by hand, no mask"
                tally.figures += Subject("land cover", data, method, "polygons", seen).score_tables(tables, scores)


def _read_polygons(root: Path, scene: RealScene) -> tuple[UInt8, UInt16]:
    """Read the polygons of a scene on its grid: class (y, x) and polygon number (y, x)."""
    if scene.grid is not None:
        crs, transform, shape = str(scene.grid.crs), scene.grid.transform, scene.grid.shape
    else:
        with rasterio.open(next((root / "exeter-series").glob(f"*{polygon_references.CLEAR_DATE}*.tif"))) as src:
            crs, transform, shape = str(src.crs), src.transform, src.shape
    names, numbers = polygon_references.rasterize_polygons(scene.place, crs, transform, (int(shape[0]), int(shape[1])))
    return polygon_references.assign_classes(names, numbers, polygon_references.CLASSES), numbers
