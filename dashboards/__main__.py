"""Command `python -m dashboards`: write the JSON files that the chart ships."""

from pathlib import Path

from dashboards import render_files

FOLDER = Path(__file__).parent.parent / "helm/s2ops/files/dashboards"

for name, text in render_files().items():
    (FOLDER / name).write_text(text)
    print(FOLDER / name)
