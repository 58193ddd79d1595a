"""Machine code that a container image brings along, so that a pod need not make it anew: 25 s of processor time.

Numba keeps machine code in a folder that it may write to, and names in it the processor that it is for. An image is
read-only and made on another machine. So the image's code is made for a processor that all of the last decade know,
lies in the folder that S2OPS_MACHINE_CODE names, and is linked into a pod's own temporary folder, where Numba looks
and adds what is missing.
"""

import os
import platform
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numba
from llvmlite.binding import get_host_cpu_features

VARIABLE: Final = "S2OPS_MACHINE_CODE"
PROCESSOR: Final = "x86-64-v3"
"""LLVM's name of what Intel's since Haswell (2013) and AMD's since Excavator (2015) know."""
NEEDED: Final = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")


def use() -> None:
    """Use the image's code where there is some, and the processor knows its instructions; else make it as usual.

    To be called before the first function is made. With `NUMBA_CACHE_DIR` set, code for the common processor is made
    there: so is the image's folder filled.
    """
    shipped = os.environ.get(VARIABLE)
    if not shipped or not runs_here():
        return
    settings: Any = numba.config  # its names are made when it is loaded
    settings.CPU_NAME, settings.CPU_FEATURES = PROCESSOR, ""
    if not settings.CACHE_DIR:
        settings.CACHE_DIR = str(_linked(Path(shipped)))


def runs_here() -> bool:
    """Whether this processor knows the instructions of the image's code."""
    if platform.machine() != "x86_64":
        return False
    has = get_host_cpu_features()
    return all(has.get(name) for name in NEEDED)


def _linked(shipped: Path) -> Path:
    """The folder in which Numba looks: links to each shipped file. Another process may make them at the same time."""
    folder = Path(tempfile.gettempdir()) / "s2ops-machine-code"
    for path in shipped.glob("*/*.nb?"):
        link = folder / path.relative_to(shipped)
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(path)
    return folder
