"""Loops as machine code, and what is loaded only when it is used."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba.core.dispatcher import Dispatcher

from s2ops.constants import Float64
from s2ops.runtime.jit import compiled


@compiled
def _square(value: float) -> float:
    return value * value


@compiled
def _squares(values: Float64) -> float:
    total = 0.0
    for value in values:
        total += _square(value)
    return total


def test_the_commands_of_a_pod_load_neither_numba_nor_scipy_nor_a_runtime_of_networks() -> None:
    """Half of the time that such a pod took went into what it never used."""
    script = (
        "import sys, s2ops.cli, s2ops.pipeline.tile_groups, s2ops.pipeline.step_runner, s2ops.geo.region\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "rasterio" in loaded
    assert not loaded & {"numba", "scipy", "onnxruntime", "rio_cogeo", "torch", "tritonclient"}


def test_a_loop_that_calls_another_is_made_once_whoever_calls_first() -> None:
    values = np.arange(1000.0)
    with ThreadPoolExecutor(8) as threads:
        sums = list(threads.map(_squares, [values] * 8))
    assert sums == [float((values**2).sum())] * 8
    assert isinstance(_square, Dispatcher), "the inner one is Numba's by now"
    assert _square(3.0) == 9.0


def test_a_division_by_zero_is_infinite_as_in_numpy() -> None:
    @compiled
    def inverse(value: float) -> float:
        return 1.0 / value

    assert inverse(0.0) == np.inf
