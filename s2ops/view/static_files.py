"""The files of the page, from the package, read once: a request can name these and no others."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Final

_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file."""

    data: bytes
    kind: str
    etag: str


@dataclass(frozen=True)
class Page:
    """All files by name, such as 'app.js' or 'vendor/maplibre-gl.mjs'."""

    files: dict[str, File]

    @classmethod
    def load(cls) -> "Page":
        """From s2ops/view/page/ of the package."""
        found = {}
        root = files("s2ops.view") / "page"
        for prefix, folder in (("", root), ("vendor/", root / "vendor")):
            for one in folder.iterdir():
                kind = _KINDS.get(f".{one.name.rpartition('.')[2]}")
                if one.is_file() and kind:
                    data = one.read_bytes()
                    found[prefix + one.name] = File(data, kind, sha256(data).hexdigest()[:32])
        return cls(found)
