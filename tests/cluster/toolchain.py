"""Builds the programs of the cluster (Kubernetes, Argo, S3 server, DNS, Helm ...) from Go modules, once, into a cache.

`tools/NAME/go.mod` pins a program and `go.sum` all that it is made of. The cache folder's name holds a hash of both, so
a changed pin is a new build and an unchanged one is reused by every later run.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"


def cache_root() -> Path:
    """The folder of all that is built for the cluster and kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s2ops-cluster"


@dataclass(frozen=True, slots=True)
class Tool:
    """One Go module under tools/ and the programs that come of it."""

    name: str
    module: str
    flags: str = ""  # for the linker: programs that report a version take it from here
    patched: bool = False  # built from a vendored copy with the files of tools/NAME/patch added

    @property
    def folder(self) -> Path:
        """Where its go.mod lies."""
        return TOOLS / self.name

    @property
    def version(self) -> str:
        """The pinned version of the module, `v1.33.13`, as go.mod says it."""
        for line in (self.folder / "go.mod").read_text().splitlines():
            words = line.removeprefix("require ").split()
            if len(words) >= 2 and words[0] == self.module and words[1].startswith("v"):
                return words[1]
        return "(own)"

    @property
    def packages(self) -> list[str]:
        """The import paths of its programs: what go.mod lists as tools, in a block or as one line."""
        text = (self.folder / "go.mod").read_text()
        return [
            path
            for block in re.findall(r"^tool (?:\(([^)]*)\)|(\S+)$)", text, re.MULTILINE)
            for path in " ".join(block).split()
        ] or ["."]

    @property
    def place(self) -> Path:
        """The cache folder of this build."""
        digest = hashlib.sha256(self.flags.encode())
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            digest.update(path.relative_to(self.folder).as_posix().encode() + b"\0" + path.read_bytes())
        return cache_root() / f"{self.name}-{digest.hexdigest()[:12]}"

    @property
    def bin(self) -> Path:
        """The folder of its programs; there once `build` has returned."""
        return self.place / "bin"


_KUBE_VERSION = " ".join(
    f"-X k8s.io/{package}.{name}={value}"
    for package in ("component-base/version", "client-go/pkg/version")
    for name, value in {"gitVersion": "v1.33.13", "gitMajor": "1", "gitMinor": "33", "gitTreeState": "clean"}.items()
)

ALL = {
    tool.name: tool
    for tool in (
        Tool("kubernetes", "k8s.io/kubernetes", _KUBE_VERSION),
        Tool(
            "argo",
            "github.com/argoproj/argo-workflows/v3",
            "-X github.com/argoproj/argo-workflows/v3.version=v3.7.4",
            patched=True,
        ),
        Tool("versitygw", "github.com/versity/versitygw"),
        Tool("coredns", "github.com/coredns/coredns"),
        Tool("helm", "helm.sh/helm/v3"),
        Tool("kubeconform", "github.com/yannh/kubeconform"),
        Tool("kwok", "sigs.k8s.io/kwok"),
        Tool("pause", "s2ops.test/cluster/pause"),  # lies here as a whole: the container that holds a pod's network
    )
}


def build(name: str) -> Path:
    """The folder of one tool's programs, built if need be; a build that fails leaves nothing that looks finished.

    Raises:
        SystemExit: Go is missing or a build failed (its output is on stderr).
    """
    tool = ALL[name]
    if tool.bin.is_dir():
        return tool.bin
    if shutil.which("go") is None:
        raise SystemExit("the cluster's programs are built with Go: install Go 1.24 or later and put it on the PATH")
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tool.bin.is_dir():  # else another process has built it while this one waited
            _build(tool)
    return tool.bin


def _build(tool: Tool) -> None:
    began = time.monotonic()
    print(f"building {tool.name} {tool.version} ...", flush=True)
    work = tool.place.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    (work / "bin").mkdir(parents=True)
    for path in tool.folder.iterdir():
        if path.is_file():
            shutil.copy(path, work)
    if tool.patched:
        # -e: the module's archive embeds a folder that it lacks, and the patch adds
        _go(work, "mod", "vendor", "-e")
        shutil.copytree(tool.folder / "patch", work / "vendor" / tool.module, dirs_exist_ok=True)
    flags = ["-mod=vendor" if tool.patched else "-mod=readonly", "-trimpath", "-ldflags", f"-s -w {tool.flags}"]
    _go(work, "build", *flags, "-o", f"{work}/bin/", *tool.packages)
    shutil.rmtree(work / "vendor", ignore_errors=True)
    shutil.rmtree(tool.place, ignore_errors=True)
    work.rename(tool.place)
    for old in cache_root().glob(f"{tool.name}-*"):  # of earlier pins, and builds that were stopped
        if old != tool.place:
            shutil.rmtree(old)
    print(f"built {tool.name} in {time.monotonic() - began:.0f} s", flush=True)


def _go(folder: Path, *words: str) -> None:
    """Run go in a folder."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    done = subprocess.run(["go", *words], cwd=folder, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"go {words[0]} in {folder} ended with {done.returncode}; see the lines above")


def module_folder(name: str) -> Path:
    """Where the Go module of a tool lies unpacked (Argo's CRDs and kwok's stages are taken from there)."""
    tool = ALL[name]
    words = ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", tool.module]
    environment = {**os.environ, "GOWORK": "off"}
    found = subprocess.run(words, cwd=tool.folder, env=environment, check=True, capture_output=True, text=True)
    if found.stdout.strip():
        return Path(found.stdout.strip())
    _go(tool.folder, "mod", "download", tool.module)
    return module_folder(name)


def main() -> None:
    """Build the tools that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.toolchain", description=main.__doc__)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"of {', '.join(ALL)}; all where none is named")
    for name in parser.parse_args().tools or ALL:
        if name not in ALL:
            sys.exit(f"no tool is called {name!r}; there are {', '.join(ALL)}")
        print(build(name))


if __name__ == "__main__":
    main()
