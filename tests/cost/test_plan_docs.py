"""Commands of docs/how-to/plan-a-run.md, run in their order: a plan with one run's rates predicts another run.

The two regions of the page have different tiles, dates and seeds: the first run calibrates the plan of the second.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s2ops.cost.comparison import MAX_RELATIVE_ERROR

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/plan-a-run.md").read_text()

CPU_WITHIN = 0.35
"""Maximum relative error of processor time. It varies by a third if other tests share the cores (two threads per core);
4 % was measured on a machine with twice as much work as cores. docs/how-to/plan-a-run.md states it beside the goal."""


def read_yaml_block(name: str) -> str:
    """Read the YAML block of the page that begins with `# NAME`."""
    found = re.search(rf"```yaml\n# {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


def list_commands(kind: str) -> list[str]:
    return [line for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for line in text.splitlines()]


pytestmark = pytest.mark.timeout(3600)  # two runs take minutes, more if the processor is shared


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which all commands of the page have run, with the output of each command."""
    here = tmp_path_factory.mktemp("page")
    for name in ("region.yaml", "other.yaml"):
        (here / name).write_text(read_yaml_block(name))
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "S2OPS_EXAMPLES": str(ROOT / "examples"),
    }
    lines = list_commands("sh")
    assert len(lines) == 12
    for number, line in enumerate(lines):
        done = subprocess.run(
            line, shell=True, cwd=here, env=env, capture_output=True, text=True, timeout=1800, check=False
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
        (here / f"{number}.txt").write_text(done.stdout)
    return here


def read_errors(folder: Path) -> dict[str, float | None]:
    lines: list[dict[str, Any]] = json.loads((folder / "compared.json").read_text())
    assert {line["what"] for line in lines if line["goal"]} == {
        "candidates", "scenes in the mosaic", "scenes read", "processor time", "bytes read of scenes",
        "bytes written",
    }  # fmt: skip
    return {line["what"]: line["off"] for line in lines if line["goal"]}


@pytest.mark.parametrize(
    "what", ["candidates", "scenes in the mosaic", "scenes read", "bytes read of scenes", "bytes written"]
)
def test_plan_of_another_region_predicts_the_amounts_of_its_run(what: str, folder: Path) -> None:
    found = read_errors(folder)[what]
    assert found is not None
    assert abs(found) <= MAX_RELATIVE_ERROR


def test_plan_of_another_region_predicts_the_processor_time_of_its_run(folder: Path) -> None:
    found = read_errors(folder)["processor time"]
    assert found is not None
    assert abs(found) <= CPU_WITHIN


def test_plan_file_contains_its_assumptions_and_adds_up(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["rates"] == "the run in run"
    assert plan["candidates_from"] == "catalog"
    assert plan["total"]["price"] == pytest.approx(sum(sum(one["price"].values()) for one in plan["steps"]), abs=1e-4)
    assert set(plan["assumptions"]) >= {"cpu_core_hour", "gpu_hour", "store_gb_month"}


def test_report_shows_the_plan_beside_the_run(folder: Path) -> None:
    page = (folder / "other/report/index.html").read_text()
    assert "Prediction of the plan and actual figures of the run" in page
    assert "processor time of landcover" in page


def test_plan_after_the_run_has_no_work_left(folder: Path) -> None:
    last = list_commands("sh").index("s2ops plan other.yaml --dry-run")
    assert "nothing is left to compute" in (folder / f"{last}.txt").read_text()
