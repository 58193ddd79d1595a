"""A real Triton over the weights, on this machine: where its program is, how it is started, when it is ready.

The program comes from NVIDIA's container image (/opt/tritonserver) or from the wheel `nvidia-pytriton`, which carries
it. The run's files (repository, backend, pulled weights) lie in a temporary folder; nothing is installed.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from s2ops.errors import ConfigError, TransientError
from s2ops.inference.triton import model_repository
from s2ops.inference.triton.backend import MODELS
from s2ops.inference.triton.model_repository import Device
from s2ops.models import model_store
from s2ops.storage.object_store import Store

WHEEL: Final = "nvidia-pytriton==0.7.0"
IMAGE_ROOT: Final = Path("/opt/tritonserver")
_SHARED_MEMORY: Final = 64 * 2**20
"""Bytes that server and backend share for each instance; grows where a batch needs more."""

_STDERR: Final = 2

_WATCH_S: Final = 2.0
"""How often a running server is looked at."""

_SHARED_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 -- where the backend puts it


@dataclass(frozen=True, slots=True)
class Program:
    """Where Triton lies: the binary, the python backend's library and utilities, and the stub for this Python."""

    binary: Path
    libraries: Path | None
    backend: Path
    stub: Path


@dataclass(frozen=True, slots=True)
class Options:
    """What to serve and where."""

    models: str | None = None
    """Folder or URI of the six weights; None: the package's."""
    device: Device = "cpu"
    instances: int | None = None
    only: Sequence[str] = ()
    """Triton models to serve; all by default."""
    address: str = "127.0.0.1"
    port: int = 8001
    """gRPC."""
    http_port: int = 8000
    metrics_port: int = 8002
    exit_timeout_s: int = 30
    """What is in flight may take so long once the server is told to end."""
    certificate: Path | None = None
    """PEM files; with them gRPC is TLS alone."""
    key: Path | None = None


def usual_device() -> Device:
    """What this machine has."""
    return "gpu" if Path("/dev/nvidiactl").exists() and importlib.util.find_spec("torch") else "cpu"


def find_program() -> Program:
    """The server of the container image, or of the wheel. Raises ConfigError with what is missing."""
    program = _of_the_image() if (IMAGE_ROOT / "bin/tritonserver").exists() else _of_the_wheel()
    # without arguments the stub only says how it is called; 127 is the loader's, for a library that is not there
    done = subprocess.run(  # noqa: S603 -- a file of the wheel or the image
        [program.stub], env=environment(program, None), capture_output=True, text=True, check=False
    )
    if done.returncode == 127:
        raise ConfigError(f"Triton's Python backend cannot start ({done.stderr.strip()}): install that library")
    return program


def _of_the_image() -> Program:
    backend = IMAGE_ROOT / "backends/python"
    return Program(IMAGE_ROOT / "bin/tritonserver", None, backend, backend / "triton_python_backend_stub")


def _of_the_wheel() -> Program:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"there is no tritonserver here: pip install --no-deps {WHEEL}, or run the image s2ops-triton "
            "(docs/how-to/serve-the-networks.md)"
        )
    root = Path(spec.origin).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise ConfigError(f"{WHEEL} has no backend for Python {version}: use 3.11 to 3.13, or the image s2ops-triton")
    libraries = root.parent.parent / "nvidia_pytriton.libs"
    return Program(root / "bin/tritonserver", libraries, root / "backends/python", stub)


def prepare(folder: Path, program: Program, options: Options) -> Path | None:
    """Write repository and backend into `folder`; gives the folder of the weights (None: the package's).

    Weights of an object store are pulled and checked against its manifest. Raises ModelError, StoreUnreachable.
    """
    weights = None
    if options.models is not None:
        weights = Store(options.models).folder
        if weights is None:
            weights = folder / "weights"
            model_store.pull(options.models, weights)
    models = None if weights is None else str(weights)
    model_repository.write(folder / "models", models, options.device, options.instances, options.only)
    backend = folder / "backends/python"
    backend.mkdir(parents=True)
    for file in (*program.backend.glob("*.so"), *program.backend.glob("*.py"), program.stub):
        (backend / file.name).symlink_to(file)
    return weights


