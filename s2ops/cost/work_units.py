"""What the effort of each step grows with, and how much of it a run record tells of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from s2ops.errors import InputError
from s2ops.run.run_record import RunRecord


@dataclass(frozen=True)
class Work:
    """What a step's effort grows with: so much for the tile itself, so much for each unit."""

    unit: str
    tile: float
    each: float


WORK: Final[Mapping[str, Work]] = {
    "plan": Work("tiles", 1, 0),
    "select": Work("candidates", 0.2, 1),
    "acquire": Work("scenes read", 0, 1),
    "composite": Work("scenes used", 0.5, 1),
    "balance": Work("overlaps", 1, 0.2),
    "blend": Work("edges", 1, 0.1),
    "landcover": Work("dates", 0.2, 1),
    "publish": Work("reports", 1, 50),
}
"""The proportions were read off runs whose tiles differ; their common factor does not matter."""

FACTS: Final = {
    "select": "candidates", "composite": "scenes", "balance": "overlaps", "blend": "edges", "landcover": "dates",
}  # fmt: skip
"""Where run records say the units."""
"""Which fact of a run record holds the units."""


def work_of(step: str, tiles: float, units: float) -> float:
    """Tiles and units in the one number that a rate is for."""
    return WORK[step].tile * tiles + WORK[step].each * units


def units_of(record: RunRecord) -> float:
    """The step's units in a run record; InputError where a fact is missing."""
    if record.step == "acquire":
        return record.rasters / 2  # image and mask of each scene that was read; those that stood are not
    if record.step == "publish":
        return 1.0  # its maps have the same size for every region
    fact = FACTS.get(record.step)
    try:
        return float(record.facts[fact]) if fact else 0.0
    except (KeyError, ValueError) as error:
        raise InputError(f"run/{record.step}/{record.tile}.json lacks {error}: run the step again") from error


def tiles_of(record: RunRecord) -> float:
    """1, or for a step over all tiles their number."""
    return float(record.facts.get("tiles", 1)) if record.tile == "all" else 1.0
