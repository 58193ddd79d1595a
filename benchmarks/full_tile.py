"""One tile at full size (10,980 x 10,980 px, 10 m) through the whole chain: wall time and peak memory of each step.

The scenes are real ones of 120 m (S2OPS_REAL_DATA), enlarged twelvefold, texture added: real clouds, swath edges and
colours at the size of production. Usage: S2OPS_REAL_DATA=... python benchmarks/full_tile.py FOLDER [DATES]
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.shutil import copy
from rasterio.windows import Window

from s2ops import config, engine
from s2ops.cli.progress import PlainLines
from s2ops.grid import tile

TILE = "33TWM"
FILES = ("B02.tif", "B03.tif", "B04.tif", "B08.tif")
GRAIN = 0.06
"""Relative strength of the added texture."""


def enlarge(source: Path, target: Path, seed: int) -> None:
    """Write a 10 m COG from a 120 m one: bilinear, with pixel noise that makes it as hard to compress as a scene."""
    grid, dice = tile(TILE).geobox(10), np.random.default_rng(seed)
    plain = target.with_suffix(".plain.tif")
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "nodata": 0, "tiled": True, "crs": str(grid.crs)}
    with rasterio.open(source) as src, rasterio.open(
        plain, "w", height=grid.height, width=grid.width, transform=grid.transform, **profile
    ) as dst:  # fmt: skip
        small = src.read(1, out_shape=(915, 915))
        for top in range(0, 915, 61):
            rows = np.repeat(np.repeat(small[top : top + 61], 12, axis=0), 12, axis=1).astype(np.float32)
            rows *= 1 + GRAIN * dice.standard_normal(rows.shape, np.float32)
            dst.write(rows.clip(0, 65535).astype(np.uint16), 1, window=Window(0, top * 12, grid.width, rows.shape[0]))
    copy(str(plain), str(target), driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", NUM_THREADS="ALL_CPUS")
    plain.unlink()


def make_catalog(data: Path, folder: Path, dates: int) -> Path:
    """A static catalog of the tile's clearest scenes at full size."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [json.loads(path.read_text()) for path in sorted((data / "sentinel-2-l2a").glob(f"*_{TILE}_*/S2*.json"))]
    chosen = sorted(found, key=lambda item: float(item["properties"]["eo:cloud_cover"]))[:dates]
    for number, item in enumerate(chosen):
        to = folder / item["id"]
        to.mkdir(exist_ok=True)
        for file in FILES:
            if not (to / file).exists():
                enlarge(data / "sentinel-2-l2a" / item["id"] / file, to / file, seed=number)
        item["assets"] = {
            name: asset for name, asset in item["assets"].items() if name in {"red", "green", "blue", "nir"}
        }
        item["links"] = []
        (to / f"{item['id']}.json").write_text(json.dumps(item))
    links = [{"rel": "item", "href": f"./{item['id']}/{item['id']}.json"} for item in chosen]
    root = {"type": "Catalog", "id": "full", "stac_version": "1.0.0", "description": "full size", "links": links}
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"


def main() -> None:
    """Make the scenes where they are missing, run, print a table."""
    folder, dates = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2
    data = Path(os.environ["S2OPS_REAL_DATA"]) / "zagreb-two-tiles"
    catalog = make_catalog(data, folder / "catalog", dates)
    text = (
        f"region: {{tiles: [{TILE}]}}\ndates: {{start: 2023-08-01, end: 2023-08-31}}\ncatalog: {catalog}\n"
        f"resolution: 10\nout: {folder / 'run'}\n"
    )
    engine.run(config.parse(text, "benchmark"), [tile(TILE)], 1, os.cpu_count() or 1, PlainLines())
    print(f"{'step':<10} {'wall s':>8} {'peak MiB':>9}")
    for path in sorted((folder / "run/run").glob("*/*.json")):
        record = json.loads(path.read_text())
        print(f"{record['step']:<10} {record['wall_s']:>8.1f} {record['peak_rss_mib']:>9.0f}")


if __name__ == "__main__":
    main()
