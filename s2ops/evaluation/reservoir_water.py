"""Water on the dates of a reservoir, against band 11, which the water network does not see."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.acquisition.cloud_mask import grow
from s2ops.constants import Bool, Float32, Int64, LandCover, UInt8
from s2ops.evaluation import baseline_methods
from s2ops.evaluation.accuracy import UNKNOWN, Seen, Subject, confusion, f1, iou, network_bins
from s2ops.evaluation.simulated_scenes import ALONE, HEAD, Tally
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.models.registry import LANDCOVER
from s2ops.raster.reader import read_all
from s2ops.single_image import Options, classify
from s2ops.training.datasets.label_fusion import reservoir
from s2ops.training.datasets.real_scenes import RealScene, scenes
from s2ops.training.datasets.shoreline_labels import SURE, water_by_swir

BLOCK: Final = 64
"""Side of the blocks of one place that are drawn again for intervals, pixels."""

HAZY: Final = ("2020-01-13", "2021-06-26")
"""Dates under an even veil, which band 11 sees through."""

BANDS: Final = (4, 3, 2, 8)
"""Red, green, blue, nir among the twelve of the series."""

SHORE: Final = 2
"""Pixels of 10 m that are left open beside the shore."""

BESIDE: Final = 10
"""Pixels of land, and of water, that a shore is halfway between."""

SMOOTH: Final = 6.0
"""Pixels over which what lies beside a shore is averaged."""


def water(bands: Mapping[str, Float32], lake: Bool, *, shore: bool) -> UInt8:
    """(y, x) 1 water, 0 land, 255 unsure: where band 11 is darker than halfway between the water and the land beside.

    `lake` is the basin. Pixels of band 11 are 20 m: without `shore`, what is so near to the other class is unsure.
    """
    wet = halfway(water_by_swir(bands, lake), bands["B11"]) & lake
    out = wet.astype(np.uint8)
    if not shore:
        out[grow(wet, SHORE) & grow(~wet, SHORE)] = UNKNOWN
    return out


def halfway(rough: Bool, swir: Float32) -> Bool:
    """(y, x) `rough` water with its shore where `swir` is halfway between the means of both sides nearby."""
    inside, outside = ndimage.distance_transform_cdt(rough), ndimage.distance_transform_cdt(~rough)
    sides = (inside > SURE, (outside > SURE) & (outside <= BESIDE))
    middle = sum(_around(swir, side) for side in sides) / 2
    out: Bool = np.where((inside <= SURE) & (outside <= SURE), swir < middle, rough)
    return out


def _around(values: Float32, where: Bool) -> Float32:
    """(y, x) mean of `values` over the pixels of `where` nearby."""
    total, weight = (ndimage.gaussian_filter(part, SMOOTH) for part in (values * where, where.astype(np.float32)))
    out: Float32 = total / np.maximum(weight, np.float32(1e-9))
    return out


def dates(root: Path) -> dict[str, RealScene]:
    """The scenes of Boadella by date."""
    return {s.name.removeprefix("boadella-"): s for s in scenes(root) if s.place == "boadella"}


def boadella(tally: Tally, root: Path, *, quick: bool) -> None:
    """The reservoir on clear and on hazy dates: our networks, our map of each date, and NDWI."""
    series, lake = dates(root), reservoir(root)
    networks = {HEAD: open_segmenter(LANDCOVER), ALONE: open_segmenter("water")}
    clear = [date for date, scene in series.items() if scene.clear][: 2 if quick else None]
    probs = {
        method: {date: segment(network, series[date].levels)[:2] for date in (*clear, *HAZY)}
        for method, network in networks.items()
    }
    maps = {} if quick else _maps(root, [*clear, *HAZY])
    for sky, chosen in (("clear", clear), ("hazy", list(HAZY))):
        for data, shore in ((f"Boadella, {sky}", False), (f"Boadella, {sky}, shore included", True)):
            truths = {date: water(series[date].bands, lake, shore=shore) for date in chosen}
            for method, of_date in probs.items():
                _score(tally, data, method, truths, {date: of_date[date].argmax(axis=0) for date in chosen})
            if maps:
                _score(tally, data, "s2ops classify, one date", truths, {date: maps[date] for date in chosen})
            _ndwi(tally, data, truths, {date: baseline_methods.ndwi(series[date].levels) for date in chosen})
            if not shore:
                for method, of_date in probs.items():
                    bins = [network_bins(of_date[date], truths[date]) for date in chosen]
                    tally.calibration(Subject("water", data, method, "dates", "seen"), bins)


def _maps(root: Path, chosen: list[str]) -> dict[str, Bool]:
    """By date: where `s2ops classify` finds water from that date alone."""
    found = {}
    with TemporaryDirectory() as folder:
        for date in chosen:
            target = Path(folder) / f"{date}.tif"
            classify([root / "boadella-series" / f"Boadella_{date}.tif"], target, Options(bands=BANDS))
            found[date] = np.asarray(read_all(str(target))[0] == LandCover.WATER)
    return found


def _ndwi(tally: Tally, data: str, truths: dict[str, UInt8], index: dict[str, Float32]) -> None:
    """NDWI above 0, and above the threshold that the truth itself likes best."""
    steps = [round(step, 2) for step in np.linspace(-0.4, 0.4, 41).tolist()]
    scores = []
    for step in steps:
        tables = [confusion(truth, (index[date] > step).astype(np.uint8), 2) for date, truth in truths.items()]
        scores.append(iou(1)(np.sum(tables, axis=0).astype(np.float64)))
    best = steps[int(np.argmax(scores))]
    for method, step in (("NDWI > 0", 0.0), (f"NDWI, threshold best by truth ({best})", best)):
        _score(tally, data, method, truths, {date: part > step for date, part in index.items()})


def _blocks(truth: UInt8, found: UInt8) -> Iterator[Int64]:
    """One table for each block that holds known truth."""
    for top in range(0, truth.shape[0], BLOCK):
        for left in range(0, truth.shape[1], BLOCK):
            block = slice(top, top + BLOCK), slice(left, left + BLOCK)
            table = confusion(truth[block], found[block], 2)
            if table.any():
                yield table


def _score(tally: Tally, data: str, method: str, truths: dict[str, UInt8], found: Mapping[str, np.ndarray]) -> None:
    tables = [table for date, truth in truths.items() for table in _blocks(truth, found[date].astype(np.uint8))]
    seen: Seen = "seen" if method.startswith("s2ops") else "no training"
    subject = Subject("water", data, method, f"blocks of {BLOCK} px, one place", seen)
    tally.figures += subject.of_tables(tables, {"IoU water": iou(1), "F1 water": f1(1)})
