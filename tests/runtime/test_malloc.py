"""Memory arenas of a process with many threads."""

import platform
import subprocess
import sys

import pytest

CODE = """
import ctypes, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from s2ops.runtime.malloc import limit_malloc_arenas
if sys.argv[1] == "limited":
    limit_malloc_arenas()
gate = threading.Barrier(6)
def work(_):
    kept = [np.ones(8_000) for _ in range(100)]
    gate.wait()
    return kept
with ThreadPoolExecutor(6) as pool:
    list(pool.map(work, range(6)))
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_limit_malloc_arenas_lets_threads_share_two() -> None:
    arenas = {}
    for setting in ("limited", "default"):
        command = [sys.executable, "-c", CODE, setting]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        arenas[setting] = done.stderr.count("Arena ")
    assert arenas["limited"] == 2
    assert arenas["default"] > 2
