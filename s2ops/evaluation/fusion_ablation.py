"""Ablation of date fusion (multi-temporal classification) on simulated series, against single dates and mosaics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import count
from typing import Final, Literal

import numpy as np

from s2ops.acquisition.cloud_mask import compute_scene_mask
from s2ops.constants import Bool, Float32, Float64, Int64, UInt8
from s2ops.evaluation.accuracy import Subject, build_f1_score, count_by_confidence
from s2ops.evaluation.simulated_scenes import SAMPLE_SIZE_PX, FigureCollection
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.imaging.classification_metrics import compute_macro_f1, count_confusion
from s2ops.imaging.tone_curve import apply_tone_curve
from s2ops.inference.onnx import OnnxSegmenter, open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.landcover.date_fusion import (
    CLASS_ORDER,
    THIN_CLOUD_WEIGHT,
    DateFusion,
    FusionParams,
    combine_tasks,
    compute_date_weight,
    find_thin_cloud_or_shadow,
)
from s2ops.models.registry import LANDCOVER, split_by_head
from s2ops.mosaic.composite.compositing import composite_scenes
from s2ops.mosaic.composite.scene_stack import MaskedScene
from s2ops.simulate.atmosphere import MIN_CLOUD_THICKNESS, Sky, apply_atmosphere, compute_cloud_thickness
from s2ops.simulate.ground import project_to_world, simulate_ground
from s2ops.simulate.noise import SamplePoints
from s2ops.simulate.reflectance import compute_reflectance, compute_texture
from s2ops.simulate.towns import find_large_town
from s2ops.simulate.world import SatellitePass, plan_passes

PLACES_PER_TILE: Final = 4
"""Number of places per tile."""

FIRST_TEST_WORLD: Final = 900
"""First world of the series; training uses the worlds 0 to 63."""

SUN_REFERENCE_TILE: Final = "33TWL"
"""Tile whose sun positions the series use, at 45 degrees north."""

MAX_PLACE_OFFSET_M: Final = 40e3
"""Maximum distance of a place from the tile's centre along each axis, metres."""

CROSS_FADE_M: Final = 600.0
"""Width of the cross-fade in the mosaic, as in a run, metres."""

Weather = Literal["mixed weather", "often cloudy", "never clear"]
CLOUDINESS: Final[dict[Weather, float]] = {"mixed weather": 0.35, "often cloudy": 0.65, "never clear": 0.45}
"""Mean cloud cover of the dates, 0 to 1."""

NEVER_CLEAR: Final = (0.2, 0.7)
"""Minimum and maximum cloud cover of a date over the places of a tile in series without a clear date."""

COVER_STRIDE: Final = 8
"""Pixel stride at which the cloud cover of a place is sampled."""

PRODUCT_PARAMS: Final = FusionParams(error=0.0, correlation=0.0, absence=0.0)
EVEN_PARAMS: Final = FusionParams(absence=0.0)
SHIPPED: Final = "model (s2ops)"
ONE_DATE: Final = "one date a tile, its best by truth"
MIDDLE_DATE: Final = "one date a tile, its middle one by truth"
LOCAL_DATE: Final = "each place by its best date, by truth"
MOSAIC: Final = "mosaic, then classified"


@dataclass(frozen=True)
class ClassifiedDate:
    """One date of one place with the answers of the networks."""

    levels: UInt8
    probs: tuple[UInt8, UInt8, UInt8]
    """Probabilities (class, y, x) of water, vegetation, building."""
    mask: UInt8
    weight: Float32


@dataclass(frozen=True)
class SimulatedTile:
    """Simulated tile: several places under the same passes, in one world, with one sky per date."""

    seed: int
    res: int
    flights: tuple[SatellitePass, ...]

    def simulate_place(self, number: int) -> tuple[UInt8, list[UInt8]]:
        """Simulate one place of the tile: true classes 1 to 6 (y, x), and levels (4, y, x) of each date."""
        at, rng = self.locate_points(number)
        land = simulate_ground(self.world, at)
        cloth = compute_texture(self.world, land, at)
        return land.classes, [
            _simulate_scene(compute_reflectance(cloth, flight.day), flight, at, rng) for flight in self.flights
        ]

    def locate_points(self, number: int, every: int = 1) -> tuple[SamplePoints, np.random.Generator]:
        """Return the coordinates of each `every`-th pixel of a place, and the place's random generator."""
        rng = np.random.default_rng([self.seed, number, 21])
        middle = np.random.default_rng([self.seed, 21])
        x, y = (
            float(v) for v in project_to_world(np.array(middle.uniform(-140, 200)), np.array(middle.uniform(38, 52)))
        )
        x, y = (
            x + rng.uniform(-MAX_PLACE_OFFSET_M, MAX_PLACE_OFFSET_M),
            y + rng.uniform(-MAX_PLACE_OFFSET_M, MAX_PLACE_OFFSET_M),
        )
        if number % 3:  # two places of three lie in or near a town
            x, y = find_large_town(self.world, x, y, rank=int(rng.integers(6)))
            x, y = x + rng.normal(0, SAMPLE_SIZE_PX * self.res / 6), y + rng.normal(0, SAMPLE_SIZE_PX * self.res / 6)
        span: Float64 = (np.arange(0, SAMPLE_SIZE_PX, every, dtype=np.float64) - SAMPLE_SIZE_PX / 2) * self.res
        return SamplePoints(x + span[None, :], y - span[:, None], self.res * every), rng

    def measure_cloud_cover(self, sky: Sky) -> float:
        """Return the fraction of the tile's places that lies under cloud."""
        clouded = [
            compute_cloud_thickness(sky, self.locate_points(number, COVER_STRIDE)[0]) > MIN_CLOUD_THICKNESS
            for number in range(PLACES_PER_TILE)
        ]
        return float(np.mean(clouded))

    @property
    def world(self) -> int:
        """Seed of the ground, which training never uses."""
        return (FIRST_TEST_WORLD + self.seed) * 1000


