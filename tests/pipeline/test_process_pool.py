"""Process pool: worker processes end with their run."""

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

from s2ops import cli
from s2ops.pipeline import process_pool
from s2ops.runtime.tempdirs import create_scratch_folder

def hold_folder(ctx, steps, name):
    with create_scratch_folder() as folder:
        print(os.getpid(), folder, flush=True)
        time.sleep(600)

process_pool.run_steps = hold_folder

def run(standalone_mode):
    with process_pool.WorkerPool(SimpleNamespace(config=None, tiles=(), threads=1), 2) as pool:
        list(pool.run_tiles(["composite"], ["A", "B", "C"]))

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as CI, ignore it
    cli.app = run
    cli.main()
"""


CONTINUE = "run the same command again to continue\n"


def is_alive(pid: int) -> bool:
    """Return true if the process has not ended (a zombie has, and waits for its adopter)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (lambda run: os.kill(run, signal.SIGKILL), -signal.SIGKILL, None),  # multiprocessing itself prints a complaint
        (lambda run: os.kill(run, signal.SIGTERM), 75, f"s2ops: terminated; {CONTINUE}"),
        (lambda run: os.killpg(run, signal.SIGTERM), 75, f"s2ops: terminated; {CONTINUE}"),
        (lambda run: os.killpg(run, signal.SIGINT), 130, f"s2ops: interrupted; {CONTINUE}"),
    ],
    ids=["killed", "SIGTERM", "SIGTERM to all", "Ctrl-C"],
)
def test_process_pool_ends_its_workers_with_the_run(
    tmp_path: Path, end: Callable[[int], None], code: int, says: str | None
) -> None:
    """Workers end at once, however long their tiles would take, without traceback, and remove their scratch folders."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, script], text=True, start_new_session=True, env=environment, **pipes) as run:
        try:
            assert run.stdout is not None
            folders = dict(run.stdout.readline().split() for _ in range(2))
            assert len(folders) == 2
            assert all(is_alive(int(pid)) for pid in folders)
            end(run.pid)
            _, told = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == code
    assert says in (None, told)
    ends = time.monotonic() + 60
    while any(is_alive(int(pid)) for pid in folders) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(is_alive(int(pid)) for pid in folders)
    assert not any(Path(folder).exists() for folder in folders.values())
