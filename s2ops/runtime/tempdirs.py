"""Scratch folders under TMPDIR that do not outlive their process for long, even where it is killed."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "s2ops-scratch-"
_SETTLING_S = 60.0
"""A folder younger than this is left alone: its maker may not have locked it yet."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes when the block ends; those of killed processes (up to 5 GB for a full tile) go first.

    Its maker holds a lock on it (flock), which the kernel lets go whatever way the process ends.
    """
    sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(root: Path) -> None:
    """Remove the scratch folders below root that nobody holds; other users' folders are left alone."""
    for folder in root.glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.stat().st_ctime < _SETTLING_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:  # gone in the meantime, or another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
