"""The heap of a process with many threads."""

import platform
import subprocess
import sys

import pytest

CODE = """
import ctypes, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from s2ops.runtime.malloc import keep_small
if sys.argv[1] == "small":
    keep_small()
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
def test_threads_share_two_arenas() -> None:
    arenas = {}
    for how in ("small", "plain"):
        command = [sys.executable, "-c", CODE, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        arenas[how] = done.stderr.count("Arena ")
    assert arenas["small"] == 2
    assert arenas["plain"] > 2
