"""From slabs to the store: what a step writes is made in a scratch folder, checked, and put under its key."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Protocol

from odc.geo.geobox import GeoBox

from s2ops.config import RunConfig
from s2ops.publishing.stac_item import list_level_reflectances
from s2ops.raster.cog import CogProfile, CogWriter
from s2ops.runtime.tempdirs import create_scratch_folder
from s2ops.runtime.threads import map_ordered
from s2ops.storage.done_marker import compute_sha256
from s2ops.storage.object_store import Store
from s2ops.telemetry import counters


class HasDatetime(Protocol):
    """Anything with an acquisition time."""

    @property
    def datetime(self) -> str:
        """UTC, ISO."""


@dataclass(frozen=True)
class RasterWriter:
    """Makes the files of one tile on one grid and puts them into the store."""

    store: Store
    geobox: GeoBox
    folder: Path

    def create_file(
        self, name: str, bands: Sequence[str], kind: CogProfile, tags: Mapping[str, str] | None = None
    ) -> CogWriter:
        """A COG to be filled slab by slab."""
        return CogWriter(self.folder / f"{name}.tif", self.geobox, bands, kind, tags)

    def put(self, files: Mapping[str, CogWriter], threads: int) -> list[str]:
        """Finish the COGs, put each under its key, and give their SHA-256 in that order."""
        return list(map_ordered(lambda one: self._put(*one), files.items(), threads))

    def _put(self, key: str, file: CogWriter) -> str:
        path = file.finish()
        digest, size = compute_sha256(path), path.stat().st_size
        # read for its checksum, and once more for an upload
        counters.add("scratch_read", size * (2 if self.store.move_file(key, path) else 1))
        return digest


@contextmanager
def open_raster_writer(store: Store, geobox: GeoBox) -> Iterator[RasterWriter]:
    """A Publisher whose scratch folder (under TMPDIR) goes when the block ends."""
    with create_scratch_folder() as folder:
        yield RasterWriter(store, geobox, folder)


def build_imagery_tags() -> dict[str, str]:
    """What an 8-bit image says of itself: the reflectance of each level."""
    return {"S2OPS_LEVELS": json.dumps(list_level_reflectances(), separators=(",", ":"))}


def find_date_range(scenes: Sequence[HasDatetime], config: RunConfig) -> tuple[datetime, datetime]:
    """First and last acquisition; the run's date range where there is no scene."""
    if not scenes:
        start, end = config.dates.start, config.dates.end
        return datetime.combine(start, time.min, UTC), datetime.combine(end, time.max, UTC)
    times = sorted(datetime.fromisoformat(scene.datetime) for scene in scenes)
    return times[0], times[-1]
