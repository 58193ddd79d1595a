"""Done marker and fingerprint: lets a run resume. A step is done if the JSON beside its outputs has its fingerprint."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2ops.storage.object_store import Store


def compute_fingerprint(*facts: object) -> str:
    """Compute the SHA-256 over the canonical JSON of everything that an output depends on.

    Args:
        facts: JSON values or pydantic models; their order counts.

    Raises:
        TypeError: If a fact is of another type.
    """
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=_to_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_plain(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"Cannot fingerprint {type(value).__name__}: {value!r}; give plain values.")


def compute_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(data: object) -> bytes:
    """Convert to canonical JSON: sorted keys, an indent of two spaces, a final newline."""
    return (json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """Read a JSON object; return None if it does not exist or is truncated (then the step runs again)."""
    data = store.get(key)
    if data is None:
        return None
    try:
        parsed = json.loads(data)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def read_fingerprint(record: dict[str, Any] | None) -> str | None:
    """Read the fingerprint of a record or STAC item; return None if there is none."""
    if record is None:
        return None
    found = (
        record.get("fingerprint")  # records of s2ops
        or record.get("s2ops:fingerprint")  # the STAC catalog
        or record.get("properties", {}).get("s2ops:fingerprint")  # STAC items
    )
    return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class DoneMarker:
    """Done marker of a step: the JSON at `key`, current if it has the fingerprint of the step's present inputs."""

    key: str
    fingerprint: str

    def load_if_current(self, store: Store) -> dict[str, Any] | None:
        """Read the JSON; return None if it does not exist or has another fingerprint."""
        found = read_json(store, self.key)
        return found if read_fingerprint(found) == self.fingerprint else None

    def is_current(self, store: Store) -> bool:
        """Return whether the step has nothing to do."""
        return self.load_if_current(store) is not None
