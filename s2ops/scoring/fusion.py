"""Does fusing dates pay? Series of the simulated world, classified date by date and fused in every way we know."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from s2ops.codes import Bool, Float32, Float64, Int64, UInt8
from s2ops.composite import ClearScene, fuse
from s2ops.grid import tile
from s2ops.inference.onnx import OnnxSegmenter, open_segmenter
from s2ops.inference.windows import segment
from s2ops.landcover import CLASSES, Fusion, FusionRule, combine, date_weight
from s2ops.masks import scene_mask
from s2ops.radiometry import levels_of
from s2ops.scoring.figures import Subject, bins_of, confusion, f1, macro_f1
from s2ops.scoring.worlds import SIDE, Tally
from s2ops.simulate.atmosphere import overcast
from s2ops.simulate.layout import ground, world_xy
from s2ops.simulate.noise import Points
from s2ops.simulate.surface import fabric, reflectance
from s2ops.simulate.town import near_town
from s2ops.simulate.world import Pass, passes

FIRST_WORLD: Final = 900
"""Training knows the worlds 0 to 63."""

LIKE: Final = "33TWL"
"""The sun stands as over this tile, at 45 degrees north."""

FADE_M: Final = 600.0
"""Cross-fade of the mosaic, as in a run."""

PRODUCT: Final = FusionRule(error=0.0, correlation=0.0)
SHIPPED: Final = "model (s2ops)"
ONE_DATE: Final = "one date for all places, the best by truth"
LOCAL_DATE: Final = "each place by its best date, by truth"
MOSAIC: Final = "mosaic, then classified"
NAMES: Final = ("water", "vegetation", "building")


@dataclass(frozen=True)
class Seen:
    """One date of one place, as the networks see it."""

    levels: UInt8
    probs: tuple[UInt8, UInt8, UInt8]
    """Of water, vegetation, building."""
    mask: UInt8
    weight: Float32


def series(seed: int, res: int, dates: int, cloudiness: float) -> tuple[UInt8, list[UInt8]]:
    """Truth (y, x), classes 1 to 6, and the levels (4, y, x) of some dates, of one place that training never saw."""
    rng = np.random.default_rng([seed, 21])
    world = (FIRST_WORLD + seed) * 1000
    x, y = (float(v) for v in world_xy(np.array(rng.uniform(-140, 200)), np.array(rng.uniform(38, 52))))
    if seed % 3:  # two places of three lie in or near a town
        x, y = near_town(world, x, y, rank=int(rng.integers(12)))
        x, y = x + rng.normal(0, SIDE * res / 6), y + rng.normal(0, SIDE * res / 6)
    span: Float64 = (np.arange(SIDE, dtype=np.float64) - SIDE / 2) * res
    at = Points(x + span[None, :], y - span[:, None], res)
    land = ground(world, at)
    cloth = fabric(world, land, at)
    days = [date(2025, 4, 20) + timedelta(days=int(day)) for day in np.linspace(0, 160, dates)]
    flights = passes([tile(LIKE)], days, 1_000_000 + seed, cloudiness)
    return land.classes, [_look(reflectance(cloth, flight.day), flight, at, rng) for flight in flights]


def _look(surface: Float32, flight: Pass, at: Points, rng: np.random.Generator) -> UInt8:
    image = surface.copy()
    overcast(flight.sky, image, at)
    image *= np.array(flight.gain, np.float32)[:, None, None]
    image += np.float32(0.001) * rng.standard_normal(image.shape, dtype=np.float32)
    out: UInt8 = np.rint(levels_of(np.maximum(image, np.float32(0.0001)))).astype(np.uint8)
    return out


def _seen(levels: UInt8, res: int, networks: dict[str, OnnxSegmenter]) -> Seen:
    valid = levels[0] > 0
    mask = scene_mask(segment(networks["scene-cloud"], levels), valid, res)
    water, vegetation, building = (segment(networks[name], levels) for name in NAMES)
    return Seen(levels, (water, vegetation, building), mask, date_weight(mask, res))


def _model(dates: Sequence[Seen], rule: FusionRule, weighted: bool) -> tuple[UInt8, UInt8]:
    fusion = Fusion(dates[0].mask.shape, rule)
    for each in dates:
        fusion.feed(*each.probs, each.weight if weighted else np.ones_like(each.weight))
    return fusion.decide()


def _mean(dates: Sequence[Seen], weighted: bool) -> UInt8:
    weights = [each.weight if weighted else np.ones_like(each.weight) for each in dates]
    total = sum(combine(*each.probs) * weight for each, weight in zip(dates, weights, strict=True))
    out: UInt8 = (np.asarray(total).argmax(axis=0) + 1).astype(np.uint8)
    return out


def _mosaic(dates: Sequence[Seen], res: int, networks: dict[str, OnnxSegmenter]) -> UInt8:
    """Cross-fade the dates, the clearest first, as a run's composite does (without matching), and classify that."""
    order = sorted(dates, key=lambda each: -int((each.mask == 0).sum()))
    levels = fuse([ClearScene(each.levels, each.mask == 0) for each in order], FADE_M / res).levels
    water, vegetation, building = (segment(networks[name], levels) for name in NAMES)
    out: UInt8 = (combine(water, vegetation, building).argmax(axis=0) + 1).astype(np.uint8)
    return out


