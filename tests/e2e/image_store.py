"""What containerd holds before the first pod: the images, imported once and then taken from the cache by hard links.

To import two gigabytes takes containerd most of a minute. Layers are never written to, neither packed nor unpacked, so
a link to each file will do; the two databases are copied.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from .images import buildah
from .node import ctr, start_containerd
from .places import Places
from .processes import Processes
from .toolchain import cache_root


def start(places: Places, processes: Processes, names: Sequence[str]) -> None:
    """Start containerd with the images; they are imported where it is not known what that comes to.

    Raises:
        RuntimeError: containerd does not take one.
    """
    root, kept = places.containerd / "root", _kept(names)
    if not kept.is_dir():
        start_containerd(places, processes)
        _import(places, names, kept.parent)
        processes.stop("containerd")  # so that its databases are whole
        shutil.rmtree(kept.parent)  # other images, and what imports left that were killed
        part = kept.with_suffix(".part")
        _link(root, part)
        part.rename(kept)
    else:
        _link(kept, root)
    start_containerd(places, processes)


def _kept(names: Iterable[str]) -> Path:
    """The folder in the cache of just these images."""
    told = {name: buildah("inspect", "--type", "image", "--format", "{{.FromImageDigest}}", name) for name in names}
    return cache_root() / "image-store" / hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()[:12]


def _import(places: Places, names: Iterable[str], by: Path) -> None:
    """Put images into containerd by a folder, side by side: it takes some 60 MB a second of each."""
    by.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> None:
        with TemporaryDirectory(prefix="image-", dir=by) as folder:
            buildah("push", "--quiet", name, f"docker-archive:{folder}/image.tar:{name}")
            done = ctr(places, "images", "import", f"{folder}/image.tar")
        if done.returncode:
            raise RuntimeError(f"containerd does not take {name}: {done.stderr}")

    with ThreadPoolExecutor() as threads:
        list(threads.map(one, names))


def _link(source: Path, target: Path) -> None:
    """A copy of containerd's root that shares every file but the databases."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--link", str(source), str(target)], check=True)
    for database in source.glob("*/*.db"):
        copy = target / database.relative_to(source)
        copy.unlink()
        shutil.copy2(database, copy)
