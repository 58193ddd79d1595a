"""The plan as JSON: for `--json`, for OUT/run/forecast.json, and for whoever compares it with what the run took."""

from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from s2ops.config import RunConfig, describe
from s2ops.cost.estimate import Forecast, StepPlan, Took
from s2ops.cost.prices import Prices
from s2ops.cost.scene_model import Scenes
from s2ops.errors import InputError

Json: TypeAlias = dict[str, Any]


def document(made: Forecast, prices: Prices, config: RunConfig, thousand_km2: float) -> Json:
    """Everything that the table shows, and what it rests on. `thousand_km2` is the price of computing so much."""
    return {
        "region": {"tiles": made.tiles, "km2": round(made.km2), "resolution": config.resolution},
        "scenes": made.scenes.to_json(),
        "candidates_from": made.basis,
        "tiles_searched": made.searched,
        "machines": vars(made.machines),
        "steps": [_step(one) for one in made.steps],
        "total": {
            "took": made.took.to_json(),
            "pods": sum(one.pods for one in made.steps),
            "wall_s": round(made.wall_s, 1),
            "price": round(made.total, 6),
            "compute": round(made.compute, 6),
        },
        "compute_per_1000_km2": round(thousand_km2, 6),
        "dearest_step": made.dearest.step,
        "currency": prices.currency,
        "rates": made.rates,
        "assumptions": {name: one.model_dump() for name, one in prices.lines().items()},
    }


def _step(one: StepPlan) -> Json:
    return {
        "step": one.step,
        "tiles": one.tiles,
        "made_before": one.made,
        "units": round(one.units, 3),
        "took": one.took.to_json(),
        "pods": one.pods,
        "wall_s": round(one.wall_s, 1),
        "peak_rss_mib": one.peak_mib,
        "price": {name: round(value, 6) for name, value in one.price.items()},
    }


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _StoredTook(_Lenient):
    cpu_s: float
    read_bytes: float
    written_bytes: float
    get: float = 0.0
    put: float = 0.0
    gpu_s: float = 0.0


class _StoredStep(_Lenient):
    step: str
    took: _StoredTook
    tiles: int = 0
    wall_s: float = 0.0


class _StoredTotal(_Lenient):
    compute: float = 0.0


class _StoredLine(_Lenient):
    value: float


class Stored(_Lenient):
    """What a comparison and the metrics need of a document."""

    scenes: dict[str, float]
    steps: tuple[_StoredStep, ...]
    rates: str = ""
    total: _StoredTotal = _StoredTotal()
    assumptions: dict[str, _StoredLine] = {}

    def by_step(self) -> dict[str, Took]:
        """What each step was to take."""
        return {one.step: Took(**one.took.model_dump()) for one in self.steps}

    def numbers_of_scenes(self) -> Scenes:
        """How many scenes were expected."""
        return Scenes(**{name: self.scenes.get(name, 0.0) for name in Scenes().to_json()})


def read(data: bytes, key: str) -> Stored:
    """A document's part that comparisons need; InputError for one that is broken."""
    try:
        return Stored.model_validate_json(data)
    except ValidationError as error:
        raise InputError(f"{key} is no plan ({describe(error)}): delete it and plan again") from error
