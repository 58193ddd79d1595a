"""Accuracy on EuroSAT chips with all bands (L1C, 64 x 64 px): water, vegetation, false clouds on clear chips."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from s2ops.acquisition.cloud_mask import compute_scene_mask
from s2ops.constants import Float32, Float64, UInt8
from s2ops.evaluation import baseline_methods, published_models
from s2ops.evaluation.accuracy import Subject, TrainingExposure, build_f1_score
from s2ops.evaluation.simulated_scenes import HEAD_METHOD, FigureCollection
from s2ops.imaging.classification_metrics import compute_macro_f1, count_confusion
from s2ops.imaging.tone_curve import SCALE
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.models.registry import LANDCOVER, NETWORKS, list_tasks
from s2ops.training.datasets.packed_scenes import RAYLEIGH_REFLECTANCE
from s2ops.training.datasets.real_scenes import read_eurosat_ms

RESOLUTION_M: Final = 10

CHIP_CLASS_CODES: Final[dict[str, dict[str, int]]] = {
    "water": {"SeaLake": 1}
    | dict.fromkeys(("Forest", "Pasture", "HerbaceousVegetation", "AnnualCrop", "Industrial"), 0),
    "vegetation": {"Forest": 2, "Pasture": 1, "HerbaceousVegetation": 1, "SeaLake": 0, "Industrial": 0},
}
"""Network class of a whole chip by EuroSAT label; rivers, roads, gardens and orchards are mixed and left out."""

DYNAMIC_WORLD_CODES: Final[dict[str, UInt8]] = {
    "water": np.array([1, 0, 0, 0, 0, 0, 0, 0, 0], np.uint8),
    "vegetation": np.array([0, 2, 1, 1, 1, 1, 0, 0, 0], np.uint8),
}
"""Network class of each of Dynamic World's nine classes; crops and shrub count as grass."""


def _read_bands(root: Path) -> list[dict[str, Float32]]:
    """Read the reflectance of every band of each chip."""
    with np.load(root / "eurosat_ms_200" / "eurosat_ms_200.npz", allow_pickle=False) as data:
        names = [str(name) for name in data["bands"]]
        chips = data["x"].astype(np.float32) / np.float32(SCALE)
    return [dict(zip(names, chip, strict=True)) for chip in chips]


def score_chips(tally: FigureCollection, root: Path) -> None:
    """Score water and vegetation on every fifth chip (not used in training), by the mean probability of a chip."""
    labels, levels = read_eurosat_ms(root)
    bands = _read_bands(root)
    for network, codes in CHIP_CLASS_CODES.items():
        segmenter = open_segmenter(LANDCOVER)
        head = next(task.classes for task in list_tasks(LANDCOVER) if task.name == network)
        chosen = [number for number in range(0, len(labels), 5) if labels[number] in codes]
        truth = [codes[labels[number]] for number in chosen]
        ours = [int(segment(segmenter, levels[number])[head].mean(axis=(1, 2)).argmax()) for number in chosen]
        _add_figures(tally, network, f"{HEAD_METHOD}, mean over the chip", truth, ours, "held out")
        theirs = [
            published_models.classify_with_dynamic_world(root, approximate_l2a(bands[number])) for number in chosen
        ]
        table = DYNAMIC_WORLD_CODES[network]
        votes = [int(np.bincount(table[found].ravel()).argmax()) for found in theirs if found is not None]
        if votes:
            _add_figures(tally, network, "Dynamic World, most pixels", truth, votes, "no training")


def approximate_l2a(bands: Mapping[str, Float32]) -> dict[str, Float32]:
    """Approximate L2A, which Dynamic World expects: subtract the path reflectance of clean air, as for our networks."""
    air = dict(zip(("B04", "B03", "B02", "B08"), RAYLEIGH_REFLECTANCE, strict=True))
    return {name: np.maximum(band - np.float32(air.get(name, 0.0)), np.float32(0.001)) for name, band in bands.items()}


def _add_figures(
    tally: FigureCollection, network: str, method: str, truth: list[int], found: list[int], seen: TrainingExposure
) -> None:
    """Add macro F1 and the F1 of each class, with one unit per chip."""
    classes = NETWORKS[network].classes
    tables = [
        count_confusion(np.array([code], np.uint8), np.array([guess], np.uint8), len(classes))
        for code, guess in zip(truth, found, strict=True)
    ]
    scores: dict[str, Callable[[Float64], float]] = {"macro F1": compute_macro_f1}
    scores |= {f"F1 {name}": build_f1_score(index) for index, name in enumerate(classes)}
    subject = Subject(network, "EuroSAT chips with all bands, each alone", method, "chips", seen)
    tally.figures += [
        figure.model_copy(update={"pixels": figure.pixels * 64**2}) for figure in subject.score_tables(tables, scores)
    ]


def score_clear_chips(tally: FigureCollection, root: Path) -> None:
    """Score the share of false cloud on the 200 chips, which their authors selected as clear."""
    _, levels = read_eurosat_ms(root)
    bands = _read_bands(root)
    network = open_segmenter("scene-cloud")
    masks: dict[str, list[UInt8]] = {}
    for image, all_bands in zip(levels, bands, strict=True):
        probs = segment(network, image)
        valid = np.ones(image.shape[1:], np.bool_)
        masks.setdefault("s2ops network", []).append(probs.argmax(axis=0).astype(np.uint8))
        masks.setdefault("s2ops mask (grown)", []).append(compute_scene_mask(probs, valid, RESOLUTION_M))
        masks.setdefault("B02 > 0.18", []).append(baseline_methods.mask_bright_blue(image))
        for method, other in baseline_methods.iterate_csmask_variants(image, RESOLUTION_M):
            masks.setdefault(method, []).append(other)
        pixelwise = published_models.mask_with_s2cloudless(all_bands)
        if pixelwise is not None:
            masks.setdefault(published_models.S2CLOUDLESS, []).append(pixelwise)
    for method, found in masks.items():
        seen: TrainingExposure = "seen" if method.startswith("s2ops") else "no training"
        counts = [np.array([mask.size, (mask == 1).sum()], np.int64) for mask in found]
        subject = Subject("scene-cloud", "EuroSAT chips with all bands, clear", method, "chips", seen)
        pixels = int(sum(count[0] for count in counts))
        tally.figures.append(subject.build_figure("clear masked as cloud", counts, _compute_share, pixels))


def _compute_share(counts: Float64) -> float:
    """Return the fraction of cloud from counts (pixels, cloud pixels)."""
    return float(counts[1] / counts[0])
