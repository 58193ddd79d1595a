"""Folder of real scenes and recorded STAC items, where it is available."""

import os
from pathlib import Path

import pytest


def find_real_data(*parts: str) -> Path:
    """Return a path below the folder of real data; skip the test if there is none."""
    folder = os.environ.get("S2OPS_REAL_DATA")
    if folder is None:
        pytest.skip("S2OPS_REAL_DATA is not set: no recorded items")
    return Path(folder, *parts)
