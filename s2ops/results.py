"""Step names of the chain (pipeline stages, in order) and the result of a step for one tile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

Status = Literal["done", "skipped", "empty"]


class StepName(StrEnum):
    """Steps of the chain in the order in which they run; the value is the name in commands, records and metrics."""

    PLAN = "plan"
    SELECT = "select"
    ACQUIRE = "acquire"
    COMPOSITE = "composite"
    BALANCE = "balance"
    BLEND = "blend"
    LANDCOVER = "landcover"
    PUBLISH = "publish"

    @property
    def is_per_tile(self) -> bool:
        """True for steps that run once per tile, false for steps that run once per run."""
        return self not in {StepName.PLAN, StepName.BALANCE, StepName.PUBLISH}

    @property
    def reads_scenes(self) -> bool:
        """True for steps that read scenes of the catalog; the other steps read the store alone."""
        return self in {StepName.SELECT, StepName.ACQUIRE}


TILE_STEPS: Final = tuple(step for step in StepName if step.is_per_tile)
"""Steps that run once per tile, in order."""

RUN_TARGET: Final = "all"
"""Stands for the tile's name in records of steps that run once per run."""


@dataclass(frozen=True)
class StepResult:
    """Result of a step for one tile, or for the whole run (`tile` is then "all")."""

    step: str
    tile: str
    status: Status
    facts: Mapping[str, float | int | str] = field(default_factory=dict)
    """Numbers for logs, metrics and the report."""
