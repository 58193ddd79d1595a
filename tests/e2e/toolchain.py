"""Toolchain of the test cluster: builds Kubernetes, Argo, S3 server, DNS, Helm ... from Go modules into a cache.

`tools/SOURCE/go.mod` pins the programs, `go.sum` all their dependencies. The name of the cache folder contains a hash
of both, so a changed pin causes a new build and unchanged builds are reused. Kubernetes, Argo, Helm and CoreDNS are
pinned together, with the same libraries, so that common packages are downloaded and compiled once.
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


def get_cache_root() -> Path:
    """Return the folder of everything that is built for the cluster and kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s2ops-cluster"


@dataclass(frozen=True, slots=True)
class Tool:
    """Programs of one Go module, with the place where they are pinned."""

    name: str
    module: str
    source: str
    """Folder below tools/ whose go.mod pins the module. Tools of one folder share packages."""
    flags: str = ""  # linker flags, which set the version that programs report
    own_package: str = ""  # package below tools/SOURCE that replaces those of the module
    program_names: tuple[str, ...] = ()  # names of links to the program of the own package, which acts by its name
    is_patched: bool = False  # true if built from a copy with the files of tools/SOURCE/patch added

    @property
    def folder(self) -> Path:
        """Folder of its go.mod."""
        return TOOLS / self.source

    @property
    def version(self) -> str:
        """Version of the module as pinned in go.mod, such as `v1.33.13`."""
        for line in (self.folder / "go.mod").read_text().splitlines():
            words = line.removeprefix("require ").split()
            if len(words) >= 2 and words[0] == self.module and words[1].startswith("v"):
                return words[1]
        return "(own)"

    @property
    def packages(self) -> list[str]:
        """Import paths of its programs: those that go.mod lists as tools of its module."""
        if self.own_package:
            return [self.own_package]
        words = (self.folder / "go.mod").read_text().split()
        return sorted({word for word in words if word.startswith(f"{self.module}/cmd/")})

    @property
    def cache_folder(self) -> Path:
        """Cache folder of this build."""
        parts = [self.folder / "go.mod", self.folder / "go.sum"]
        for below in (self.own_package, "patch" if self.is_patched else ""):
            parts += (self.folder / below).rglob("*") if below else ()
        digest = hashlib.sha256(repr((self.flags, self.program_names)).encode())
        for path in sorted(path for path in {*parts} if path.is_file()):
            digest.update(path.relative_to(self.folder).as_posix().encode() + b"\0" + path.read_bytes())
        return get_cache_root() / f"{self.name}-{digest.hexdigest()[:12]}"

    @property
    def bin(self) -> Path:
        """Folder of its programs; it exists after `build_tools`."""
        return self.cache_folder / "bin"


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

TOOLS_BY_NAME = {
    tool.name: tool
    for tool in (
        Tool(
            "kubernetes",
            "k8s.io/kubernetes",
            "programs",
            _KUBE_VERSION,
            own_package="./kubernetes",
            program_names=_KUBE_PROGRAMS,
        ),
        Tool(
            "argo",
            "github.com/argoproj/argo-workflows/v3",
            "programs",
            "-X github.com/argoproj/argo-workflows/v3.version=v3.7.4",
            is_patched=True,
        ),
        Tool("helm", "helm.sh/helm/v3", "programs"),
        Tool("kubeconform", "github.com/yannh/kubeconform", "programs"),
        Tool("coredns", "github.com/coredns/coredns", "programs", own_package="./coredns"),
        Tool("versitygw", "github.com/versity/versitygw", "versitygw", own_package="./posix"),
        Tool("kwok", "sigs.k8s.io/kwok", "kwok"),
        Tool("pause", "s2ops.test/cluster/pause", "pause", own_package="."),  # the container that keeps a pod's network
    )
}

CLIENTS = ("kubernetes", "argo", "helm", "kubeconform")
"""Clients that the tests need for any cluster."""
TEST_CLUSTER = (*CLIENTS, "coredns", "versitygw", "pause")
"""Tools for the cluster that the tests start themselves."""


def build_tools(*names: str) -> Path:
    """Build missing tools; return the folder of the last tool's programs.

    A failed build leaves no folder that looks finished.

    Raises:
        SystemExit: If Go is missing or a build failed (its output is on stderr).
    """
    missing = [TOOLS_BY_NAME[name] for name in names if not TOOLS_BY_NAME[name].bin.is_dir()]
    if missing and shutil.which("go") is None:
        raise SystemExit(
            "Cannot build the cluster's programs: Go is missing; install Go 1.25 or later and put it on the PATH."
        )
    get_cache_root().mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as until_built:
        sources = {
            folder: until_built.enter_context(_prepare_sources(folder))
            for folder in sorted({tool.folder for tool in missing})
        }
        for tool in missing:
            with _hold_lock(tool.name):
                if not tool.bin.is_dir():  # otherwise another process has built it while this one waited
                    _build(tool, sources[tool.folder])
    return TOOLS_BY_NAME[names[-1]].bin


