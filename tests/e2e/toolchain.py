"""Builds the programs of the cluster (Kubernetes, Argo, S3 server, DNS, Helm ...) from Go modules, once, into a cache.

`tools/SOURCE/go.mod` pins programs and `go.sum` all that they are made of. The cache folder's name holds a hash of
both, so a changed pin is a new build and an unchanged one is reused by every later run. Kubernetes, Argo, Helm and
CoreDNS are pinned together, with the same libraries: what they have in common is downloaded and compiled once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"


def cache_root() -> Path:
    """The folder of all that is built for the cluster and kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s2ops-cluster"


@dataclass(frozen=True, slots=True)
class Tool:
    """Programs of one Go module, and where they are pinned."""

    name: str
    module: str
    source: str
    """The folder under tools/ whose go.mod pins it. Those of one folder have their packages in common."""
    flags: str = ""  # for the linker: programs that report a version take it from here
    own: str = ""  # a package that lies here, in place of those of the module
    names: tuple[str, ...] = ()  # under which the program of the own package is called, and does what each says
    patched: bool = False  # built from a copy with the files of tools/SOURCE/patch added

    @property
    def folder(self) -> Path:
        """Where its go.mod lies."""
        return TOOLS / self.source

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
        """The import paths of its programs: what go.mod lists as tools of its module."""
        if self.own:
            return [self.own]
        words = (self.folder / "go.mod").read_text().split()
        return sorted({word for word in words if word.startswith(f"{self.module}/cmd/")})

    @property
    def place(self) -> Path:
        """The cache folder of this build."""
        parts = [self.folder / "go.mod", self.folder / "go.sum"]
        for below in (self.own, "patch" if self.patched else ""):
            parts += (self.folder / below).rglob("*") if below else ()
        digest = hashlib.sha256(repr((self.flags, self.names)).encode())
        for path in sorted(path for path in {*parts} if path.is_file()):
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
_KUBE_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)

ALL = {
    tool.name: tool
    for tool in (
        Tool("kubernetes", "k8s.io/kubernetes", "programs", _KUBE_VERSION, own="./kubernetes", names=_KUBE_PROGRAMS),
        Tool(
            "argo",
            "github.com/argoproj/argo-workflows/v3",
            "programs",
            "-X github.com/argoproj/argo-workflows/v3.version=v3.7.4",
            patched=True,
        ),
        Tool("helm", "helm.sh/helm/v3", "programs"),
        Tool("kubeconform", "github.com/yannh/kubeconform", "programs"),
        Tool("coredns", "github.com/coredns/coredns", "programs", own="./coredns"),
        Tool("versitygw", "github.com/versity/versitygw", "versitygw", own="./posix"),
        Tool("kwok", "sigs.k8s.io/kwok", "kwok"),
        Tool("pause", "s2ops.test/cluster/pause", "pause", own="."),  # the container that holds a pod's network
    )
}

CLIENTS = ("kubernetes", "argo", "helm", "kubeconform")
"""What the tests ask a cluster with, whosever it is."""
TEST_CLUSTER = (*CLIENTS, "coredns", "versitygw", "pause")
"""What the cluster that the tests start is made of, too."""


