"""Temporary (scratch) folders under TMPDIR that are removed even if their process was killed."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "s2ops-scratch-"
_MIN_AGE_S = 60.0
"""Age below which a folder is never removed, because its owner may not have locked it yet."""


@contextmanager
def create_scratch_folder() -> Iterator[Path]:
    """Create a folder for the `with` block; folders of killed processes (up to 5 GB for a full tile) are removed first.

    The owner holds a lock on its folder (flock), which the kernel releases however the process ends.
    """
    remove_stale_folders(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_stale_folders(root: Path) -> None:
    """Remove scratch folders below `root` that no process has locked; folders of other users stay."""
    for folder in root.glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.stat().st_ctime < _MIN_AGE_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:  # removed in the meantime, or another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
