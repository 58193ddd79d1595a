"""The JSON files that explain a tile: what select decided and what acquire found, in one checked form.

Same content, same bytes: keys are sorted, numbers rounded when a record is made, and nothing depends on
the clock. Fractions are parts of the whole tile, 0 to 1, unless a field says otherwise.
"""

import json
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe_findings
from s2ops.errors import InputError


def _six_digits(value: float) -> float:
    return round(value, 6) + 0.0  # + 0.0 turns -0.0 into 0.0, which JSON would show


Number: TypeAlias = Annotated[float, AfterValidator(_six_digits)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1), AfterValidator(_six_digits)]
Decision: TypeAlias = Literal["taken", "spare", "left"]
SolverStatus: TypeAlias = Literal["optimal", "time limit", "nothing to cover", "refreshed"]
StopReason: TypeAlias = Literal["covered", "no candidates left", "scene cap"]


class Record(BaseModel):
    """A frozen value that is stored as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def write(self) -> bytes:
        """UTF-8 JSON with sorted keys and a final newline; equal records give equal bytes."""
        text = json.dumps(
            self.model_dump(mode="json", exclude=self._absent()), indent=1, sort_keys=True, ensure_ascii=False
        )
        return (text + "\n").encode()

    def _absent(self) -> set[str]:
        """Fields that are left out of the file."""
        return set()

    @classmethod
    def read(cls, data: bytes, key: str) -> Self:
        """The record in `data`; `key` names it in the InputError that a broken one raises."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            findings = describe_findings(error)
            raise InputError(f"{key} is not a {cls.__name__}: {findings}; delete it and run the step again") from error


class LeftOut(Record):
    """A scene that was not looked at or not used, and why, in one sentence."""

    id: str
    reason: str


class Cost(Record):
    """What taking a scene costs, in scenes: `total = base + age + haze`."""

    base: Number
    age: Number
    haze: Number
    total: Number


class Candidate(Record):
    """One scene that was looked at: what its preview shows, and why it was taken or not."""

    id: str
    datetime: str
    """Acquisition, UTC, ISO."""
    platform: str
    catalog_cloud: Number
    """Percent, as the catalog says."""
    preview: Literal["thumbnail", "bands"]
    """Where the preview came from: the catalog's image, or a decimated read of the bands."""
    cloud: Fraction
    """Part of the scene's valid pixels that the preview network calls cloud."""
    coverage: Fraction
    """Part of the tile that the scene sees clear."""
    nodata: Fraction
    haze: Fraction
    """Probability that the scene is hazy."""
    cost: Cost
    gain: Fraction
    """Taken: what only this scene sees among those taken. Else: what it would add to those taken."""
    decision: Decision
    rank: Annotated[int | None, Field(ge=1)]
    """Taken: place in the composite's order, 1 on top. Spare: place in the queue. Left: none."""
    reason: str

    @property
    def date(self) -> str:
        """Acquisition day, ISO."""
        return self.datetime[:10]


class RefreshInfo(Record):
    """How a refresh changed a scene list."""

    since: str
    """First day of the scenes that were new."""
    base: str
    """Fingerprint of the list that it began from (`select/T.base.json`)."""
    basis: str
    """What the steps after select depend on: the base's where nothing was taken, so that nothing runs again."""
    taken: tuple[str, ...]
    dropped: tuple[str, ...]
    """Scenes of the earlier list of which newer ones show all; first among the spares."""


class SelectRecord(Record):
    """`select/T.json`: the smallest scene list of a tile, and everything needed to dispute it."""

    tile: str
    start: str
    end: str
    target: str
    parameters: dict[str, float | int | str]
    preview_shape: tuple[int, int]
    """Rows and columns of the previews."""
    candidates: tuple[Candidate, ...]
    selected: tuple[str, ...]
    """Ids in the composite's priority order."""
    spares: tuple[str, ...]
    """Ids in the order in which acquire tries them."""
    coverable: Fraction
    """Part of the tile that some candidate sees clear."""
    covered: Fraction
    """Part of the tile that the selected scenes see clear."""
    objective: Number
    """Cost of the list plus penalty of what it leaves uncovered, in scenes (docs/explanation/select.md)."""
    lower_bound: Number
    """No list can have a lower objective."""
    gap: Number
    """(objective - lower_bound) / objective; 0 is proof that the list is optimal."""
    status: SolverStatus
    elements: int
    """Sets of pixels that the same scenes see clear."""
    left_out: tuple[LeftOut, ...]
    """Scenes of the search that were not candidates: too cloudy, duplicate, broken preview."""
    fingerprint: str
    renewed: RefreshInfo | None = None
    """Where the list is that of an earlier run, with newer scenes; then nothing was solved, and bounds are 0."""

    def _absent(self) -> set[str]:
        return set() if self.renewed else {"renewed"}

    @property
    def basis(self) -> str:
        """What the next steps depend on: equal where the list is the same as before a refresh."""
        return self.renewed.basis if self.renewed else self.fingerprint

    def find_candidate(self, scene: str) -> Candidate:
        """The candidate with that id; an InputError names those that there are."""
        for candidate in self.candidates:
            if candidate.id == scene:
                return candidate
        known = ", ".join(candidate.id for candidate in self.candidates) or "none"
        raise InputError(f"{self.tile}: {scene} is no candidate; there are: {known}")


class BaseRecord(Record):
    """`select/T.base.json`: where a refresh begins, whatever is run again after it."""

    since: str
    """The refresh that it is the base of."""
    record: SelectRecord
    scenes: tuple[str, ...]
    """Scenes of the composite, in its order."""


class SceneRecord(Record):
    """`scenes/T/ID.json`: one scene at full resolution."""

    id: str
    datetime: str
    """Acquisition, UTC, ISO."""
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
        """Acquisition day, ISO."""
        return self.datetime[:10]


class AcquiredScene(SceneRecord):
    """A scene in its place among those of the tile."""

    added: Fraction
    """Part of the tile that no scene before it in the list sees clear."""
    haze: Fraction
    """Probability that the scene is hazy, from its preview."""


class AcquireRecord(Record):
    """`scenes/T/acquired.json`: the scenes that composite and landcover read, in priority order."""

    tile: str
    scenes: tuple[AcquiredScene, ...]
    """Scenes of the composite, 1 on top."""
    series: tuple[AcquiredScene, ...] = ()
    """Further mostly clear dates, read by landcover alone."""
    left_out: tuple[LeftOut, ...]
    """Scenes of the list that could not be read, or that brought nothing."""
    holes: Fraction
    """Part of the tile that no acquired scene sees clear."""
    stop: StopReason
    fingerprint: str
