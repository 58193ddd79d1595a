"""Machine code that an image brings along: used where the processor knows it, made as usual elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s2ops.runtime import jit_cache

SCRIPT = """
import numpy as np
from s2ops import tally
from s2ops.selection.set_cover import solve_set_cover
solve_set_cover(np.eye(3, dtype=bool).reshape(3, 1, 3), np.ones(3), 20.0, 3, 1.0)
print(tally.now().get("compile_cpu_s", 0.0))
"""

only_known = pytest.mark.skipif(not jit_cache.runs_here(), reason=f"this processor is older than {jit_cache.PROCESSOR}")


def compiled_for(tmp: Path, **environment: str) -> float:
    """Processor seconds that a process spends on making machine code."""
    tmp.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    settings = {**inherited, "TMPDIR": str(tmp), "HOME": str(tmp), **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=settings, capture_output=True, text=True, check=True)
    return float(done.stdout)


@only_known
def test_a_process_takes_the_code_of_the_image_and_writes_nothing_into_it(tmp_path: Path) -> None:
    image = tmp_path / "image"
    made = compiled_for(tmp_path / "build", NUMBA_CACHE_DIR=str(image), S2OPS_MACHINE_CODE=str(image))
    before = sorted((path, path.stat().st_mtime_ns) for path in image.rglob("*"))
    taken = compiled_for(tmp_path / "pod", S2OPS_MACHINE_CODE=str(image))
    assert made > 0
    assert taken == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in image.rglob("*")) == before
    assert all(path.is_symlink() for path in (tmp_path / "pod/s2ops-machine-code").rglob("*.nb?"))


@only_known
def test_what_the_image_lacks_is_made_in_the_pod(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    assert compiled_for(tmp_path / "pod", S2OPS_MACHINE_CODE=str(image)) > 0
    assert compiled_for(tmp_path / "pod", S2OPS_MACHINE_CODE=str(image)) == 0, "not kept for the pod's next process"
    assert not list(image.iterdir())


def test_a_processor_that_lacks_an_instruction_makes_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit_cache, "get_host_cpu_features", lambda: {"avx2": False})
    monkeypatch.setenv(jit_cache.VARIABLE, "/nowhere")
    before = jit_cache.numba.config.CPU_NAME
    jit_cache.use()
    assert before == jit_cache.numba.config.CPU_NAME
