"""World checks of the ground: sea, dry ground, beach, bare soil, rivers, houses, snow, dusk, on real scenes.

Reference pixels come from indices where these are certain, never from a network. All shares are of the reference
pixels of a place, with blocks of the place as the units of the intervals; pixels without a class count as wrong.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Bool, Float32, Float64, Int64, LandCover, UInt8
from s2ops.evaluation.accuracy import BLOCK_SIZE_PX, Subject, TrainingExposure, iterate_blocks
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.evaluation.world_gates import WORLD
from s2ops.evaluation.world_maps import (
    WorldMaps,
    compute_indices,
    encode_reflectance,
    extract_largest_body,
    read_l1c_levels,
    read_worldcereal_months,
)
from s2ops.imaging.tone_curve import invert_tone_curve
from s2ops.training.datasets.real_scenes import read_eurosat_ms

METHOD: Final = "s2ops classify"

OPEN_SEA_COLUMNS: Final = 283
"""Number of columns at Virginia's eastern edge that contain the open Atlantic only."""
SEA_CROP_COLUMNS: Final = 768
"""Width of the eastern part of Virginia that is classified as L1C, pixels."""

DRY_NDVI: Final = 0.35
"""NDVI below which no ground is wood."""
SPARSE_NDVI: Final = 0.45
"""NDVI below which ground that never becomes greener is scrub, rock or field at most."""

BEACH_NDVI: Final = 0.15
BEACH_BLUE: Final = 0.12
"""Minimum blue reflectance of bright sand; bare fields are darker."""
BEACH_DISTANCE_PX: Final = 30
"""Maximum distance of a beach from the largest water body, pixels."""
DESERT_NDVI: Final = 0.2

BARE_FIELD_NDVI: Final = 0.3
GREEN_FIELD_NDVI: Final = 0.6
SURE_WATER_NDWI: Final = 0.1
NARROW_WATER_PX: Final = 4
"""Maximum width of narrow water, pixels."""
COARSE_FACTOR: Final = 3
"""Factor by which river chips are averaged, to pixels of 30 m."""

DUSK_REFLECTANCE: Final = (0.01, 0.02)
"""Reflectance at dusk that the 1st and 99th percentile of a clear scene are scaled to."""

SNOW_REFLECTANCE: Final = (0.86, 0.87, 0.88, 0.80)
"""Reflectance of old snow in red, green, blue, nir (earthlib has none at 10 m)."""
SNOW_SHARE: Final = 0.3
"""Share of the ground under patches of snow."""
SNOW_PATCH_SIGMA_PX: Final = 5.0
"""Standard deviation of the Gaussian whose noise outlines the patches, pixels."""

_BUILT: Final = (LandCover.RESIDENTIAL, LandCover.INDUSTRIAL)


def compute_ratio(counts: Float64) -> float:
    """Return the share of hits from counts (hits, pixels); NaN without pixels."""
    return float(counts[0] / counts[1]) if counts[1] else float("nan")


def count_by_block(hit: Bool, where: Bool) -> list[Int64]:
    """Count (hits, pixels) of the reference pixels `where` (y, x) in each block that contains any."""
    return [
        np.array([(hit[block] & where[block]).sum(), where[block].sum()], np.int64) for block in iterate_blocks(where)
    ]


def add_share(
    tally: FigureCollection, data: str, score: str, counts: Sequence[Int64], seen: TrainingExposure, unit: str = ""
) -> None:
    """Add the share of hits as a figure.

    Args:
        tally: Collection to add to.
        data: Reference pixels, as `Gate.data`.
        score: Name of the share, as `Gate.score`.
        counts: (hits, pixels) per unit; nothing is added if it is empty.
        seen: Use of the places in training.
        unit: Plural noun of the units; blocks of one place if empty.
    """
    if counts:
        subject = Subject(WORLD, data, METHOD, unit or f"blocks of {BLOCK_SIZE_PX} px", seen)
        pixels = int(sum(count[1] for count in counts))
        tally.figures.append(subject.build_figure(score, counts, compute_ratio, pixels))


