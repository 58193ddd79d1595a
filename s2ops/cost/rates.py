"""Measured rates: what each step takes a unit of work, by resolution, and how right the numbers of scenes were.

A run that has ended leaves OUT/run/rates.json: the rates it was planned with, corrected by its own run records. The
next plan is given them by `--rates OUT`. The packaged rates come from `benchmarks/measure_rates.py`.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Final, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from s2ops.config import describe
from s2ops.constants import Float64
from s2ops.cost.scene_model import Scenes
from s2ops.cost.work_units import WORK, tiles_of, units_of, work_of
from s2ops.errors import ConfigError
from s2ops.geo.mgrs_tiles import TILE_SIZE_M
from s2ops.records import Record
from s2ops.run.run_record import Amount, RunRecord

PACKAGED: Final = "the package's rates.json"

FORGET: Final = 0.5
"""Weight of what was known when a run adds to it: machines, code and data change."""

CAUTION: Final = 3
"""Tiles that the model's own word counts for beside what a run found."""

AMOUNTS: Final = ("cpu_s", "network_cpu_s", "network_px", "read_bytes", "written_bytes", "get", "put")
"""What is predicted for each step."""


class Rate(Record):
    """Sums over what was measured of one step at one resolution."""

    step: str
    resolution: Annotated[int, Field(gt=0)]
    tiles: Amount
    units: Amount
    cpu_s: Amount
    """Of tiles in a process that had run the step before; the others' are counted without Start."""
    network_cpu_s: Amount
    network_px: Amount
    read_bytes: Amount
    written_bytes: Amount
    get: Amount
    put: Amount
    peak_rss_mib: Amount
    packaged: bool = False
    """Shipped, so that the first measurement of one's own takes its place."""

    @model_validator(mode="after")
    def _some_work(self) -> Self:
        if self.step not in WORK or self.work <= 0:
            raise ValueError(f"{self.step} with {self.tiles:g} tiles and {self.units:g} units is no work of a step")
        return self

    @property
    def work(self) -> float:
        """Tiles and units, weighed by WORK; kept apart in the file, so that it outlives a change of weights."""
        return work_of(self.step, self.tiles, self.units)


class Start(Record):
    """What the first tile of a process takes on top: code and weights are loaded."""

    step: str
    cpu_s: Amount


class Gpu(Record):
    """What a server of networks does."""

    mpx_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Million pixels of windows a second on one GPU, all networks of the request together counted once."""
    client_cpu_s_mpx: Amount
    """Processor seconds that a million pixels cost the step that asks."""
    source: str


class SceneCheck(Record):
    """How many scenes runs had, and what the model said of them."""

    catalog: str
    """Where those of the latest run came from; the number of candidates is corrected for the same one only."""
    tiles: Annotated[int, Field(ge=1)]
    modelled: dict[str, Amount]
    found: dict[str, Amount]

    @model_validator(mode="after")
    def _known(self) -> Self:
        if any(set(numbers) != set(Scenes().to_json()) for numbers in (self.modelled, self.found)):
            raise ValueError(f"modelled and found hold {', '.join(Scenes().to_json())}")
        return self

    def factor(self) -> Scenes:
        """Found over modelled, as if CAUTION more tiles had been as the model says: weather is a matter of chance."""
        modelled, found = Scenes(**self.modelled), Scenes(**self.found)
        cautious = modelled * Scenes(*[CAUTION / self.tiles] * 5)
        return (found + cautious).over(modelled + cautious)


class Rates(Record):
    """All that a plan rests on but prices."""

    source: str
    rates: tuple[Rate, ...]
    starts: tuple[Start, ...]
    gpu: dict[str, Gpu]
    """By step."""
    scenes: SceneCheck | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if missing := set(WORK) - {one.step for one in self.rates}:
            raise ValueError(f"no rate of {', '.join(sorted(missing))}")
        return self

    def amounts(self, step: str, resolution: int, work: float) -> dict[str, float]:
        """What `work` of the step takes, by the names of AMOUNTS: linear in the pixels of a tile.

        That is the straight line through the two resolutions measured nearest, so a constant and a part for each
        pixel; where only one was measured, what is finer takes as much more as it has more pixels.
        """
        known = sorted((one for one in self.rates if one.step == step), key=lambda one: -one.resolution)
        pixels = np.array([(TILE_SIZE_M / one.resolution) ** 2 for one in known])
        here = (TILE_SIZE_M / resolution) ** 2
        return {
            name: work * _line(here, pixels, np.array([getattr(one, name) / one.work for one in known]))
            for name in AMOUNTS
        }

    def peak(self, step: str, resolution: int) -> float:
        """MiB that the step held at the nearest finer resolution that was measured, else at the finest."""
        known = sorted((one for one in self.rates if one.step == step), key=lambda one: one.resolution)
        fitting = [one for one in known if one.resolution <= resolution]
        return (fitting[-1] if fitting else known[0]).peak_rss_mib

    def start(self, step: str) -> Start:
        """What the first tile of a process takes on top."""
        return next((one for one in self.starts if one.step == step), Start(step=step, cpu_s=0))

    def correction(self, catalog: str, *, searched: bool) -> Scenes:
        """Factors for the model's numbers of scenes."""
        if self.scenes is None:
            return Scenes(1, 1, 1, 1, 1)
        factor = self.scenes.factor()
        same = self.scenes.catalog == catalog and not searched
        return factor * Scenes(1 / factor.candidates if factor.candidates and not same else 1, 1, 1, 1, 1)

    def steps_measured(self, resolution: int) -> bool:
        """Whether every step was measured at that resolution."""
        return set(WORK) <= {one.step for one in self.rates if one.resolution == resolution}


