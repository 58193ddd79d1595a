"""Measured rates (calibration): resources per unit of work by step and resolution, and errors of the scene counts.

A finished run writes OUT/run/rates.json: the rates it was planned with, updated from its own run records. `--rates OUT`
passes them to the next plan. The packaged rates are measured by `benchmarks/measure_rates.py`.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Final, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from s2ops.config import NetworkChoice, describe_findings
from s2ops.constants import Float64
from s2ops.cost.scene_model import SceneCounts
from s2ops.cost.work_units import (
    NETWORK_EFFORT,
    STEP_EFFORT,
    compute_work,
    count_tiles,
    read_networks,
    read_units,
)
from s2ops.errors import ConfigError
from s2ops.geo.mgrs_tiles import TILE_SIZE_M
from s2ops.models.registry import LANDCOVER_NETWORKS
from s2ops.records import Record
from s2ops.run.run_record import Amount, RunRecord

PACKAGED_SOURCE: Final = "the package's rates.json"

PRIOR_RUNS_WEIGHT: Final = 0.5
"""Weight of earlier measurements when a run adds its own, because machines, code and data change."""

PRIOR_WEIGHT_TILES: Final = 3
"""Prior weight of the scene model, in tiles, when it is combined with a run's measurements."""

SEPARATE_NETWORKS: Final = "landcover-separate"
"""Name of the throughput of the three separate land-cover networks, beside those of the steps."""

PREDICTED_AMOUNTS: Final = ("cpu_s", "network_cpu_s", "network_px", "read_bytes", "written_bytes", "get", "put")
"""Amounts that are predicted for each step."""


class StepRate(Record):
    """Sums of the measurements of one step at one resolution."""

    step: str
    resolution: Annotated[int, Field(gt=0)]
    tiles: Amount
    units: Amount
    cpu_s: Amount
    """Processor seconds without the startup cost that the first tile of each process adds."""
    network_cpu_s: Amount
    network_px: Amount
    read_bytes: Amount
    written_bytes: Amount
    get: Amount
    put: Amount
    peak_rss_mib: Amount
    packaged: bool = False
    """Whether this is a rate of the package, which the user's first measurement replaces."""

    @model_validator(mode="after")
    def _validate_work(self) -> Self:
        if self.step not in STEP_EFFORT or self.work <= 0:
            raise ValueError(
                f"{self.step} with {self.tiles:g} tiles and {self.units:g} units is not a valid amount of work"
            )
        return self

    @property
    def work(self) -> float:
        """Work by STEP_EFFORT; the file contains tiles and units separately, so it survives a change of weights."""
        return compute_work(self.step, self.tiles, self.units)


class StartupCost(Record):
    """Startup cost: additional processor seconds of the first tile of a process, which loads code and weights."""

    step: str
    cpu_s: Amount


class GpuRate(Record):
    """Throughput of an inference server."""

    mpx_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Millions of window pixels per second on one GPU; all networks of a request together count once."""
    client_cpu_s_mpx: Amount
    """Processor seconds per million pixels in the step that sends the requests."""
    source: str


class SceneCheck(Record):
    """Numbers of scenes that runs found, and the model's predictions for the same tiles."""

    catalog: str
    """Catalog of the latest run; the number of candidates is only corrected for the same catalog."""
    tiles: Annotated[int, Field(ge=1)]
    modelled: dict[str, Amount]
    found: dict[str, Amount]

    @model_validator(mode="after")
    def _validate_names(self) -> Self:
        if any(set(numbers) != set(SceneCounts().to_json()) for numbers in (self.modelled, self.found)):
            raise ValueError(f"modelled and found must contain {', '.join(SceneCounts().to_json())}")
        return self

    def compute_factor(self) -> SceneCounts:
        """Compute the ratio of found to modelled counts, with PRIOR_WEIGHT_TILES more tiles that equal the model."""
        modelled, found = SceneCounts(**self.modelled), SceneCounts(**self.found)
        prior = modelled * SceneCounts(*[PRIOR_WEIGHT_TILES / self.tiles] * 5)
        return (found + prior).divide(modelled + prior)


