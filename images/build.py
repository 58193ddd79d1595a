"""Build the container images with buildah, podman or docker, the first that is installed: `make images`.

    python images/build.py [steps] [triton] [--base IMAGE] [--tag TAG]

pip inside a build uses the pip settings of this machine (mirror, certificate), passed as build secrets: the images
contain nothing of them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("steps", "triton")
BUILDERS = {
    # chroot isolation needs no rights beyond those of a container
    "buildah": ["buildah", "build", "--isolation", "chroot", "--layers"],
    "podman": ["podman", "build", "--layers"],
    "docker": ["docker", "buildx", "build", "--load"],
}


def find_builder() -> list[str]:
    """Return the command that builds an image.

    Raises:
        SystemExit: If no builder is installed.

    """
    for name, words in BUILDERS.items():
        if shutil.which(name):
            return words
    raise SystemExit(f"no builder of images is installed: install one of {', '.join(BUILDERS)}")


def write_context(folder: Path) -> None:
    """Write the build context: wheel, requirements, constraints."""
    wheel = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "wheel"), str(ROOT)]
    subprocess.run([sys.executable, "-m", *wheel], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (folder / "requirements.txt").write_text("\n".join(project["dependencies"]) + "\n")
    for extra, needs in project["optional-dependencies"].items():
        (folder / f"requirements-{extra}.txt").write_text("\n".join(needs) + "\n")
    shutil.copy(ROOT / "constraints.txt", folder)


def write_pip_secrets(folder: Path) -> list[str]:
    """Write the pip settings of this machine and return the builder's options that pass them as secrets."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    settings = dict(re.findall(r"^[^.\n]*\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    certificate = Path(settings.pop("cert", ""))
    settings.pop("find-links", None)  # a folder of this machine
    (folder / "pip_cert").write_bytes(certificate.read_bytes() if certificate.is_file() else b"")
    if certificate.is_file():
        settings["cert"] = "/run/pip_cert"
    (folder / "pip.conf").write_text(
        "\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items())]) + "\n"
    )
    return ["--secret", f"id=pip_conf,src={folder}/pip.conf", "--secret", f"id=pip_cert,src={folder}/pip_cert"]


def build(image: str, base: str | None, tag: str | None) -> str:
    """Build one image and return its name."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.strip()
    name = f"s2ops-{image}:{tag or version}"
    with tempfile.TemporaryDirectory(prefix="s2ops-image-") as made, tempfile.TemporaryDirectory() as secrets:
        write_context(Path(made))
        shutil.copytree(ROOT / "images" / image, made, dirs_exist_ok=True)
        for path in Path(made).rglob("*"):
            os.utime(path, (0, 0))  # a layer is taken from the cache only where times are the same too
        words = [*find_builder(), "--file", f"{made}/Containerfile", "--tag", name, *write_pip_secrets(Path(secrets))]
        words += ["--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={revision or 'unknown'}"]
        words += ["--build-arg", f"BASE={base}"] if base else []
        (wheel,) = Path(made, "wheel").glob("*.whl")
        words += ["--build-arg", f"WHEEL_SHA256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"]
        done = subprocess.run([*words, made], check=False)
    if done.returncode:
        raise SystemExit(f"building {name} ended with {done.returncode}; see the lines above")
    return name


def main() -> None:
    """Build the named images, or all of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)}; all where none is named")
    parser.add_argument(
        "--base", help="base image with python3 and venv (default: the one that the container file names)"
    )
    parser.add_argument("--tag", help="default: the package's version")
    given = parser.parse_args()
    for image in given.images or IMAGES:
        if image not in IMAGES:
            parser.error(f"no image is called {image!r}; there are {', '.join(IMAGES)}")
        print(build(image, given.base, given.tag), flush=True)


if __name__ == "__main__":
    main()
