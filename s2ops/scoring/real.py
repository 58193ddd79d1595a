"""Scores on real scenes: water on Boadella, clouds against ESA's classification, EuroSAT chips."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from s2ops.codes import Float32, Float64, Int64, UInt8
from s2ops.errors import ConfigError
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.windows import segment
from s2ops.masks import grow, scene_mask
from s2ops.models.datasets.collect import chips_by_class, taken
from s2ops.models.datasets.pack import BUILDING_OF_CHIP, chip_levels
from s2ops.models.datasets.real import RealScene, mask_of_scl, scenes
from s2ops.radiometry import to_levels
from s2ops.scoring import peers
from s2ops.scoring.figures import UNKNOWN, Seen, Subject, confusion, f1, iou, macro_f1, network_bins
from s2ops.scoring.worlds import CLOUD, CLOUD_AND_SHADOW, Tally, seen_by

BLOCK: Final = 64
"""Side of the blocks of one place that are drawn again for intervals, pixels."""

NEIGHBOURS: Final = {"2020-01-13": ("2020-01-28", "2020-02-02"), "2021-06-26": ("2021-07-16", "2021-07-21")}
"""Hazy dates of Boadella and the clear ones, weeks later, that say where water was: where both agree."""

SHORE: Final = 2
"""Pixels of 10 m."""

CHIP: Final = 64
BUILDING: Final = ("none", "residential", "industrial")


def check_folder(root: Path) -> None:
    """Raise ConfigError where `root` is not the folder of the real data."""
    for name in ("boadella-series", "exeter-series", "zagreb-two-tiles", "eurosat_rgb_1200_per_class.zip"):
        if not (root / name).exists():
            raise ConfigError(f"{root} has no {name}: give the folder of the real data, or leave --data out")


def _series(root: Path, place: str) -> dict[str, RealScene]:
    """Scenes of one of the first two places of `scenes`, by date."""
    found = {}
    for scene in scenes(root):
        if scene.place == place:
            found[scene.name.removeprefix(f"{place}-")] = scene
        elif found:
            break
    return found


def _blocks(truth: UInt8, found: UInt8, classes: int) -> Iterator[Int64]:
    """One table for each block that holds known truth."""
    for top in range(0, truth.shape[0], BLOCK):
        for left in range(0, truth.shape[1], BLOCK):
            block = slice(top, top + BLOCK), slice(left, left + BLOCK)
            table = confusion(truth[block], found[block], classes)
            if table.any():
                yield table


def water_by_swir(scene: RealScene, *, shore: bool) -> UInt8:
    """(y, x) 1 water, 0 land, 255 unsure, from short-wave infrared (band 11), which the water network does not see.

    Pixels of band 11 are 20 m: without `shore`, pixels so near to the other class are unsure.
    """
    green, swir = scene.bands["B03"], scene.bands["B11"]
    mndwi = (green - swir) / np.maximum(green + swir, np.float32(1e-4))
    water, land = (mndwi > 0.2) & (swir < 0.05), mndwi < 0
    if not shore:
        water, land = water & ~grow(land, SHORE), land & ~grow(mndwi >= 0, SHORE)
    out = np.full(green.shape, UNKNOWN, np.uint8)
    out[land] = 0
    out[water] = 1
    out[(scene.levels == 0).any(axis=0)] = UNKNOWN
    return out


def boadella(tally: Tally, root: Path, *, quick: bool) -> None:
    """The reservoir: water of clear and of hazy dates, against band 11."""
    series = _series(root, "boadella")
    network = open_segmenter("water")
    clear = [date for date, scene in series.items() if scene.clear]
    probs = {date: segment(network, series[date].levels) for date in (*clear[: 2 if quick else None], *NEIGHBOURS)}
    for sky, dates in (("clear", [date for date in probs if date in clear]), ("hazy", list(NEIGHBOURS))):
        for data, shore in ((f"Boadella, {sky}", False), (f"Boadella, {sky}, shore included", True)):
            truths = {}
            for date in dates:
                looks = [water_by_swir(series[each], shore=shore) for each in NEIGHBOURS.get(date, (date,))]
                truths[date] = np.where(looks[0] == looks[-1], looks[0], UNKNOWN).astype(np.uint8)
            _water(tally, data, "s2ops network", truths, {date: probs[date].argmax(axis=0) for date in dates})
            _ndwi(tally, data, truths, {date: peers.ndwi(series[date].levels) for date in dates})
            if not shore:
                bins = [network_bins(probs[date], truths[date]) for date in dates]
                tally.calibration(Subject("water", data, "s2ops network", "dates"), bins)


def _ndwi(tally: Tally, data: str, truths: dict[str, UInt8], index: dict[str, Float32]) -> None:
    """NDWI above 0, and above the threshold that the truth itself likes best."""
    steps = [round(step, 2) for step in np.linspace(-0.4, 0.4, 41).tolist()]
    scores = []
    for step in steps:
        tables = [confusion(truth, (index[date] > step).astype(np.uint8), 2) for date, truth in truths.items()]
        scores.append(iou(1)(np.sum(tables, axis=0).astype(np.float64)))
    best = steps[int(np.argmax(scores))]
    for method, step in (("NDWI > 0", 0.0), (f"NDWI, threshold best by truth ({best})", best)):
        _water(tally, data, method, truths, {date: part > step for date, part in index.items()})


def _water(tally: Tally, data: str, method: str, truths: dict[str, UInt8], found: dict[str, np.ndarray]) -> None:
    tables = [table for date, truth in truths.items() for table in _blocks(truth, found[date].astype(np.uint8), 2)]
    unit = f"blocks of {BLOCK} px, one place"
    tally.figures += Subject("water", data, method, unit, seen_by(method)).of_tables(
        tables, {"IoU water": iou(1), "F1 water": f1(1)}
    )


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
    given = [(s.levels, mask_of_scl(s.scl), 20) for s in _series(root, "exeter").values() if s.scl is not None]
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
            "B02 > 0.18": peers.bright_mask(levels),
        }
        other = peers.csmask(levels, res) if res < 60 else None
        if other is not None:
            found["ukis-csmask 1.0.0"] = other
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
