"""Image store of containerd: images are imported once, and later starts take them from the cache by hard links.

containerd needs most of a minute to import two gigabytes. Layers are never changed, neither packed nor unpacked, so a
link to each file is sufficient; the two databases are copied.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from .cluster_layout import ClusterLayout
from .images import run_buildah
from .node import run_ctr, start_containerd
from .processes import Processes
from .toolchain import get_cache_root


def start(layout: ClusterLayout, processes: Processes, names: Sequence[str]) -> None:
    """Start containerd with the images; import them if the cache has no store of just these images.

    Raises:
        RuntimeError: If containerd cannot import an image.
    """
    root, cached = layout.containerd / "root", _get_cache_folder(names)
    if not cached.is_dir():
        start_containerd(layout, processes)
        _import_images(layout, names, cached.parent)
        processes.stop("containerd")  # so that its databases are complete
        shutil.rmtree(cached.parent)  # stores of other images, and remains of imports that were killed
        part = cached.with_suffix(".part")
        _copy_with_links(root, part)
        part.rename(cached)
    else:
        _copy_with_links(cached, root)
    start_containerd(layout, processes)


def _get_cache_folder(names: Iterable[str]) -> Path:
    """Return the cache folder of the store of just these images."""
    digests = {
        name: run_buildah("inspect", "--type", "image", "--format", "{{.FromImageDigest}}", name) for name in names
    }
    return get_cache_root() / "image-store" / hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()[:12]


def _import_images(layout: ClusterLayout, names: Iterable[str], folder: Path) -> None:
    """Import images into containerd through a folder, concurrently: it imports some 60 MB/s of each."""
    folder.mkdir(parents=True, exist_ok=True)

    def import_image(name: str) -> None:
        with TemporaryDirectory(prefix="image-", dir=folder) as scratch:
            run_buildah("push", "--quiet", name, f"docker-archive:{scratch}/image.tar:{name}")
            done = run_ctr(layout, "images", "import", f"{scratch}/image.tar")
        if done.returncode:
            raise RuntimeError(f"containerd cannot import {name}: {done.stderr}")

    with ThreadPoolExecutor() as threads:
        list(threads.map(import_image, names))


def _copy_with_links(source: Path, target: Path) -> None:
    """Copy containerd's root by hard links; only the databases are real copies."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--link", str(source), str(target)], check=True)
    for database in source.glob("*/*.db"):
        copy = target / database.relative_to(source)
        copy.unlink()
        shutil.copy2(database, copy)
