"""Draw the picture of the README from a finished run of examples/zagreb.yaml.

python scripts/draw_docs_pictures.py RUN
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from s2ops.imaging.rendering import encode, land_cover, true_colour
from s2ops.raster.reader import read_all

IMAGES = Path(__file__).parents[1] / "docs/images"


def side_by_side(run: Path, tiles: tuple[str, ...], name: str, width: int = 1100) -> None:
    """Mosaic left, land cover right, tiles below one another (northern first)."""
    rows = []
    for tile in tiles:
        mosaic = true_colour(read_all(str(run / f"mosaic/{tile}/mosaic.tif")))
        classes = land_cover(read_all(str(run / f"landcover/{tile}/landcover.tif"))[0])
        rows.append(np.concatenate([mosaic, classes], axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    picture.thumbnail((width, 10 * width))
    (IMAGES / f"{name}.jpg").write_bytes(encode(np.asarray(picture), "jpeg"))


if __name__ == "__main__":
    side_by_side(Path(sys.argv[1]), ("33TWM", "33TWL"), "zagreb")
