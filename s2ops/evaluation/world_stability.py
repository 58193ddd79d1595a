"""World checks of stability: windows shifted, several dates against the best one, honest confidence."""

from collections.abc import Mapping, Sequence
from functools import partial
from lzma import decompress
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from s2ops.constants import Float64, Int64, LandCover, UInt8, UInt16
from s2ops.evaluation.accuracy import (
    BLOCK_SIZE_PX,
    UNKNOWN_TRUTH,
    Score,
    Subject,
    TrainingExposure,
    build_f1_score,
    compute_calibration_error,
    count_by_confidence,
    iterate_blocks,
)
from s2ops.evaluation.polygon_references import (
    CLASSES,
    EXETER_OPTIONS,
    LAND_COVER_INDEX,
    OTHER_CLASS,
    assign_classes,
    list_exeter_files,
    rasterize_polygons,
)
from s2ops.evaluation.reservoir_water import map_reference_water
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.evaluation.world_gates import WORLD
from s2ops.evaluation.world_maps import LandCoverMap, WorldMaps, read_zagreb_levels
from s2ops.evaluation.world_shares import BUILT, METHOD, add_share, count_by_block
from s2ops.imaging.classification_metrics import compute_macro_f1, compute_overall_accuracy, count_confusion
from s2ops.single_image import ImageOptions
from s2ops.training.datasets.label_fusion import detect_reservoir

SHIFT_PX: Final = 256
"""Number of rows and columns that are cropped off Virginia; pixels this close to the crop's new edges do not count."""
SMALL_SHIFT_PX: Final = 128
"""The same on all four sides of the tile of Zagreb, which is 915 px wide."""


