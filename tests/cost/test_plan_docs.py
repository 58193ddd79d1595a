"""The commands in docs/how-to/plan-a-run.md do what the page says, in its order; a plan made with one run's rates holds for another.

The page's two regions are other tiles, other dates and another seed: what one took says what the other will take.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s2ops.cost.comparison import WITHIN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/plan-a-run.md").read_text()

CPU_WITHIN = 0.35
"""Processor time swings with what other tests do on the same cores meanwhile, by a third where two threads share one;
4 % was seen on a machine with twice more work than cores. docs/how-to/plan-a-run.md has it beside the goal."""


def written(name: str) -> str:
    """The YAML of the page's block that begins with `# NAME`."""
    found = re.search(rf"```yaml\n# {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


def commands(kind: str) -> list[str]:
    return [line for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for line in text.splitlines()]


pytestmark = pytest.mark.timeout(3600)  # two runs; minutes, however many share the processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands of the page have run, and what each one printed."""
    here = tmp_path_factory.mktemp("page")
    for name in ("region.yaml", "other.yaml"):
        (here / name).write_text(written(name))
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "S2OPS_EXAMPLES": str(ROOT / "examples"),
    }
    lines = commands("sh")
    assert len(lines) == 12
    for number, line in enumerate(lines):
        done = subprocess.run(
            line, shell=True, cwd=here, env=env, capture_output=True, text=True, timeout=1800, check=False
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
        (here / f"{number}.txt").write_text(done.stdout)
    return here


def off(folder: Path) -> dict[str, float | None]:
    lines: list[dict[str, Any]] = json.loads((folder / "compared.json").read_text())
    assert {line["what"] for line in lines if line["goal"]} == {
        "candidates", "scenes in the mosaic", "scenes read", "processor time", "bytes read of scenes",
        "bytes written",
    }  # fmt: skip
    return {line["what"]: line["off"] for line in lines if line["goal"]}


@pytest.mark.parametrize(
    "what", ["candidates", "scenes in the mosaic", "scenes read", "bytes read of scenes", "bytes written"]
)
def test_another_region_takes_what_the_calibrating_run_says_it_will(what: str, folder: Path) -> None:
    found = off(folder)[what]
    assert found is not None
    assert abs(found) <= WITHIN


def test_it_takes_the_processor_time_that_was_predicted(folder: Path) -> None:
    found = off(folder)["processor time"]
    assert found is not None
    assert abs(found) <= CPU_WITHIN


def test_a_plan_is_written_with_its_assumptions_and_adds_up(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["rates"] == "the run in run"
    assert plan["candidates_from"] == "catalog"
    assert plan["total"]["price"] == pytest.approx(sum(sum(one["price"].values()) for one in plan["steps"]), abs=1e-4)
    assert set(plan["assumptions"]) >= {"cpu_core_hour", "gpu_hour", "store_gb_month"}


def test_the_report_shows_the_plan_beside_the_run(folder: Path) -> None:
    page = (folder / "other/report/index.html").read_text()
    assert "What the plan said before the run" in page
    assert "processor time of landcover" in page


def test_after_the_run_nothing_is_left_to_be_done(folder: Path) -> None:
    last = commands("sh").index("s2ops plan other.yaml --dry-run")
    assert "nothing is left to compute" in (folder / f"{last}.txt").read_text()
