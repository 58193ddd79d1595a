"""Small finished run, written by hand according to docs/reference/outputs.md, for tests of verify, view and report."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from s2ops.constants import BANDS, CLASS_NAMES, LandCover, UInt8
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.publishing import stac_collection, stac_item
from s2ops.publishing.vrt import LANDCOVER_COLOURS, VrtSource, build_vrt
from s2ops.raster.cog import CLASSES, CODES, IMAGERY, MASK, PERCENT, SHARE, STACK, CogProfile, CogWriter
from s2ops.records import AcquiredScene, AcquireRecord, Candidate, Cost, LeftOut, SelectRecord
from s2ops.run.raster_writer import build_imagery_tags
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json
from s2ops.storage.object_store import Store

PREVIEW_SIDE = 86


@dataclass
class FakeScene:
    """Scene with levels (4, y, x) and a mask (y, x)."""

    id: str
    datetime: str
    levels: UInt8
    mask: UInt8
    haze: float = 0.05


@dataclass
class FinishedRun:
    """Builder of a finished run."""

    store: Store
    res: int
    tiles: Sequence[str]
    scenes: dict[str, list[FakeScene]]
    mosaic_of: Callable[[str, UInt8], UInt8] = lambda _, composite: composite
    landcover: bool = True
    items: dict[str, dict[str, Any]] = field(default_factory=lambda: {"mosaic": {}, "landcover": {}})

    def build(self) -> Store:
        """Write everything that a run writes, and return the store."""
        neighbours = {name: [other for other in self.tiles if other != name] for name in self.tiles}
        config = {"landcover": {"enabled": self.landcover}, "resolution": self.res}
        self.store.put("plan/plan.json", to_json({"config": config, "tiles": neighbours, "fingerprint": "p"}))
        self.store.put("plan/groups/blend/000.json", to_json({"tiles": list(self.tiles)}))
        for name in self.tiles:
            self._write_tile(name)
        self.store.put("balance/balance.json", to_json({"gains": {name: [1, 1, 1, 1] for name in self.tiles}}))
        for key, data in stac_collection.build_catalog(self.items["mosaic"], self.items["landcover"]).items():
            self.store.put(key, data)
        self._write_vrts()
        return self.store

    def write_cog(self, key: str, pixels: UInt8, name: str, kind: CogProfile, names: Sequence[str], **tags: str) -> str:
        """Write a COG and return its SHA-256."""
        assert self.store.folder is not None
        path = self.store.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        geobox = parse_tile(name).build_geobox(self.res)
        if pixels.shape[1:] != geobox.shape:
            geobox = geobox.zoom_to(pixels.shape[1:])
        made = CogWriter(path, geobox, names, kind, tags)
        made.write(pixels)
        made.finish()
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def _write_tile(self, name: str) -> None:
        scenes = self.scenes[name]
        shape = parse_tile(name).build_geobox(self.res).shape
        self._write_selection(name, scenes)
        composite, source = np.zeros((4, *shape), np.uint8), np.zeros(shape, np.uint8)
        acquired = []
        for number, scene in enumerate(scenes, start=1):
            take = (scene.mask == 0) & (source == 0)
            composite[:, take], source[take] = scene.levels[:, take], number
            acquired.append(self._write_scene(name, scene, float(take.mean())))
        holes = float((source == 0).mean())
        record = AcquireRecord(
            tile=name, scenes=tuple(acquired), left_out=(), holes=holes, stop="covered", fingerprint="a"
        )
        self.store.put(f"scenes/{name}/acquired.json", record.write())
        self._write_imagery("composite", name, composite, source, {"s2ops:holes": round(holes, 6)})
        seam = {"excess": 1.9, "coherent": 2.4, "energy": 3.0, "step": [3.1, 2.0, 1.5, 4.0], "pixels": 900}
        after = seam | {"excess": 1.02, "coherent": 1.05, "energy": 1.1, "step": [0.1, 0.0, 0.0, 0.2]}
        facts = {
            "s2ops:holes": round(holes, 6),
            "s2ops:gains": [1.01, 1.0, 0.99, 1.02],
            "s2ops:composites": {name: f"composite-{name}"},
            "s2ops:seams": [{"neighbour": n, "before": seam, "after": after} for n in self.tiles if n != name],
        }
        mosaic = self.mosaic_of(name, composite)
        self._write_imagery("mosaic", name, mosaic, source, facts)
        if self.landcover:
            self._write_landcover(name, mosaic)
        for number, step in enumerate(("select", "acquire", "composite", "blend", "landcover")):
            facts = {"step": step, "tile": name, "wall_s": 1.5 * number + 0.3, "peak_rss_mib": 300 + 90 * number}
            self.store.put(f"run/{step}/{name}.json", to_json(facts | {"status": "done"}))

    def _write_selection(self, name: str, scenes: Sequence[FakeScene]) -> None:
        candidates = [_create_candidate(scene, rank) for rank, scene in enumerate(scenes, start=1)]
        record = SelectRecord(
            tile=name, start="2023-08-01", end="2023-08-31", target="2023-08-31", parameters={"recency": 1.0},
            preview_shape=(PREVIEW_SIDE, PREVIEW_SIDE), candidates=tuple(candidates),
            selected=tuple(s.id for s in scenes),
            spares=(), coverable=1.0, covered=1.0, objective=1.5, lower_bound=1.5, gap=0.0, status="optimal",
            elements=12, left_out=(LeftOut(id="S2B_CLOUDY", reason="cloud cover 97 % is above max_cloud 80"),),
            fingerprint="s",
        )  # fmt: skip
        self.store.put(f"select/{name}.json", record.write())
        if scenes:
            step = scenes[0].mask.shape[0] // PREVIEW_SIDE
            cut = np.s_[..., : step * PREVIEW_SIDE : step, : step * PREVIEW_SIDE : step]
            stack = np.concatenate([np.concatenate([s.levels[:3], s.mask[None]])[cut] for s in scenes])
            self.write_cog(f"select/{name}.previews.tif", stack, name, STACK, [f"b{n}" for n in range(len(stack))])

    def _write_scene(self, name: str, scene: FakeScene, added: float) -> AcquiredScene:
        base = f"scenes/{name}/{scene.id}"
        image = self.write_cog(f"{base}.tif", scene.levels, name, IMAGERY, BANDS, **build_imagery_tags())
        mask = self.write_cog(f"{base}.mask.tif", scene.mask[None], name, MASK, ["mask"])
        shares = {code: float((scene.mask == code).mean()) for code in (0, 1, 2, 255)}
        made = AcquiredScene(
            id=scene.id, datetime=scene.datetime, platform="sentinel-2a", image_sha256=image, mask_sha256=mask,
            clear=shares[0], added=added, cloud=shares[1], shadow=shares[2], nodata=shares[255], haze=scene.haze,
            fingerprint="x",
        )  # fmt: skip
        self.store.put(f"{base}.json", made.write())
        return made

    def _write_imagery(self, kind: Any, name: str, image: UInt8, source: UInt8, facts: dict[str, Any]) -> None:
        scenes = self.scenes[name]
        folder = f"{kind}/{name}"
        assets = {
            kind: stac_item.build_imagery_asset(
                f"{kind}.tif",
                self.write_cog(f"{folder}/{kind}.tif", image, name, IMAGERY, BANDS, **build_imagery_tags()),
            ),
            "provenance": stac_item.build_provenance_asset(
                "provenance.tif",
                self.write_cog(f"{folder}/provenance.tif", source[None], name, CODES, ["scene"]),
                [scene.id for scene in scenes],
            ),
        }
        if kind == "composite":
            weight = np.where(source > 0, 100, 0).astype(np.uint8)[None]
            digest = self.write_cog(f"{folder}/weight.tif", weight, name, SHARE, ["weight"])
            assets["weight"] = stac_item.Asset("weight.tif", digest, "Share of that scene", ({"name": "weight"},))
        facts |= {
            "s2ops:fingerprint": f"{kind}-{name}",
            "s2ops:scenes": [{"id": s.id, "date": s.datetime[:10], "tile": name} for s in scenes],
        }
        self._write_item(kind, name, assets, facts)

    def _write_landcover(self, name: str, mosaic: UInt8) -> None:
        red, nir = mosaic[0].astype(int), mosaic[3].astype(int)
        green = nir - red
        codes = np.select([nir < 70, green > 70, green > 45, green > 25], [1, 3, 2, 6], 4).astype(np.uint8)
        codes[mosaic[0] == 0] = 0
        sure = np.where(codes == 0, 255, 60 + np.clip(np.abs(green) // 3, 0, 40)).astype(np.uint8)
        folder = f"landcover/{name}"
        assets = {
            "landcover": stac_item.build_landcover_asset(
                "landcover.tif", self.write_cog(f"{folder}/landcover.tif", codes[None], name, CLASSES, ["class"])
            ),
            "confidence": stac_item.build_confidence_asset(
                "confidence.tif", self.write_cog(f"{folder}/confidence.tif", sure[None], name, PERCENT, ["confidence"])
            ),
        }
        km2 = self.res**2 / 1e6
        areas = {CLASS_NAMES[code]: round(float((codes == code).sum()) * km2, 3) for code in LandCover if code}
        facts = {"s2ops:fingerprint": "l", "s2ops:areas_km2": areas, "s2ops:dates": ["2023-08-10"]}
        self._write_item("landcover", name, assets, facts)

    def _write_item(self, kind: Any, name: str, assets: dict[str, stac_item.Asset], facts: dict[str, Any]) -> None:
        moments = [datetime.fromisoformat(scene.datetime) for scene in self.scenes[name]]
        dates = (min(moments), max(moments)) if moments else (datetime(2023, 8, 1, tzinfo=UTC),) * 2
        item = stac_item.build_tile_item(kind, name, parse_tile(name).build_geobox(self.res), dates, assets, facts)
        self.store.put(f"{kind}/{name}/item.json", to_json(item))
        self.items.setdefault(kind, {})[name] = item

    def _write_vrts(self) -> None:
        products = [("mosaic", BANDS, None), ("landcover", ("class",), LANDCOVER_COLOURS)]
        for product, bands, colours in products[: 2 if self.landcover else 1]:
            zones = {parse_tile(name).epsg for name in self.tiles}
            for epsg in zones:
                tiles = [parse_tile(name) for name in self.tiles if parse_tile(name).epsg == epsg]
                sources = [VrtSource(f"{product}/{t.name}/{product}.tif", t.build_geobox(self.res)) for t in tiles]
                self.store.put(
                    layout.get_vrt_key(product, epsg), build_vrt(sources, bands, colour_table=colours).encode()
                )


def _create_candidate(scene: FakeScene, rank: int) -> Candidate:
    cloud = float((scene.mask == 1).mean())
    return Candidate(
        id=scene.id, datetime=scene.datetime, platform="sentinel-2a", catalog_cloud=100 * cloud, preview="bands",
        cloud=cloud, coverage=float((scene.mask == 0).mean()), nodata=float((scene.mask == 255).mean()),
        haze=scene.haze, cost=Cost(base=1, age=0.2, haze=0.1, total=1.3), gain=0.3, decision="taken", rank=rank,
        reason="covers 30 % of the tile that no other taken scene sees clear",
    )  # fmt: skip


def create_scenes(name: str, res: int = 120) -> list[FakeScene]:
    """Create two scenes, the newer one cloudy in the west; both are asymmetric, so that no flip goes unnoticed."""
    rows, columns = parse_tile(name).build_geobox(res).shape
    y, x = np.mgrid[0:rows, 0:columns]
    base = np.stack([(60 + 40 * y // rows + 20 * x // columns + 12 * band) for band in range(4)]).astype(np.uint8)
    cloudy = np.where((x < columns // 3) & (y > rows // 4), 1, 0).astype(np.uint8)
    newer = FakeScene(f"S2A_{name}_20230820_0_L2A", "2023-08-20T09:50:31Z", base, cloudy)
    older = FakeScene(f"S2B_{name}_20230810_0_L2A", "2023-08-10T09:50:31Z", base + 3, np.zeros_like(cloudy))
    return [newer, older]


def write_small_run(folder: Path, tiles: Sequence[str] = ("33TWL", "33TWM"), **options: Any) -> Store:
    """Write a complete run of synthetic scenes."""
    scenes = options.pop("scenes", None) or {name: create_scenes(name) for name in tiles}
    return FinishedRun(Store(str(folder)), 120, tiles, scenes, **options).build()
