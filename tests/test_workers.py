"""Facts about the processes of a run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RUN = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from s2ops import workers

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), workers._start, (None, (), 1))
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def stands(pid: int) -> bool:
    """Whether the process is there and has not ended (a zombie waits for whoever adopted it)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_run_leaves_no_process_behind(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        assert stands(worker)
        os.kill(run.pid, signal.SIGKILL)
        run.wait(10)
    ends = time.monotonic() + 60
    while stands(worker) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not stands(worker)
