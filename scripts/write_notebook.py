"""Write docs/tutorials/read-a-run.ipynb: the cells with their output over a finished run.

python scripts/write_notebook.py OUT
"""

import base64
import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

mpl.use("Agg")

TARGET = Path(__file__).parents[1] / "docs/tutorials/read-a-run.ipynb"

CELLS = [
    """# Read a run with odc-stac and xarray

`OUT` is the output of `s2ops run`. Needs `pip install odc-stac matplotlib`. Written by
`python scripts/write_notebook.py OUT`.""",
    """import os

import matplotlib.pyplot as plt
import numpy as np
import odc.stac
import pystac

out = os.environ.get("OUT", "demo/run")
catalog = pystac.Catalog.from_file(f"{out}/catalog.json")
mosaics = list(catalog.get_child("s2ops-mosaic").get_items())
maps = list(catalog.get_child("s2ops-landcover").get_items())
print(len(mosaics), "tiles:", *sorted(item.properties["grid:code"] for item in mosaics))""",
    """The tiles of one UTM zone as one array, four times as coarse: odc-stac reads the overviews. Levels become
reflectance by the table that every item carries.""",
    """zone = mosaics[0].properties["proj:code"]
here = [item for item in mosaics if item.properties["proj:code"] == zone]
step = 4 * abs(here[0].properties["proj:transform"][0])
bands = {"red": "mosaic.1", "green": "mosaic.2", "blue": "mosaic.3", "nir": "mosaic.4"}
read = odc.stac.load(here, list(bands.values()), crs=zone, resolution=step, groupby="id")
levels = read.max("time").rename({key: name for name, key in bands.items()})
table = np.array([value or np.nan for value in here[0].properties["s2ops:levels"]], np.float32)
image = {name: table[levels[name].values] for name in bands}
print(zone, dict(levels.sizes))
for name in bands:
    print(f"median reflectance in {name}: {np.nanmedian(image[name]):.3f}")""",
    "Vegetation index and classes side by side. Colours and names of the classes are in the items.",
    """there = [item for item in maps if item.properties["proj:code"] == zone]
cover = odc.stac.load(there, ["landcover"], crs=zone, resolution=step, groupby="id").max("time")["landcover"]
classes = there[0].assets["landcover"].extra_fields["bands"][0]["classification:classes"]
colours = np.zeros((256, 3), np.uint8)
for one in classes:
    colours[one["value"]] = [int(one["color_hint"][at : at + 2], 16) for at in (0, 2, 4)]
ndvi = (image["nir"] - image["red"]) / (image["nir"] + image["red"])

_, (left, right) = plt.subplots(1, 2, figsize=(9, 4.5 * ndvi.shape[0] / ndvi.shape[1]), layout="constrained")
left.imshow(ndvi, cmap="YlGn", vmin=0, vmax=0.9)
left.set_title("vegetation index")
right.imshow(colours[cover.values])
right.set_title("land cover")
for axes in (left, right):
    axes.set_axis_off()
plt.show()""",
    "Which part of it is what. Overlaps of tiles count once in this array; `s2ops areas OUT` gives true areas.",
    """seen = cover.values[cover.values > 0]
for one in classes[1:]:
    print(f"{one['title']:>24} {100 * np.mean(seen == one['value']):5.1f} %")""",
]


def run(cells: list[str]) -> list[list[Any]]:
    """Run the code cells in one namespace and return the output of each."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 -- after the backend was chosen

    shared: dict[str, Any] = {}
    outputs: list[list[Any]] = []
    for number, cell in enumerate(cells):
        made: list[Any] = []

        def show(into: list[Any] = made) -> None:
            picture = io.BytesIO()
            plt.savefig(picture, format="jpeg", dpi=64, pil_kwargs={"quality": 75})
            plt.close("all")
            into.append(new_output("display_data", {"image/jpeg": base64.b64encode(picture.getvalue()).decode()}))

        plt.show = show
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(cell, f"cell {number}", "exec"), shared)  # noqa: S102 -- the cells above
        if printed.getvalue():
            made.insert(0, new_output("stream", name="stdout", text=printed.getvalue()))
        outputs.append(made)
    return outputs


def main() -> None:
    """Run the cells over the run named on the command line and write the notebook."""
    os.environ["OUT"] = sys.argv[1]
    outputs = iter(run(CELLS[1::2]))
    notebook = new_notebook()
    for number, text in enumerate(CELLS):
        if number % 2:
            cell = new_code_cell(text, outputs=next(outputs), execution_count=number // 2 + 1)
        else:
            cell = new_markdown_cell(text)
        cell["id"] = f"cell-{number}"
        notebook.cells.append(cell)
    nbformat.validate(notebook)
    nbformat.write(notebook, TARGET)


if __name__ == "__main__":
    main()
