"""Work units of the steps (what their effort is proportional to), and the units that a run record contains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from s2ops.config import NetworkChoice
from s2ops.errors import InputError
from s2ops.run.run_record import RunRecord
from s2ops.storage import layout


@dataclass(frozen=True)
class EffortModel:
    """Linear effort model of a step: a share per tile plus a share per unit."""

    unit: str
    per_tile: float
    per_unit: float


STEP_EFFORT: Final[Mapping[str, EffortModel]] = {
    "plan": EffortModel("tiles", 1, 0),
    "select": EffortModel("candidates", 0.2, 1),
    "acquire": EffortModel("scenes read", 0, 1),
    "composite": EffortModel("scenes used", 0.5, 1),
    "balance": EffortModel("overlaps", 1, 0.2),
    "blend": EffortModel("edges", 1, 0.1),
    "landcover": EffortModel("dates", 0.2, 1),
    "publish": EffortModel("reports", 1, 50),
}
"""Effort model by step. Proportions were measured on runs with unequal tiles; the common factor does not matter."""

UNIT_FACTS: Final = {
    "select": "candidates", "composite": "scenes", "balance": "overlaps", "blend": "edges", "landcover": "dates",
}  # fmt: skip
"""Fact of a run record that contains the number of units, by step."""


NETWORK_EFFORT: Final[Mapping[NetworkChoice, float]] = {"shared": 1.0, "separate": 2.5, "both": 3.6}
"""Processor time of the land-cover networks relative to the shared one (benchmarks/bench_landcover_networks.py)."""


def compute_work(step: str, tiles: float, units: float) -> float:
    """Combine tiles and units into the amount of work that rates refer to."""
    return STEP_EFFORT[step].per_tile * tiles + STEP_EFFORT[step].per_unit * units


def read_units(record: RunRecord) -> float:
    """Read the number of units of the step from a run record.

    Raises:
        InputError: If the record lacks the fact.
    """
    if record.step == "acquire":
        return record.rasters / 2  # image and mask of each scene that was read, without scenes that existed before
    if record.step == "publish":
        return 1.0  # its maps have the same size for every region
    fact = UNIT_FACTS.get(record.step)
    try:
        return float(record.facts[fact]) if fact else 0.0
    except (KeyError, ValueError) as error:
        key = layout.TileKeys(record.tile).get_run_record(record.step)
        raise InputError(f"{key} has no usable fact {error}; run the step again.") from error


def read_networks(record: RunRecord) -> NetworkChoice:
    """Read from a run record which land-cover networks ran; other steps and older records count as shared."""
    named = record.facts.get("networks")
    return next((choice for choice in NETWORK_EFFORT if choice == named), "shared")


def count_tiles(record: RunRecord) -> float:
    """Count the tiles of a run record: 1, or all tiles for a step of the whole run."""
    return float(record.facts.get("tiles", 1)) if record.tile == "all" else 1.0
