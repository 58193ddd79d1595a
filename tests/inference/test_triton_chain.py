"""Whole runs with a Triton server: equal to a run in process, and equal bytes if the server is killed."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from s2ops.config import DEFAULT_NETWORKS
from s2ops.constants import UInt8
from s2ops.inference.triton.server import ServerOptions
from s2ops.models.registry import LANDCOVER_NETWORKS
from tests.helpers.chain import build_command, compute_checksums, run_s2ops, write_config
from tests.helpers.triton import ServerHost, open_server_host

TILES = ("33TUM",)
MODELS = ("preview-cloud", "preview-haze", "scene-cloud", *LANDCOVER_NETWORKS[DEFAULT_NETWORKS])
"""Models that a run with the default networks uses; no other model is served."""


@pytest.fixture(scope="module")
def catalog(two_tiles: Path) -> Path:
    return two_tiles


@pytest.fixture(scope="module")
def host() -> Iterator[ServerHost]:
    with open_server_host(ServerOptions(only=MODELS)) as ready:
        yield ready


@dataclass(frozen=True)
class Runs:
    """Outputs of one configuration in process, on a server, and on a server that is killed meanwhile."""

    onnx: Path
    triton: Path
    killed: Path
    again: subprocess.CompletedProcess[str]
    """Result of starting the run in process again, with the server."""


@pytest.fixture(scope="module")
def runs(catalog: Path, host: ServerHost, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    found = Runs(folder / "onnx", folder / "triton", folder / "killed", subprocess.CompletedProcess([], -1))
    configs = {
        out.name: write_config(folder / f"{out.name}.yaml", catalog, out, TILES, max_dates=1)
        for out in (found.onnx, found.triton, found.killed)
    }
    server = host.start()
    try:
        run(configs["onnx"], "onnx")
        again = run(configs["onnx"], host.url)
        run(configs["triton"], host.url)
        words = build_command("run", configs["killed"], "--workers", 1, "--segmenter", host.url)
        disturbed = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for_step(disturbed, "landcover")
        time.sleep(0.5)
        server.kill()
        server = host.start()
        _, messages = disturbed.communicate(timeout=600)
        assert disturbed.returncode == 0, messages
    finally:
        server.kill()
    return replace(found, again=again)


def run(config: Path, segmenter: str) -> subprocess.CompletedProcess[str]:
    done = run_s2ops("run", config, "--workers", 1, "--segmenter", segmenter)
    assert done.returncode == 0, done.stderr
    return done


def wait_for_step(run: subprocess.Popen[str], step: str) -> None:
    """Wait until the run begins a step; kill the run after 200 s."""
    assert run.stderr is not None
    timer = threading.Timer(200, run.kill)
    timer.start()
    for line in run.stderr:
        if f"] {step}: 1 of 1 to do" in line:
            timer.cancel()
            return
    raise AssertionError(f"the run never began {step}")


def read_raster(path: Path) -> UInt8:
    with rasterio.open(path) as src:
        found: UInt8 = src.read()
    return found


def test_run_with_a_killed_server_has_equal_bytes(runs: Runs) -> None:
    assert compute_checksums(runs.killed) == compute_checksums(runs.triton)


def test_run_on_a_server_equals_the_run_in_process(runs: Runs) -> None:
    for name in TILES:
        mosaics = [read_raster(out / f"mosaic/{name}/mosaic.tif") for out in (runs.onnx, runs.triton)]
        assert (mosaics[0] == mosaics[1]).mean() > 0.999
        maps = [read_raster(out / f"landcover/{name}/landcover.tif") for out in (runs.onnx, runs.triton)]
        assert (maps[0] == maps[1]).mean() > 0.999
        assert len(np.unique(maps[0])) >= 4
        items = [json.loads((out / f"landcover/{name}/item.json").read_text()) for out in (runs.onnx, runs.triton)]
        assert items[0]["properties"]["s2ops:weights"] == items[1]["properties"]["s2ops:weights"]


def test_run_in_process_is_current_for_a_server_with_equal_weights(runs: Runs) -> None:
    assert runs.again.stdout.startswith("Nothing to do: every output is up to date.\n"), runs.again.stderr


def test_run_without_a_server_exits_with_75(catalog: Path, host: ServerHost, tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.yaml", catalog, tmp_path / "out", TILES, max_dates=1)
    done = run_s2ops("run", config, "--workers", 1, "--segmenter", host.url, S2OPS_TRITON_PATIENCE_S="1")
    assert done.returncode == 75
    assert f"No answer from {host.url} to a query for model preview-cloud" in done.stderr.splitlines()[-1]
