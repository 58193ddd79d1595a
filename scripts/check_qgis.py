"""Open the files of a run in QGIS without a window and print their properties (not in CI: QGIS is 1 GB).

apt-get install --no-install-recommends python3-qgis
QT_QPA_PLATFORM=offscreen /usr/bin/python3 scripts/check_qgis.py OUT
"""

import sys
from pathlib import Path

from qgis.core import Qgis, QgsApplication, QgsRasterLayer, QgsVectorLayer


def main(out: Path) -> int:
    """Print one line per file; return 1 if QGIS cannot open one or shows land cover without its colours."""
    application = QgsApplication([], False)
    application.initQgis()
    print("QGIS", Qgis.QGIS_VERSION)
    bad = 0
    rasters = [*out.glob("*.vrt"), *(out / "mosaic").glob("*/*.tif"), *(out / "landcover").glob("*/*.tif")]
    for path in sorted(rasters):
        layer = QgsRasterLayer(str(path), path.name)
        kind = layer.renderer().type() if layer.isValid() else "cannot be opened"
        right = "paletted" if path.name.startswith("landcover") else kind
        bad += not layer.isValid() or kind != right
        print(path.relative_to(out), layer.crs().authid(), f"{layer.width()}x{layer.height()}", layer.bandCount(), kind)
    for path in sorted(out.glob("*.gti.gpkg")):
        outlines = QgsVectorLayer(str(path), path.name, "ogr")
        bad += not outlines.isValid()
        print(path.relative_to(out), outlines.crs().authid(), outlines.featureCount(), "outlines")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