def score_sea(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of water in open sea, at Virginia on both levels and in Western Australia."""
    scene = maps.scenes["virginia"]
    raw = maps.classify_levels([np.ascontiguousarray(read_l1c_levels(scene)[:, :, -SEA_CROP_COLUMNS:])]).classes
    for level, classes in (
        ("L1C", raw),
        ("path reflectance subtracted", maps.classify_scenes("virginia").classes),
    ):
        water = classes[:, -OPEN_SEA_COLUMNS:] == LandCover.WATER
        add_share(tally, f"Virginia, open sea, {level}", "water", count_by_block(water, np.ones_like(water)), "seen")
    sea = extract_largest_body(compute_indices(maps.scenes["dsen2-australia"].levels).ndwi > 0)
    water = maps.classify_scenes("dsen2-australia").classes == LandCover.WATER
    add_share(tally, "Western Australia, open sea", "water", count_by_block(water, sea), "seen")


def score_narrow_water(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of water in creeks and ponds that are at most four pixels wide, where NDWI is sure."""
    ndwi = compute_indices(maps.scenes["virginia"].levels).ndwi
    wide = ndimage.binary_opening(ndwi > 0, np.ones((NARROW_WATER_PX + 1, NARROW_WATER_PX + 1), np.bool_))
    water = maps.classify_scenes("virginia").classes == LandCover.WATER
    counts = count_by_block(water, (ndwi > SURE_WATER_NDWI) & ~wide)
    add_share(tally, f"Virginia, narrow water, NDWI > {SURE_WATER_NDWI}", "water", counts, "seen")


def score_dry_ground(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of tree on ground that is too dry for it, and on all land of Boadella."""
    for name, title in (
        ("virginia", "Virginia"),
        ("spyndex", "dry hills (spyndex)"),
        ("patagonia", "Patagonia"),
    ):
        found = compute_indices(maps.scenes[name].levels)
        tree = maps.classify_scenes(name).classes == LandCover.TREE
        dry = (found.ndvi < DRY_NDVI) & (found.ndwi < 0)
        add_share(tally, f"{title}, land with NDVI < {DRY_NDVI}", "tree", count_by_block(tree, dry), "seen")
    names = [scene.name for scene in maps.scenes.values() if scene.place == "boadella"]
    dates = [compute_indices(scene.levels) for scene in maps.list_clear_scenes("boadella")]
    greenest, mean = (rule([date.ndvi for date in dates], axis=0) for rule in (np.max, np.mean))
    land = np.max([date.ndwi for date in dates], axis=0) < 0
    tree = maps.classify_scenes(*names).classes == LandCover.TREE
    for title, where in (
        (f"land always with NDVI < {DRY_NDVI}", land & (greenest < DRY_NDVI)),
        (f"land always with NDVI < {SPARSE_NDVI}", land & (greenest < SPARSE_NDVI)),
        (f"land with mean NDVI < {SPARSE_NDVI}", land & (mean < SPARSE_NDVI)),
        ("all land", land),
    ):
        add_share(tally, f"Boadella, {len(names)} dates, {title}", "tree", count_by_block(tree, where), "seen")


def score_sand(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of barren on bright sand near the sea, and on desert ground."""
    found = compute_indices(maps.scenes["virginia"].levels)
    sea = extract_largest_body(found.ndwi > 0)
    near = ndimage.distance_transform_edt(~sea) <= BEACH_DISTANCE_PX
    beach = (found.ndvi < BEACH_NDVI) & (found.ndwi < 0) & (found.reflectance[2] > BEACH_BLUE) & near
    barren = maps.classify_scenes("virginia").classes == LandCover.BARREN
    add_share(tally, "Virginia, beach", "barren", count_by_block(barren, beach), "seen")
    found = compute_indices(maps.scenes["dsen2-australia"].levels)
    desert = (found.ndvi < DESERT_NDVI) & (found.ndwi < 0)
    barren = maps.classify_scenes("dsen2-australia").classes == LandCover.BARREN
    title = f"Western Australia, land with NDVI < {DESERT_NDVI}"
    add_share(tally, title, "barren", count_by_block(barren, desert), "seen")


def score_fields(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score fields that are bare in one month and green in another, each month alone."""
    months = read_worldcereal_months(maps.root)
    ndvi = np.stack([compute_indices(month).ndvi for month in months])
    field = (ndvi.min(axis=0) < BARE_FIELD_NDVI) & (ndvi.max(axis=0) > GREEN_FIELD_NDVI)
    bare, green = [], []
    for index, month in zip(ndvi, months, strict=True):
        classes = maps.classify_levels([month]).classes
        bare += count_by_block(classes == LandCover.BARREN, field & (index < BARE_FIELD_NDVI))
        green += count_by_block(classes == LandCover.GRASS, field & (index > GREEN_FIELD_NDVI))
    unit = f"blocks of {BLOCK_SIZE_PX} px and month"
    add_share(tally, f"Belgium, fields while NDVI < {BARE_FIELD_NDVI}", "barren", bare, "held out", unit)
    add_share(tally, f"Belgium, fields while NDVI > {GREEN_FIELD_NDVI}", "grass", green, "held out", unit)


def score_chips(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score EuroSAT chips with all bands, each alone: water of narrow rivers, kind of buildings."""
    labels, levels = read_eurosat_ms(maps.root)
    rivers = [number for number, label in enumerate(labels) if label == "River"]
    for title, chosen, coarse in (
        ("10 m", rivers, 1),
        ("10 m, not in training", [number for number in rivers if number % 5 == 0], 1),
        ("30 m", rivers, COARSE_FACTOR),
    ):
        counts = [_count_sure_water(maps, average_pixels(levels[number], coarse), 10 * coarse) for number in chosen]
        seen: TrainingExposure = "held out" if "not in" in title else "seen"
        found = [count for count in counts if count[1]]
        add_share(tally, f"EuroSAT, river chips, {title}, NDWI > {SURE_WATER_NDWI}", "water", found, seen, "chips")
    for label, code in (("Residential", LandCover.RESIDENTIAL), ("Industrial", LandCover.INDUSTRIAL)):
        counts_of_kind = []
        for number, name in enumerate(labels):
            if name == label:
                classes = maps.classify_levels([levels[number]]).classes
                built = np.isin(classes, _BUILT)
                counts_of_kind.append(np.array([(classes == code).sum(), built.sum()], np.int64))
        data = f"EuroSAT, {label.lower()} chips, built pixels"
        add_share(tally, data, label.lower(), [count for count in counts_of_kind if count[1]], "seen", "chips")


def _count_sure_water(maps: WorldMaps, levels: UInt8, res: float) -> Int64:
    """Count (pixels called water, pixels) where NDWI shows water beyond doubt, in one image classified alone."""
    sure = compute_indices(levels).ndwi > SURE_WATER_NDWI
    water = maps.classify_levels([levels], res).classes == LandCover.WATER if sure.any() else sure
    return np.array([(water & sure).sum(), sure.sum()], np.int64)


def average_pixels(levels: UInt8, factor: int) -> UInt8:
    """Average the reflectance of `factor` x `factor` pixels of an image (4, y, x); cut off incomplete ones."""
    band, height, width = levels.shape
    rows, columns = height // factor, width // factor
    reflectance = invert_tone_curve(levels[:, : rows * factor, : columns * factor])
    return encode_reflectance(reflectance.reshape(band, rows, factor, columns, factor).mean(axis=(2, 4)))


def score_snow(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of buildings on semi-desert rock with simulated patches of snow; no real scene has snow."""
    classes = maps.classify_levels([add_snow(maps.scenes["patagonia"].levels)]).classes
    counts = count_by_block(np.isin(classes, _BUILT), np.ones(classes.shape, np.bool_))
    add_share(tally, "Patagonia with simulated snow patches", "built", counts, "seen")


def add_snow(levels: UInt8) -> UInt8:
    """Cover part of an image (4, y, x) with patches of snow with soft edges, always the same."""
    noise = np.random.default_rng(9).standard_normal(levels.shape[1:])
    field: Float32 = ndimage.gaussian_filter(noise, SNOW_PATCH_SIGMA_PX).astype(np.float32)
    field = (field - np.quantile(field, 1 - SNOW_SHARE)) / field.std()
    cover = np.clip(0.5 + 2 * field, 0, 1).astype(np.float32)
    snow = np.array(SNOW_REFLECTANCE, np.float32)[:, None, None]
    return encode_reflectance(cover * snow + (1 - cover) * invert_tone_curve(levels))


def score_dusk(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of confident pixels in scenes that are scaled to the reflectance of dusk."""
    counts = []
    for name in ("dsen2-germany", "boadella-2020-06-21", "spyndex"):
        confidence = maps.classify_levels([simulate_dusk(maps.scenes[name].levels)]).confidence
        sure = (confidence > 50) & (confidence <= 100)
        counts.append(np.array([sure.sum(), sure.size], np.int64))
    add_share(tally, "three clear scenes at dusk", "confidence above 50", counts, "held out", "scenes")


def simulate_dusk(levels: UInt8) -> UInt8:
    """Scale an image (4, y, x) linearly, all bands alike, to the reflectance of dusk."""
    reflectance = invert_tone_curve(levels)
    low, high = np.percentile(reflectance, (1, 99))
    share = np.clip((reflectance - low) / (high - low), 0, 1).astype(np.float32)
    return encode_reflectance(DUSK_REFLECTANCE[0] + share * np.float32(DUSK_REFLECTANCE[1] - DUSK_REFLECTANCE[0]))
