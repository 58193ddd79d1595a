"""Static files of the page, read from the package once; no other files are served."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Final

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """File of the page with its media type and ETag."""

    data: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class Page:
    """All files of the page by name, such as 'app.js' or 'vendor/maplibre-gl.mjs'."""

    files: dict[str, StaticFile]

    @classmethod
    def from_package(cls) -> "Page":
        """Read the files in s2ops/view/page/."""
        found = {}
        root = files("s2ops.view") / "page"
        for prefix, folder in (("", root), ("vendor/", root / "vendor")):
            for one in folder.iterdir():
                media_type = _MEDIA_TYPES.get(f".{one.name.rpartition('.')[2]}")
                if one.is_file() and media_type:
                    data = one.read_bytes()
                    found[prefix + one.name] = StaticFile(data, media_type, sha256(data).hexdigest()[:32])
        return cls(found)
