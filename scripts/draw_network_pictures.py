"""Draw the predictions of every network on real scenes, for docs/explanation/networks.md.

python scripts/draw_network_pictures.py $S2OPS_REAL_DATA [MODELS]
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from s2ops.acquisition.cloud_mask import compute_preview_mask, compute_scene_mask
from s2ops.constants import LandCover, UInt8
from s2ops.imaging.rendering import encode_image, render_land_cover, render_true_colour
from s2ops.imaging.tone_curve import convert_dn_to_levels
from s2ops.inference.onnx import open_image_classifier, open_segmenter
from s2ops.inference.sliding_window import segment
from s2ops.landcover.date_fusion import THIN_CLOUD_WEIGHT, DateFusion, compute_date_weight, find_thin_cloud_or_shadow
from s2ops.models.registry import LANDCOVER, split_by_head
from s2ops.training.datasets.real_scenes import read_scenes

IMAGES = Path(__file__).parents[1] / "docs/images"
SIDE = 380
"""Longer side of a panel in pixels."""

SCENES = (
    "exeter-2024-06-02", "exeter-2024-08-16", "boadella-2020-01-13", "boadella-2020-06-21", "zurich-2019-05-30",
)  # fmt: skip
ZAGREB = "S2B_33TWL_20230820_0_L2A"
PREVIEW = "T29UNU"

MASK_COLOURS = np.array([[60, 110, 70], [255, 255, 255], [70, 60, 120], [0, 0, 0]], np.uint8)
"""Colours of clear, cloud, shadow, no data."""

OTHER_COLOUR = (235, 225, 200)
"""Colour of ground that has none of the classes."""


def mix_colours(probs: UInt8, first: LandCover, second: LandCover | None) -> UInt8:
    """Mix the colours of one or two classes by their probabilities (class, y, x): picture (y, x, 3)."""
    colours = [
        OTHER_COLOUR,
        *(render_land_cover(np.array([[code]], np.uint8))[0, 0, :3] for code in (first, second) if code),
    ]
    total = np.maximum(probs.sum(axis=0, dtype=np.float32), 1)
    picture = sum(
        part[..., None] / total[..., None] * np.array(colour) for part, colour in zip(probs, colours, strict=True)
    )
    return np.asarray(picture).astype(np.uint8)


def draw_panels(levels: UInt8, res: int, models: str | None) -> Iterator[UInt8]:
    """Draw the panels (y, x, 3): image, cloud mask, water, vegetation, buildings, the six classes."""
    valid = np.asarray((levels > 0).all(axis=0))
    mask = compute_scene_mask(segment(open_segmenter("scene-cloud", models), levels), valid, res)
    probs = split_by_head(LANDCOVER, segment(open_segmenter(LANDCOVER, models), levels))
    fusion = DateFusion(valid.shape)
    weight = compute_date_weight(mask, res)
    weight[find_thin_cloud_or_shadow(mask, levels)] = THIN_CLOUD_WEIGHT
    fusion.feed(probs[0], probs[1], probs[2], weight)
    yield render_true_colour(levels)[..., :3]
    yield MASK_COLOURS[np.minimum(mask, 3)]
    yield mix_colours(probs[0], LandCover.WATER, None)
    yield mix_colours(probs[1], LandCover.GRASS, LandCover.TREE)
    yield mix_colours(probs[2], LandCover.RESIDENTIAL, LandCover.INDUSTRIAL)
    yield render_land_cover(fusion.decide()[0])[..., :3]


def write_jpeg(name: str, pictures: list[UInt8], columns: int) -> None:
    """Write one JPEG with the panels in rows."""
    height, width = pictures[0].shape[:2]
    size = (SIDE * width // max(height, width), SIDE * height // max(height, width))
    small = [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)) for picture in pictures]
    rows = [np.concatenate(small[start : start + columns], axis=1) for start in range(0, len(small), columns)]
    (IMAGES / f"networks-{name}.jpg").write_bytes(encode_image(np.concatenate(rows), "jpeg", quality=80))


def main(root: Path, models: str | None = None) -> None:
    """Write all pictures to docs/images."""
    for scene in read_scenes(root):
        if scene.name in SCENES:
            write_jpeg(scene.name, list(draw_panels(scene.levels, scene.res, models)), 3)
    folder = root / "zagreb-two-tiles" / "sentinel-2-l2a" / ZAGREB
    numbers = []
    for band in ("B04", "B03", "B02", "B08"):
        with rasterio.open(folder / f"{band}.tif") as src:
            numbers.append(src.read(1))
    write_jpeg("zagreb-2023-08-20", list(draw_panels(convert_dn_to_levels(np.stack(numbers)), 120, models)), 3)
    with rasterio.open(root / f"preview-{PREVIEW}" / f"{PREVIEW}_20221005T115411_PVI.jp2") as src:
        image = src.read()
    valid = np.asarray(image.any(axis=0))
    mask = compute_preview_mask(segment(open_segmenter("preview-cloud", models), image), valid)
    write_jpeg(f"preview-{PREVIEW}", [np.moveaxis(image, 0, -1), MASK_COLOURS[np.minimum(mask, 3)]], 2)
    haze = open_image_classifier("preview-haze", models).score(image[None])[0] / 255
    print(f"{PREVIEW}: hazy with {haze:.0%}, cloud {np.mean(mask[valid] == 1):.0%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
