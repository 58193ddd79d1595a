"""One Sentinel-2 acquisition over one tile, as every step sees it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Scene:
    """What a catalog item says of a scene, checked and in one form for all providers.

    Reflectance is `(DN + offset) / 10000`; DN 0 is no data.
    """

    id: str
    """The item's id; safe as a file name (letters, digits, '.', '_', '-')."""
    tile: str
    """MGRS tile name without the leading T, such as '33TWL'."""
    datetime: datetime
    """Acquisition, UTC."""
    platform: str
    """'sentinel-2a', 'sentinel-2b', ..."""
    cloud_cover: float
    """Percent, as the catalog says."""
    bands: tuple[tuple[str, str], ...]
    """(band name, href) for red, green, blue, nir; hrefs are unsigned: they carry no credentials."""
    preview: str | None
    """Href of a true-colour preview (JPEG, PNG or GeoTIFF), or None."""
    offset: int
    """Added to each DN before scaling: 0 or -1000. Decided in one place (catalog)."""
    processed: str
    """Processing baseline and time, for choosing among duplicates."""
    orbit: int | None = None
    """Relative orbit, where the item states it."""
    nodata: float | None = None
    """Percent of the tile outside the swath, where the item states it. Only the plan of a run reads it."""

    @property
    def band_hrefs(self) -> dict[str, str]:
        """Band name to href."""
        return dict(self.bands)

    @property
    def date(self) -> str:
        """Acquisition day, ISO."""
        return self.datetime.date().isoformat()
