"""Finding (issue, defect) that `s2ops verify` reports about one key of a run."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One sentence about one key. Errors sort before warnings, then by key."""

    severity: Severity
    key: str
    message: str

    def __str__(self) -> str:
        """Return one line, such as 'error: mosaic/33TWL/mosaic.tif is missing; ...'."""
        return f"{self.severity}: {self.key} {self.message}"


def make_error(key: str, message: str) -> Finding:
    """Build a finding about a defect that makes the run wrong."""
    return Finding("error", key, message)


def make_warning(key: str, message: str) -> Finding:
    """Build a finding that is worth a check but does not make the run wrong."""
    return Finding("warning", key, message)