class Rates(Record):
    """Rates of all steps: everything that a plan is based on, except prices."""

    source: str
    rates: tuple[StepRate, ...]
    starts: tuple[StartupCost, ...]
    gpu: dict[str, GpuRate]
    """Inference server throughput by step (land cover: by the shared network), and of SEPARATE_NETWORKS."""
    scenes: SceneCheck | None = None

    @model_validator(mode="after")
    def _validate_steps(self) -> Self:
        if missing := set(STEP_EFFORT) - {one.step for one in self.rates}:
            raise ValueError(f"there is no rate of {', '.join(sorted(missing))}")
        return self

    def estimate_amounts(self, step: str, resolution: int, work: float) -> dict[str, float]:
        """Estimate the amounts that `work` of the step takes, by the names of PREDICTED_AMOUNTS.

        Amounts are linear in the number of pixels per tile: a line through the two nearest measured resolutions. If
        only one resolution was measured, amounts at finer resolutions are proportional to the number of pixels.
        """
        known = sorted((one for one in self.rates if one.step == step), key=lambda one: -one.resolution)
        pixels = np.array([(TILE_SIZE_M / one.resolution) ** 2 for one in known])
        here = (TILE_SIZE_M / resolution) ** 2
        return {
            name: work * _interpolate_rate(here, pixels, np.array([getattr(one, name) / one.work for one in known]))
            for name in PREDICTED_AMOUNTS
        }

    def get_peak_rss_mib(self, step: str, resolution: int) -> float:
        """Return the step's peak memory in MiB at the nearest measured resolution that is as fine, or at the finest."""
        known = sorted((one for one in self.rates if one.step == step), key=lambda one: one.resolution)
        fitting = [one for one in known if one.resolution <= resolution]
        return (fitting[-1] if fitting else known[0]).peak_rss_mib

    def get_startup(self, step: str) -> StartupCost:
        """Return the startup cost of a process for the step; 0 if it was not measured."""
        return next((one for one in self.starts if one.step == step), StartupCost(step=step, cpu_s=0))

    def estimate_server_time(self, step: str, networks: NetworkChoice, mpx: float) -> tuple[float, float] | None:
        """Estimate what an inference server takes for windows of `mpx` million pixels.

        Returns:
            Processor seconds of the client and seconds of one GPU; None if the server has no part in the step.
        """
        known = self.gpu.get(step)
        if known is None:
            return None
        passes = [known]
        if step == "landcover" and networks != "shared":
            separate = self.gpu.get(SEPARATE_NETWORKS)  # rates of earlier versions do not contain it
            three = [known] * len(LANDCOVER_NETWORKS["separate"]) if separate is None else [separate]
            passes = three if networks == "separate" else [known, *three]
        return sum(mpx * one.client_cpu_s_mpx for one in passes), sum(mpx / one.mpx_s for one in passes)

    def compute_scene_correction(self, catalog: str, *, searched: bool) -> SceneCounts:
        """Compute the factors by which the model's scene counts are multiplied."""
        if self.scenes is None:
            return SceneCounts(1, 1, 1, 1, 1)
        factor = self.scenes.compute_factor()
        same = self.scenes.catalog == catalog and not searched
        return factor * SceneCounts(1 / factor.candidates if factor.candidates and not same else 1, 1, 1, 1, 1)

    def has_all_steps(self, resolution: int) -> bool:
        """Return whether every step was measured at a resolution."""
        return set(STEP_EFFORT) <= {one.step for one in self.rates if one.resolution == resolution}


def _interpolate_rate(at: float, pixels: Float64, values: Float64) -> float:
    """Interpolate `values` over `pixels` (ascending) at `at`; below the smallest number of pixels it is constant."""
    if at <= pixels[-1]:
        return float(np.interp(at, pixels, values))
    if len(pixels) == 1:
        return float(values[0] * at / pixels[0])
    slope = (values[-1] - values[-2]) / (pixels[-1] - pixels[-2])
    return float(values[-1] + max(slope, 0.0) * (at - pixels[-1]))


def compute_rates(
    records: Iterable[RunRecord], prior: Rates | None, *, packaged: bool = False
) -> tuple[list[StepRate], list[StartupCost]]:
    """Compute rates and startup costs from run records of one resolution.

    Args:
        records: Run records; all have the same resolution.
        prior: Rates for amounts that the records cannot determine, or None.
        packaged: Whether the rates will be part of the package.
    """
    rates, starts = [], []
    by_step: dict[str, list[RunRecord]] = {}
    for record in records:
        by_step.setdefault(record.step, []).append(record)
    for step in STEP_EFFORT:
        works = {id(one): compute_work(step, count_tiles(one), read_units(one)) for one in by_step.get(step, ())}
        some = [one for one in by_step.get(step, ()) if works[id(one)] > 0]
        if not some:
            continue
        amount = {"tiles": sum(map(count_tiles, some)), "units": sum(map(read_units, some))}
        start = _compute_startup(step, some, works) or (
            prior.get_startup(step) if prior else StartupCost(step=step, cpu_s=0)
        )
        first = sum(one.first for one in some)
        sums = {name: float(sum(_get_amount(one, name) for one in some)) for name in PREDICTED_AMOUNTS}
        if prior and sums["network_px"] and not sums["network_cpu_s"]:  # a server ran the networks
            inside = prior.estimate_amounts(step, some[0].resolution, compute_work(step, *amount.values()))[
                "network_cpu_s"
            ]
            client = sum(_estimate_client_time(one, prior) for one in some)
            sums["cpu_s"] += inside - min(client, sums["cpu_s"])
            sums["network_cpu_s"] = inside
        # A startup cost from another run must not exceed the measurement.
        sums["cpu_s"] -= min(first * start.cpu_s, 0.9 * (sums["cpu_s"] - sums["network_cpu_s"]))
        peak = max(one.peak_rss_mib for one in some)
        rates.append(
            StepRate(step=step, resolution=some[0].resolution, peak_rss_mib=peak, packaged=packaged, **amount, **sums)
        )
        starts.append(start)
    return rates, starts


