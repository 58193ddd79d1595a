"""The paper's claim put to the test: three networks, each with its own task, against one for all six classes.

Between the two stands what makes the maps: one network with the three tasks as heads of one trunk.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from s2ops.constants import Float64, Int64, UInt8, UInt16
from s2ops.evaluation import polygon_references
from s2ops.evaluation.accuracy import Seen, Subject, bins_of, confusion, f1, macro_f1
from s2ops.evaluation.simulated_scenes import FIRST_SEED, SIDE, Tally
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.protocols import Segmenter
from s2ops.inference.sliding_window import segment
from s2ops.landcover.date_fusion import CLASSES, combine
from s2ops.models.registry import LANDCOVER, by_head, tasks
from s2ops.simulate.training_patches import patch
from s2ops.training.datasets.pools import Pool, labels
from s2ops.training.datasets.real_scenes import RealScene, scenes

ONE: Final = "all-classes"
"""Of the same width and the same training as the three, on red, green, blue and nir; no part of the package."""

TITLE: Final = "three networks or one"

THREE: Final = "three networks combined"
SHARED: Final = "one trunk with three heads (s2ops)"
SINGLE: Final = "one network for all classes"

Answer = tuple[str, UInt8, Float64]
"""Who answered, (y, x) index in `CLASSES`, and how sure, 0 to 1."""


def _answers(three: Sequence[Segmenter], shared: Segmenter, one: Segmenter, levels: UInt8) -> Iterator[Answer]:
    ways = {
        THREE: [segment(network, levels) for network in three],
        SHARED: by_head(LANDCOVER, segment(shared, levels)),
    }
    for method, (water, vegetation, building) in ways.items():
        together = combine(water, vegetation, building)
        yield method, together.argmax(axis=0).astype(np.uint8), together.max(axis=0).astype(np.float64)
    probs = segment(one, levels).astype(np.float64)
    sure = probs.max(axis=0) / np.maximum(probs.sum(axis=0), 1)
    yield SINGLE, probs.argmax(axis=0).astype(np.uint8), sure


def three_or_one(tally: Tally, root: Path | None, folder: str, count: int) -> None:
    """On clear ground of the simulated world at 10 and 120 m, and on the drawn towns; `folder` holds the one."""
    three = [open_segmenter(task.name) for task in tasks(LANDCOVER)]
    shared, one = open_segmenter(LANDCOVER), open_segmenter(ONE, folder)
    for res in (10, 120):
        tables: dict[str, list[Int64]] = {}
        bins: dict[str, list[Float64]] = {}
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            sample = patch(seed, SIDE, res)
            truth = labels(ONE, Pool(sample.image[None], sample.classes[None], sample.mask[None]))[0]
            for method, found, sure in _answers(three, shared, one, sample.image):
                tables.setdefault(method, []).append(confusion(truth, found, len(CLASSES)))
                known = truth < len(CLASSES)
                bins.setdefault(method, []).append(bins_of(sure[known], found[known] == truth[known]))
        data = f"{TITLE} · simulated, {res} m"
        for method, table in tables.items():
            scores = {"macro F1": macro_f1} | {f"F1 {code.name.lower()}": f1(i) for i, code in enumerate(CLASSES)}
            subject = Subject("land cover", data, method, "places")
            tally.figures += subject.of_tables(table, scores)
            if method == SHARED:
                tally.calibration(subject, bins[method])
    if root is not None:
        _towns(tally, root, three, shared, one)


def _towns(tally: Tally, root: Path, three: Sequence[Segmenter], shared: Segmenter, one: Segmenter) -> None:
    scores: dict[str, Callable[[Float64], float]] = {
        "overall accuracy": polygon_references.overall,
        "macro F1": macro_f1,
    }
    for scene in scenes(root):
        if scene.name == f"exeter-{polygon_references.CLEAR_DATE}" or scene.place == "zurich":
            truth, numbers = _drawn(root, scene)
            seen: Seen = "seen" if scene.place == "zurich" else "held out"
            for method, found, _ in _answers(three, shared, one, scene.levels):
                tables = [
                    confusion(part, values, polygon_references.NONE + 1)
                    for part, values in polygon_references.by_polygon(
                        truth, polygon_references.OURS[found + 1], numbers
                    )
                ]
                data = f"{TITLE} · {scene.place.capitalize()}, drawn by hand, no mask"
                tally.figures += Subject("land cover", data, method, "polygons", seen).of_tables(tables, scores)


def _drawn(root: Path, scene: RealScene) -> tuple[UInt8, UInt16]:
    if scene.grid is not None:
        crs, transform, shape = str(scene.grid.crs), scene.grid.transform, scene.grid.shape
    else:
        with rasterio.open(next((root / "exeter-series").glob(f"*{polygon_references.CLEAR_DATE}*.tif"))) as src:
            crs, transform, shape = str(src.crs), src.transform, src.shape
    names, numbers = polygon_references.polygons(scene.place, crs, transform, (int(shape[0]), int(shape[1])))
    return polygon_references.painted(names, numbers, polygon_references.CLASSES), numbers
