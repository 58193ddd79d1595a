"""Price file (unit prices): price of each resource that a run uses, each line with its source."""

import os
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe_findings
from s2ops.errors import ConfigError
from s2ops.storage.object_store import read_text

PACKAGED_SOURCE: Final = "the package's prices.yaml"

PRICES_VARIABLE: Final = "S2OPS_PRICES"
"""Environment variable with the price file that all runs use for their cost estimate."""


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceLine(_StrictModel):
    """Price or assumption with its source."""

    value: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False, strict=True)]
    source: Annotated[str, Field(min_length=1)]


class FractionLine(PriceLine):
    """Fraction of a whole, 0 to 1."""

    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class UtilizationLine(PriceLine):
    """Utilization: fraction of billed time spent computing (0 < u <= 1). Cost is computed time divided by it."""

    value: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)]


class SizeLine(PriceLine):
    """Size in bytes that is used as a divisor, so it is not 0."""

    value: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False, strict=True)]


class Prices(_StrictModel):
    """Unit prices in `currency`; the packaged file explains each line."""

    currency: Annotated[str, Field(min_length=1, max_length=8)]
    cpu_core_hour: PriceLine
    cpu_use: UtilizationLine
    pod_start_s: PriceLine
    gpu_hour: PriceLine
    gpu_use: UtilizationLine
    store_gb_month: PriceLine
    store_months: PriceLine
    put_per_1000: PriceLine
    get_per_1000: PriceLine
    get_bytes: SizeLine
    read_gb: PriceLine
    egress_gb: PriceLine
    egress_part: FractionLine

    def get_lines(self) -> dict[str, PriceLine]:
        """Return every line by its name."""
        return {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), PriceLine)}


def parse_prices(text: str, source: str) -> Prices:
    """Parse a price file in YAML.

    Raises:
        ConfigError: If a line is missing, unknown or out of range; the message names the lines.
    """
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"price file {source} is not valid YAML: {' '.join(str(error).split())}; correct the file."
        ) from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"price file {source} does not contain a mapping of prices; start from `s2ops plan --print-prices`."
        )
    try:
        return Prices.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"price file {source}: {describe_findings(error)}; correct the file.") from error


def load_prices(place: str | None) -> Prices:
    """Load prices.

    Args:
        place: Path or URI of a price file. None: the file in the variable S2OPS_PRICES, or the packaged file.
    """
    named = place or os.environ.get(PRICES_VARIABLE)
    return parse_prices(read_text(named, "the price file"), named) if named else _load_packaged_prices()


def read_packaged_text() -> str:
    """Read the text of the packaged price file, which users copy and change."""
    return files("s2ops.cost").joinpath("prices.yaml").read_text(encoding="utf-8")


@cache
def _load_packaged_prices() -> Prices:
    return parse_prices(read_packaged_text(), PACKAGED_SOURCE)
