"""Run configuration (settings): schema of the YAML file, checked before any work starts."""

import os
import re
from datetime import date
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s2ops.errors import ConfigError

NetworkChoice: TypeAlias = Literal["separate", "shared", "both"]
"""Networks that make the land-cover map (docs/explanation/landcover.md)."""

DEFAULT_NETWORKS: Final[NetworkChoice] = "shared"

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(_Strict):
    """Region of a run: exactly one of `tiles`, `bbox` and `geojson`."""

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
    def _check_one_given(self) -> Self:
        if sum(value is not None for value in (self.tiles, self.bbox, self.geojson)) != 1:
            raise ValueError("give exactly one of tiles, bbox and geojson")
        return self


class Dates(_Strict):
    """Range of acquisition dates, first and last day included."""

    start: Annotated[date, Field(description="first day, such as 2023-06-01")]
    end: Annotated[date, Field(description="last day (included)")]

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"the date range is empty: end {self.end} is before start {self.start}; swap them")
        return self


class Selection(_Strict):
    """Options of the scene selection (docs/explanation/select.md)."""

    recency: Annotated[
        float, Field(ge=0, le=100, description="additional cost of a scene at the far end of the date range, in scenes")
    ] = 1.0
    haze: Annotated[
        float, Field(ge=0, le=100, description="additional cost of a scene that is hazy with certainty, in scenes")
    ] = 2.0
    min_gain: Annotated[
        float, Field(ge=0, le=0.1, description="smallest part of a tile for which a further scene is selected (0 to 1)")
    ] = 0.0005
    time_limit_s: Annotated[
        float, Field(gt=0, le=3600, description="time limit of the solver per tile, in seconds")
    ] = 1.5


class Refresh(_Strict):
    """Thresholds for newer scenes in a refresh (docs/how-to/refresh-a-mosaic.md); one of the three is enough."""

    min_fill: Annotated[
        float, Field(ge=0, le=1, description="part of the tile that the scene fills where no other is clear (0 to 1)")
    ] = 0.002
    fresher_days: Annotated[
        int, Field(ge=1, description="number of days by which a pixel must become younger to count")
    ] = 15
    min_fresher: Annotated[
        float, Field(ge=0, le=1, description="part of the tile that becomes younger by that much (0 to 1)")
    ] = 0.1
    less_haze: Annotated[
        float, Field(ge=0, le=1, description="amount by which the probability of haze must fall for a pixel to count")
    ] = 0.3
    min_clearer: Annotated[
        float, Field(ge=0, le=1, description="part of the tile whose haze falls by that much (0 to 1)")
    ] = 0.05


class CompositeOptions(_Strict):
    """Options of the composite, which merges the scenes of a tile (docs/explanation/composite.md)."""

    rule: Annotated[
        Literal["recent", "median", "medoid", "geomedian"],
        Field(description="composite method; recent: first clear scene in priority order; others: all clear scenes"),
    ] = "recent"
    fade_m: Annotated[
        float, Field(ge=0, le=5000, description="width of the feathering at patch borders, in metres")
    ] = 300.0
    match: Annotated[bool, Field(description="match the brightness of the scenes of a tile")] = True


class LandCoverOptions(_Strict):
    """Options of the land-cover map (docs/explanation/landcover.md)."""

    enabled: Annotated[bool, Field(description="produce the land-cover map")] = True
    networks: Annotated[
        NetworkChoice,
        Field(
            description="separate: a network each for water, vegetation and buildings; shared: one network with three "
            "heads; both: the mean of the two"
        ),
    ] = DEFAULT_NETWORKS
    source: Annotated[
        Literal["scenes", "mosaic"],
        Field(description="scenes: classify each acquired scene and fuse the results; mosaic: classify the mosaic"),
    ] = "scenes"
    max_dates: Annotated[
        int, Field(ge=1, le=64, description="maximum number of scenes to classify per tile, clearest first")
    ] = 8


class RunConfig(_Strict):
    """Configuration of one run: region, dates, catalog, output and options."""

    region: Region
    dates: Dates
    catalog: Annotated[
        str,
        Field(
            description="STAC catalog: earth-search, planetary-computer, cdse, the URL of any STAC API, "
            "or the path or URL of a static catalog.json"
        ),
    ] = "earth-search"
    out: Annotated[str, Field(description="output location: a folder, or a URI (file://, s3://, gs:// or az://)")]
    max_cloud: Annotated[
        float, Field(ge=0, le=100, description="maximum cloud cover of a scene according to the catalog, in percent")
    ] = 80.0
    resolution: Annotated[Literal[10, 20, 60, 120], Field(description="pixel size in metres; 10 in production")] = 10
    target_date: Annotated[
        date | None, Field(description="day near which scenes are preferred; default: end of the date range")
    ] = None
    max_scenes: Annotated[int, Field(ge=1, le=64, description="maximum number of scenes to acquire per tile")] = 12
    models: Annotated[
        str | None, Field(description="folder or URI of the weights of all networks; default: those in the package")
    ] = None
    segmenter: Annotated[
        str,
        Field(
            pattern=r"^(onnx|tritons?://[^/\s:]+:\d+)$",
            description="inference backend: onnx (in process), or triton://HOST:PORT (tritons:// for TLS)",
        ),
    ] = "onnx"
    freeze: Annotated[
        bool, Field(description="keep the corrections of balanced tiles; new tiles are balanced to them")
    ] = False
    since: Annotated[
        date | None,
        Field(
            description="refresh: keep the mosaic in `out`, and add only scenes from this day on that improve a tile"
        ),
    ] = None
    refresh: Refresh = Refresh()
    selection: Selection = Selection()
    composite: CompositeOptions = CompositeOptions()
    landcover: LandCoverOptions = LandCoverOptions()

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.models is not None and self.segmenter != "onnx":
            raise ValueError(
                f"models cannot be used with segmenter {self.segmenter}, which serves its own weights; "
                "use segmenter: onnx, or start the server with `s2ops serve --models`"
            )
        return self

    @model_validator(mode="after")
    def _check_since(self) -> Self:
        if self.since is not None and not self.dates.start <= self.since <= self.dates.end:
            raise ValueError(
                f"since {self.since} is outside dates ({self.dates.start} to {self.dates.end}); move the end of dates"
            )
        return self

    @property
    def target(self) -> date:
        """Day from which recency is measured."""
        return self.target_date or self.dates.end


def expand_variables(text: str) -> str:
    """Replace `${NAME}` by the value of the environment variable; raise ConfigError if it is not set."""

    def get_value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"The configuration uses ${{{name}}}, which is not set; run `export {name}=...` first.")
        return os.environ[name]

    return _VARIABLE.sub(get_value, text)


def parse_config(text: str, source: str, **overrides: str | None) -> RunConfig:
    """Parse and check a run configuration.

    Args:
        text: YAML.
        source: Name of the text in errors.
        **overrides: Values that replace top-level fields; None replaces nothing.
    """
    try:
        data = yaml.safe_load(expand_variables(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}; correct the file.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source} is not a mapping of fields; see examples/ for complete files.")
    data |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe_findings(error)}; correct the configuration.") from error


def describe_findings(error: ValidationError) -> str:
    """Describe all findings of a validation on one line: field, problem, given value."""
    findings = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "the file"
        given = "" if isinstance(item["input"], dict) else f" (given: {item['input']!r})"
        findings.append(f"{field}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(findings)
