"""Planning a run from its job: what the command, the plan step and the report call."""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from s2ops.catalog.hrefs import is_remote
from s2ops.catalog.search import PROVIDERS
from s2ops.cost import plan_file, run_history
from s2ops.cost.estimate import Forecast, Machines, forecast
from s2ops.cost.prices import Prices, load
from s2ops.cost.rates import Rates
from s2ops.cost.region_summary import Region, look_at
from s2ops.errors import S2opsError
from s2ops.run.context import Job
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json

SEARCHED: Final = 200
"""Tiles searched unasked in a catalog that is a file of this machine."""

SEARCHED_FAR: Final = 4
"""Tiles searched by the plan step in any other; its run will search them all."""


@dataclass(frozen=True)
class Planned:
    """A plan, with what it was made from."""

    forecast: Forecast
    thousand_km2: float
    """Price of computing 1,000 km2 of the region, whatever is made already."""
    region: Region
    prices: Prices

    def to_json(self, job: Job) -> plan_file.Json:
        """As JSON."""
        return plan_file.document(self.forecast, self.prices, job.config, self.thousand_km2)


def default_search(job: Job) -> int:
    """How many tiles to search where nobody said: none over a network."""
    return SEARCHED if is_near(job) else 0


def is_near(job: Job) -> bool:
    """Whether the catalog is a file of this machine."""
    name = job.config.catalog.partition("#")[0]
    return name not in PROVIDERS and not is_remote(name)


def plan(job: Job, rates: Rates, prices: Prices, machines: Machines, search: int, *, anew: bool = False) -> Planned:
    """The plan of what is left to do in the job's `out`; `anew` takes no notice of what is made."""
    region = look_at(job, rates, search)
    whole = forecast(job.config, region, rates, prices, machines, {})
    made = {} if anew else run_history.made(job)
    left = forecast(job.config, region, rates, prices, machines, made) if any(made.values()) else whole
    return Planned(left, whole.compute / whole.km2 * 1000, region, prices)


def here(cores: int, tiles: int) -> Machines:
    """The machine at hand, as `s2ops run` uses it."""
    processes = max(min(cores, tiles), 1)
    return Machines(pods=processes, cores=max(cores // processes, 1))


def leave_forecast(job: Job) -> None:
    """Write OUT/run/forecast.json, for the comparison after the run. No run fails for it."""
    machines = here(os.cpu_count() or 1, len(job.tiles))
    with suppress(S2opsError):
        search = SEARCHED if is_near(job) else SEARCHED_FAR
        made = plan(job, run_history.rates_for(job.config.out), load(None), machines, search, anew=True)
        job.store.put(layout.FORECAST, to_json(made.to_json(job)))
