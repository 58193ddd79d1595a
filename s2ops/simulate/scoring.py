"""Scoring (validation) of a finished run against the truth of the simulated world that it read.

Pixels are counted, slab by slab, into small tables (confusion matrices, sums), from which the scores are computed.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from rasterio.windows import Window

from s2ops.constants import CLASS_NAMES, Float64, Int64, LandCover, Mask, UInt8, UInt16
from s2ops.errors import RasterError
from s2ops.imaging.classification_metrics import (
    compute_auc,
    compute_f1,
    compute_iou,
    compute_overall_accuracy,
    count_confusion,
)
from s2ops.imaging.tone_curve import SCALE, apply_tone_curve, invert_tone_curve
from s2ops.storage import layout

MASK_NAMES: Final = {Mask.CLEAR: "clear", Mask.CLOUD: "cloud", Mask.SHADOW: "shadow"}

_WINDOW_ROWS: Final = 1024

Score = dict[str, float | None]


def _round_score(value: float) -> float | None:
    """Return the score with four decimals; None, which JSON can hold, for NaN (not defined)."""
    return None if math.isnan(value) else round(value, 4)


@dataclass
class CompositeSums:
    """Sums of errors over the filled pixels of a composite."""

    reflectance: Float64 = field(default_factory=lambda: np.zeros(4))
    """Sum of absolute errors in reflectance, by band."""
    levels: Float64 = field(default_factory=lambda: np.zeros(4))
    """Sum of absolute errors in levels of the tone curve, by band."""
    filled: int = 0
    holes: int = 0
    residual: int = 0
    """Number of filled pixels that are cloud or shadow in the true mask of their scene."""

    def add(self, image: UInt8, surface: UInt16, mask: UInt8, filled: UInt8) -> None:
        """Add the pixels that come from one scene.

        Args:
            image: (4, y, x) levels of the composite.
            surface: (4, y, x) true surface reflectance as digital numbers.
            mask: (y, x) true mask of the scene.
            filled: (y, x) 1 for pixels that come from the scene, otherwise 0.
        """
        use = filled.astype(bool)
        truth = surface[:, use].astype(np.float32) / SCALE
        found = image[:, use]
        self.reflectance += np.abs(invert_tone_curve(found) - truth).sum(axis=1, dtype=np.float64)
        self.levels += np.abs(found - apply_tone_curve(truth)).sum(axis=1, dtype=np.float64)
        self.filled += int(use.sum())
        self.residual += int(np.isin(mask[use], (Mask.CLOUD, Mask.SHADOW)).sum())

    def score(self) -> Score:
        """Score the sums: mean errors over pixels and bands, fractions of holes and of residual cloud or shadow."""
        whole, filled = self.filled + self.holes, max(self.filled, 1)
        return {
            "reflectance_error": round(float(self.reflectance.mean()) / filled, 5),
            "level_error": round(float(self.levels.mean()) / filled, 3),
            "holes": round(self.holes / whole, 6) if whole else None,
            "residual": round(self.residual / filled, 6),
        }


def score_masks(table: Int64) -> Score:
    """Score masks: IoU of cloud, shadow and both together, and overall accuracy, from a confusion of codes 0 to 2."""
    merged = np.array([[table[0, 0], table[0, 1:].sum()], [table[1:, 0].sum(), table[1:, 1:].sum()]])
    score: Score = {
        f"{MASK_NAMES[code]}_iou": _round_score(compute_iou(table, code)) for code in (Mask.CLOUD, Mask.SHADOW)
    }
    return score | {
        "cloud_or_shadow_iou": _round_score(compute_iou(merged, 1)),
        "accuracy": _round_score(compute_overall_accuracy(table)),
    }


def score_landcover(table: Int64) -> Score:
    """Score land cover: F1 of each class, their mean, and overall accuracy, from a confusion of codes 0 to 6."""
    known = table.copy()
    known[:, LandCover.NODATA] = 0
    scores = {
        CLASS_NAMES[code]: _round_score(compute_f1(known, code)) for code in LandCover if code != LandCover.NODATA
    }
    found = [value for value in scores.values() if value is not None]
    return scores | {
        "mean_f1": round(float(np.mean(found)), 4) if found else None,
        "accuracy": _round_score(compute_overall_accuracy(known)),
    }


def score_run(out: Path, world: Path) -> dict[str, Score]:
    """Compare a run's folder (docs/reference/outputs.md) with the world that it read (docs/explanation/simulate.md).

    Returns:
        Scores by group: 'mask', 'composite', 'landcover', 'haze'; a product that does not exist has no group.
    """
    truth = json.loads((world / "truth" / "truth.json").read_text())
    groups: dict[str, Score] = {}
    masks = [
        (path, world / "truth" / path.parent.name / path.name)
        for path in sorted(out.glob(layout.SceneKeys("*", "*").mask))
    ]
    if masks:
        groups["mask"] = score_masks(sum(_count_confusion(found, true, 3) for found, true in masks))  # type: ignore[arg-type]
    items = sorted(out.glob(layout.TileKeys("*").get_item("composite")))
    if items:
        sums = CompositeSums()
        for item in items:
            _add_composite(sums, item, world, truth)
        groups["composite"] = sums.score()
    maps = sorted(out.glob(layout.TileKeys("*").get_raster("landcover", "landcover")))
    if maps:
        tables = [_count_confusion(path, world / "truth" / path.parent.name / "classes.tif", 7) for path in maps]
        groups["landcover"] = score_landcover(sum(tables))  # type: ignore[arg-type]
    haze = _score_haze(out, truth)
    return groups | ({"haze": haze} if haze else {})


def format_scores(groups: dict[str, Score]) -> list[str]:
    """Format scores as text, one line each, indented by group; a dash for scores that are not defined."""
    text = []
    for group, score in groups.items():
        text.append(group)
        text += [f"  {name:<22} {'-' if value is None else format(value, '.4g')}" for name, value in score.items()]
    return text


def _score_haze(out: Path, truth: dict[str, dict[str, dict[str, bool]]]) -> Score:
    """Score the haze probability of all candidates: AUC, and accuracy at 0.5."""
    labels, scores = [], []
    for path in sorted(out.glob(layout.TileKeys("*").selection)):
        for candidate in json.loads(path.read_text())["candidates"]:
            labels.append(bool(truth["scenes"][candidate["id"]]["hazy"]))
            scores.append(float(candidate["haze"]))
    if not labels:
        return {}
    right = [(score >= 0.5) == label for label, score in zip(labels, scores, strict=True)]
    auc = _round_score(compute_auc(np.array(labels), np.array(scores)))
    return {"auc": auc, "accuracy": round(float(np.mean(right)), 4), "scenes": float(len(labels))}


def _split_windows(path: Path) -> Iterator[Window]:
    with rasterio.open(path) as src:
        width, height = src.width, src.height
    for top in range(0, height, _WINDOW_ROWS):
        yield Window(0, top, width, min(_WINDOW_ROWS, height - top))


def _read(path: Path, window: Window, like: Path) -> UInt8:
    """Read (band, rows, x) of a file that must have the grid of `like`."""
    with rasterio.open(path) as src, rasterio.open(like) as other:
        if (src.shape, src.transform) != (other.shape, other.transform):
            raise RasterError(f"Cannot compare {path} with {like}: their grids differ; run at the world's resolution.")
        out: UInt8 = src.read(window=window)
    return out


def _count_confusion(found: Path, truth: Path, size: int) -> Int64:
    """Count the confusion of two one-band files."""
    parts = [
        count_confusion(_read(truth, window, found)[0], _read(found, window, truth)[0], size)
        for window in _split_windows(found)
    ]
    total: Int64 = np.sum(parts, axis=0)
    return total


def _add_composite(sums: CompositeSums, item: Path, world: Path, truth: dict[str, dict[str, dict[str, str]]]) -> None:
    """Add each pixel of a composite, compared with the cloud-free ground on the date of its scene."""
    folder, tile = item.parent, item.parent.name
    scenes = json.loads(item.read_text())["properties"]["s2ops:scenes"]
    image, source = folder / "composite.tif", folder / "provenance.tif"
    for window in _split_windows(image):
        levels, number = _read(image, window, source), _read(source, window, image)[0]
        sums.holes += int((number == 0).sum())
        for rank, scene in enumerate(scenes, start=1):
            name = scene["id"]
            day = truth["scenes"][name]["date"]
            surface = _read(world / "truth" / tile / f"surface-{day}.tif", window, image)
            mask = _read(world / "truth" / tile / f"{name}.mask.tif", window, image)[0]
            sums.add(levels, surface.astype(np.uint16), mask, (number == rank).astype(np.uint8))