def make_tile(seed: int, res: int, dates: int, weather: Weather) -> SimulatedTile:
    """Make a tile with dates from April to September."""
    days = [date(2025, 4, 20) + timedelta(days=int(day)) for day in np.linspace(0, 160, dates)]
    made = SimulatedTile(
        seed, res, tuple(plan_passes([parse_tile(SUN_REFERENCE_TILE)], days, 1_000_000 + seed, CLOUDINESS[weather]))
    )
    if weather != "never clear":
        return made
    covers = np.random.default_rng([seed, 22]).permutation(np.linspace(*NEVER_CLEAR, dates))
    return replace(made, flights=tuple(map(_build_cloud_limiter(made), made.flights, covers.tolist())))


def _build_cloud_limiter(made: SimulatedTile) -> Callable[[SatellitePass, float], SatellitePass]:
    """Build a function that gives a pass a cloud cover over the tile's own places, not over the whole world."""

    def limit_clouds(flight: SatellitePass, cover: float) -> SatellitePass:
        for attempt in count():
            sky = replace(flight.sky, cover=cover, seed=flight.sky.seed + 7919 * attempt)
            if NEVER_CLEAR[0] <= made.measure_cloud_cover(sky) <= NEVER_CLEAR[1]:
                break
        return replace(flight, sky=sky)

    return limit_clouds


def _simulate_scene(surface: Float32, flight: SatellitePass, at: SamplePoints, rng: np.random.Generator) -> UInt8:
    """Simulate a scene's levels (4, y, x): sky, gain and noise over surface reflectance (4, y, x)."""
    image = surface.copy()
    apply_atmosphere(flight.sky, image, at)
    image *= np.array(flight.gain, np.float32)[:, None, None]
    image += np.float32(0.001) * rng.standard_normal(image.shape, dtype=np.float32)
    out: UInt8 = np.rint(apply_tone_curve(np.maximum(image, np.float32(0.0001)))).astype(np.uint8)
    return out


def _classify_date(levels: UInt8, res: int, networks: dict[str, OnnxSegmenter]) -> ClassifiedDate:
    """Run the cloud and land-cover networks on levels (4, y, x)."""
    valid = levels[0] > 0
    mask = compute_scene_mask(segment(networks["scene-cloud"], levels), valid, res)
    water, vegetation, building = split_by_head(LANDCOVER, segment(networks[LANDCOVER], levels))
    weight = compute_date_weight(mask, res)
    weight[find_thin_cloud_or_shadow(mask, levels)] = THIN_CLOUD_WEIGHT  # as `s2ops classify` does
    return ClassifiedDate(levels, (water, vegetation, building), mask, weight)


def _fuse_dates(dates: Sequence[ClassifiedDate], rule: FusionParams, weighted: bool) -> tuple[UInt8, UInt8]:
    """Fuse the dates with the statistical model: class (y, x), and its probability in percent (y, x)."""
    fusion = DateFusion(dates[0].mask.shape, rule)
    for each in dates:
        fusion.feed(*each.probs, each.weight if weighted else np.ones_like(each.weight))
    return fusion.decide()


def _average_dates(dates: Sequence[ClassifiedDate], weighted: bool) -> UInt8:
    """Classify by the mean of the dates' class probabilities."""
    weights = [each.weight if weighted else np.ones_like(each.weight) for each in dates]
    total = sum(combine_tasks(*each.probs) * weight for each, weight in zip(dates, weights, strict=True))
    out: UInt8 = (np.asarray(total).argmax(axis=0) + 1).astype(np.uint8)
    return out


