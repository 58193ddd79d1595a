"""JIT cache shipped in a container image: machine code that a pod need not compile again (25 s of processor time).

Numba caches machine code in a folder that must be writable, and records the processor for which it was compiled. An
image is read-only and is built on another machine. Therefore the image's code is compiled for a processor level that
all machines of the last decade support. It lies in the folder that S2OPS_MACHINE_CODE names. At the start of a process
its files are linked into a folder under TMPDIR, which Numba uses as its cache and extends.
"""

import os
import platform
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numba
from llvmlite.binding import get_host_cpu_features

CACHE_VARIABLE: Final = "S2OPS_MACHINE_CODE"
"""Environment variable of the folder with the image's machine code."""

CPU_LEVEL: Final = "x86-64-v3"
"""LLVM's name of a processor level: Intel since Haswell (2013), AMD since Excavator (2015)."""

CPU_FEATURES: Final = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
"""Instruction sets of that level."""


def use_shipped_cache() -> None:
    """Use the image's machine code if there is some and this processor supports it; otherwise change nothing.

    Call it before the first kernel is compiled. With `NUMBA_CACHE_DIR` set, code for the common processor level is
    compiled into that folder: this is how the image's folder is filled.
    """
    shipped = os.environ.get(CACHE_VARIABLE)
    if not shipped or not is_cpu_supported():
        return
    settings: Any = numba.config  # its attributes are created at import
    settings.CPU_NAME, settings.CPU_FEATURES = CPU_LEVEL, ""
    if not settings.CACHE_DIR:
        settings.CACHE_DIR = str(_link_files(Path(shipped)))


def is_cpu_supported() -> bool:
    """Return true if this processor has the instruction sets of the image's machine code."""
    if platform.machine() != "x86_64":
        return False
    features = get_host_cpu_features()
    return all(features.get(name) for name in CPU_FEATURES)


def _link_files(shipped: Path) -> Path:
    """Link each shipped file into a writable folder, and return it; several processes may do so at the same time."""
    folder = Path(tempfile.gettempdir()) / "s2ops-machine-code"
    for path in shipped.glob("*/*.nb?"):
        link = folder / path.relative_to(shipped)
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(path)
    return folder
