"""Draw the picture of the README from a finished run of examples/zagreb.yaml.

python scripts/draw_docs_pictures.py RUN
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from s2ops.imaging.rendering import encode_image, render_land_cover, render_true_colour
from s2ops.raster.reader import read_all

IMAGES = Path(__file__).parents[1] / "docs/images"


def join_side_by_side(run: Path, tiles: tuple[str, ...], name: str, width: int = 1100) -> None:
    """Return a picture with the mosaic left and land cover right, northern tile first."""
    rows = []
    for tile in tiles:
        mosaic = render_true_colour(read_all(str(run / f"mosaic/{tile}/mosaic.tif")))
        classes = render_land_cover(read_all(str(run / f"landcover/{tile}/landcover.tif"))[0])
        rows.append(np.concatenate([mosaic, classes], axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    picture.thumbnail((width, 10 * width))
    (IMAGES / f"{name}.jpg").write_bytes(encode_image(np.asarray(picture), "jpeg"))


if __name__ == "__main__":
    join_side_by_side(Path(sys.argv[1]), ("33TWM", "33TWL"), "zagreb")
