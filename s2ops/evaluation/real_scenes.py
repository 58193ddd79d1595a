"""Scores on real scenes: clouds against ESA's classification, EuroSAT chips."""

import zipfile
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from s2ops.acquisition.cloud_mask import scene_mask
from s2ops.constants import Float64, Int64, UInt8
from s2ops.errors import ConfigError
from s2ops.evaluation import baseline_methods
from s2ops.evaluation.accuracy import UNKNOWN, Seen, Subject, confusion, f1, macro_f1, network_bins
from s2ops.evaluation.simulated_scenes import CLOUD, CLOUD_AND_SHADOW, Tally
from s2ops.imaging.tone_curve import to_levels
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.training.datasets.label_fusion import chips_by_class, taken
from s2ops.training.datasets.packed_scenes import BUILDING_OF_CHIP, chip_levels
from s2ops.training.datasets.real_scenes import mask_of_scl, scenes

CHIP: Final = 64
BUILDING: Final = ("none", "residential", "industrial")


def check_folder(root: Path) -> None:
    """Raise ConfigError where `root` is not the folder of the real data."""
    for name in ("boadella-series", "exeter-series", "zagreb-two-tiles", "eurosat_rgb_1200_per_class.zip"):
        if not (root / name).exists():
            raise ConfigError(f"{root} has no {name}: give the folder of the real data, or leave --data out")


def _residual(table: Float64) -> float:
    """Part of the pixels left as clear that the reference calls cloud."""
    return float(table[1, 0] / table[:, 0].sum()) if table[:, 0].sum() else float("nan")


def _false_cloud(table: Float64) -> float:
    """Part of the reference's clear pixels that are masked as cloud."""
    return float(table[0, 1] / table[0].sum()) if table[0].sum() else float("nan")


def zagreb(tally: Tally, root: Path, *, quick: bool) -> None:
    """Ten whole tiles at 120 m, which no network has seen, against ESA's scene classification."""
    folders = sorted((root / "zagreb-two-tiles" / "sentinel-2-l2a").glob("S2*_L2A"))
    scenes_seen = []
    for folder in folders[:2] if quick else folders:
        numbers = np.stack([_read(folder / f"{band}.tif") for band in ("B04", "B03", "B02", "B08")])
        scenes_seen.append((to_levels(numbers), mask_of_scl(_read(folder / "SCL.tif").astype(np.uint8)), 120))
    _against_scl(tally, "Zagreb, 120 m, against ESA's SCL", scenes_seen, "held out")


def exeter(tally: Tally, root: Path) -> None:
    """Five dates at 20 m; the cloud networks have learnt from them where SCL and ukis-csmask agreed."""
    given = [(s.levels, mask_of_scl(s.scl), 20) for s in scenes(root) if s.place == "exeter" and s.scl is not None]
    _against_scl(tally, "Exeter, 20 m, against ESA's SCL", given, "seen")


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        band: np.ndarray = src.read(1)
    return band


def _against_scl(tally: Tally, data: str, given: list[tuple[UInt8, UInt8, int]], seen: Seen) -> None:
    network = open_segmenter("scene-cloud")
    tables: dict[str, list[Int64]] = {}
    bins = []
    for levels, truth, res in given:
        valid = np.asarray((levels > 0).all(axis=0))
        truth[~valid] = UNKNOWN
        probs = segment(network, levels)
        mask = scene_mask(probs, valid, res)
        found = {
            "s2ops network": probs.argmax(axis=0).astype(np.uint8),
            "s2ops mask (grown)": np.where(valid, mask, 0).astype(np.uint8),
            "B02 > 0.18": baseline_methods.bright_mask(levels),
        }
        if res < 60:
            found |= dict(baseline_methods.csmasks(levels, res))
        for method, codes in found.items():
            tables.setdefault(method, []).append(confusion(truth, codes, 3))
        bins.append(network_bins(probs, truth))
    for method, table in tables.items():
        scores = dict(CLOUD if method.startswith("B02") else CLOUD_AND_SHADOW)
        scores |= {"cloud left in clear": _residual, "clear masked as cloud": _false_cloud}
        own: Seen = seen if method.startswith("s2ops") else "no training"
        tally.figures += Subject("scene-cloud", data, method, "scenes", own).of_tables(table, scores)
    tally.calibration(Subject("scene-cloud", data, "s2ops network", "scenes", seen), bins)


def chips(tally: Tally, root: Path, *, quick: bool) -> None:
    """EuroSAT RGB chips that were never packed for training: the building network's mean probability over a chip.

    Each chip alone, and among fifteen others, as training shows them.
    """
    images, truth = _unseen_chips(root, 6 if quick else 100)
    network = open_segmenter("building")
    alone = [segment(network, image) for image in images]
    order = np.random.default_rng(3).permutation(len(images))
    order = order[: len(order) // 16 * 16]
    among: list[UInt8] = []
    for start in range(0, len(order), 16):
        grid = images[order[start : start + 16]].reshape(4, 4, 3, CHIP, CHIP)
        probs = segment(network, np.ascontiguousarray(grid.transpose(2, 0, 3, 1, 4).reshape(3, 4 * CHIP, 4 * CHIP)))
        among += list(probs.reshape(3, 4, CHIP, 4, CHIP).transpose(1, 3, 0, 2, 4).reshape(16, 3, CHIP, CHIP))
    for data, found, codes in (
        ("EuroSAT chips never packed, each alone", alone, truth),
        ("EuroSAT chips never packed, in mosaics", among, truth[order]),
    ):
        _chips(tally, data, found, codes)


def _chips(tally: Tally, data: str, probs: list[UInt8], truth: UInt8) -> None:
    tables, bins = [], []
    for part, code in zip(probs, truth, strict=True):
        found = part.mean(axis=(1, 2)).argmax(keepdims=True).astype(np.uint8)
        tables.append(confusion(np.array([code], np.uint8), found, len(BUILDING)))
        bins.append(network_bins(part, np.full(part.shape[1:], code, np.uint8)))
    subject = Subject("building", data, "s2ops network, mean over the chip", "chips")
    scores = {"macro F1": macro_f1} | {f"F1 {name}": f1(index) for index, name in enumerate(BUILDING)}
    made = subject.of_tables(tables, scores)
    tally.figures += [figure.model_copy(update={"pixels": figure.pixels * CHIP**2}) for figure in made]
    tally.calibration(Subject("building", data, "s2ops network", "chips"), bins)


def _unseen_chips(root: Path, count: int) -> tuple[UInt8, UInt8]:
    """(n, 3, 64, 64) levels and (n,) building class; `count` of each class, six times as many of the built-up ones."""
    images, truth = [], []
    with zipfile.ZipFile(root / "eurosat_rgb_1200_per_class.zip") as archive:
        for label, members in chips_by_class(archive.namelist()).items():
            if label not in BUILDING_OF_CHIP:  # rivers and highways have houses beside them
                continue
            code = BUILDING.index(label.lower()) if label.lower() in BUILDING else 0
            unseen = sorted(set(members) - set(taken(label, members)))
            wanted = count * (6 if code else 1)
            for name in unseen[:: max(1, len(unseen) // wanted)][:wanted]:
                images.append(chip_levels(archive.read(name)))
                truth.append(code)
    return np.stack(images), np.array(truth, np.uint8)
