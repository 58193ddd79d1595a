"""Accuracy on real scenes: cloud masks against ESA's scene classification (SCL), buildings on EuroSAT RGB chips."""

import zipfile
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from s2ops.acquisition.cloud_mask import compute_scene_mask
from s2ops.constants import Float64, Int64, UInt8
from s2ops.errors import ConfigError
from s2ops.evaluation import baseline_methods
from s2ops.evaluation.accuracy import (
    UNKNOWN_TRUTH,
    Subject,
    TrainingExposure,
    build_f1_score,
    count_probs_by_confidence,
)
from s2ops.evaluation.simulated_scenes import CLOUD_SCORES, CLOUD_SHADOW_SCORES, FigureCollection
from s2ops.imaging.classification_metrics import compute_macro_f1, count_confusion
from s2ops.imaging.tone_curve import convert_dn_to_levels
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.training.datasets.label_fusion import group_chips_by_class, select_packed_chips
from s2ops.training.datasets.packed_scenes import CHIP_COVER_CODES, decode_chip
from s2ops.training.datasets.real_scenes import convert_scl_to_mask, read_scenes

REAL_DATA_SETS: Final = (
    "boadella-series", "dsen2_l1c_crops", "eurosat_ms_200", "eurosat_rgb_1200_per_class.zip", "exeter-series",
    "spyndex_s2_10m", "virginia", "worldcereal_patch", "xrspatial_patagonia", "zagreb-two-tiles", "zurich",
)  # fmt: skip
"""Members of the folder of the real data that are scored."""

CHIP_SIZE_PX: Final = 64
BUILDING_CLASSES: Final = ("none", "residential", "industrial")


def check_folder(root: Path) -> None:
    """Raise ConfigError if `root` is not the folder of the real data."""
    for name in REAL_DATA_SETS:
        if not (root / name).exists():
            raise ConfigError(
                f"Cannot score real scenes: {root} has no {name}; give their folder as --data, or omit it."
            )


def _compute_missed_cloud(table: Float64) -> float:
    """Return the fraction of the pixels left as clear that are cloud in the reference."""
    return float(table[1, 0] / table[:, 0].sum()) if table[:, 0].sum() else float("nan")


def _compute_false_cloud(table: Float64) -> float:
    """Return the fraction of the reference's clear pixels that are masked as cloud."""
    return float(table[0, 1] / table[0].sum()) if table[0].sum() else float("nan")


def score_zagreb(tally: FigureCollection, root: Path, *, quick: bool) -> None:
    """Score clouds on ten whole tiles at 120 m (not used in training) against ESA's scene classification."""
    folders = sorted((root / "zagreb-two-tiles" / "sentinel-2-l2a").glob("S2*_L2A"))
    scenes_seen = []
    for folder in folders[:2] if quick else folders:
        numbers = np.stack([_read_band(folder / f"{band}.tif") for band in ("B04", "B03", "B02", "B08")])
        scenes_seen.append(
            (convert_dn_to_levels(numbers), convert_scl_to_mask(_read_band(folder / "SCL.tif").astype(np.uint8)), 120)
        )
    _score_against_scl(tally, "Zagreb, 120 m, against ESA's SCL", scenes_seen, "held out")


def score_exeter(tally: FigureCollection, root: Path) -> None:
    """Score clouds on five dates at 20 m; training used them where SCL and ukis-csmask agreed."""
    given = [
        (s.levels, convert_scl_to_mask(s.scl), 20)
        for s in read_scenes(root)
        if s.place == "exeter" and s.scl is not None
    ]
    _score_against_scl(tally, "Exeter, 20 m, against ESA's SCL", given, "seen")


def _read_band(path: Path) -> np.ndarray:
    """Read a one-band raster (y, x)."""
    with rasterio.open(path) as src:
        band: np.ndarray = src.read(1)
    return band


