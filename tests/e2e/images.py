"""The images of the test cluster, built with buildah.

The base stands in for the public Python image, which a machine without a way to its registry cannot have: Debian's
Python, by debootstrap. It is built once and kept in buildah's storage, as are the layers of the steps' requirements.
`python -m tests.e2e.images` builds those for which no Go program is needed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .node import PAUSE
from .toolchain import ALL, build, cache_root

ROOT = Path(__file__).resolve().parents[2]
BASE_PACKAGES = "python3,python3-venv,libpython3.11,ca-certificates"  # the library is for Triton's Python backend
BASE = f"localhost/s2ops-base:bookworm-{hashlib.sha256(BASE_PACKAGES.encode()).hexdigest()[:8]}"
ARGOEXEC = f"localhost/s2ops-argoexec:{ALL['argo'].place.name}"
TAG = "test"
STEPS = f"localhost/s2ops-steps:{TAG}"
TRITON = f"localhost/s2ops-triton:{TAG}"
_UNNEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def build_all() -> list[str]:
    """Build what is missing; the names of all images that the cluster needs."""
    _program(PAUSE, build("pause") / "pause", "bin/pause", user="65535")
    _program(ARGOEXEC, build("argo") / "argoexec", "bin/argoexec", user="8737")
    build_ours()
    return [PAUSE, ARGOEXEC, STEPS, TRITON]


def build_ours() -> None:
    """Build the base, the steps' image and Triton's, if they are missing or not of this checkout."""
    base()
    stamp, sources = cache_root() / "images.sha256", _sources()
    if not (stamp.exists() and stamp.read_text() == sources and _exists(STEPS) and _exists(TRITON)):
        stamp.unlink(missing_ok=True)
        for image, below in (
            ("steps", BASE),
            ("triton", STEPS),
        ):  # Triton's needs the same packages: they lie there once
            words = [sys.executable, str(ROOT / "images" / "build.py"), image, "--base", below, "--tag", TAG]
            subprocess.run(words, check=True)
        stamp.write_text(sources)


def _sources() -> str:
    """A hash of all that the images of s2ops are made of: to ask the builder's cache takes 20 seconds."""
    paths = [ROOT / name for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")]
    for folder in ("s2ops", "images"):
        paths += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    digest = hashlib.sha256(BASE.encode())
    for path in sorted(paths):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def base() -> None:
    """Debian with Python and the certificates, unless it is there."""
    if _exists(BASE):
        return
    print("making the base image ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="s2ops-base-") as made:
        root = Path(made) / "root"
        words = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(root), _mirror()]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"debootstrap ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        for folder in _UNNEEDED:
            shutil.rmtree(root / folder, ignore_errors=True)
        _commit(BASE, root, "/", [])


def _mirror() -> str:
    """Where this machine gets Debian 12 from."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\n")
    found = [line.split()[0] for line in listed if line.endswith(" bookworm")]
    if not found:
        raise SystemExit(
            "apt knows no source of Debian 12 (bookworm); add one, or set S2OPS_KUBECONFIG to a cluster of your own"
        )
    return found[0]


def _program(name: str, program: Path, target: str, user: str) -> None:
    """An image of one static program and an empty /tmp, and nothing else."""
    if _exists(name):
        return
    with tempfile.TemporaryDirectory(prefix="s2ops-program-") as made:
        root = Path(made) / "root"
        (root / "tmp").mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / target).parent.mkdir(exist_ok=True)
        shutil.copy(program, root / target)
        _commit(name, root, "/", ["--user", user, "--entrypoint", f'["/{target}"]', "--env", "PATH=/bin"])


def _commit(name: str, source: Path, target: str, settings: list[str]) -> None:
    """An image from nothing but one file or folder."""
    container = buildah("from", "scratch").strip()
    try:
        buildah("add", "--quiet", container, str(source), target)
        if settings:
            buildah("config", *settings, container)
        buildah("commit", "--quiet", container, name)
    finally:
        buildah("rm", container)


def _exists(name: str) -> bool:
    return (
        subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True, check=False).returncode
        == 0
    )


def buildah(*words: str) -> str:
    """What buildah says.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"buildah {words[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    build_ours()
