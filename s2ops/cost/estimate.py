"""Cost estimate (forecast) of a run from region summary, rates and prices. Pure arithmetic without file access."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from s2ops.config import RunConfig
from s2ops.cost.elementwise import ElementwiseNumbers
from s2ops.cost.prices import Prices
from s2ops.cost.rates import Rates
from s2ops.cost.region_summary import RegionSummary
from s2ops.cost.scene_model import SceneCounts
from s2ops.cost.work_units import NETWORK_EFFORT, STEP_EFFORT, compute_work
from s2ops.results import StepName

WHOLE_RUN_STEPS: Final = tuple(step for step in StepName if not step.is_per_tile)
"""Steps that run once for all tiles, in one pod."""


@dataclass(frozen=True)
class Capacity:
    """Capacity: the machines that a run may use at the same time."""

    pods: int
    """Number of pods, or of processes on one machine."""
    cores: int
    """Cores per pod."""
    gpus: int = 1
    group: int = 1
    """Tiles per pod. Processes on one machine process tiles one by one and are reused."""
    local: bool = True
    """Whether the run uses this machine: no pods are started or billed."""


@dataclass(frozen=True)
class ResourceAmounts(ElementwiseNumbers):
    """Resource amounts (processor time, GPU time, bytes, requests) that a step is expected to use, or has used."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    read_bytes: float = 0.0
    written_bytes: float = 0.0
    get: float = 0.0
    put: float = 0.0


@dataclass(frozen=True)
class StepEstimate:
    """Estimate of one step."""

    step: str
    tiles: int
    """Tiles that have work left."""
    done_tiles: int
    """Tiles whose output of the step exists already."""
    units: float
    amounts: ResourceAmounts
    pods: int
    wall_s: float
    """Wall time in seconds from the first tile to the last, without the other steps of the stage."""
    peak_mib: float
    price: Mapping[str, float]
    """Price by cpu, gpu, requests, storage, transfer."""

    @property
    def compute_price(self) -> float:
        """Price of processors and GPUs."""
        return self.price["cpu"] + self.price["gpu"]


@dataclass(frozen=True)
class CostEstimate:
    """Cost estimate of a run: resource amounts, wall time and price by step."""

    tiles: int
    km2: float
    scenes: SceneCounts
    """Sums over the tiles that have work left."""
    basis: str
    searched: int
    steps: tuple[StepEstimate, ...]
    capacity: Capacity
    rates_source: str
    has_measured_rates: bool
    """Whether the rates were measured at the run's resolution."""

    @property
    def amounts(self) -> ResourceAmounts:
        """Resource amounts of all steps together."""
        return sum((one.amounts for one in self.steps), ResourceAmounts())

    @property
    def wall_s(self) -> float:
        """Wall time in seconds; steps run one after the other."""
        return sum(one.wall_s for one in self.steps)

    @property
    def compute_price(self) -> float:
        """Price of processors and GPUs."""
        return sum(one.compute_price for one in self.steps)

    @property
    def total_price(self) -> float:
        """Price of all resources."""
        return sum(sum(one.price.values()) for one in self.steps)

    def get_price(self, step: str) -> float:
        """Return the price of a step; 0 if the run leaves it out."""
        return sum(sum(one.price.values()) for one in self.steps if one.step == step)

    @property
    def most_expensive_step(self) -> StepEstimate:
        """Step with the highest price of computing."""
        return max(self.steps, key=lambda one: one.compute_price)


def estimate_cost(
    config: RunConfig,
    region: RegionSummary,
    rates: Rates,
    prices: Prices,
    capacity: Capacity,
    done_tiles: Mapping[str, frozenset[str]],
) -> CostEstimate:
    """Estimate the cost of the work that is left.

    Args:
        config: Configuration of the run.
        region: Tiles with their expected scene counts.
        rates: Measured rates.
        prices: Unit prices.
        capacity: Machines that the run may use at the same time.
        done_tiles: Names of the tiles whose output exists already, by step.
    """
    wanted = [step for step in STEP_EFFORT if step != "landcover" or config.landcover.enabled]
    names = {step: [one.name for one in region.tiles if one.name not in done_tiles.get(step, ())] for step in wanted}
    work = any(names[step] for step in wanted if step not in WHOLE_RUN_STEPS)
    steps = []
    for step in wanted:
        todo = [one.name for one in region.tiles] if step in WHOLE_RUN_STEPS and work else names[step] if work else []
        units = _count_units(step, todo, region)
        steps.append(
            _estimate_step(step, todo, units, len(region.tiles) - len(todo), (config, rates, prices, capacity))
        )
    open_tiles = names["acquire"] if work else []
    scenes = sum((region.scenes[name] for name in open_tiles), SceneCounts())
    has_measured_rates = rates.has_all_steps(config.resolution)
    return CostEstimate(
        len(region.tiles), region.km2, scenes, region.basis, region.searched, tuple(steps), capacity, rates.source,
        has_measured_rates,
    )  # fmt: skip