def _score_against_scl(
    tally: FigureCollection, data: str, given: list[tuple[UInt8, UInt8, int]], seen: TrainingExposure
) -> None:
    """Score cloud masks of scenes, given as (levels (4, y, x), reference mask (y, x), pixel size in metres)."""
    network = open_segmenter("scene-cloud")
    tables: dict[str, list[Int64]] = {}
    bins = []
    for levels, truth, res in given:
        valid = np.asarray((levels > 0).all(axis=0))
        truth[~valid] = UNKNOWN_TRUTH
        probs = segment(network, levels)
        mask = compute_scene_mask(probs, valid, res)
        found = {
            "s2ops network": probs.argmax(axis=0).astype(np.uint8),
            "s2ops mask (grown)": np.where(valid, mask, 0).astype(np.uint8),
            "B02 > 0.18": baseline_methods.mask_bright_blue(levels),
        }
        if res < 60:
            found |= dict(baseline_methods.iterate_csmask_variants(levels, res))
        for method, codes in found.items():
            tables.setdefault(method, []).append(count_confusion(truth, codes, 3))
        bins.append(count_probs_by_confidence(probs, truth))
    for method, table in tables.items():
        scores = dict(CLOUD_SCORES if method.startswith("B02") else CLOUD_SHADOW_SCORES)
        scores |= {"cloud left in clear": _compute_missed_cloud, "clear masked as cloud": _compute_false_cloud}
        own: TrainingExposure = seen if method.startswith("s2ops") else "no training"
        tally.figures += Subject("scene-cloud", data, method, "scenes", own).score_tables(table, scores)
    tally.add_calibration(Subject("scene-cloud", data, "s2ops network", "scenes", seen), bins)


def score_chips(tally: FigureCollection, root: Path, *, quick: bool) -> None:
    """Score buildings on EuroSAT RGB chips that were never packed for training, by the mean probability of a chip.

    Each chip is scored alone, and in a mosaic with fifteen others as in training.
    """
    images, truth = _read_unseen_chips(root, 6 if quick else 100)
    network = open_segmenter("building")
    alone = [segment(network, image) for image in images]
    order = np.random.default_rng(3).permutation(len(images))
    order = order[: len(order) // 16 * 16]
    among: list[UInt8] = []
    for start in range(0, len(order), 16):
        grid = images[order[start : start + 16]].reshape(4, 4, 3, CHIP_SIZE_PX, CHIP_SIZE_PX)
        probs = segment(
            network, np.ascontiguousarray(grid.transpose(2, 0, 3, 1, 4).reshape(3, 4 * CHIP_SIZE_PX, 4 * CHIP_SIZE_PX))
        )
        among += list(
            probs.reshape(3, 4, CHIP_SIZE_PX, 4, CHIP_SIZE_PX)
            .transpose(1, 3, 0, 2, 4)
            .reshape(16, 3, CHIP_SIZE_PX, CHIP_SIZE_PX)
        )
    for data, found, codes in (
        ("EuroSAT chips never packed, each alone", alone, truth),
        ("EuroSAT chips never packed, in mosaics", among, truth[order]),
    ):
        _add_chip_figures(tally, data, found, codes)


def _add_chip_figures(tally: FigureCollection, data: str, probs: list[UInt8], truth: UInt8) -> None:
    tables, bins = [], []
    for part, code in zip(probs, truth, strict=True):
        found = part.mean(axis=(1, 2)).argmax(keepdims=True).astype(np.uint8)
        tables.append(count_confusion(np.array([code], np.uint8), found, len(BUILDING_CLASSES)))
        bins.append(count_probs_by_confidence(part, np.full(part.shape[1:], code, np.uint8)))
    subject = Subject("building", data, "s2ops network, mean over the chip", "chips")
    scores = {"macro F1": compute_macro_f1} | {
        f"F1 {name}": build_f1_score(index) for index, name in enumerate(BUILDING_CLASSES)
    }
    made = subject.score_tables(tables, scores)
    tally.figures += [figure.model_copy(update={"pixels": figure.pixels * CHIP_SIZE_PX**2}) for figure in made]
    tally.add_calibration(Subject("building", data, "s2ops network", "chips"), bins)


def _read_unseen_chips(root: Path, count: int) -> tuple[UInt8, UInt8]:
    """Read chips that training did not use: `count` of each class, six times as many of the two built-up classes.

    Returns:
        Levels (n, 3, 64, 64) and building class (n,).
    """
    images, truth = [], []
    with zipfile.ZipFile(root / "eurosat_rgb_1200_per_class.zip") as archive:
        for label, members in group_chips_by_class(archive.namelist()).items():
            if label not in CHIP_COVER_CODES:  # rivers and highways have houses beside them
                continue
            code = BUILDING_CLASSES.index(label.lower()) if label.lower() in BUILDING_CLASSES else 0
            unseen = sorted(set(members) - set(select_packed_chips(label, members)))
            wanted = count * (6 if code else 1)
            for name in unseen[:: max(1, len(unseen) // wanted)][:wanted]:
                images.append(decode_chip(archive.read(name)))
                truth.append(code)
    return np.stack(images), np.array(truth, np.uint8)
