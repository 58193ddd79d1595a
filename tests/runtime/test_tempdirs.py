"""Scratch folders: folders in use stay, folders of killed processes are removed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from s2ops.runtime import tempdirs

HOLD = """
import time
from s2ops.runtime.tempdirs import create_scratch_folder
with create_scratch_folder() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(tempdirs, "_MIN_AGE_S", 0.0)
    return tmp_path


def test_scratch_folder_is_removed_at_the_end(root: Path) -> None:
    with tempdirs.create_scratch_folder() as folder:
        (folder / "a.tif").write_bytes(b"1")
        assert folder.parent == root
    assert not list(root.iterdir())


def test_scratch_folder_of_a_killed_process_is_removed_with_the_next(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        (left / "a.tif").write_bytes(b"1")
        with tempdirs.create_scratch_folder():
            assert left.is_dir()  # its process is alive
        other.send_signal(signal.SIGKILL)
    assert left.is_dir()
    with tempdirs.create_scratch_folder():
        assert not left.exists()


def test_remove_stale_folders_keeps_a_young_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may not have locked it yet."""
    monkeypatch.setattr(tempdirs, "_MIN_AGE_S", 60.0)
    young = root / f"{tempdirs.PREFIX}young"
    young.mkdir()
    tempdirs.remove_stale_folders(root)
    assert young.is_dir()


def test_remove_stale_folders_keeps_links_and_other_folders(root: Path) -> None:
    (root / "precious").mkdir()
    (root / f"{tempdirs.PREFIX}link").symlink_to(root / "precious")
    tempdirs.remove_stale_folders(root)
    assert (root / "precious").is_dir()
