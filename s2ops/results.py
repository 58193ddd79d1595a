"""What a step says when it has ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["done", "skipped", "empty"]


@dataclass(frozen=True)
class StepResult:
    """What a step says of a tile; `facts` are numbers for logs and the report."""

    step: str
    tile: str
    status: Status
    facts: Mapping[str, float | int | str] = field(default_factory=dict)
