"""Records (checked JSON files) that explain a tile: decisions of select and results of acquire.

Equal content gives equal bytes: keys are sorted, numbers are rounded when a record is created, and nothing depends on
the clock. Fractions are parts of the whole tile, 0 to 1, unless a field states otherwise.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe_findings
from s2ops.errors import InputError


def _round_six_digits(value: float) -> float:
    return round(value, 6) + 0.0  # + 0.0 turns -0.0 into 0.0, which JSON would show


Number: TypeAlias = Annotated[float, AfterValidator(_round_six_digits)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1), AfterValidator(_round_six_digits)]
Decision: TypeAlias = Literal["taken", "spare", "left"]
"""Decision on a candidate as records store it: selected, kept as a fallback for holes, or rejected."""

DECISION_LABELS: Final[Mapping[Decision, str]] = {"taken": "selected", "spare": "fallback", "left": "rejected"}
"""Decisions as people read them."""

SolverStatus: TypeAlias = Literal["optimal", "time limit", "nothing to cover", "refreshed"]
StopReason: TypeAlias = Literal["covered", "no candidates left", "scene cap"]


class Record(BaseModel):
    """Frozen value that is stored as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def write(self) -> bytes:
        """Write UTF-8 JSON with sorted keys and a final newline; equal records give equal bytes."""
        fields = self.model_dump(mode="json", exclude=self._list_absent_fields())
        text = json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False)
        return (text + "\n").encode()

    def _list_absent_fields(self) -> set[str]:
        """List the fields that the file leaves out."""
        return set()

    @classmethod
    def read(cls, data: bytes, key: str) -> Self:
        """Parse and check a record; raise InputError if it is not valid.

        Args:
            data: UTF-8 JSON.
            key: Key of the record, for the error message.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            findings = describe_findings(error)
            raise InputError(
                f"{key} is not a valid {cls.__name__}: {findings}; delete it and run the step again."
            ) from error


class LeftOut(Record):
    """Scene that was not examined or not used, with the reason in one sentence."""

    id: str
    reason: str


class Cost(Record):
    """Cost of selecting a scene, in scenes: `total = base + age + haze`."""

    base: Number
    age: Number
    haze: Number
    total: Number


class Candidate(Record):
    """Candidate scene: figures of its preview, the decision and its reason."""

    id: str
    datetime: str
    """Acquisition time, UTC, ISO 8601."""
    platform: str
    catalog_cloud: Number
    """Cloud cover according to the catalog, in percent."""
    preview: Literal["thumbnail", "bands"]
    """Origin of the preview: the catalog's thumbnail, or a decimated read of the bands."""
    cloud: Fraction
    """Part of the scene's valid pixels that the preview network classifies as cloud."""
    coverage: Fraction
    """Part of the tile that is clear in the scene."""
    nodata: Fraction
    haze: Fraction
    """Probability that the scene is hazy."""
    cost: Cost
    gain: Fraction
    """Selected scene: part of the tile that is clear in no other selected scene. Otherwise: part that it would add."""
    decision: Decision
    rank: Annotated[int | None, Field(ge=1)]
    """Selected scene: place in the composite's order, 1 on top. Fallback: place in the queue. Rejected: none."""
    reason: str

    @property
    def date(self) -> str:
        """Acquisition day, ISO 8601."""
        return self.datetime[:10]


class RefreshInfo(Record):
    """Change of a scene list by a refresh."""

    since: str
    """First day of the newer scenes."""
    base: str
    """Fingerprint of the list from which the refresh started (`select/T.base.json`)."""
    basis: str
    """Fingerprint on which the next steps depend; that of the base if no scene was added, so that nothing reruns."""
    taken: tuple[str, ...]
    """Newer scenes that were added."""
    dropped: tuple[str, ...]
    """Scenes of the earlier list that newer scenes replace completely; they come first among the fallbacks."""


class SelectRecord(Record):
    """`select/T.json`: smallest scene list of a tile, with everything that is needed to check it."""

    tile: str
    start: str
    end: str
    target: str
    parameters: dict[str, float | int | str]
    preview_shape: tuple[int, int]
    """Number of rows and columns of the previews."""
    candidates: tuple[Candidate, ...]
    selected: tuple[str, ...]
    """Ids of the selected scenes, in the composite's priority order."""
    spares: tuple[str, ...]
    """Ids of the fallback scenes, in the order in which acquire tries them."""
    coverable: Fraction
    """Part of the tile that is clear in at least one candidate."""
    covered: Fraction
    """Part of the tile that is clear in at least one selected scene."""
    objective: Number
    """Cost of the list plus penalty for the uncovered part, in scenes (docs/explanation/select.md)."""
    lower_bound: Number
    """Lower bound of the objective over all lists."""
    gap: Number
    """(objective - lower_bound) / objective; 0 proves that the list is optimal."""
    status: SolverStatus
    elements: int
    """Number of sets of pixels that are clear in the same scenes."""
    left_out: tuple[LeftOut, ...]
    """Scenes of the search that were not candidates, such as duplicates and scenes with a broken preview."""
    fingerprint: str
    renewed: RefreshInfo | None = None
    """Present if a refresh updated the list of an earlier run; then nothing was solved, and the bounds are 0."""

    def _list_absent_fields(self) -> set[str]:
        return set() if self.renewed else {"renewed"}

    @property
    def basis(self) -> str:
        """Fingerprint on which the next steps depend; a refresh that changes nothing keeps it."""
        return self.renewed.basis if self.renewed else self.fingerprint

    def find_candidate(self, scene: str) -> Candidate:
        """Return the candidate with an id; raise InputError with the known ids if there is none."""
        for candidate in self.candidates:
            if candidate.id == scene:
                return candidate
        known = ", ".join(candidate.id for candidate in self.candidates) or "none"
        raise InputError(f"{self.tile} has no candidate {scene}; use one of: {known}.")


class BaseRecord(Record):
    """`select/T.base.json`: scene list from which a refresh starts, also when it is repeated."""

    since: str
    """First day of the refresh."""
    record: SelectRecord
    scenes: tuple[str, ...]
    """Scenes of the composite, in its order."""


class SceneRecord(Record):
    """`scenes/T/ID.json`: scene at full resolution."""

    id: str
    datetime: str
    """Acquisition time, UTC, ISO 8601."""
    platform: str
    image_sha256: str
    mask_sha256: str
    clear: Fraction
    cloud: Fraction
    shadow: Fraction
    nodata: Fraction
    fingerprint: str

    @property
    def date(self) -> str:
        """Acquisition day, ISO 8601."""
        return self.datetime[:10]


class AcquiredScene(SceneRecord):
    """Acquired scene with its contribution to the tile."""

    added: Fraction
    """Part of the tile that is clear in this scene and in no earlier scene of the list."""
    haze: Fraction
    """Probability that the scene is hazy, from its preview."""


class AcquireRecord(Record):
    """`scenes/T/acquired.json`: scenes that composite and landcover read, in priority order."""

    tile: str
    scenes: tuple[AcquiredScene, ...]
    """Scenes of the composite, 1 on top."""
    series: tuple[AcquiredScene, ...] = ()
    """Further mostly clear dates, which landcover alone reads."""
    left_out: tuple[LeftOut, ...]
    """Scenes of the list that could not be read, or that have no data over the tile."""
    holes: Fraction
    """Part of the tile that is clear in no acquired scene."""
    stop: StopReason
    fingerprint: str
