"""Draw the land-cover maps of two sets of weights beside the image, at places where maps were wrong.

    python scripts/draw_landcover_faults.py $S2OPS_REAL_DATA OLD NEW [OUT]

OLD and NEW are folders with the weights of every network that `s2ops classify` runs. OUT is docs/images by default.
Each picture faults-NAME.jpg contains three panels (true colour, map of the old weights, map of the new weights) and a
legend.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from s2ops.constants import CLASS_COLOURS, CLASS_NAMES, LandCover, UInt8
from s2ops.evaluation.polygon_references import EXETER_OPTIONS, list_exeter_files
from s2ops.evaluation.world_conditions import add_snow, simulate_dusk
from s2ops.evaluation.world_maps import WorldMaps, read_worldcereal_months
from s2ops.imaging.rendering import encode_image, render_land_cover, render_true_colour
from s2ops.single_image import ImageOptions

IMAGES = Path(__file__).parents[1] / "docs/images"
SIDE = 400
"""Longer side of a panel in pixels."""
BAND_HEIGHT = 22
"""Height of the captions and of the legend in pixels."""
BARE_MONTH, GREEN_MONTH = 1, 5
"""Monthly composites of Belgium, among those with data, in which most fields are bare or green (0 is the first)."""


@dataclass(frozen=True)
class Subject:
    """Place of a picture."""

    name: str
    caption: str
    levels: Callable[[WorldMaps], UInt8]
    """Function that returns the image (4, y, x) of the first panel."""
    classify: Callable[[WorldMaps], UInt8] | None = None
    """Function that returns the classes (y, x); None: those of the image alone."""
    window: tuple[slice, slice] = (slice(None), slice(None))
    """Rows and columns that the panels show."""

    def map_classes(self, maps: WorldMaps) -> UInt8:
        """Map the classes (y, x) with the weights of `maps`."""
        if self.classify is None:
            return maps.classify_levels([self.levels(maps)]).classes
        return self.classify(maps)


def take_scene(name: str) -> Callable[[WorldMaps], UInt8]:
    """Return a function that returns the levels of a scene."""
    return lambda maps: maps.scenes[name].levels


SUBJECTS = (
    Subject(
        "virginia", "Virginia, coast", take_scene("virginia"), lambda maps: maps.classify_scenes("virginia").classes,
        (slice(500, 1300), slice(1133, None)),
    ),
    Subject(
        "boadella", "Boadella, 12 dates", take_scene("boadella-2020-06-21"),
        lambda maps: maps.classify_scenes(
            *(scene.name for scene in maps.scenes.values() if scene.place == "boadella")
        ).classes,
    ),
    Subject("zurich", "Zurich", take_scene("zurich-2019-05-30")),
    Subject(
        "exeter", "Exeter, 4 dates", take_scene("exeter-2024-06-02"),
        lambda maps: maps.classify_files(list_exeter_files(maps.root), EXETER_OPTIONS).classes,
    ),
    Subject("australia", "Western Australia, coast and salt pans", take_scene("dsen2-australia")),
    Subject("patagonia", "Patagonia", take_scene("patagonia")),
    Subject("snow", "Patagonia, simulated snow", lambda maps: add_snow(maps.scenes["patagonia"].levels)),
    Subject("belgium-bare", "Belgium, bare fields", lambda maps: read_worldcereal_months(maps.root)[BARE_MONTH]),
    Subject("belgium-green", "Belgium, green fields", lambda maps: read_worldcereal_months(maps.root)[GREEN_MONTH]),
    Subject("dry-hills", "dry hills", take_scene("spyndex")),
    Subject("dusk", "Germany, simulated dusk", lambda maps: simulate_dusk(maps.scenes["dsen2-germany"].levels)),
)  # fmt: skip


def resize_panel(picture: UInt8) -> UInt8:
    """Resize a panel (y, x, 3) so that its longer side is `SIDE` pixels."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    rule = Image.Resampling.BOX if longer > SIDE else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((SIDE * width // longer, SIDE * height // longer), rule))


def draw_band(texts: list[tuple[int, str, tuple[int, int, int] | None]], width: int) -> UInt8:
    """Draw a white band with texts, each at its column, with a square of its colour before it if it has one."""
    band = Image.new("RGB", (width, BAND_HEIGHT), "white")
    pen, font = ImageDraw.Draw(band), ImageFont.load_default(13)
    for left, text, colour in texts:
        if colour is not None:
            pen.rectangle((left, 5, left + 12, 17), fill=colour, outline="black")
        pen.text((left + (18 if colour is not None else 0), 3), text, fill="black", font=font)
    return np.asarray(band)


def compose_picture(subject: Subject, old: WorldMaps, new: WorldMaps) -> UInt8:
    """Compose the picture (y, x, 3) of a subject."""
    rows, columns = subject.window
    panels = [
        resize_panel(np.ascontiguousarray(panel[rows, columns, :3]))
        for panel in (
            render_true_colour(subject.levels(new)),
            render_land_cover(subject.map_classes(old)),
            render_land_cover(subject.map_classes(new)),
        )
    ]
    gap = np.full((panels[0].shape[0], 4, 3), 255, np.uint8)
    picture = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    step = panels[0].shape[1] + gap.shape[1]
    captions = [(4, subject.caption, None), (step, "old weights", None), (2 * step, "new weights", None)]
    width = picture.shape[1]
    legend = [
        (4 + number * width // len(LandCover), CLASS_NAMES[code], CLASS_COLOURS[code])
        for number, code in enumerate([*list(LandCover)[1:], LandCover.NODATA])
    ]
    return np.concatenate([draw_band(captions, width), picture, draw_band(legend, width)])


def main(root: Path, old: str, new: str, out: Path = IMAGES) -> None:
    """Write all pictures."""
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        options = ImageOptions(threads=2)
        before = WorldMaps(root, Path(first), replace(options, models=old))
        after = WorldMaps(root, Path(second), replace(options, models=new))
        for subject in SUBJECTS:
            picture = compose_picture(subject, before, after)
            (out / f"faults-{subject.name}.jpg").write_bytes(encode_image(picture, "jpeg", quality=80))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], *(Path(given) for given in sys.argv[4:]))