def _line(at: float, pixels: Float64, values: Float64) -> float:
    """`values` over `pixels` (rising) at `at`; coarser than all that was measured counts as the coarsest."""
    if at <= pixels[-1]:
        return float(np.interp(at, pixels, values))
    if len(pixels) == 1:
        return float(values[0] * at / pixels[0])
    slope = (values[-1] - values[-2]) / (pixels[-1] - pixels[-2])
    return float(values[-1] + max(slope, 0.0) * (at - pixels[-1]))


def measured(
    records: Iterable[RunRecord], prior: Rates | None, *, packaged: bool = False
) -> tuple[list[Rate], list[Start]]:
    """Rates and starts of run records of one resolution; what cannot be told from them is taken from `prior`."""
    rates, starts = [], []
    by_step: dict[str, list[RunRecord]] = {}
    for record in records:
        by_step.setdefault(record.step, []).append(record)
    for step in WORK:
        works = {id(one): work_of(step, tiles_of(one), units_of(one)) for one in by_step.get(step, ())}
        some = [one for one in by_step.get(step, ()) if works[id(one)] > 0]
        if not some:
            continue
        amount = {"tiles": sum(map(tiles_of, some)), "units": sum(map(units_of, some))}
        start = _start(step, some, works) or (prior.start(step) if prior else Start(step=step, cpu_s=0))
        first = sum(one.first for one in some)
        sums = {name: float(sum(_amount(one, name) for one in some)) for name in AMOUNTS}
        if prior and sums["network_px"] and not sums["network_cpu_s"]:  # a server ran the networks
            inside = prior.amounts(step, some[0].resolution, work_of(step, *amount.values()))["network_cpu_s"]
            client = prior.gpu[step].client_cpu_s_mpx * sums["network_px"] / 1e6 if step in prior.gpu else 0.0
            sums["cpu_s"] += inside - min(client, sums["cpu_s"])
            sums["network_cpu_s"] = inside
        # a start from elsewhere must not eat the whole measurement
        sums["cpu_s"] -= min(first * start.cpu_s, 0.9 * (sums["cpu_s"] - sums["network_cpu_s"]))
        peak = max(one.peak_rss_mib for one in some)
        rates.append(
            Rate(step=step, resolution=some[0].resolution, peak_rss_mib=peak, packaged=packaged, **amount, **sums)
        )
        starts.append(start)
    return rates, starts


def _start(step: str, records: list[RunRecord], works: Mapping[int, float]) -> Start | None:
    """What first tiles took beyond what the others of the same run took; None where there are no others."""
    first, later = ([one for one in records if one.first is kind] for kind in (True, False))
    if not first or not later:
        return None
    share = sum(works[id(one)] for one in first) / sum(works[id(one)] for one in later)
    beyond = sum(_amount(one, "cpu_s") for one in first) - share * sum(_amount(one, "cpu_s") for one in later)
    return Start(step=step, cpu_s=max(beyond / len(first), 0.0))


def _amount(record: RunRecord, name: str) -> float:
    if name == "cpu_s":
        return record.lasting_cpu_s
    return float(record.requests.get(name, 0) if name in {"get", "put"} else getattr(record, name))


def updated(prior: Rates, records: Iterable[RunRecord], check: SceneCheck | None, source: str) -> Rates:
    """`prior` with what a run measured: it takes the place of packaged figures, and counts twice what came before."""
    rates, starts = measured(records, prior)
    new = {(one.step, one.resolution): one for one in rates}
    kept = [one for one in prior.rates if (one.step, one.resolution) not in new]
    merged = [_merged(old, new[key]) for old in prior.rates if (key := (old.step, old.resolution)) in new]
    done = {(one.step, one.resolution) for one in merged}
    fresh = [one for key, one in new.items() if key not in done]
    begun = {one.step: one for one in (*prior.starts, *starts)}
    return Rates(
        source=source,
        rates=tuple(sorted((*kept, *merged, *fresh), key=lambda one: (list(WORK).index(one.step), one.resolution))),
        starts=tuple(begun.values()),
        gpu=prior.gpu,
        scenes=check or prior.scenes,
    )


def _merged(old: Rate, new: Rate) -> Rate:
    if old.packaged:
        return new
    sums = {name: FORGET * getattr(old, name) + getattr(new, name) for name in ("tiles", "units", *AMOUNTS)}
    return new.model_copy(update={**sums, "peak_rss_mib": max(old.peak_rss_mib, new.peak_rss_mib)})


def parse(data: bytes, source: str) -> Rates:
    """The rates in JSON; ConfigError for what is none."""
    try:
        return Rates.model_validate_json(data)
    except ValidationError as error:
        raise ConfigError(
            f"rates {source} cannot be used: {describe(error)}; give the `out` of a finished run, or leave --rates away"
        ) from error


@cache
def packaged() -> Rates:
    """The shipped rates."""
    return parse(files("s2ops.cost").joinpath("rates.json").read_bytes(), PACKAGED)
