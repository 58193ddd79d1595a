"""A map of somebody else's to lie underneath, if the user names one; without it the page asks nobody for anything."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from s2ops.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Basemap:
    """Raster tiles by URL, and whom the map must name for them."""

    url: str
    credit: str

    @property
    def origin(self) -> str:
        """What the page's security policy must let through."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @classmethod
    def of(cls, url: str, credit: str) -> "Basemap":
        """Checked; ConfigError where it is no address of map tiles."""
        parts = urlsplit(url)
        plain = parts.netloc and not set(parts.netloc) & set(" ;,'\"{}@\\")
        if parts.scheme not in {"http", "https"} or not plain or not all(f"{{{name}}}" in url for name in "zxy"):
            raise ConfigError(
                f"--basemap {url}: give the address of map tiles, with {{z}}, {{x}} and {{y}} in its path, "
                "such as https://tiles.example.org/{z}/{x}/{y}.png"
            )
        return cls(url, credit)
