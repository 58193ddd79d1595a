"""Tests of the benchmarks: every command of benchmarks/results/peers.md runs, at a size too small to measure speed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ("FirstMethod", "MedianMethod", "odc-stac-median", "geomad", "otb-first", "s2mosaic-first")
COMMANDS = {
    "bench_composite": ["FOLDER", "--res", "120", "--without", *PEERS],
    "bench_blend": ["FOLDER", "--res", "120", "--ramp", "0.06", "--without-otb"],
    "bench_balance": ["--side", "8"],
    "bench_selection": ["--years", "1", "--climates", "monsoon"],
    "bench_acquire": ["FOLDER", "--res", "120"],
}
EXPECTED = {
    "bench_composite": r"\| s2ops recent \| [\d.]+ \| [\d.]+ \| \d+ \| [\d.]+ \| [\d.]+ \|",
    "bench_blend": r"\| s2ops \| [\d.]+ / [\d.]+ \| [\d.]+ / [\d.]+ \| [\d.]+ % \| [\d.]+ % \|",
    "bench_balance": r"\| 64 \| 210 \| ",
    "bench_selection": r"\| monsoon \| \d+-\d+ \| greedy \| ",
    "bench_acquire": r"\| http \| \d+ \| 200 \| ",
}


def run_benchmark(name: str, folder: Path) -> str:
    """Run a benchmark; return its output."""
    words = [str(folder) if word == "FOLDER" else word for word in COMMANDS[name]]
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_benchmark_runs_and_prints_its_table(name: str, tmp_path: Path) -> None:
    assert re.search(EXPECTED[name], run_benchmark(name, tmp_path))


def test_benchmarks_of_the_peers_page_are_all_tested() -> None:
    page = (ROOT / "benchmarks/results/peers.md").read_text()
    named = set(re.findall(r"python benchmarks/(\w+)\.py", page))
    assert named == set(COMMANDS)
