"""Plan file (JSON): cost estimate for `--json` and OUT/run/forecast.json, which is later compared with the run."""

from pydantic import BaseModel, ConfigDict, ValidationError

from s2ops.config import RunConfig, describe_findings
from s2ops.constants import Json
from s2ops.cost.estimate import CostEstimate, ResourceAmounts, StepEstimate
from s2ops.cost.prices import Prices
from s2ops.cost.scene_model import SceneCounts
from s2ops.errors import InputError


def build_document(estimate: CostEstimate, prices: Prices, config: RunConfig, price_per_1000_km2: float) -> Json:
    """Build the JSON document of a cost estimate, with its assumptions.

    Args:
        estimate: Cost estimate of the run.
        prices: Unit prices that the estimate is based on.
        config: Configuration of the run.
        price_per_1000_km2: Price of computing 1,000 km2 of the region.
    """
    return {
        "region": {"tiles": estimate.tiles, "km2": round(estimate.km2), "resolution": config.resolution},
        "scenes": estimate.scenes.to_json(),
        "candidates_from": estimate.basis,
        "tiles_searched": estimate.searched,
        "machines": vars(estimate.capacity),
        "steps": [_build_step(one) for one in estimate.steps],
        "total": {
            "took": estimate.amounts.to_json(),
            "pods": sum(one.pods for one in estimate.steps),
            "wall_s": round(estimate.wall_s, 1),
            "price": round(estimate.total_price, 6),
            "compute": round(estimate.compute_price, 6),
        },
        "compute_per_1000_km2": round(price_per_1000_km2, 6),
        "dearest_step": estimate.most_expensive_step.step,
        "currency": prices.currency,
        "rates": estimate.rates_source,
        "assumptions": {name: one.model_dump() for name, one in prices.get_lines().items()},
    }


def _build_step(one: StepEstimate) -> Json:
    return {
        "step": one.step,
        "tiles": one.tiles,
        "made_before": one.done_tiles,
        "units": round(one.units, 3),
        "took": one.amounts.to_json(),
        "pods": one.pods,
        "wall_s": round(one.wall_s, 1),
        "peak_rss_mib": one.peak_mib,
        "price": {name: round(value, 6) for name, value in one.price.items()},
    }


class _LenientModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _StoredAmounts(_LenientModel):
    cpu_s: float
    read_bytes: float
    written_bytes: float
    get: float = 0.0
    put: float = 0.0
    gpu_s: float = 0.0


class _StoredStep(_LenientModel):
    step: str
    took: _StoredAmounts
    tiles: int = 0
    wall_s: float = 0.0


class _StoredTotal(_LenientModel):
    compute: float = 0.0


class _StoredLine(_LenientModel):
    value: float


class StoredPlan(_LenientModel):
    """Part of a plan file that comparison and metrics need."""

    scenes: dict[str, float]
    steps: tuple[_StoredStep, ...]
    rates: str = ""
    total: _StoredTotal = _StoredTotal()
    assumptions: dict[str, _StoredLine] = {}

    def get_amounts_by_step(self) -> dict[str, ResourceAmounts]:
        """Return the estimated resource amounts by step."""
        return {one.step: ResourceAmounts(**one.took.model_dump()) for one in self.steps}

    def get_scene_counts(self) -> SceneCounts:
        """Return the expected scene counts."""
        return SceneCounts(**{name: self.scenes.get(name, 0.0) for name in SceneCounts().to_json()})


def parse_plan(data: bytes, key: str) -> StoredPlan:
    """Parse a plan file.

    Args:
        data: Content of the file.
        key: Key of the file, for the error message.

    Raises:
        InputError: If the file is not a valid plan.
    """
    try:
        return StoredPlan.model_validate_json(data)
    except ValidationError as error:
        raise InputError(
            f"{key} is not a valid plan ({describe_findings(error)}): delete it and plan again."
        ) from error
