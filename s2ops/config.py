"""The configuration of a run: one YAML file, every field documented, checked before any work starts."""

import os
import re
from datetime import date
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s2ops.errors import ConfigError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(_Strict):
    """Where: exactly one of `tiles`, `bbox` and `geojson`."""

    tiles: Annotated[tuple[str, ...] | None, Field(description="MGRS tile names, such as [33TWL, 33TWM]")] = None
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Field(description="west, south, east, north in degrees; west > east crosses the antimeridian"),
    ] = None
    geojson: Annotated[
        str | dict[str, Any] | None,
        Field(description="path or URI of a GeoJSON file, or its content (geometry, feature or collection; WGS 84)"),
    ] = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(value is not None for value in (self.tiles, self.bbox, self.geojson)) != 1:
            raise ValueError("give exactly one of tiles, bbox and geojson")
        return self


class Dates(_Strict):
    """When: the first and the last day of acquisition, both included."""

    start: Annotated[date, Field(description="first day, such as 2023-06-01")]
    end: Annotated[date, Field(description="last day (included)")]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"the date range is empty: end {self.end} lies before start {self.start}")
        return self


class Selection(_Strict):
    """How the scene list is made (docs/explanation/select.md)."""

    recency: Annotated[
        float, Field(ge=0, le=100, description="cost of a scene at the far end of the date range, in scenes")
    ] = 1.0
    haze: Annotated[float, Field(ge=0, le=100, description="cost of a surely hazy scene, in scenes")] = 2.0
    min_gain: Annotated[
        float, Field(ge=0, le=0.1, description="smallest part of a tile for which one more scene is worth it")
    ] = 0.0005
    time_limit_s: Annotated[float, Field(gt=0, le=3600, description="time limit of the solver a tile")] = 1.5


class Refresh(_Strict):
    """When a newer scene improves a tile that is made already (docs/how-to/refresh-a-mosaic.md); one of the three is enough."""

    min_fill: Annotated[float, Field(ge=0, le=1, description="part of the tile without clear scene that it fills")] = (
        0.002
    )
    fresher_days: Annotated[int, Field(ge=1, description="days by which a pixel must get younger to count")] = 15
    min_fresher: Annotated[float, Field(ge=0, le=1, description="part of the tile that gets so much younger")] = 0.1
    less_haze: Annotated[
        float, Field(ge=0, le=1, description="by how much the probability of haze must fall for a pixel to count")
    ] = 0.3
    min_clearer: Annotated[float, Field(ge=0, le=1, description="part of the tile that loses so much haze")] = 0.05


class CompositeOptions(_Strict):
    """How the scenes of a tile are fused (docs/explanation/composite.md)."""

    rule: Annotated[
        Literal["recent", "median", "medoid", "geomedian"],
        Field(description="recent: the best scene that is clear; the others weigh all clear looks"),
    ] = "recent"
    fade_m: Annotated[float, Field(ge=0, le=5000, description="width of the cross-fade at patch borders, metres")] = (
        300.0
    )
    match: Annotated[bool, Field(description="bring the scenes of a tile to one radiometry")] = True


class LandCoverOptions(_Strict):
    """How the land-cover map is made (docs/explanation/landcover.md)."""

    enabled: Annotated[bool, Field(description="make the land-cover map")] = True
    source: Annotated[
        Literal["scenes", "mosaic"], Field(description="classify each acquired scene and fuse, or the mosaic")
    ] = "scenes"
    max_dates: Annotated[int, Field(ge=1, le=64, description="most scenes classified a tile, clearest first")] = 8


class RunConfig(_Strict):
    """One run: region, dates, catalog and how to decide."""

    region: Region
    dates: Dates
    catalog: Annotated[
        str,
        Field(
            description="earth-search, planetary-computer, cdse, the URL of any STAC API, "
            "or the path or URL of a static catalog.json"
        ),
    ] = "earth-search"
    out: Annotated[str, Field(description="where outputs go: a folder, or file://, s3://, gs:// or az:// URI")]
    max_cloud: Annotated[
        float, Field(ge=0, le=100, description="scenes above this cloud cover (percent, catalog's figure) are left")
    ] = 80.0
    resolution: Annotated[Literal[10, 20, 60, 120], Field(description="pixel size in metres; 10 in production")] = 10
    target_date: Annotated[
        date | None, Field(description="scenes near this day win; default: the end of the range")
    ] = None
    max_scenes: Annotated[int, Field(ge=1, le=64, description="most scenes acquired a tile")] = 12
    models: Annotated[
        str | None, Field(description="folder or URI of the six weights; default: those in the package")
    ] = None
    segmenter: Annotated[
        str,
        Field(
            pattern=r"^(onnx|tritons?://[^/\s:]+:\d+)$",
            description="where networks run: onnx (in process), or triton://HOST:PORT (tritons:// for TLS)",
        ),
    ] = "onnx"
    freeze: Annotated[
        bool, Field(description="tiles that are balanced already keep their corrections, new ones join them")
    ] = False
    since: Annotated[
        date | None,
        Field(description="refresh: keep the mosaic in `out`, take only scenes from this day on that improve a tile"),
    ] = None
    refresh: Refresh = Refresh()
    selection: Selection = Selection()
    composite: CompositeOptions = CompositeOptions()
    landcover: LandCoverOptions = LandCoverOptions()

    @model_validator(mode="after")
    def _one_place_for_weights(self) -> Self:
        if self.models is not None and self.segmenter != "onnx":
            raise ValueError(f"models is for segmenter: onnx; {self.segmenter} serves its own (`s2ops serve --models`)")
        return self

    @model_validator(mode="after")
    def _newer_within_range(self) -> Self:
        if self.since is not None and not self.dates.start <= self.since <= self.dates.end:
            raise ValueError(
                f"since {self.since} lies outside dates ({self.dates.start} to {self.dates.end}): move the end of dates"
            )
        return self

    @property
    def target(self) -> date:
        """The day that recency is measured from."""
        return self.target_date or self.dates.end


def expand_variables(text: str) -> str:
    """Replace `${NAME}` by the environment's value; a name that is not set is an error."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"the configuration uses ${{{name}}}, which is not set: export {name}=...")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def parse_config(text: str, source: str, **overrides: str | None) -> RunConfig:
    """The configuration in YAML `text`; `source` names it in errors, `overrides` replace top-level fields."""
    try:
        data = yaml.safe_load(expand_variables(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source} holds no mapping of fields; see examples/ for complete ones")
    data |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe_findings(error)}") from error


def describe_findings(error: ValidationError) -> str:
    """One line for all findings: field, what is wrong, what was given."""
    findings = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "the file"
        given = "" if isinstance(item["input"], dict) else f" (given: {item['input']!r})"
        findings.append(f"{field}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(findings)
