"""From a region, rates and prices to what a run will take. Numbers in, numbers out: nothing is read here."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from s2ops.config import RunConfig
from s2ops.cost.prices import Prices
from s2ops.cost.rates import Rates
from s2ops.cost.region_summary import Region
from s2ops.cost.scene_model import Scenes
from s2ops.cost.work_units import WORK, work_of

STAGES: Final = (("plan",), ("select", "acquire", "composite"), ("balance",), ("blend",), ("landcover",), ("publish",))
"""Steps that run one after the other with a barrier between the stages, as on a cluster."""
WHOLE: Final = ("plan", "balance", "publish")
"""Steps that run once for all tiles, in one pod."""


@dataclass(frozen=True)
class Machines:
    """What a run may use at once."""

    pods: int
    """Pods, or processes of one machine."""
    cores: int
    """Of each."""
    gpus: int = 1
    group: int = 1
    """Tiles that a pod works on from its start to its end; processes of one machine take them one by one and stay."""
    local: bool = True
    """This machine: nothing is started or paid for beside it."""


@dataclass(frozen=True)
class Took:
    """What a step takes, or took."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    read_bytes: float = 0.0
    written_bytes: float = 0.0
    get: float = 0.0
    put: float = 0.0

    def __add__(self, other: "Took") -> "Took":
        return Took(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    def to_json(self) -> dict[str, float]:
        """By name, rounded to thousandths."""
        return {name: round(value, 3) for name, value in vars(self).items()}


@dataclass(frozen=True)
class StepPlan:
    """A step of the plan."""

    step: str
    tiles: int
    """With work."""
    made: int
    """Tiles that have what the step makes already."""
    units: float
    took: Took
    pods: int
    wall_s: float
    """From the first tile to the last, without the other steps of the stage."""
    peak_mib: float
    price: Mapping[str, float]
    """By cpu, gpu, requests, storage, transfer."""

    @property
    def compute(self) -> float:
        """Price of processors and GPUs."""
        return self.price["cpu"] + self.price["gpu"]


@dataclass(frozen=True)
class Forecast:
    """What a run will take."""

    tiles: int
    km2: float
    scenes: Scenes
    """Sums over the tiles that have work."""
    basis: str
    searched: int
    steps: tuple[StepPlan, ...]
    machines: Machines
    rates: str
    measured_here: bool
    """Whether the rates were measured at the run's resolution."""

    @property
    def took(self) -> Took:
        """All steps together."""
        return sum((one.took for one in self.steps), Took())

    @property
    def wall_s(self) -> float:
        """One stage after the other."""
        return sum(one.wall_s for one in self.steps)

    @property
    def compute(self) -> float:
        """Price of processors and GPUs."""
        return sum(one.compute for one in self.steps)

    @property
    def total(self) -> float:
        """Price of everything."""
        return sum(sum(one.price.values()) for one in self.steps)

    @property
    def dearest(self) -> StepPlan:
        """The step that takes most of the price of computing."""
        return max(self.steps, key=lambda one: one.compute)


def forecast(
    config: RunConfig,
    region: Region,
    rates: Rates,
    prices: Prices,
    machines: Machines,
    made: Mapping[str, frozenset[str]],
) -> Forecast:
    """The plan of what `made` (by step, names of tiles) leaves to be done."""
    wanted = [step for step in WORK if step != "landcover" or config.landcover.enabled]
    names = {step: [one.name for one in region.tiles if one.name not in made.get(step, ())] for step in wanted}
    work = any(names[step] for step in wanted if step not in WHOLE)
    steps = []
    for step in wanted:
        todo = [one.name for one in region.tiles] if step in WHOLE and work else names[step] if work else []
        units = _units(step, todo, region)
        steps.append(_step(step, todo, units, len(region.tiles) - len(todo), (config, rates, prices, machines)))
    open_tiles = names["acquire"] if work else []
    scenes = sum((region.scenes[name] for name in open_tiles), Scenes())
    measured_here = rates.steps_measured(config.resolution)
    return Forecast(
        len(region.tiles), region.km2, scenes, region.basis, region.searched, tuple(steps), machines, rates.source,
        measured_here,
    )  # fmt: skip


def _units(step: str, todo: list[str], region: Region) -> float:
    """The step's units of work (WORK) over those tiles."""
    kinds = {"select": "candidates", "acquire": "read", "composite": "used", "landcover": "dates"}
    if step in kinds:
        return sum(float(getattr(region.scenes[name], kinds[step])) for name in todo)
    if step in {"balance", "blend"}:
        return sum(region.edges[name] for name in todo) / (2 if step == "balance" else 1)  # an edge has two sides
    if step == "publish":
        return 1.0 if todo else 0.0
    return float(len(todo))


def _step(
    step: str, todo: list[str], units: float, made: int, given: tuple[RunConfig, Rates, Prices, Machines]
) -> StepPlan:
    config, rates, prices, machines = given
    parts = 1 if step in WHOLE else ceil(len(todo) / machines.group)
    parts = min(parts, len(todo))
    starts = min(parts, machines.pods) if machines.local else parts
    took, threads = _took(step, work_of(step, len(todo), units), starts, config, rates), machines.cores
    use = prices.cpu_use.value
    rounds = ceil(parts / machines.pods)
    begin = 0.0 if machines.local or step in {"acquire", "composite"} else prices.pod_start_s.value  # one pod for three
    part_s = took.cpu_s / max(parts, 1) / threads / use
    gpu_s = took.gpu_s / machines.gpus / prices.gpu_use.value
    wall = max(rounds * (begin + part_s), gpu_s)
    start_cpu_s = begin * parts * threads
    price = priced(step, took, prices, start_cpu_s)
    pods = 0 if begin == 0 else parts
    return StepPlan(step, len(todo), made, units, took, pods, wall, rates.peak(step, config.resolution), price)


def _took(step: str, work: float, starts: int, config: RunConfig, rates: Rates) -> Took:
    found = rates.amounts(step, config.resolution, work)
    start = rates.start(step)
    cpu, gpu = found["cpu_s"] + starts * start.cpu_s, 0.0
    if config.segmenter != "onnx" and step in rates.gpu:
        server, mpx = rates.gpu[step], found["network_px"] / 1e6
        cpu, gpu = cpu - found["network_cpu_s"] + mpx * server.client_cpu_s_mpx, mpx / server.mpx_s
    return Took(cpu, gpu, found["read_bytes"], found["written_bytes"], found["get"], found["put"])


def priced(step: str, took: Took, prices: Prices, start_cpu_s: float = 0.0) -> dict[str, float]:
    """What it costs; what is paid is what works over the part of paid time that works."""
    reads = took.get + took.read_bytes / prices.get_bytes.value
    published = took.written_bytes if step in {"blend", "landcover"} else 0.0
    fetched = took.read_bytes if step in {"select", "acquire"} else 0.0
    leaving = published * prices.egress_part.value * prices.egress_gb.value
    return {
        "cpu": (took.cpu_s / prices.cpu_use.value + start_cpu_s) / 3600 * prices.cpu_core_hour.value,
        "gpu": took.gpu_s / prices.gpu_use.value / 3600 * prices.gpu_hour.value,
        "requests": (reads * prices.get_per_1000.value + took.put * prices.put_per_1000.value) / 1000,
        "storage": took.written_bytes / 1e9 * prices.store_gb_month.value * prices.store_months.value,
        "transfer": (fetched * prices.read_gb.value + leaving) / 1e9,
    }
