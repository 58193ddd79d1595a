"""Facts about the processes of a run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = """
import os, signal, time
from types import SimpleNamespace

from s2ops import cli, workers
from s2ops.runtime.tempdirs import scratch

def attempt(job, steps, name):
    with scratch() as folder:
        print(os.getpid(), folder, flush=True)
        time.sleep(600)

workers.attempt = attempt

def run(standalone_mode):
    with workers.Workers(SimpleNamespace(config=None, tiles=(), threads=1), 2) as pool:
        list(pool.each(["composite"], ["A", "B", "C"]))

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as CI, ignore it
    cli.app = run
    cli.main()
"""


AGAIN = "run the same command again to continue\n"


def stands(pid: int) -> bool:
    """Whether the process is there and has not ended (a zombie waits for whoever adopted it)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (lambda run: os.kill(run, signal.SIGKILL), -signal.SIGKILL, None),  # Python's own processes complain
        (lambda run: os.kill(run, signal.SIGTERM), 75, f"s2ops: terminated; {AGAIN}"),
        (lambda run: os.killpg(run, signal.SIGTERM), 75, f"s2ops: terminated; {AGAIN}"),
        (lambda run: os.killpg(run, signal.SIGINT), 130, f"s2ops: interrupted; {AGAIN}"),
    ],
    ids=["killed", "SIGTERM", "SIGTERM to all", "Ctrl-C"],
)
def test_a_run_that_ends_takes_its_processes_along(
    tmp_path: Path, end: Callable[[int], None], code: int, says: str | None
) -> None:
    """At once, however long its tiles would have taken, without a traceback or a scratch folder that stays."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, script], text=True, start_new_session=True, env=environment, **pipes) as run:
        try:
            assert run.stdout is not None
            at_work = dict(run.stdout.readline().split() for _ in range(2))
            assert len(at_work) == 2
            assert all(stands(int(pid)) for pid in at_work)
            end(run.pid)
            _, told = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == code
    assert says in (None, told)
    ends = time.monotonic() + 60
    while any(stands(int(pid)) for pid in at_work) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(stands(int(pid)) for pid in at_work)
    assert not any(Path(folder).exists() for folder in at_work.values())
