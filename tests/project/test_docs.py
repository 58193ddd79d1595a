"""Tests of docs/how-to/run-a-region.md: its commands run in order, in an empty folder, with the stated results."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/run-a-region.md").read_text()
REAL = os.environ.get("S2OPS_REAL_DATA")


def list_block_lines(kind: str) -> list[str]:
    """List the lines of all fenced blocks of a kind, in order."""
    return [line for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for line in text.splitlines()]


def run_shell_line(line: str, folder: Path) -> None:
    """Run a line of the page in a folder; assert that it succeeds."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env["S2OPS_EXAMPLES"] = str(ROOT / "examples")
    done = subprocess.run(
        line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"


def test_page_commands_run_the_simulated_region(tmp_path: Path) -> None:
    config = re.search(r"```yaml\n# region.yaml\n(.*?)```", PAGE, re.DOTALL)
    assert config is not None
    (tmp_path / "region.yaml").write_text(config.group(1))
    (tmp_path / "parts.geojson").write_text("".join(list_block_lines("json")))
    lines = list_block_lines("sh")
    assert len(lines) == 8
    for line in lines:
        run_shell_line(line, tmp_path)
    assert (tmp_path / "run/report/index.html").stat().st_size > 50_000
    names = [line.split(",")[0] for line in (tmp_path / "areas.csv").read_text().splitlines()]
    assert names == ["name"] + ["west"] * 8 + ["east"] * 8


@pytest.mark.skipif(REAL is None, reason="S2OPS_REAL_DATA is not set")
@pytest.mark.parametrize(
    "line", [line for line in list_block_lines("sh real") if " run " not in line and "verify" not in line]
)
def test_page_commands_for_single_files_run(line: str, tmp_path: Path) -> None:
    run_shell_line(line, tmp_path)
    assert list(tmp_path.glob("*.tif"))
