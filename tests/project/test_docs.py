"""The commands in docs/how-to/run-a-region.md do what the page says, in its order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/run-a-region.md").read_text()
REAL = os.environ.get("S2OPS_REAL_DATA")


def blocks(kind: str) -> list[str]:
    """The commands of all fenced blocks of a kind, in order."""
    return [line for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for line in text.splitlines()]


def shell(line: str, folder: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env["S2OPS_EXAMPLES"] = str(ROOT / "examples")
    done = subprocess.run(
        line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"


def test_the_simulated_region_runs_as_the_page_says(tmp_path: Path) -> None:
    config = re.search(r"```yaml\n# region.yaml\n(.*?)```", PAGE, re.DOTALL)
    assert config is not None
    (tmp_path / "region.yaml").write_text(config.group(1))
    (tmp_path / "parts.geojson").write_text("".join(blocks("json")))
    lines = blocks("sh")
    assert len(lines) == 8
    for line in lines:
        shell(line, tmp_path)
    assert (tmp_path / "run/report/index.html").stat().st_size > 50_000
    names = [line.split(",")[0] for line in (tmp_path / "areas.csv").read_text().splitlines()]
    assert names == ["name"] + ["west"] * 8 + ["east"] * 8


@pytest.mark.skipif(REAL is None, reason="S2OPS_REAL_DATA is not set")
@pytest.mark.parametrize("line", [line for line in blocks("sh real") if " run " not in line and "verify" not in line])
def test_the_single_file_commands_run_as_the_page_says(line: str, tmp_path: Path) -> None:
    shell(line, tmp_path)
    assert list(tmp_path.glob("*.tif"))