def _mosaic_dates(dates: Sequence[ClassifiedDate], res: int, networks: dict[str, OnnxSegmenter]) -> UInt8:
    """Composite the dates with cross-fades, clearest first, as a run does (but without gains), and classify that."""
    order = sorted(dates, key=lambda each: -int((each.mask == 0).sum()))
    levels = composite_scenes([MaskedScene(each.levels, each.mask == 0) for each in order], CROSS_FADE_M / res).levels
    water, vegetation, building = split_by_head(LANDCOVER, segment(networks[LANDCOVER], levels))
    out: UInt8 = (combine_tasks(water, vegetation, building).argmax(axis=0) + 1).astype(np.uint8)
    return out


def _iterate_maps(
    dates: Sequence[ClassifiedDate], single: Sequence[UInt8], truth: UInt8, res: int, networks: dict[str, OnnxSegmenter]
) -> Iterator[tuple[str, UInt8]]:
    """Yield (method name, map (y, x)) of each method; names state where the truth selects a date from `single`."""
    clearest = max(range(len(dates)), key=lambda index: int((dates[index].mask == 0).sum()))
    best = max(range(len(dates)), key=lambda index: int((single[index] == truth).sum()))
    yield "each place by its clearest date", single[clearest]
    yield LOCAL_DATE, single[best]
    yield MOSAIC, _mosaic_dates(dates, res, networks)
    yield "mean", _average_dates(dates, weighted=False)
    yield "mean, cloud-weighted", _average_dates(dates, weighted=True)
    yield "product, cloud-weighted", _fuse_dates(dates, PRODUCT_PARAMS, weighted=True)[0]
    yield "model without cloud weights", _fuse_dates(dates, FusionParams(), weighted=False)[0]
    yield "model, barren weighs like the others", _fuse_dates(dates, EVEN_PARAMS, weighted=True)[0]
    yield SHIPPED, _fuse_dates(dates, FusionParams(), weighted=True)[0]


def score_land_cover(tally: FigureCollection, res: int, tiles: int, dates: int, weather: Weather) -> None:
    """Score all methods on the same pixels: those that the masks mark as clear on at least one date."""
    networks = {name: open_segmenter(name) for name in ("scene-cloud", LANDCOVER)}
    tables: dict[str, list[Int64]] = {}
    bins: list[Float64] = []
    for seed in range(tiles):
        one = make_tile(seed, res, dates, weather)
        by_date: list[list[Int64]] = [[] for _ in range(dates)]
        for number in range(PLACES_PER_TILE):
            truth, images = one.simulate_place(number)
            classified = [_classify_date(levels, res, networks) for levels in images]
            seen: Bool = np.any([each.mask == 0 for each in classified], axis=0) & (truth > 0)
            single = [_fuse_dates([each], FusionParams(), weighted=True)[0] for each in classified]
            for held, found in zip(by_date, single, strict=True):
                held.append(count_table(truth, found, seen))
            for method, found in _iterate_maps(classified, single, truth, res, networks):
                tables.setdefault(method, []).append(count_table(truth, found, seen))
            classes, percent = _fuse_dates(classified, FusionParams(), weighted=True)
            bins.append(count_by_confidence(percent[seen] / 100.0, (classes == truth)[seen]))
        ranked = sorted(by_date, key=lambda held: compute_macro_f1(np.sum(held, axis=0).astype(np.float64)))
        tables.setdefault(ONE_DATE, []).extend(ranked[-1])
        tables.setdefault(MIDDLE_DATE, []).extend(ranked[len(ranked) // 2])
    _add_figures(tally, f"simulated series of {dates} dates, {weather}, {res} m", tables, bins)


def count_table(truth: UInt8, found: UInt8, seen: Bool) -> Int64:
    """Count the confusion of the six classes; a seventh column, with an empty row, counts unclassified pixels."""
    return count_confusion((truth - np.uint8(1))[seen], np.minimum(found - np.uint8(1), 6)[seen], len(CLASS_ORDER) + 1)


def _add_figures(tally: FigureCollection, data: str, tables: dict[str, list[Int64]], bins: list[Float64]) -> None:
    """Add macro F1 of each method, and F1, gains and calibration of the shipped method."""
    for method, counted in tables.items():
        tally.figures += Subject("land cover", data, method, "places").score_tables(
            counted, {"macro F1": compute_macro_f1}
        )
    ours = Subject("land cover", data, SHIPPED, "places")
    by_class = {f"F1 {code.name.lower()}": build_f1_score(index) for index, code in enumerate(CLASS_ORDER)}
    tally.figures += ours.score_tables(tables[SHIPPED], by_class)
    pixels = int(sum(table.sum() for table in tables[SHIPPED]))
    for other in (ONE_DATE, MIDDLE_DATE, LOCAL_DATE, MOSAIC):
        pairs = [np.stack(pair) for pair in zip(tables[SHIPPED], tables[other], strict=True)]
        tally.figures.append(ours.build_figure(f"macro F1 above: {other}", pairs, _compute_gain, pixels))
    tally.add_calibration(ours, bins)


def _compute_gain(tables: Float64) -> float:
    """Return the macro F1 of the first table minus that of the second."""
    return compute_macro_f1(tables[0]) - compute_macro_f1(tables[1])