def _compute_startup(step: str, records: list[RunRecord], works: Mapping[int, float]) -> StartupCost | None:
    """Compute the excess of first tiles over the other tiles of the same run; None if there are no other tiles."""
    first, later = ([one for one in records if one.first is kind] for kind in (True, False))
    if not first or not later:
        return None
    share = sum(works[id(one)] for one in first) / sum(works[id(one)] for one in later)
    excess = sum(_get_amount(one, "cpu_s") for one in first) - share * sum(_get_amount(one, "cpu_s") for one in later)
    return StartupCost(step=step, cpu_s=max(excess / len(first), 0.0))


def _estimate_client_time(record: RunRecord, prior: Rates) -> float:
    """Estimate the processor seconds that the requests to a server took in a step."""
    found = prior.estimate_server_time(record.step, read_networks(record), _get_amount(record, "network_px") / 1e6)
    return 0.0 if found is None else found[0]


def _get_amount(record: RunRecord, name: str) -> float:
    """Return an amount of a record, as if the shared network had made the land-cover map."""
    networks = read_networks(record)
    if name == "network_px":
        return record.network_px / len(LANDCOVER_NETWORKS[networks])
    shared_cpu_s = record.network_cpu_s / NETWORK_EFFORT[networks]
    if name == "network_cpu_s":
        return shared_cpu_s
    if name == "cpu_s":
        return record.lasting_cpu_s - record.network_cpu_s + shared_cpu_s
    return float(record.requests.get(name, 0) if name in {"get", "put"} else getattr(record, name))


def update_rates(prior: Rates, records: Iterable[RunRecord], check: SceneCheck | None, source: str) -> Rates:
    """Update rates with a run's measurements.

    They replace packaged rates. Otherwise earlier measurements get the weight PRIOR_RUNS_WEIGHT.

    Args:
        prior: Rates before the run.
        records: Run records of the run.
        check: Found and modelled scene counts of the run, or None.
        source: Description of the run.
    """
    rates, starts = compute_rates(records, prior)
    new = {(one.step, one.resolution): one for one in rates}
    kept = [one for one in prior.rates if (one.step, one.resolution) not in new]
    merged = [_merge_rates(old, new[key]) for old in prior.rates if (key := (old.step, old.resolution)) in new]
    done = {(one.step, one.resolution) for one in merged}
    fresh = [one for key, one in new.items() if key not in done]
    begun = {one.step: one for one in (*prior.starts, *starts)}
    return Rates(
        source=source,
        rates=tuple(
            sorted((*kept, *merged, *fresh), key=lambda one: (list(STEP_EFFORT).index(one.step), one.resolution))
        ),
        starts=tuple(begun.values()),
        gpu=prior.gpu,
        scenes=check or prior.scenes,
    )


def _merge_rates(old: StepRate, new: StepRate) -> StepRate:
    if old.packaged:
        return new
    sums = {
        name: PRIOR_RUNS_WEIGHT * getattr(old, name) + getattr(new, name)
        for name in ("tiles", "units", *PREDICTED_AMOUNTS)
    }
    return new.model_copy(update={**sums, "peak_rss_mib": max(old.peak_rss_mib, new.peak_rss_mib)})


def parse_rates(data: bytes, source: str) -> Rates:
    """Parse rates in JSON.

    Raises:
        ConfigError: If the data are not valid rates.
    """
    try:
        return Rates.model_validate_json(data)
    except ValidationError as error:
        raise ConfigError(
            f"Rates {source} cannot be used: {describe_findings(error)}; "
            "give the `out` of a finished run, or omit --rates."
        ) from error


@cache
def load_packaged_rates() -> Rates:
    """Load the rates of the package."""
    return parse_rates(files("s2ops.cost").joinpath("rates.json").read_bytes(), PACKAGED_SOURCE)
