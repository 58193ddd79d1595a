"""JIT cache shipped in an image: used on processors that support it, ignored on others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s2ops.runtime import jit_cache

SCRIPT = """
import numpy as np
from s2ops.selection.set_cover import solve_set_cover
from s2ops.telemetry import counters
solve_set_cover(np.eye(3, dtype=bool).reshape(3, 1, 3), np.ones(3), 20.0, 3, 1.0)
print(counters.get_totals().get("compile_cpu_s", 0.0))
"""

needs_cpu_level = pytest.mark.skipif(
    not jit_cache.is_cpu_supported(), reason=f"this processor does not support {jit_cache.CPU_LEVEL}"
)


def measure_compile_time(tmp: Path, **environment: str) -> float:
    """Return the processor time in seconds that a process spends on compilation."""
    tmp.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    settings = {**inherited, "TMPDIR": str(tmp), "HOME": str(tmp), **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=settings, capture_output=True, text=True, check=True)
    return float(done.stdout)


@needs_cpu_level
def test_shipped_cache_is_used_and_not_written(tmp_path: Path) -> None:
    image = tmp_path / "image"
    build_s = measure_compile_time(tmp_path / "build", NUMBA_CACHE_DIR=str(image), S2OPS_MACHINE_CODE=str(image))
    before = sorted((path, path.stat().st_mtime_ns) for path in image.rglob("*"))
    pod_s = measure_compile_time(tmp_path / "pod", S2OPS_MACHINE_CODE=str(image))
    assert build_s > 0
    assert pod_s == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in image.rglob("*")) == before
    assert all(path.is_symlink() for path in (tmp_path / "pod/s2ops-machine-code").rglob("*.nb?"))


@needs_cpu_level
def test_shipped_cache_is_extended_in_the_pod(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    assert measure_compile_time(tmp_path / "pod", S2OPS_MACHINE_CODE=str(image)) > 0
    assert measure_compile_time(tmp_path / "pod", S2OPS_MACHINE_CODE=str(image)) == 0, "not kept for the next process"
    assert not list(image.iterdir())


def test_shipped_cache_is_ignored_on_a_processor_without_an_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit_cache, "get_host_cpu_features", lambda: {"avx2": False})
    monkeypatch.setenv(jit_cache.CACHE_VARIABLE, "/nowhere")
    before = jit_cache.numba.config.CPU_NAME
    jit_cache.use_shipped_cache()
    assert before == jit_cache.numba.config.CPU_NAME
