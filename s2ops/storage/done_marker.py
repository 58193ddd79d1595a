"""When is a step done? When the JSON written after its data carries the fingerprint of today's inputs."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2ops.storage.object_store import Store


def fingerprint(*facts: object) -> str:
    """SHA-256 over the canonical JSON of what an output is made from."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot fingerprint {type(value).__name__}: {value!r}; give plain values")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(data: object) -> bytes:
    """Canonical bytes: sorted keys, two blanks, a final newline."""
    return (json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """The object parsed, or None where it is absent or cut off (then the step runs again)."""
    data = store.get(key)
    if data is None:
        return None
    try:
        parsed = json.loads(data)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def fingerprint_in(record: dict[str, Any] | None) -> str | None:
    """The fingerprint that a record (plain, or a STAC item) carries."""
    if record is None:
        return None
    found = (
        record.get("fingerprint")  # our own records
        or record.get("s2ops:fingerprint")  # the catalog
        or record.get("properties", {}).get("s2ops:fingerprint")  # items
    )
    return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Marker:
    """The JSON at `key`, which stands when it carries `fingerprint`."""

    key: str
    fingerprint: str

    def standing(self, store: Store) -> dict[str, Any] | None:
        """The JSON, if it stands."""
        found = read_json(store, self.key)
        return found if fingerprint_in(found) == self.fingerprint else None

    def stands_in(self, store: Store) -> bool:
        """Whether the step that writes this marker has nothing to do."""
        return self.standing(store) is not None
