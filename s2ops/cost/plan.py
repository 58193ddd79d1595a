"""Run planning: estimate the cost of a run from its context (for the command line and the plan step)."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from s2ops.catalog.hrefs import is_remote
from s2ops.catalog.search import PROVIDERS
from s2ops.config import NetworkChoice, RunConfig
from s2ops.constants import Json
from s2ops.cost import plan_file, run_history
from s2ops.cost.estimate import Capacity, CostEstimate, estimate_cost
from s2ops.cost.prices import Prices, load_prices
from s2ops.cost.rates import Rates
from s2ops.cost.region_summary import RegionSummary, summarize_region
from s2ops.errors import S2opsError
from s2ops.models.registry import LANDCOVER_NETWORKS
from s2ops.results import StepName
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json

MAX_SEARCHED_LOCAL: Final = 200
"""Default maximum number of tiles to search in a catalog that is a local file."""

MAX_SEARCHED_REMOTE: Final = 4
"""Maximum number of tiles that the plan step searches in a remote catalog; the run searches all tiles later."""


@dataclass(frozen=True)
class RunPlan:
    """Cost estimate of a run with the inputs it is based on."""

    estimate: CostEstimate
    price_per_1000_km2: float
    """Price of computing 1,000 km2 of the region as if no tile existed yet."""
    region: RegionSummary
    prices: Prices
    landcover_prices: Mapping[NetworkChoice, float]
    """Price of the land-cover step that is left, by the choice of networks."""

    def to_json(self, ctx: RunContext) -> Json:
        """Convert to the JSON document of run/forecast.json."""
        document = plan_file.build_document(self.estimate, self.prices, ctx.config, self.price_per_1000_km2)
        rounded = {choice: round(price, 6) for choice, price in self.landcover_prices.items()}
        return {**document, "landcover_prices": rounded}


def get_default_search(ctx: RunContext) -> int:
    """Return the default number of tiles to search in the catalog: 0 for a remote catalog."""
    return MAX_SEARCHED_LOCAL if is_local_catalog(ctx) else 0


def is_local_catalog(ctx: RunContext) -> bool:
    """Return whether the catalog is a local file."""
    name = ctx.config.catalog.partition("#")[0]
    return name not in PROVIDERS and not is_remote(name)


def plan_run(
    ctx: RunContext, rates: Rates, prices: Prices, capacity: Capacity, search: int, *, ignore_existing: bool = False
) -> RunPlan:
    """Plan the work that is left in the run's `out`.

    Args:
        ctx: Run to plan.
        rates: Measured rates.
        prices: Unit prices.
        capacity: Machines that the run may use at the same time.
        search: Maximum number of tiles to search in the catalog.
        ignore_existing: Whether to plan as if no output existed.
    """
    region = summarize_region(ctx, rates, search)
    whole = estimate_cost(ctx.config, region, rates, prices, capacity, {})
    done = {} if ignore_existing else run_history.find_done_tiles(ctx)
    left = estimate_cost(ctx.config, region, rates, prices, capacity, done) if any(done.values()) else whole
    by_choice = {
        choice: estimate_cost(_choose_networks(ctx.config, choice), region, rates, prices, capacity, done)
        for choice in LANDCOVER_NETWORKS
    }
    landcover_prices = {choice: one.get_price(StepName.LANDCOVER) for choice, one in by_choice.items()}
    return RunPlan(left, whole.compute_price / whole.km2 * 1000, region, prices, landcover_prices)


def _choose_networks(config: RunConfig, choice: NetworkChoice) -> RunConfig:
    return config.model_copy(update={"landcover": config.landcover.model_copy(update={"networks": choice})})


def get_local_capacity(cores: int, tiles: int) -> Capacity:
    """Return the capacity of this machine as `s2ops run` uses it."""
    processes = max(min(cores, tiles), 1)
    return Capacity(pods=processes, cores=max(cores // processes, 1))


def write_forecast(ctx: RunContext) -> None:
    """Write OUT/run/forecast.json for the comparison after the run. Errors are ignored, so that no run fails here."""
    capacity = get_local_capacity(os.cpu_count() or 1, len(ctx.tiles))
    with suppress(S2opsError):
        search = MAX_SEARCHED_LOCAL if is_local_catalog(ctx) else MAX_SEARCHED_REMOTE
        rates = run_history.select_rates(ctx.config.out)
        plan = plan_run(ctx, rates, load_prices(None), capacity, search, ignore_existing=True)
        ctx.store.put(layout.FORECAST, to_json(plan.to_json(ctx)))
