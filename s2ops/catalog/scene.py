"""Scene: one Sentinel-2 acquisition over one tile, in one form for all catalogs."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Scene:
    """Validated contents of a catalog item, in one form for all providers.

    Reflectance is `(DN + offset) / 10000`; DN 0 is no data.
    """

    id: str
    """The item's id; safe as a file name (letters, digits, '.', '_', '-')."""
    tile: str
    """MGRS tile name without the leading T, such as '33TWL'."""
    datetime: datetime
    """Acquisition time, UTC."""
    platform: str
    """'sentinel-2a', 'sentinel-2b', ..."""
    cloud_cover: float
    """Cloud cover in percent, as the catalog states it."""
    bands: tuple[tuple[str, str], ...]
    """(band name, href) for red, green, blue, nir; hrefs are unsigned: they contain no credentials."""
    preview: str | None
    """Href of a true-colour preview (JPEG, PNG or GeoTIFF), or None."""
    offset: int
    """Added to each DN before scaling: 0 or -1000 (see `catalog.items.determine_dn_offset`)."""
    processed: str
    """Processing baseline and generation time, by which the newest of several processings is found."""
    orbit: int | None = None
    """Relative orbit, if the item states it."""
    nodata: float | None = None
    """Percentage of the tile outside the swath, if the item states it. Only the plan of a run uses it."""

    @property
    def band_hrefs(self) -> dict[str, str]:
        """Href of each band, by band name."""
        return dict(self.bands)

    @property
    def date(self) -> str:
        """Acquisition day, ISO 8601."""
        return self.datetime.date().isoformat()
