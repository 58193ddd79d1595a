"""Raster output of a step: COGs (GeoTIFFs), written in a temporary folder and then put into the store."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Protocol

from odc.geo.geobox import GeoBox

from s2ops.config import RunConfig
from s2ops.imaging.tone_curve import list_level_reflectances
from s2ops.raster.cog import CogProfile, CogWriter
from s2ops.runtime.tempdirs import create_scratch_folder
from s2ops.runtime.threads import map_ordered
from s2ops.storage.done_marker import compute_sha256
from s2ops.storage.object_store import Store
from s2ops.telemetry import counters


class HasDatetime(Protocol):
    """Object with an acquisition time."""

    @property
    def datetime(self) -> str:
        """Acquisition time, UTC, ISO 8601."""


@dataclass(frozen=True)
class RasterWriter:
    """Writer of the rasters of one tile, all on one grid."""

    store: Store
    geobox: GeoBox
    folder: Path
    """Temporary folder."""

    def create_file(
        self, name: str, bands: Sequence[str], kind: CogProfile, tags: Mapping[str, str] | None = None
    ) -> CogWriter:
        """Create a COG, which is then written slab by slab from top to bottom.

        Args:
            name: Name of the temporary file, without suffix.
            bands: Band descriptions.
            kind: Data type, nodata value and compression.
            tags: GeoTIFF tags.
        """
        return CogWriter(self.folder / f"{name}.tif", self.geobox, bands, kind, tags)

    def put(self, files: Mapping[str, CogWriter], threads: int) -> list[str]:
        """Finish COGs and put each under its key; return their SHA-256 in the same order."""
        return list(map_ordered(lambda one: self._put(*one), files.items(), threads))

    def _put(self, key: str, file: CogWriter) -> str:
        path = file.finish()
        digest, size = compute_sha256(path), path.stat().st_size
        # the file is read for its checksum, and again for an upload
        counters.add("scratch_read", size * (2 if self.store.move_file(key, path) else 1))
        return digest


@contextmanager
def open_raster_writer(store: Store, geobox: GeoBox) -> Iterator[RasterWriter]:
    """Open a RasterWriter; its temporary folder (under TMPDIR) is removed at the end of the block."""
    with create_scratch_folder() as folder:
        yield RasterWriter(store, geobox, folder)


def build_imagery_tags() -> dict[str, str]:
    """Build the GeoTIFF tag that lists the reflectance of each 8-bit level."""
    return {"S2OPS_LEVELS": json.dumps(list_level_reflectances(), separators=(",", ":"))}


def find_date_range(scenes: Sequence[HasDatetime], config: RunConfig) -> tuple[datetime, datetime]:
    """Return the times of the first and the last acquisition; without scenes, the date range of the run."""
    if not scenes:
        start, end = config.dates.start, config.dates.end
        return datetime.combine(start, time.min, UTC), datetime.combine(end, time.max, UTC)
    times = sorted(datetime.fromisoformat(scene.datetime) for scene in scenes)
    return times[0], times[-1]
