"""Accuracy of water maps on the dates of a reservoir (Boadella), against SWIR band 11, which no network uses."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.acquisition.cloud_mask import dilate
from s2ops.constants import Bool, Float32, Int64, LandCover, UInt8
from s2ops.evaluation import baseline_methods
from s2ops.evaluation.accuracy import (
    BLOCK_SIZE_PX,
    UNKNOWN_TRUTH,
    Subject,
    TrainingExposure,
    build_f1_score,
    build_iou_score,
    count_probs_by_confidence,
    iterate_blocks,
)
from s2ops.evaluation.simulated_scenes import HEAD_METHOD, SINGLE_TASK_METHOD, FigureCollection
from s2ops.imaging.classification_metrics import count_confusion
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.models.registry import LANDCOVER
from s2ops.raster.reader import read_all
from s2ops.single_image import ImageOptions, classify
from s2ops.training.datasets.label_fusion import detect_reservoir
from s2ops.training.datasets.real_scenes import RealScene, read_scenes
from s2ops.training.datasets.shoreline_labels import SURE_DISTANCE_PX, classify_water_by_swir

HAZY_DATES: Final = ("2020-01-13", "2021-06-26")
"""Dates under an even veil of haze, through which band 11 shows the water."""

RGBN_BAND_NUMBERS: Final = (4, 3, 2, 8)
"""Numbers of red, green, blue, nir among the twelve bands of the series."""

SHORE_MARGIN_PX: Final = 2
"""Distance from the shore within which the reference stays unknown, pixels of 10 m."""

SHORE_NEIGHBOURHOOD_PX: Final = 10
"""Distance from the shore of the land whose mean, with that of the water, defines the shore, pixels."""

SMOOTHING_SIGMA_PX: Final = 6.0
"""Standard deviation of the Gaussian that averages both sides of a shore, pixels."""


def map_reference_water(bands: Mapping[str, Float32], lake: Bool, *, shore: bool) -> UInt8:
    """Map the reference water: band 11 darker than the midpoint between nearby water and land.

    Args:
        bands: Reflectance (y, x) by band name.
        lake: Basin of the reservoir (y, x); water is searched there only.
        shore: Include the shore. Otherwise pixels near the other class are unknown, since pixels of band 11 are 20 m.

    Returns:
        Reference (y, x): 1 water, 0 land, 255 unknown.
    """
    wet = refine_shore(classify_water_by_swir(bands, lake), bands["B11"]) & lake
    out = wet.astype(np.uint8)
    if not shore:
        out[dilate(wet, SHORE_MARGIN_PX) & dilate(~wet, SHORE_MARGIN_PX)] = UNKNOWN_TRUTH
    return out


def refine_shore(rough: Bool, swir: Float32) -> Bool:
    """Move the shore of `rough` water (y, x) to where `swir` crosses the midpoint of the nearby means of both sides."""
    inside, outside = ndimage.distance_transform_cdt(rough), ndimage.distance_transform_cdt(~rough)
    sides = (inside > SURE_DISTANCE_PX, (outside > SURE_DISTANCE_PX) & (outside <= SHORE_NEIGHBOURHOOD_PX))
    middle = sum(_average_nearby(swir, side) for side in sides) / 2
    out: Bool = np.where((inside <= SURE_DISTANCE_PX) & (outside <= SURE_DISTANCE_PX), swir < middle, rough)
    return out


def _average_nearby(values: Float32, where: Bool) -> Float32:
    """Average (y, x) `values` over the nearby pixels of `where` (normalised Gaussian filter)."""
    total, weight = (
        ndimage.gaussian_filter(part, SMOOTHING_SIGMA_PX) for part in (values * where, where.astype(np.float32))
    )
    out: Float32 = total / np.maximum(weight, np.float32(1e-9))
    return out


def read_dates(root: Path) -> dict[str, RealScene]:
    """Read the scenes of Boadella by date."""
    return {s.name.removeprefix("boadella-"): s for s in read_scenes(root) if s.place == "boadella"}


def score_boadella(tally: FigureCollection, root: Path, *, quick: bool) -> None:
    """Score water on the clear and the hazy dates: our networks, `s2ops classify` per date, and NDWI."""
    series, lake = read_dates(root), detect_reservoir(root)
    networks = {HEAD_METHOD: open_segmenter(LANDCOVER), SINGLE_TASK_METHOD: open_segmenter("water")}
    clear = [date for date, scene in series.items() if scene.clear][: 2 if quick else None]
    probs = {
        method: {date: segment(network, series[date].levels)[:2] for date in (*clear, *HAZY_DATES)}
        for method, network in networks.items()
    }
    maps = {} if quick else _classify_dates(root, [*clear, *HAZY_DATES])
    for sky, chosen in (("clear", clear), ("hazy", list(HAZY_DATES))):
        for data, shore in ((f"Boadella, {sky}", False), (f"Boadella, {sky}, shore included", True)):
            truths = {date: map_reference_water(series[date].bands, lake, shore=shore) for date in chosen}
            for method, of_date in probs.items():
                _add_figures(tally, data, method, truths, {date: of_date[date].argmax(axis=0) for date in chosen})
            if maps:
                _add_figures(tally, data, "s2ops classify, one date", truths, {date: maps[date] for date in chosen})
            _score_ndwi(
                tally, data, truths, {date: baseline_methods.compute_ndwi(series[date].levels) for date in chosen}
            )
            if not shore:
                for method, of_date in probs.items():
                    bins = [count_probs_by_confidence(of_date[date], truths[date]) for date in chosen]
                    tally.add_calibration(Subject("water", data, method, "dates", "seen"), bins)


def _classify_dates(root: Path, chosen: list[str]) -> dict[str, Bool]:
    """Classify each date alone with `s2ops classify`; return its water mask (y, x) by date."""
    found = {}
    with TemporaryDirectory() as folder:
        for date in chosen:
            target = Path(folder) / f"{date}.tif"
            classify([root / "boadella-series" / f"Boadella_{date}.tif"], target, ImageOptions(bands=RGBN_BAND_NUMBERS))
            found[date] = np.asarray(read_all(str(target))[0] == LandCover.WATER)
    return found


def _score_ndwi(tally: FigureCollection, data: str, truths: dict[str, UInt8], index: dict[str, Float32]) -> None:
    """Score NDWI above 0, and above the threshold with the highest IoU against the truth."""
    steps = [round(step, 2) for step in np.linspace(-0.4, 0.4, 41).tolist()]
    scores = []
    for step in steps:
        tables = [count_confusion(truth, (index[date] > step).astype(np.uint8), 2) for date, truth in truths.items()]
        scores.append(build_iou_score(1)(np.sum(tables, axis=0).astype(np.float64)))
    best = steps[int(np.argmax(scores))]
    for method, step in (("NDWI > 0", 0.0), (f"NDWI, threshold best by truth ({best})", best)):
        _add_figures(tally, data, method, truths, {date: part > step for date, part in index.items()})


def _count_blocks(truth: UInt8, found: UInt8) -> Iterator[Int64]:
    """Count a confusion matrix for each block that contains known truth."""
    for block in iterate_blocks(truth != UNKNOWN_TRUTH):
        yield count_confusion(truth[block], found[block], 2)


def _add_figures(
    tally: FigureCollection, data: str, method: str, truths: dict[str, UInt8], found: Mapping[str, np.ndarray]
) -> None:
    """Add IoU and F1 of water, with one unit per block."""
    tables = [table for date, truth in truths.items() for table in _count_blocks(truth, found[date].astype(np.uint8))]
    seen: TrainingExposure = "seen" if method.startswith("s2ops") else "no training"
    subject = Subject("water", data, method, f"blocks of {BLOCK_SIZE_PX} px, one place", seen)
    tally.figures += subject.score_tables(tables, {"IoU water": build_iou_score(1), "F1 water": build_f1_score(1)})