def _count_units(step: str, todo: list[str], region: RegionSummary) -> float:
    """Count the step's units of work (STEP_EFFORT) over the tiles with work left."""
    kinds = {"select": "candidates", "acquire": "read", "composite": "used", "landcover": "dates"}
    if step in kinds:
        return sum(float(getattr(region.scenes[name], kinds[step])) for name in todo)
    if step in {"balance", "blend"}:
        sides = 2 if step == "balance" else 1  # each overlap is counted from both tiles
        return sum(region.neighbour_counts[name] for name in todo) / sides
    if step == "publish":
        return 1.0 if todo else 0.0
    return float(len(todo))


def _estimate_step(
    step: str, todo: list[str], units: float, done: int, given: tuple[RunConfig, Rates, Prices, Capacity]
) -> StepEstimate:
    config, rates, prices, capacity = given
    parts = 1 if step in WHOLE_RUN_STEPS else ceil(len(todo) / capacity.group)
    parts = min(parts, len(todo))
    starts = min(parts, capacity.pods) if capacity.local else parts
    amounts = _estimate_amounts(step, compute_work(step, len(todo), units), starts, config, rates)
    threads = capacity.cores
    use = prices.cpu_use.value
    rounds = ceil(parts / capacity.pods)
    begin = 0.0 if capacity.local or step in {"acquire", "composite"} else prices.pod_start_s.value  # one pod for three
    part_s = amounts.cpu_s / max(parts, 1) / threads / use
    gpu_s = amounts.gpu_s / capacity.gpus / prices.gpu_use.value
    wall = max(rounds * (begin + part_s), gpu_s)
    start_cpu_s = begin * parts * threads
    price = compute_price(step, amounts, prices, start_cpu_s)
    pods = 0 if begin == 0 else parts
    return StepEstimate(
        step, len(todo), done, units, amounts, pods, wall, rates.get_peak_rss_mib(step, config.resolution), price
    )


def _estimate_amounts(step: str, work: float, starts: int, config: RunConfig, rates: Rates) -> ResourceAmounts:
    found = rates.estimate_amounts(step, config.resolution, work)
    start = rates.get_startup(step)
    networks = config.landcover.networks if step == "landcover" else "shared"
    served = None
    if config.segmenter != "onnx":
        served = rates.estimate_server_time(step, networks, found["network_px"] / 1e6)
    network_cpu, gpu = served or (NETWORK_EFFORT[networks] * found["network_cpu_s"], 0.0)
    cpu = found["cpu_s"] - found["network_cpu_s"] + network_cpu + starts * start.cpu_s
    return ResourceAmounts(cpu, gpu, found["read_bytes"], found["written_bytes"], found["get"], found["put"])


def compute_price(step: str, amounts: ResourceAmounts, prices: Prices, start_cpu_s: float = 0.0) -> dict[str, float]:
    """Compute the price of resource amounts by kind. Billed time is computed time divided by the utilization.

    Args:
        step: Step that uses the resources; it determines which bytes are transferred.
        amounts: Resource amounts.
        prices: Unit prices.
        start_cpu_s: Billed processor seconds of starting pods.
    """
    reads = amounts.get + amounts.read_bytes / prices.get_bytes.value
    published = amounts.written_bytes if step in {"blend", "landcover"} else 0.0
    fetched = amounts.read_bytes if step in {"select", "acquire"} else 0.0
    leaving = published * prices.egress_part.value * prices.egress_gb.value
    return {
        "cpu": (amounts.cpu_s / prices.cpu_use.value + start_cpu_s) / 3600 * prices.cpu_core_hour.value,
        "gpu": amounts.gpu_s / prices.gpu_use.value / 3600 * prices.gpu_hour.value,
        "requests": (reads * prices.get_per_1000.value + amounts.put * prices.put_per_1000.value) / 1000,
        "storage": amounts.written_bytes / 1e9 * prices.store_gb_month.value * prices.store_months.value,
        "transfer": (fetched * prices.read_gb.value + leaving) / 1e9,
    }
