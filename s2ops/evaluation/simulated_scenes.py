"""Accuracy in the simulated world, on seeds that training never uses: clouds, land cover, previews, haze."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2ops.acquisition.cloud_mask import compute_preview_mask, compute_scene_mask
from s2ops.constants import Float64, Int64, UInt8
from s2ops.evaluation import baseline_methods
from s2ops.evaluation.accuracy import (
    Figure,
    ReliabilityCurve,
    Subject,
    TrainingExposure,
    build_f1_score,
    build_iou_score,
    build_reliability_curve,
    compute_calibration_error,
    count_by_confidence,
    count_probs_by_confidence,
)
from s2ops.imaging.classification_metrics import compute_auc_from_counts, compute_macro_f1, count_confusion
from s2ops.inference.onnx import open_image_classifier, open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.models.registry import LANDCOVER, list_tasks, split_by_head
from s2ops.simulate.training_patches import simulate_patch, simulate_preview
from s2ops.training.datasets.pools import Pool, derive_labels

FIRST_SEED: Final = 80_000_000
"""First seed of the scored samples: training uses seeds below 50,000,000, its validation the following ones."""

SAMPLE_SIZE_PX: Final = 256

HEAD_METHOD: Final = "s2ops, head of the land-cover network"
SINGLE_TASK_METHOD: Final = "s2ops network of one task"
"""Both classify the same task: the former makes the maps, the latter was its teacher in training."""

CLOUD_SCORES: Final = {"IoU cloud": build_iou_score(1)}
CLOUD_SHADOW_SCORES: Final = {**CLOUD_SCORES, "IoU shadow": build_iou_score(2)}


@dataclass
class FigureCollection:
    """Collection of the figures and curves that the scoring functions add to."""

    figures: list[Figure] = field(default_factory=list)
    curves: list[ReliabilityCurve] = field(default_factory=list)

    def add_calibration(self, subject: Subject, bins: list[Float64]) -> None:
        """Add the calibration error and the reliability curve."""
        pixels = int(sum(part[:, 0].sum() for part in bins))
        self.figures.append(subject.build_figure("calibration error", bins, compute_calibration_error, pixels))
        self.curves.append(build_reliability_curve(subject.network, subject.data, bins))


def get_exposure(method: str) -> TrainingExposure:
    """Return the training exposure of held-out places: 'no training' for methods that are not ours."""
    return "held out" if method.startswith("s2ops") else "no training"


def score_clouds(tally: FigureCollection, res: int, count: int) -> None:
    """Score cloud masks of `count` places at `res` metres."""
    data = f"simulated, {res} m"
    network = open_segmenter("scene-cloud")
    tables: dict[str, list[Int64]] = {}
    bins = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        sample = simulate_patch(seed, SAMPLE_SIZE_PX, res)
        probs = segment(network, sample.image)
        bins.append(count_probs_by_confidence(probs, sample.mask))
        valid = sample.mask != 255
        for method, found in _iterate_cloud_masks(probs, sample.image, valid, res):
            tables.setdefault(method, []).append(count_confusion(sample.mask, found, 3))
    for method, table in tables.items():
        scores = CLOUD_SCORES if method.startswith("B02") else CLOUD_SHADOW_SCORES
        tally.figures += Subject("scene-cloud", data, method, "places", get_exposure(method)).score_tables(
            table, scores
        )
    tally.add_calibration(Subject("scene-cloud", data, "s2ops network", "places"), bins)


def _iterate_cloud_masks(probs: UInt8, image: UInt8, valid: np.ndarray, res: int) -> Iterator[tuple[str, UInt8]]:
    """Yield (method name, mask (y, x)) of our network, our mask and the baselines."""
    yield "s2ops network", probs.argmax(axis=0).astype(np.uint8)
    mask = compute_scene_mask(probs, valid, res)
    yield "s2ops mask (grown)", np.where(valid, mask, 0).astype(np.uint8)
    yield "B02 > 0.18", baseline_methods.mask_bright_blue(image)
    # ukis-csmask needs pixels of 30 m, which images of 60 m and more do not contain
    if res < 60:
        yield from baseline_methods.iterate_csmask_variants(image, res)


def score_land_cover(tally: FigureCollection, res: int, count: int) -> None:
    """Score the heads of the land-cover network, and the single-task networks, at `res` metres on clear ground."""
    data = f"simulated, {res} m"
    samples = [simulate_patch(seed, SAMPLE_SIZE_PX, res) for seed in range(FIRST_SEED, FIRST_SEED + count)]
    shared = open_segmenter(LANDCOVER)
    of_heads = [split_by_head(LANDCOVER, segment(shared, sample.image)) for sample in samples]
    for head, task in enumerate(list_tasks(LANDCOVER)):
        alone = open_segmenter(task.name)
        answers = {
            HEAD_METHOD: [heads[head] for heads in of_heads],
            SINGLE_TASK_METHOD: [segment(alone, sample.image) for sample in samples],
        }
        truths = [derive_labels(task.name, Pool(s.image[None], s.classes[None], s.mask[None]))[0] for s in samples]
        scores = {"macro F1": compute_macro_f1} | {
            f"F1 {each}": build_f1_score(i) for i, each in enumerate(alone.classes) if i
        }
        for method, probs in answers.items():
            pairs = list(zip(truths, probs, strict=True))
            tables = [count_confusion(truth, part.argmax(axis=0).astype(np.uint8), len(part)) for truth, part in pairs]
            subject = Subject(task.name, data, method, "places")
            tally.figures += subject.score_tables(tables, scores)
            tally.add_calibration(subject, [count_probs_by_confidence(part, truth) for truth, part in pairs])


def score_previews(tally: FigureCollection, count: int) -> None:
    """Score clouds and haze on previews of whole tiles."""
    network, scorer = open_segmenter("preview-cloud"), open_image_classifier("preview-haze")
    raw, grown, bins, scored, haze_bins = [], [], [], [], []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        image, mask, haze = simulate_preview(seed)
        truth = np.where(mask == 2, 0, mask).astype(np.uint8)
        probs = segment(network, image)
        raw.append(count_confusion(truth, probs.argmax(axis=0).astype(np.uint8), 2))
        found = compute_preview_mask(probs, mask != 255)
        grown.append(count_confusion(truth, np.where(found == 255, 0, found).astype(np.uint8), 2))
        bins.append(count_probs_by_confidence(probs, truth))
        level = int(scorer.score(image[None])[0])
        counts = np.zeros((2, 256), np.int64)
        counts[int(haze), level] = 1
        scored.append(counts)
        sure = max(level, 255 - level) / 255
        haze_bins.append(count_by_confidence(np.array([sure]), np.array([(level > 127) == bool(haze)])))
    data = "simulated previews"
    subject = Subject("preview-cloud", data, "s2ops network", "previews")
    tally.figures += subject.score_tables(raw, CLOUD_SCORES)
    tally.add_calibration(subject, bins)
    tally.figures += Subject("preview-cloud", data, "s2ops mask (grown)", "previews").score_tables(grown, CLOUD_SCORES)
    subject = Subject("preview-haze", data, "s2ops network", "previews")
    tally.figures.append(subject.build_figure("AUC", scored, compute_auc_from_counts, count))
    tally.add_calibration(subject, haze_bins)