@contextlib.contextmanager
def _hold_lock(name: str) -> Iterator[None]:
    """Hold a lock against other processes, also of other checkouts."""
    with (get_cache_root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _prepare_sources(folder: Path) -> Iterator[Path]:
    """Copy a folder below tools/, patch Argo in it, and yield the copy; only one process at a time uses it.

    Modules are downloaded while the first programs are compiled, because one waits for the network and one computes.
    """
    copy = get_cache_root() / f"sources-{folder.name}"
    with _hold_lock(copy.name):
        shutil.rmtree(copy, ignore_errors=True)  # remains of a build that was killed
        shutil.copytree(folder, copy)
        for tool in TOOLS_BY_NAME.values():
            if tool.is_patched and tool.folder == folder:
                _patch(tool, copy)
        words = ["go", "list", "-e", "-deps", "./...", "tool"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # the build reports failures
        with subprocess.Popen(words, cwd=copy, env=_build_environment(), **quiet) as fetcher:
            try:
                yield copy
            finally:
                fetcher.kill()
                shutil.rmtree(copy)


def _build(tool: Tool, sources: Path) -> None:
    began = time.monotonic()
    print(f"building {tool.name} {tool.version} ...", flush=True)
    partial = tool.cache_folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "bin").mkdir(parents=True)
    # no debug tables: the linker would drop them, and writing them is an eighth of the compiler's work
    flags = ["-mod=readonly", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", f"-s -w {tool.flags}"]
    _run_go(sources, "build", *flags, "-o", f"{partial}/bin/", *tool.packages)
    for name in tool.program_names:
        (partial / "bin" / name).symlink_to(Path(tool.own_package).name)
    shutil.rmtree(tool.cache_folder, ignore_errors=True)
    partial.rename(tool.cache_folder)
    for old in get_cache_root().glob(f"{tool.name}-*"):  # of earlier pins, and of interrupted builds
        if old != tool.cache_folder:
            shutil.rmtree(old)
    print(f"built {tool.name} in {time.monotonic() - began:.0f} s", flush=True)


def _patch(tool: Tool, sources: Path) -> None:
    """Make go.mod use a patched copy of the module: its code embeds a folder that its archive lacks."""
    copy = sources / "patched"
    shutil.copytree(find_module_folder(tool.name), copy, copy_function=shutil.copyfile)
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # Go keeps modules read-only
    shutil.copytree(tool.folder / "patch", copy, dirs_exist_ok=True)
    _run_go(sources, "mod", "edit", f"-replace={tool.module}=./{copy.name}")


def _build_environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off", "GOGC": "400"}


def _run_go(folder: Path, *words: str) -> None:
    """Run go in a folder; raise SystemExit if it fails."""
    done = subprocess.run(["go", *words], cwd=folder, env=_build_environment(), check=False)
    if done.returncode:
        raise SystemExit(f"go {words[0]} in {folder} failed with exit code {done.returncode}; see the lines above.")


def find_module_folder(name: str) -> Path:
    """Return the folder of the unpacked Go module of a tool, which contains Argo's CRDs or kwok's stages."""
    return download_module(f"{TOOLS_BY_NAME[name].module}@{TOOLS_BY_NAME[name].version}")


def download_module(module: str) -> Path:
    """Download a module, such as `sigs.k8s.io/kwok@v0.8.0`; return the folder where Go keeps it unpacked.

    Raises:
        SystemExit: If it cannot be downloaded.
    """
    words = ["go", "mod", "download", "-json", module]
    found = subprocess.run(
        words, cwd="/", env=_build_environment(), check=False, capture_output=True, text=True, timeout=900
    )
    if found.returncode:
        raise SystemExit(f"{' '.join(words)} failed with exit code {found.returncode}: {found.stderr or found.stdout}")
    return Path(json.loads(found.stdout)["Dir"])


def main() -> None:
    """Build the named tools, or those that `make test-cluster` needs."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.toolchain", description=main.__doc__)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"one of {', '.join(TOOLS_BY_NAME)}")
    needed = CLIENTS if os.environ.get("S2OPS_KUBECONFIG") else TEST_CLUSTER
    names = parser.parse_args().tools or needed
    for name in names:
        if name not in TOOLS_BY_NAME:
            sys.exit(f"Unknown tool {name!r}; choose from {', '.join(TOOLS_BY_NAME)}.")
    build_tools(*names)
    for name in names:
        print(TOOLS_BY_NAME[name].bin)


if __name__ == "__main__":
    main()
