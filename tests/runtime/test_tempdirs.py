"""Scratch folders: one in use stays, one of a killed process goes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from s2ops.runtime import tempdirs

HOLD = """
import time
from s2ops.runtime.tempdirs import scratch
with scratch() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(tempdirs, "_SETTLING_S", 0.0)
    return tmp_path


def test_gone_at_the_end(root: Path) -> None:
    with tempdirs.scratch() as folder:
        (folder / "a.tif").write_bytes(b"1")
        assert folder.parent == root
    assert not list(root.iterdir())


def test_that_of_a_killed_process_goes_with_the_next(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        (left / "a.tif").write_bytes(b"1")
        with tempdirs.scratch():
            assert left.is_dir()  # its process lives
        other.send_signal(signal.SIGKILL)
    assert left.is_dir()
    with tempdirs.scratch():
        assert not left.exists()


def test_a_young_one_may_not_be_locked_yet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempdirs, "_SETTLING_S", 60.0)
    young = root / f"{tempdirs.PREFIX}young"
    young.mkdir()
    tempdirs.sweep(root)
    assert young.is_dir()


def test_links_and_others_are_left(root: Path) -> None:
    (root / "precious").mkdir()
    (root / f"{tempdirs.PREFIX}link").symlink_to(root / "precious")
    tempdirs.sweep(root)
    assert (root / "precious").is_dir()
