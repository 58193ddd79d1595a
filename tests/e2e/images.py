"""Container images of the test cluster, built with buildah.

The base image replaces the public Python image, because the machine may have no access to its registry. It holds
Debian's Python, installed by debootstrap. It is built once and kept in buildah's storage, as are the layers of the
steps' requirements. `python -m tests.e2e.images` builds the images that need no Go program.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .node import PAUSE
from .toolchain import TOOLS_BY_NAME, build_tools, get_cache_root

ROOT = Path(__file__).resolve().parents[2]
BASE_PACKAGES = "python3,python3-venv,libpython3.11,ca-certificates"  # the library is for Triton's Python backend
BASE = f"localhost/s2ops-base:bookworm-{hashlib.sha256(BASE_PACKAGES.encode()).hexdigest()[:8]}"
ARGOEXEC = f"localhost/s2ops-argoexec:{TOOLS_BY_NAME['argo'].cache_folder.name}"
TAG = "test"
STEPS = f"localhost/s2ops-steps:{TAG}"
TRITON = f"localhost/s2ops-triton:{TAG}"
_UNNEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def build_images() -> list[str]:
    """Build missing images; return the names of all images that the cluster needs."""
    _build_program_image(PAUSE, build_tools("pause") / "pause", "bin/pause", user="65535")
    _build_program_image(ARGOEXEC, build_tools("argo") / "argoexec", "bin/argoexec", user="8737")
    build_s2ops_images()
    return [PAUSE, ARGOEXEC, STEPS, TRITON]


def build_s2ops_images() -> None:
    """Build the base image and those of steps and Triton, if they are missing or not from this checkout."""
    build_base()
    stamp, sources = get_cache_root() / "images.sha256", _hash_sources()
    if not (stamp.exists() and stamp.read_text() == sources and _has_image(STEPS) and _has_image(TRITON)):
        stamp.unlink(missing_ok=True)
        for image, below in (
            ("steps", BASE),
            ("triton", STEPS),
        ):  # Triton's image needs the same packages, so it shares their layer
            words = [sys.executable, str(ROOT / "images" / "build.py"), image, "--base", below, "--tag", TAG]
            subprocess.run(words, check=True)
        stamp.write_text(sources)


def _hash_sources() -> str:
    """Compute a hash of all inputs of the s2ops images, because checking the builder's cache takes 20 seconds."""
    paths = [ROOT / name for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")]
    for folder in ("s2ops", "images"):
        paths += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    digest = hashlib.sha256(BASE.encode())
    for path in sorted(paths):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def build_base() -> None:
    """Build the base image (Debian with Python and the certificates), unless it exists."""
    if _has_image(BASE):
        return
    print("building the base image ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="s2ops-base-") as made:
        root = Path(made) / "root"
        words = [
            "debootstrap",
            "--variant=minbase",
            f"--include={BASE_PACKAGES}",
            "bookworm",
            str(root),
            _find_mirror(),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(
                f"debootstrap failed with exit code {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        for folder in _UNNEEDED:
            shutil.rmtree(root / folder, ignore_errors=True)
        _create_image(BASE, root, "/", [])


def _find_mirror() -> str:
    """Find the URL from which this machine gets Debian 12."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\n")
    found = [line.split()[0] for line in listed if line.endswith(" bookworm")]
    if not found:
        raise SystemExit(
            "Cannot build the base image: apt has no source of Debian 12 (bookworm); "
            "add one, or set S2OPS_KUBECONFIG to a cluster of your own."
        )
    return found[0]


def _build_program_image(name: str, program: Path, target: str, user: str) -> None:
    """Build an image of one static program and an empty /tmp, unless it exists."""
    if _has_image(name):
        return
    with tempfile.TemporaryDirectory(prefix="s2ops-program-") as made:
        root = Path(made) / "root"
        (root / "tmp").mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / target).parent.mkdir(exist_ok=True)
        shutil.copy(program, root / target)
        _create_image(name, root, "/", ["--user", user, "--entrypoint", f'["/{target}"]', "--env", "PATH=/bin"])


def _create_image(name: str, source: Path, target: str, settings: list[str]) -> None:
    """Create an image that contains one file or folder only."""
    container = run_buildah("from", "scratch").strip()
    try:
        run_buildah("add", "--quiet", container, str(source), target)
        if settings:
            run_buildah("config", *settings, container)
        run_buildah("commit", "--quiet", container, name)
    finally:
        run_buildah("rm", container)


def _has_image(name: str) -> bool:
    return (
        subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True, check=False).returncode
        == 0
    )


def run_buildah(*words: str) -> str:
    """Run buildah; return its output.

    Raises:
        SystemExit: If it failed.
    """
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"buildah {words[0]} failed with exit code {done.returncode}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    build_s2ops_images()
