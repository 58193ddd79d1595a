"""The price file: what each thing costs that a run takes, each line with its source in words."""

import os
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe
from s2ops.errors import ConfigError
from s2ops.storage.text_files import read_text

PACKAGED: Final = "the package's prices.yaml"

VARIABLE: Final = "S2OPS_PRICES"
"""Environment variable of the price file that every run plans with."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Strict):
    """A price or an assumption."""

    value: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False, strict=True)]
    source: Annotated[str, Field(min_length=1)]


class Part(Line):
    """A part of a whole."""

    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class Use(Line):
    """The part of paid time that works: what is paid is what works over this, so not 0."""

    value: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)]


class Size(Line):
    """A number of bytes that something is divided by."""

    value: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False, strict=True)]


class Prices(_Strict):
    """In `currency`; the packaged file says what each line means."""

    currency: Annotated[str, Field(min_length=1, max_length=8)]
    cpu_core_hour: Line
    cpu_use: Use
    pod_start_s: Line
    gpu_hour: Line
    gpu_use: Use
    store_gb_month: Line
    store_months: Line
    put_per_1000: Line
    get_per_1000: Line
    get_bytes: Size
    read_gb: Line
    egress_gb: Line
    egress_part: Part

    def lines(self) -> dict[str, Line]:
        """Every line by its name."""
        return {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Line)}


def parse(text: str, source: str) -> Prices:
    """The prices in YAML `text`. Raises ConfigError naming the lines that are wrong."""
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"price file {source} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"price file {source} holds no mapping of prices; start from `s2ops plan --print-prices`")
    try:
        return Prices.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"price file {source}: {describe(error)}") from error


def load(place: str | None) -> Prices:
    """The prices in a file or at a URI; None: those that VARIABLE names, else the package's."""
    named = place or os.environ.get(VARIABLE)
    return parse(read_text(named, "the price file"), named) if named else _packaged()


def packaged_text() -> str:
    """The packaged file, to begin with."""
    return files("s2ops.cost").joinpath("prices.yaml").read_text(encoding="utf-8")


@cache
def _packaged() -> Prices:
    return parse(packaged_text(), PACKAGED)