def score_window_shift(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of pixels whose class depends on the window grid, of all and of built pixels."""
    levels = maps.scenes["virginia"].levels
    shifted = maps.classify_levels([np.ascontiguousarray(levels[:, SHIFT_PX:, SHIFT_PX:])]).classes
    inside = slice(SHIFT_PX, None)
    whole = maps.classify_scenes("virginia").classes[SHIFT_PX:, SHIFT_PX:]
    _add_changes(tally, "Virginia, windows shifted, 10 m", whole[inside, inside], shifted[inside, inside])
    levels = read_zagreb_levels(maps.root)
    cut = slice(SMALL_SHIFT_PX, -SMALL_SHIFT_PX)
    shifted = maps.classify_levels([np.ascontiguousarray(levels[:, cut, cut])], 120).classes
    whole = maps.classify_levels([levels], 120).classes[cut, cut]
    _add_changes(tally, "Zagreb, windows shifted, 120 m", whole[cut, cut], shifted[cut, cut])


def _add_changes(tally: FigureCollection, data: str, first: UInt8, second: UInt8) -> None:
    """Add the share of pixels that differ between two maps (y, x) where both have a class."""
    both, changed = (first > 0) & (second > 0), first != second
    built = both & (np.isin(first, BUILT) | np.isin(second, BUILT))
    seen: TrainingExposure = "seen" if data.startswith("Virginia") else "held out"
    for kind, where in (("all", both), ("built", built)):
        add_share(tally, data, f"changed, {kind} pixels", count_by_block(changed, where), seen)


def score_exeter(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score four dates of Exeter minus the best single date, against the drawn polygons, and the confidence."""
    paths = list_exeter_files(maps.root)
    fused = maps.classify_files(paths, EXETER_OPTIONS)
    tables = _count_by_polygon(fused, paths[0], "exeter")
    alone = [_count_by_polygon(maps.classify_files([path], EXETER_OPTIONS), path, "exeter") for path in paths]
    scores = {"overall accuracy": compute_overall_accuracy, "macro F1": compute_macro_f1}
    add_gains(tally, "Exeter, four dates minus the best single date", "polygons", tables, alone, scores)
    _add_calibration(tally, "Exeter, four dates", fused, paths[0], "exeter")


def score_zurich(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the confidence at Zurich against the drawn polygons; the place has one date only."""
    plain = maps.folder / "zurich.tif"
    plain.write_bytes(decompress(next((maps.root / "zurich").glob("*.xz")).read_bytes()))
    found = maps.classify_files([plain], ImageOptions())
    _add_calibration(tally, "Zurich, one cloudy date", found, plain, "zurich")


def score_boadella(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score all dates of Boadella minus the best single clear date, on water and land that no date changes."""
    clear, lake = maps.list_clear_scenes("boadella"), detect_reservoir(maps.root)
    truths = np.stack([map_reference_water(scene.bands, lake, shore=False) for scene in clear])
    truth = np.where((truths == truths[0]).all(axis=0), truths[0], UNKNOWN_TRUTH).astype(np.uint8)
    names = [scene.name for scene in maps.scenes.values() if scene.place == "boadella"]
    tables, *alone = (
        _count_water_by_block(truth, maps.classify_scenes(*chosen).classes)
        for chosen in (names, *([scene.name] for scene in clear))
    )
    data = f"Boadella, {len(names)} dates minus the best single date"
    add_gains(tally, data, f"blocks of {BLOCK_SIZE_PX} px", tables, alone, {"F1 water": build_f1_score(1)})


def _count_water_by_block(truth: UInt8, classes: UInt8) -> Int64:
    """Count the confusion matrices (block, 2, 2) of water in each block with known truth (0, 1; 255 is unknown)."""
    wet = (classes == LandCover.WATER).astype(np.uint8)
    return np.stack([count_confusion(truth[block], wet[block], 2) for block in iterate_blocks(truth != UNKNOWN_TRUTH)])


def add_gains(
    tally: FigureCollection,
    data: str,
    unit: str,
    fused: Int64,
    alone: Sequence[Int64],
    scores: Mapping[str, Score],
) -> None:
    """Add the score of all dates minus that of the best single date, which the truth chooses.

    Args:
        tally: Collection to add to.
        data: Name of the comparison.
        unit: Plural noun of the units.
        fused: Confusion matrices of the fusion (unit, class, class).
        alone: Confusion matrices of each single date, units as in `fused`.
        scores: Functions of a confusion matrix by name.
    """
    for name, score in scores.items():
        best = max(alone, key=lambda tables: score(tables.sum(axis=0).astype(np.float64)))
        pairs = list(np.stack([fused, best], axis=1))
        subject = Subject(WORLD, data, METHOD, unit, "held out" if data.startswith("Exeter") else "seen")
        tally.figures.append(subject.build_figure(name, pairs, partial(_compute_gain, score), int(fused.sum())))


def _compute_gain(score: Score, pair: Float64) -> float:
    """Return the score of the first of two confusion matrices (2, class, class) minus that of the second."""
    return score(pair[0]) - score(pair[1])


def _read_polygons(path: Path, place: str) -> tuple[UInt8, UInt16]:
    """Read true class index and polygon number (y, x) on the grid of a file."""
    with rasterio.open(path) as raster:
        labels, numbers = rasterize_polygons(place, str(raster.crs), raster.transform, raster.shape)
    return assign_classes(labels, numbers, CLASSES), numbers


def _count_by_polygon(found: LandCoverMap, path: Path, place: str) -> Int64:
    """Count the confusion matrices (polygon, class, class) of a map on the grid of a file; 0 without pixels."""
    truth, numbers = _read_polygons(path, place)
    classes, count = LAND_COVER_INDEX[found.classes], int(numbers.max())
    tables = [
        count_confusion(truth[numbers == number], classes[numbers == number], OTHER_CLASS + 1)
        for number in range(1, count + 1)
    ]
    return np.stack(tables)


def _add_calibration(tally: FigureCollection, data: str, found: LandCoverMap, path: Path, place: str) -> None:
    """Add the expected calibration error of a map against the polygons."""
    truth, numbers = _read_polygons(path, place)
    right, known = LAND_COVER_INDEX[found.classes] == truth, (numbers > 0) & (found.confidence <= 100)
    bins = [
        count_by_confidence(found.confidence[part] / 100.0, right[part])
        for number in np.unique(numbers[known])
        if (part := known & (numbers == number)).any()
    ]
    subject = Subject(WORLD, data, METHOD, "polygons", "seen" if place == "zurich" else "held out")
    tally.figures.append(
        subject.build_figure("error of the confidence", bins, compute_calibration_error, int(known.sum()))
    )
