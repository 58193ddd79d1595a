"""What verify finds: one sentence about one key."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Errors sort before warnings, then by key."""

    severity: Severity
    key: str
    message: str

    def __str__(self) -> str:
        """Such as 'error: mosaic/33TWL/mosaic.tif is missing; ...'."""
        return f"{self.severity}: {self.key} {self.message}"


def error(key: str, message: str) -> Finding:
    """Something that makes the run wrong."""
    return Finding("error", key, message)


def warning(key: str, message: str) -> Finding:
    """Something worth a look that makes nothing wrong."""
    return Finding("warning", key, message)
