"""Test of the notebook in docs/: its cells run on the outputs of a run."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

from tests.helpers.finished_run import write_small_run

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning", "ignore::DeprecationWarning")
def test_notebook_reads_and_draws_every_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "scripts/write_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    cells = [cell.source for cell in nbformat.read(ROOT / "docs/tutorials/read-a-run.ipynb", 4).cells]
    assert cells == script.CELLS, "update the notebook: python scripts/write_notebook.py OUT"
    write_small_run(tmp_path / "out")
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    found, reflectance, picture, shares = script.run(cells[1::2])
    assert found[0].text == "2 tiles: MGRS-33TWL MGRS-33TWM\n"
    assert "EPSG:32633" in reflectance[0].text
    assert "nan" not in reflectance[0].text
    assert "image/jpeg" in picture[0].data
    parts = [float(line.split()[-2]) for line in shares[0].text.splitlines()]
    assert len(parts) == 6
    assert sum(parts) == pytest.approx(100, abs=0.4)
