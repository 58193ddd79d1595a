"""Basemap (background map tiles of another server). Without one, the page loads nothing external."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from s2ops.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Basemap:
    """Raster tiles of another server."""

    url: str
    """URL template with {z}, {x} and {y}."""
    credit: str
    """Attribution that the map shows."""

    @property
    def origin(self) -> str:
        """Origin that the security policy of the page must allow."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @classmethod
    def from_url(cls, url: str, credit: str) -> "Basemap":
        """Check the URL and attribution of a basemap.

        Raises:
            ConfigError: If it is not the URL of map tiles.
        """
        parts = urlsplit(url)
        plain = parts.netloc and not set(parts.netloc) & set(" ;,'\"{}@\\")
        if parts.scheme not in {"http", "https"} or not plain or not all(f"{{{name}}}" in url for name in "zxy"):
            raise ConfigError(
                f"--basemap is not a URL of map tiles: {url}; give one with {{z}}, {{x}} and {{y}} in its path, "
                "such as https://tiles.example.org/{z}/{x}/{y}.png."
            )
        return cls(url, credit)
