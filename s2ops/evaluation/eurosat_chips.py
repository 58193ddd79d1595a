"""EuroSAT chips with all bands (L1C, 64 x 64 px): water and vegetation by chip, and clear chips taken for cloud."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from s2ops.acquisition.cloud_mask import scene_mask
from s2ops.constants import Float32, Float64, UInt8
from s2ops.evaluation import baseline_methods, published_models
from s2ops.evaluation.accuracy import Seen, Subject, confusion, f1, macro_f1
from s2ops.evaluation.simulated_scenes import HEAD, Tally
from s2ops.imaging.tone_curve import SCALE
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.models.registry import LANDCOVER, NETWORKS, tasks
from s2ops.training.datasets.packed_scenes import RAYLEIGH
from s2ops.training.datasets.real_scenes import eurosat_ms

RES: Final = 10

CODES: Final[dict[str, dict[str, int]]] = {
    "water": {"SeaLake": 1}
    | dict.fromkeys(("Forest", "Pasture", "HerbaceousVegetation", "AnnualCrop", "Industrial"), 0),
    "vegetation": {"Forest": 2, "Pasture": 1, "HerbaceousVegetation": 1, "SeaLake": 0, "Industrial": 0},
}
"""Class of a network that a whole chip shows; rivers, roads, gardens and orchards are mixed, and left out."""

OF_DYNAMIC_WORLD: Final[dict[str, UInt8]] = {
    "water": np.array([1, 0, 0, 0, 0, 0, 0, 0, 0], np.uint8),
    "vegetation": np.array([0, 2, 1, 1, 1, 1, 0, 0, 0], np.uint8),
}
"""What its nine classes are to our networks; crops and shrub are grass to it here."""


def _bands(root: Path) -> list[dict[str, Float32]]:
    """Reflectance of every band of each chip."""
    with np.load(root / "eurosat_ms_200" / "eurosat_ms_200.npz", allow_pickle=False) as data:
        names = [str(name) for name in data["bands"]]
        chips = data["x"].astype(np.float32) / np.float32(SCALE)
    return [dict(zip(names, chip, strict=True)) for chip in chips]


def chips(tally: Tally, root: Path) -> None:
    """Every fifth chip, which no network has learnt from, each alone: the class of the highest mean probability."""
    labels, levels = eurosat_ms(root)
    bands = _bands(root)
    for network, codes in CODES.items():
        segmenter = open_segmenter(LANDCOVER)
        head = next(task.classes for task in tasks(LANDCOVER) if task.name == network)
        chosen = [number for number in range(0, len(labels), 5) if labels[number] in codes]
        truth = [codes[labels[number]] for number in chosen]
        ours = [int(segment(segmenter, levels[number])[head].mean(axis=(1, 2)).argmax()) for number in chosen]
        _add(tally, network, f"{HEAD}, mean over the chip", truth, ours, "held out")
        theirs = [published_models.dynamic_world(root, _near_l2a(bands[number])) for number in chosen]
        table = OF_DYNAMIC_WORLD[network]
        votes = [int(np.bincount(table[found].ravel()).argmax()) for found in theirs if found is not None]
        if votes:
            _add(tally, network, "Dynamic World, most pixels", truth, votes, "no training")


def _near_l2a(bands: Mapping[str, Float32]) -> dict[str, Float32]:
    """Dynamic World wants L2A: the path reflectance of clean air is taken off, as for our networks."""
    air = dict(zip(("B04", "B03", "B02", "B08"), RAYLEIGH, strict=True))
    return {name: np.maximum(band - np.float32(air.get(name, 0.0)), np.float32(0.001)) for name, band in bands.items()}


def _add(tally: Tally, network: str, method: str, truth: list[int], found: list[int], seen: Seen) -> None:
    classes = NETWORKS[network].classes
    tables = [
        confusion(np.array([code], np.uint8), np.array([guess], np.uint8), len(classes))
        for code, guess in zip(truth, found, strict=True)
    ]
    scores: dict[str, Callable[[Float64], float]] = {"macro F1": macro_f1}
    scores |= {f"F1 {name}": f1(index) for index, name in enumerate(classes)}
    subject = Subject(network, "EuroSAT chips with all bands, each alone", method, "chips", seen)
    tally.figures += [
        figure.model_copy(update={"pixels": figure.pixels * 64**2}) for figure in subject.of_tables(tables, scores)
    ]


def clear(tally: Tally, root: Path) -> None:
    """How much of the 200 chips, chosen clear by their makers, is taken for cloud."""
    _, levels = eurosat_ms(root)
    bands = _bands(root)
    network = open_segmenter("scene-cloud")
    masks: dict[str, list[UInt8]] = {}
    for image, all_bands in zip(levels, bands, strict=True):
        probs = segment(network, image)
        valid = np.ones(image.shape[1:], np.bool_)
        masks.setdefault("s2ops network", []).append(probs.argmax(axis=0).astype(np.uint8))
        masks.setdefault("s2ops mask (grown)", []).append(scene_mask(probs, valid, RES))
        masks.setdefault("B02 > 0.18", []).append(baseline_methods.bright_mask(image))
        for method, other in baseline_methods.csmasks(image, RES):
            masks.setdefault(method, []).append(other)
        pixelwise = published_models.cloudless(all_bands)
        if pixelwise is not None:
            masks.setdefault(published_models.CLOUDLESS, []).append(pixelwise)
    for method, found in masks.items():
        seen: Seen = "seen" if method.startswith("s2ops") else "no training"
        counts = [np.array([mask.size, (mask == 1).sum()], np.int64) for mask in found]
        subject = Subject("scene-cloud", "EuroSAT chips with all bands, clear", method, "chips", seen)
        pixels = int(sum(count[0] for count in counts))
        tally.figures.append(subject.figure("clear masked as cloud", counts, _share, pixels))


def _share(counts: Float64) -> float:
    return float(counts[1] / counts[0])