def command(folder: Path, program: Program, options: Options) -> list[str]:
    """The command line of the server over a prepared folder."""
    words = [
        str(program.binary),
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        "--disable-auto-complete-config",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        f"--grpc-address={options.address}",
        f"--grpc-port={options.port}",
        f"--http-address={options.address}",
        f"--http-port={options.http_port}",
        f"--metrics-port={options.metrics_port}",
        # clients look up the addresses again now and then, and so find servers that came later
        "--grpc-max-connection-age=120000",
        "--grpc-max-connection-age-grace=120000",
        f"--backend-config=python,shm-default-byte-size={_SHARED_MEMORY}",
        f"--backend-config=python,shm-region-prefix-name={folder.name}",
        "--log-info=false",
    ]
    if options.device == "cpu":
        words += ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
    if options.certificate and options.key:
        words += [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={options.certificate}",
            f"--grpc-server-key={options.key}",
        ]
    return words


def environment(program: Program, weights: Path | None) -> dict[str, str]:
    """The environment of this process with what the server and its Python processes need."""
    settings = dict(os.environ)
    settings.pop(MODELS, None)
    if weights is not None:
        settings[MODELS] = str(weights)
    # the backend's stub starts its own Python: it must find what this one finds (`model.py` reads this)
    settings["S2OPS_PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if program.libraries is not None:
        own = [str(program.libraries), sysconfig.get_config_var("LIBDIR")]  # the second holds libpython
        settings["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*own, settings.get("LD_LIBRARY_PATH")]))
    return settings


class Server:
    """A running tritonserver; `stop` or `kill` ends it."""

    def __init__(self, folder: Path, program: Program, options: Options, weights: Path | None) -> None:
        self._options = options
        self._ready_with: set[str] = set()
        """Ids of the Python processes when all was ready."""
        self.process = subprocess.Popen(  # noqa: S603 -- our own command line
            command(folder, program, options),
            env=environment(program, weights),
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,  # stdout is for what `s2ops serve` says
        )

    @property
    def url(self) -> str:
        """What clients are given as `segmenter`."""
        scheme = "tritons" if self._options.certificate else "triton"
        return f"{scheme}://{self._options.address}:{self._options.port}"

    def wait(self, timeout_s: float) -> None:
        """Until all models are loaded and warm. Raises TransientError when that does not come."""
        end = time.monotonic() + timeout_s
        while not self._ready():
            code = self.process.poll()
            if code is not None:
                raise TransientError(f"tritonserver ended with code {code} before it was ready: see its messages above")
            if time.monotonic() > end:
                raise TransientError(f"tritonserver was not ready after {timeout_s:g} s: give it longer with --wait")
            time.sleep(0.1)
        self._ready_with = self._backends()

    def _ready(self) -> bool:
        host = "127.0.0.1" if self._options.address == "0.0.0.0" else self._options.address  # noqa: S104
        try:
            with urllib.request.urlopen(
                f"http://{host}:{self._options.http_port}/v2/health/ready", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def watch(self) -> None:
        """Until it breaks, which it does not by itself: TransientError then.

        Triton 2.51 never replaces a Python process that died and only refuses what is sent to it, so such a server
        has to be started anew.
        """
        while True:
            try:
                code = self.process.wait(_WATCH_S)
            except subprocess.TimeoutExpired:
                if self._ready_with <= self._backends():
                    continue
                raise TransientError(
                    "a network's process died (killed, or out of memory): the server ends; start it again"
                ) from None
            raise TransientError(f"tritonserver ended with code {code}: see its messages above, then start it again")

    def _backends(self) -> set[str]:
        """Ids of the Python processes that live."""
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {one for one in found if _state(one) not in {"Z", "X"}}

    def stop(self) -> int:
        """End it: requests in flight are finished first. Gives its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(self._options.exit_timeout_s + 10)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once, and its Python processes, which would outlive it."""
        backends = self._backends() if self.process.poll() is None else set()
        self.process.kill()
        code = self.process.wait()
        for pid in backends:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return code


def _state(pid: str) -> str:
    """The letter of a process's state; X where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "X"


@contextmanager
def serving(options: Options, timeout_s: float = 600) -> Iterator[Server]:
    """A server that is ready; it is stopped, and its files removed, on the way out."""
    program = find_program()
    folder = Path(tempfile.mkdtemp(prefix="s2ops-triton-"))
    try:
        server = Server(folder, program, options, prepare(folder, program, options))
        try:
            server.wait(timeout_s)
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for left in _SHARED_MEMORY_FOLDER.glob(f"{folder.name}*"):  # by a server that was killed
            left.unlink(missing_ok=True)
