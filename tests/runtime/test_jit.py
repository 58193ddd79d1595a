"""JIT compilation of kernels, and imports that a process makes only when it needs them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba.core.dispatcher import Dispatcher

from s2ops.constants import Float64
from s2ops.runtime.jit import Kernel, compile_kernel


@compile_kernel
def _compute_square(value: float) -> float:
    return value * value


@compile_kernel
def _sum_squares(values: Float64) -> float:
    total = 0.0
    for value in values:
        total += _compute_square(value)
    return total


def test_commands_of_a_pod_import_neither_numba_nor_scipy_submodules_nor_inference_libraries() -> None:
    """Such a pod would spend half of its time on imports that it never uses."""
    script = (
        "import sys, s2ops.cli, s2ops.pipeline.tile_groups, s2ops.pipeline.step_runner, s2ops.geo.region\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    packages = {name.partition(".")[0] for name in modules}
    assert "rasterio" in packages
    assert not packages & {"numba", "llvmlite", "onnxruntime", "rio_cogeo", "torch", "tritonclient"}
    # `import scipy` takes 10 ms; its submodules take half a second and are imported at their first use
    assert not modules & {
        f"scipy.{name}" for name in ("ndimage", "sparse", "special", "linalg", "stats", "interpolate")
    }


def test_kernels_that_call_others_are_compiled_once_by_concurrent_first_calls() -> None:
    inner, values = _compute_square, np.arange(1000.0)
    with ThreadPoolExecutor(8) as threads:
        sums = list(threads.map(_sum_squares, [values] * 8))
    assert sums == [float((values**2).sum())] * 8
    assert isinstance(_compute_square, Kernel)
    assert isinstance(_compute_square.dispatcher, Dispatcher)
    assert _compute_square is inner, "the module's names stay as they are"
    assert _compute_square(3.0) == 9.0


def test_kernel_division_by_zero_is_infinite_as_in_numpy() -> None:
    @compile_kernel
    def invert(value: float) -> float:
        return 1.0 / value

    assert invert(0.0) == np.inf
