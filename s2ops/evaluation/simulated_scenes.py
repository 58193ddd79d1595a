"""Scores in the simulated world, on seeds that training never drew: clouds, cover, previews, single samples."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2ops.acquisition.cloud_mask import preview_mask, scene_mask
from s2ops.constants import Float64, Int64, UInt8
from s2ops.evaluation import baseline_methods
from s2ops.evaluation.accuracy import (
    Curve,
    Figure,
    Seen,
    Subject,
    auc,
    bins_of,
    calibration_error,
    confusion,
    curve,
    f1,
    iou,
    macro_f1,
    network_bins,
)
from s2ops.inference.onnx import open_scorer, open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.models.registry import LANDCOVER, by_head, tasks
from s2ops.simulate.training_patches import patch, preview
from s2ops.training.datasets.pools import Pool, labels

FIRST_SEED: Final = 80_000_000
"""Training draws below 50,000,000, its validation from there on."""

SIDE: Final = 256

HEAD: Final = "s2ops, head of the land-cover network"
ALONE: Final = "s2ops network of one task"
"""Both answer the same question: the former makes the maps, the latter is what it was taught by."""

CLOUD: Final = {"IoU cloud": iou(1)}
CLOUD_AND_SHADOW: Final = {**CLOUD, "IoU shadow": iou(2)}


@dataclass
class Tally:
    """Figures and curves as they come."""

    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def calibration(self, subject: Subject, bins: list[Float64]) -> None:
        """Add the calibration error and the reliability curve."""
        pixels = int(sum(part[:, 0].sum() for part in bins))
        self.figures.append(subject.figure("calibration error", bins, calibration_error, pixels))
        self.curves.append(curve(subject.network, subject.data, bins))


def seen_by(method: str) -> Seen:
    """What training knew of places that it never saw: of our own methods and of others."""
    return "held out" if method.startswith("s2ops") else "no training"


def clouds(tally: Tally, res: int, count: int) -> None:
    """Scene masks at `res` metres, `count` places."""
    data = f"simulated, {res} m"
    network = open_segmenter("scene-cloud")
    tables: dict[str, list[Int64]] = {}
    bins = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        sample = patch(seed, SIDE, res)
        probs = segment(network, sample.image)
        bins.append(network_bins(probs, sample.mask))
        valid = sample.mask != 255
        for method, found in _cloud_masks(probs, sample.image, valid, res):
            tables.setdefault(method, []).append(confusion(sample.mask, found, 3))
    for method, table in tables.items():
        scores = CLOUD if method.startswith("B02") else CLOUD_AND_SHADOW
        tally.figures += Subject("scene-cloud", data, method, "places", seen_by(method)).of_tables(table, scores)
    tally.calibration(Subject("scene-cloud", data, "s2ops network", "places"), bins)


def _cloud_masks(probs: UInt8, image: UInt8, valid: np.ndarray, res: int) -> Iterator[tuple[str, UInt8]]:
    yield "s2ops network", probs.argmax(axis=0).astype(np.uint8)
    mask = scene_mask(probs, valid, res)
    yield "s2ops mask (grown)", np.where(valid, mask, 0).astype(np.uint8)
    yield "B02 > 0.18", baseline_methods.bright_mask(image)
    # at 60 m and more its pixels of 30 m would be invented
    if res < 60:
        yield from baseline_methods.csmasks(image, res)


def cover(tally: Tally, res: int, count: int) -> None:
    """The heads of the land-cover network, and the networks of one task, at `res` metres on clear ground."""
    data = f"simulated, {res} m"
    samples = [patch(seed, SIDE, res) for seed in range(FIRST_SEED, FIRST_SEED + count)]
    shared = open_segmenter(LANDCOVER)
    of_heads = [by_head(LANDCOVER, segment(shared, sample.image)) for sample in samples]
    for head, task in enumerate(tasks(LANDCOVER)):
        alone = open_segmenter(task.name)
        answers = {
            HEAD: [heads[head] for heads in of_heads],
            ALONE: [segment(alone, sample.image) for sample in samples],
        }
        truths = [labels(task.name, Pool(s.image[None], s.classes[None], s.mask[None]))[0] for s in samples]
        scores = {"macro F1": macro_f1} | {f"F1 {each}": f1(i) for i, each in enumerate(alone.classes) if i}
        for method, probs in answers.items():
            pairs = list(zip(truths, probs, strict=True))
            tables = [confusion(truth, part.argmax(axis=0).astype(np.uint8), len(part)) for truth, part in pairs]
            subject = Subject(task.name, data, method, "places")
            tally.figures += subject.of_tables(tables, scores)
            tally.calibration(subject, [network_bins(part, truth) for truth, part in pairs])


def previews(tally: Tally, count: int) -> None:
    """Clouds and haze on previews of whole tiles."""
    network, scorer = open_segmenter("preview-cloud"), open_scorer("preview-haze")
    raw, grown, bins, scored, haze_bins = [], [], [], [], []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        image, mask, haze = preview(seed)
        truth = np.where(mask == 2, 0, mask).astype(np.uint8)
        probs = segment(network, image)
        raw.append(confusion(truth, probs.argmax(axis=0).astype(np.uint8), 2))
        found = preview_mask(probs, mask != 255)
        grown.append(confusion(truth, np.where(found == 255, 0, found).astype(np.uint8), 2))
        bins.append(network_bins(probs, truth))
        level = int(scorer.score(image[None])[0])
        counts = np.zeros((2, 256), np.int64)
        counts[int(haze), level] = 1
        scored.append(counts)
        sure = max(level, 255 - level) / 255
        haze_bins.append(bins_of(np.array([sure]), np.array([(level > 127) == bool(haze)])))
    data = "simulated previews"
    subject = Subject("preview-cloud", data, "s2ops network", "previews")
    tally.figures += subject.of_tables(raw, CLOUD)
    tally.calibration(subject, bins)
    tally.figures += Subject("preview-cloud", data, "s2ops mask (grown)", "previews").of_tables(grown, CLOUD)
    subject = Subject("preview-haze", data, "s2ops network", "previews")
    tally.figures.append(subject.figure("AUC", scored, auc, count))
    tally.calibration(subject, haze_bins)
