"""Href validation (path and URL checks) for STAC documents: which files a catalog may reference."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from s2ops.errors import CatalogError

REMOTE_SCHEMES: Final = ("http", "https", "s3", "gs", "az")
_MAX_HREF_LENGTH: Final = 4096
_UNSAFE_CHARACTERS: Final = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Location of a catalog, which decides the hrefs that its documents may contain.

    A local catalog may reference files inside its own folder and remote files; a remote catalog only remote files.
    The messages of this class's errors are written into select records as reasons.
    """

    root: str
    """Folder of the catalog: a resolved path, or a URL that ends with '/'."""
    local: bool
    """True if the catalog lies on this machine."""

    @classmethod
    def from_location(cls, location: str) -> "Origin":
        """Return the origin of a catalog document, given by path or URL."""
        if is_remote(location):
            return cls(urljoin(location, "."), local=False)
        return cls(str(Path(location).resolve().parent), local=True)

    def resolve(self, href: object, base: str) -> str:
        """Resolve an href of a document to an absolute path or URL.

        Args:
            href: Value of the document's `href` field; any JSON value, since catalogs are not trusted.
            base: Path or URL of the document.

        Returns:
            An absolute local path, or a URL with one of `REMOTE_SCHEMES`.

        Raises:
            CatalogError: If the href is malformed or leaves the catalog's folder.
        """
        if not isinstance(href, str) or not href or len(href) > _MAX_HREF_LENGTH or _UNSAFE_CHARACTERS.search(href):
            raise CatalogError(f"its href {str(href)[:80]!r} is not a valid path or URL")
        try:
            scheme = urlsplit(href).scheme.lower()
        except ValueError as error:
            raise CatalogError(f"its href {href!r} is not a valid URL: {error}") from error
        if scheme in REMOTE_SCHEMES:
            return _check_url(href)
        if scheme or href.startswith(("//", "/vsi")):
            raise CatalogError(f"its href {href!r} is neither a relative path nor a URL of {', '.join(REMOTE_SCHEMES)}")
        if self.local and not is_remote(base):
            return self._resolve_path(href, base)
        return self._resolve_url(href, base)

    def _resolve_path(self, href: str, base: str) -> str:
        """Resolve a local href; symbolic links and '..' are followed before the folder is checked."""
        try:
            path = (Path(base).parent / href).resolve()
        except (OSError, RuntimeError) as error:  # name too long, or a cycle of symbolic links
            raise CatalogError(f"its href {href!r} cannot be resolved: {error}") from error
        if not path.is_relative_to(self.root):
            raise CatalogError(f"its href {href!r} is outside the catalog's folder {self.root}")
        return str(path)

    def _resolve_url(self, href: str, base: str) -> str:
        if href.startswith("/"):
            raise CatalogError(f"its href {href!r} is an absolute path in a remote catalog")
        url = _check_url(urljoin(base, href))
        if _contains_parent_folder(href) and not url.startswith(self.root):
            raise CatalogError(f"its href {href!r} is outside the catalog's folder {self.root}")
        return url


def is_remote(location: str) -> bool:
    """Return True if a location is a URL with one of `REMOTE_SCHEMES`, not a local path."""
    return urlsplit(location).scheme.lower() in REMOTE_SCHEMES


def _contains_parent_folder(href: str) -> bool:
    return ".." in PurePosixPath(unquote(href)).parts


def _check_url(href: str) -> str:
    """Return the URL unchanged; raise CatalogError if it names no host, has a password, or contains '..'."""
    parts = urlsplit(href)
    if not parts.netloc or "@" in parts.netloc:
        raise CatalogError(f"its href on {parts.netloc.rpartition('@')[2]!r} has no host, or contains a password")
    if _contains_parent_folder(parts.path):
        raise CatalogError(f"its href {href!r} contains '..'")
    return href
