"""`python -m dashboards`: write the JSON files that the chart ships."""

from pathlib import Path

from dashboards import files

FOLDER = Path(__file__).parent.parent / "helm/s2ops/files/dashboards"

for name, text in files().items():
    (FOLDER / name).write_text(text)
    print(FOLDER / name)
