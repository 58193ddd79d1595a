"""The whole chain with its networks on a server: the map of a run in process, and the same bytes when it is killed."""

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

from s2ops.constants import UInt8
from s2ops.inference.triton.server import Options
from tests.helpers.chain import bytes_of, command, s2ops, write_config
from tests.helpers.triton import Machine, machine

TILES = ("33TUM",)
MODELS = ("preview-cloud", "preview-haze", "scene-cloud", "landcover")
"""All that the chain asks; land cover's networks alone are not among them."""


@pytest.fixture(scope="module")
def catalog(two_tiles: Path) -> Path:
    return two_tiles


@pytest.fixture(scope="module")
def place() -> Iterator[Machine]:
    with machine(Options(only=MODELS)) as ready:
        yield ready


@dataclass(frozen=True)
class Runs:
    """Outputs of the same configuration in process, on a server, and on a server that is killed meanwhile."""

    onnx: Path
    triton: Path
    killed: Path
    again: subprocess.CompletedProcess[str]
    """The run in process, started once more on the server."""


@pytest.fixture(scope="module")
def runs(catalog: Path, place: Machine, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    found = Runs(folder / "onnx", folder / "triton", folder / "killed", subprocess.CompletedProcess([], -1))
    configs = {
        out.name: write_config(folder / f"{out.name}.yaml", catalog, out, TILES, looks=1)
        for out in (found.onnx, found.triton, found.killed)
    }
    server = place.start()
    try:
        run(configs["onnx"], "onnx")
        again = run(configs["onnx"], place.url)
        run(configs["triton"], place.url)
        words = command("run", configs["killed"], "--workers", 1, "--segmenter", place.url)
        disturbed = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for_step(disturbed, "landcover")
        time.sleep(0.5)
        server.kill()
        server = place.start()
        _, messages = disturbed.communicate(timeout=600)
        assert disturbed.returncode == 0, messages
    finally:
        server.kill()
    return replace(found, again=again)


def run(config: Path, segmenter: str) -> subprocess.CompletedProcess[str]:
    done = s2ops("run", config, "--workers", 1, "--segmenter", segmenter)
    assert done.returncode == 0, done.stderr
    return done


def wait_for_step(run: subprocess.Popen[str], step: str) -> None:
    """Until the run says that it begins a step; it is ended when that does not come."""
    assert run.stderr is not None
    timer = threading.Timer(200, run.kill)
    timer.start()
    for line in run.stderr:
        if f"] {step}: 1 of 1 to do" in line:
            timer.cancel()
            return
    raise AssertionError(f"the run never came to {step}")


def raster(path: Path) -> UInt8:
    with rasterio.open(path) as src:
        found: UInt8 = src.read()
    return found


def test_a_run_on_a_server_that_is_killed_has_the_same_bytes(runs: Runs) -> None:
    assert bytes_of(runs.killed) == bytes_of(runs.triton)


def test_a_run_on_a_server_gives_the_map_of_the_run_in_process(runs: Runs) -> None:
    for name in TILES:
        mosaics = [raster(out / f"mosaic/{name}/mosaic.tif") for out in (runs.onnx, runs.triton)]
        assert (mosaics[0] == mosaics[1]).mean() > 0.999
        maps = [raster(out / f"landcover/{name}/landcover.tif") for out in (runs.onnx, runs.triton)]
        assert (maps[0] == maps[1]).mean() > 0.999
        assert len(np.unique(maps[0])) >= 4
        items = [json.loads((out / f"landcover/{name}/item.json").read_text()) for out in (runs.onnx, runs.triton)]
        assert items[0]["properties"]["s2ops:weights"] == items[1]["properties"]["s2ops:weights"]


def test_what_ran_in_process_is_done_for_a_server_with_the_same_weights(runs: Runs) -> None:
    assert runs.again.stdout.startswith("Nothing to do: every output is up to date.\n"), runs.again.stderr


def test_without_a_server_a_run_can_be_tried_again_later(catalog: Path, place: Machine, tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.yaml", catalog, tmp_path / "out", TILES, looks=1)
    done = s2ops("run", config, "--workers", 1, "--segmenter", place.url, S2OPS_TRITON_PATIENCE_S="1")
    assert done.returncode == 75
    assert f"{place.url} gave no answer to a question about preview-cloud" in done.stderr.splitlines()[-1]