def build(*names: str) -> Path:
    """The folder of the last tool's programs; builds what is missing.

    A build that fails leaves nothing that looks finished.

    Raises:
        SystemExit: Go is missing or a build failed (its output is on stderr).
    """
    missing = [ALL[name] for name in names if not ALL[name].bin.is_dir()]
    if missing and shutil.which("go") is None:
        raise SystemExit("the cluster's programs are built with Go: install Go 1.25 or later and put it on the PATH")
    cache_root().mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as until_built:
        sources = {
            folder: until_built.enter_context(_sources(folder)) for folder in sorted({tool.folder for tool in missing})
        }
        for tool in missing:
            with _locked(tool.name):
                if not tool.bin.is_dir():  # else another process has built it while this one waited
                    _build(tool, sources[tool.folder])
    return ALL[names[-1]].bin


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Hold what other processes, of other checkouts too, would write to."""
    with (cache_root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _sources(folder: Path) -> Iterator[Path]:
    """A copy of a folder under tools/, with Argo patched; one process at a time has it.

    What its programs are made of is downloaded while the first are compiled: one waits for a network, one computes.
    """
    copy = cache_root() / f"sources-{folder.name}"
    with _locked(copy.name):
        shutil.rmtree(copy, ignore_errors=True)  # of a build that was killed
        shutil.copytree(folder, copy)
        for tool in ALL.values():
            if tool.patched and tool.folder == folder:
                _patch(tool, copy)
        words = ["go", "list", "-e", "-deps", "./...", "tool"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # what fails here, the build says
        with subprocess.Popen(words, cwd=copy, env=_environment(), **quiet) as fetcher:
            try:
                yield copy
            finally:
                fetcher.kill()
                shutil.rmtree(copy)


def _build(tool: Tool, sources: Path) -> None:
    began = time.monotonic()
    print(f"building {tool.name} {tool.version} ...", flush=True)
    part = tool.place.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "bin").mkdir(parents=True)
    # no tables for debuggers: the linker would drop them, and to write them is an eighth of the compiler's work
    flags = ["-mod=readonly", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", f"-s -w {tool.flags}"]
    _go(sources, "build", *flags, "-o", f"{part}/bin/", *tool.packages)
    for name in tool.names:
        (part / "bin" / name).symlink_to(Path(tool.own).name)
    shutil.rmtree(tool.place, ignore_errors=True)
    part.rename(tool.place)
    for old in cache_root().glob(f"{tool.name}-*"):  # of earlier pins, and builds that were stopped
        if old != tool.place:
            shutil.rmtree(old)
    print(f"built {tool.name} in {time.monotonic() - began:.0f} s", flush=True)


def _patch(tool: Tool, sources: Path) -> None:
    """Let go.mod take the module from a copy: its archive embeds a folder that it lacks, and the patch adds."""
    copy = sources / "patched"
    shutil.copytree(module_folder(tool.name), copy, copy_function=shutil.copyfile)
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # Go keeps modules read-only
    shutil.copytree(tool.folder / "patch", copy, dirs_exist_ok=True)
    _go(sources, "mod", "edit", f"-replace={tool.module}=./{copy.name}")


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off", "GOGC": "400"}


def _go(folder: Path, *words: str) -> None:
    """Run go in a folder."""
    done = subprocess.run(["go", *words], cwd=folder, env=_environment(), check=False)
    if done.returncode:
        raise SystemExit(f"go {words[0]} in {folder} ended with {done.returncode}; see the lines above")


def module_folder(name: str) -> Path:
    """Where the Go module of a tool lies unpacked (Argo's CRDs and kwok's stages are taken from there)."""
    return downloaded(f"{ALL[name].module}@{ALL[name].version}")


def downloaded(module: str) -> Path:
    """Where Go keeps a module, such as `sigs.k8s.io/kwok@v0.8.0`, unpacked.

    Raises:
        SystemExit: it cannot be had.
    """
    words = ["go", "mod", "download", "-json", module]
    found = subprocess.run(words, cwd="/", env=_environment(), check=False, capture_output=True, text=True, timeout=900)
    if found.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {found.returncode}: {found.stderr or found.stdout}")
    return Path(json.loads(found.stdout)["Dir"])


def main() -> None:
    """Build the tools that are named, or those that `make test-cluster` needs."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.toolchain", description=main.__doc__)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"of {', '.join(ALL)}")
    needed = CLIENTS if os.environ.get("S2OPS_KUBECONFIG") else TEST_CLUSTER
    names = parser.parse_args().tools or needed
    for name in names:
        if name not in ALL:
            sys.exit(f"no tool is called {name!r}; there are {', '.join(ALL)}")
    build(*names)
    for name in names:
        print(ALL[name].bin)


if __name__ == "__main__":
    main()