def _maps(
    dates: Sequence[Seen], single: Sequence[UInt8], truth: UInt8, res: int, networks: dict[str, OnnxSegmenter]
) -> Iterator[tuple[str, UInt8]]:
    """Each way to a map, by name; where a date is chosen by truth, the name says so. `single` are the dates' maps."""
    clearest = max(range(len(dates)), key=lambda index: int((dates[index].mask == 0).sum()))
    best = max(range(len(dates)), key=lambda index: int((single[index] == truth).sum()))
    yield "each place by its clearest date", single[clearest]
    yield LOCAL_DATE, single[best]
    yield MOSAIC, _mosaic(dates, res, networks)
    yield "mean", _mean(dates, weighted=False)
    yield "mean, cloud-weighted", _mean(dates, weighted=True)
    yield "product, cloud-weighted", _model(dates, PRODUCT, weighted=True)[0]
    yield "model without cloud weights", _model(dates, FusionRule(), weighted=False)[0]
    yield SHIPPED, _model(dates, FusionRule(), weighted=True)[0]


def land_cover(tally: Tally, res: int, places: int, dates: int, cloudiness: float) -> None:
    """All ways on the same pixels: those that the masks call clear on one date at least."""
    networks = {name: open_segmenter(name) for name in ("scene-cloud", *NAMES)}
    tables: dict[str, list[Int64]] = {}
    by_date: list[list[Int64]] = [[] for _ in range(dates)]
    bins: list[Float64] = []
    for seed in range(places):
        truth, images = series(seed, res, dates, cloudiness)
        looks = [_seen(levels, res, networks) for levels in images]
        seen: Bool = np.any([each.mask == 0 for each in looks], axis=0) & (truth > 0)
        if not seen.any():
            continue
        single = [_model([each], FusionRule(), weighted=False)[0] for each in looks]
        for held, found in zip(by_date, single, strict=True):
            held.append(_table(truth, found, seen))
        for method, found in _maps(looks, single, truth, res, networks):
            tables.setdefault(method, []).append(_table(truth, found, seen))
        classes, percent = _model(looks, FusionRule(), weighted=True)
        bins.append(bins_of(percent[seen] / 100.0, (classes == truth)[seen]))
    best = max(by_date, key=lambda held: macro_f1(np.sum(held, axis=0).astype(np.float64)))
    sky = "often cloudy" if cloudiness > 0.5 else "mixed weather"
    _add(tally, f"simulated series of {dates} dates, {sky}, {res} m", {ONE_DATE: best, **tables}, bins)


def _table(truth: UInt8, found: UInt8, seen: Bool) -> Int64:
    """Counts of the six classes; every pixel that is seen has one by every method."""
    return confusion((truth - np.uint8(1))[seen], (found - np.uint8(1))[seen], len(CLASSES))


def _add(tally: Tally, data: str, tables: dict[str, list[Int64]], bins: list[Float64]) -> None:
    for method, counted in tables.items():
        tally.figures += Subject("land cover", data, method, "places").of_tables(counted, {"macro F1": macro_f1})
    ours = Subject("land cover", data, SHIPPED, "places")
    by_class = {f"F1 {code.name.lower()}": f1(index) for index, code in enumerate(CLASSES)}
    tally.figures += ours.of_tables(tables[SHIPPED], by_class)
    pixels = int(sum(table.sum() for table in tables[SHIPPED]))
    for other in (ONE_DATE, LOCAL_DATE, MOSAIC):
        pairs = [np.stack(pair) for pair in zip(tables[SHIPPED], tables[other], strict=True)]
        tally.figures.append(ours.figure(f"macro F1 above: {other}", pairs, _gain, pixels))
    tally.calibration(ours, bins)


def _gain(tables: Float64) -> float:
    """Macro F1 of the first table above that of the second."""
    return macro_f1(tables[0]) - macro_f1(tables[1])
