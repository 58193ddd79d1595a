"""World checks of the ground on real scenes: sea, narrow water, dry ground, beach, bare soil, houses.

Reference pixels come from indices where these are certain, never from a network. All shares are of the reference
pixels of a place, with blocks of the place as the units of the intervals; pixels without a class count as wrong.
"""

from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Int64, LandCover, UInt8
from s2ops.evaluation.accuracy import BLOCK_SIZE_PX, TrainingExposure
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.evaluation.world_maps import (
    WorldMaps,
    compute_indices,
    encode_reflectance,
    extract_largest_body,
    read_l1c_levels,
    read_worldcereal_months,
)
from s2ops.evaluation.world_shares import BUILT, add_share, count_by_block
from s2ops.imaging.tone_curve import invert_tone_curve
from s2ops.training.datasets.real_scenes import read_eurosat_ms

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
DESERT_NIR: Final = 0.15
"""Minimum reflectance of desert and dry tidal flats in near infrared; turbid sea is darker."""

BARE_FIELD_NDVI: Final = 0.3
GREEN_FIELD_NDVI: Final = 0.6
SURE_WATER_NDWI: Final = 0.1
NARROW_WATER_PX: Final = 4
"""Maximum width of narrow water, pixels."""
COARSE_FACTOR: Final = 3
"""Factor by which river chips are averaged, to pixels of 30 m."""


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
    desert = (found.ndvi < DESERT_NDVI) & (found.ndwi < 0) & (found.reflectance[3] > DESERT_NIR)
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
                built = np.isin(classes, BUILT)
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
