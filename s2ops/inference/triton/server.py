"""Local Triton server: find the tritonserver program, prepare its files, start it and monitor it.

The program comes from NVIDIA's container image (/opt/tritonserver) or from the wheel `nvidia-pytriton`, which contains
it. The files of a run (repository, backend, downloaded weights) are in a temporary folder; nothing is installed.
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
from typing import Final, Never

from s2ops.errors import ConfigError, TransientError
from s2ops.inference.triton import model_repository
from s2ops.inference.triton.backend import MODELS_ENV
from s2ops.inference.triton.model_repository import Device
from s2ops.models import model_store
from s2ops.storage.object_store import Store

TRITON_WHEEL: Final = "nvidia-pytriton==0.7.0"
IMAGE_ROOT: Final = Path("/opt/tritonserver")

_SHARED_MEMORY_BYTES: Final = 64 * 2**20
"""Memory shared by server and backend per instance; Triton enlarges it for larger batches."""

_STDERR_DESCRIPTOR: Final = 2

_WATCH_INTERVAL_S: Final = 2.0
"""Seconds between checks of a running server."""

_SHARED_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 -- the python backend creates its regions there


@dataclass(frozen=True, slots=True)
class TritonProgram:
    """Files of a Triton installation: binary, libraries, the python backend, and its stub for this Python."""

    binary: Path
    libraries: Path | None
    backend: Path
    stub: Path


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of a server: models, device, addresses, ports and TLS."""

    models: str | None = None
    """Folder or URI of the weights, or None for the package's own."""
    device: Device = "cpu"
    instances: int | None = None
    """Number of processes per model, or None for the machine profile's number."""
    only: Sequence[str] = ()
    """Names of the models to serve; empty for all."""
    address: str = "127.0.0.1"
    port: int = 8001
    """gRPC port."""
    http_port: int = 8000
    metrics_port: int = 8002
    exit_timeout_s: int = 30
    """Maximum time in seconds for requests in flight when the server is stopped."""
    certificate: Path | None = None
    """PEM file of the TLS certificate; with certificate and key, gRPC accepts only TLS."""
    key: Path | None = None
    """PEM file of the certificate's key."""


def detect_device() -> Device:
    """Return "gpu" if this machine has an NVIDIA GPU and torch is installed, otherwise "cpu"."""
    return "gpu" if Path("/dev/nvidiactl").exists() and importlib.util.find_spec("torch") else "cpu"


def find_program() -> TritonProgram:
    """Find the server of the container image or of the wheel.

    Raises:
        ConfigError: If there is none, or if its python backend cannot start.
    """
    program = _find_in_image() if (IMAGE_ROOT / "bin/tritonserver").exists() else _find_in_wheel()
    # without arguments the stub only prints its usage; the loader exits with 127 if a shared library is missing
    done = subprocess.run(  # noqa: S603 -- a file of the wheel or the image
        [program.stub], env=build_environment(program, None), capture_output=True, text=True, check=False
    )
    if done.returncode == 127:
        raise ConfigError(f"Triton's Python backend cannot start: {done.stderr.strip()}; install the missing library.")
    return program


def _find_in_image() -> TritonProgram:
    backend = IMAGE_ROOT / "backends/python"
    return TritonProgram(IMAGE_ROOT / "bin/tritonserver", None, backend, backend / "triton_python_backend_stub")


def _find_in_wheel() -> TritonProgram:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"tritonserver is not installed: neither {IMAGE_ROOT} nor the package pytriton exists; run "
            f"`pip install --no-deps {TRITON_WHEEL}` or use the image s2ops-triton "
            "(docs/how-to/serve-the-networks.md)."
        )
    root = Path(spec.origin).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise ConfigError(
            f"{TRITON_WHEEL} does not support Python {version}: it has no backend for it; "
            "use Python 3.11 to 3.13 or the image s2ops-triton."
        )
    libraries = root.parent.parent / "nvidia_pytriton.libs"
    return TritonProgram(root / "bin/tritonserver", libraries, root / "backends/python", stub)


def prepare_server_folder(folder: Path, program: TritonProgram, options: ServerOptions) -> Path | None:
    """Write the model repository and the backend into `folder`.

    Weights of an object store are downloaded and verified against its manifest.

    Returns:
        The folder of the weights, or None for the package's own.

    Raises:
        ModelError: If weights are missing or not valid.
        StoreUnreachable: If the object store does not answer.
    """
    weights = None
    if options.models is not None:
        weights = Store(options.models).folder
        if weights is None:
            weights = folder / "weights"
            model_store.pull_weights(options.models, weights)
    models = None if weights is None else str(weights)
    model_repository.write_repository(folder / "models", models, options.device, options.instances, options.only)
    backend = folder / "backends/python"
    backend.mkdir(parents=True)
    for file in (*program.backend.glob("*.so"), *program.backend.glob("*.py"), program.stub):
        (backend / file.name).symlink_to(file)
    return weights


def build_command(folder: Path, program: TritonProgram, options: ServerOptions) -> list[str]:
    """Build the command line of the server for a prepared folder."""
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
        # clients resolve the addresses again from time to time, and so find servers that started later
        "--grpc-max-connection-age=120000",
        "--grpc-max-connection-age-grace=120000",
        f"--backend-config=python,shm-default-byte-size={_SHARED_MEMORY_BYTES}",
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


def build_environment(program: TritonProgram, weights: Path | None) -> dict[str, str]:
    """Build the environment of the server and its Python processes, based on this process's environment."""
    settings = dict(os.environ)
    settings.pop(MODELS_ENV, None)
    if weights is not None:
        settings[MODELS_ENV] = str(weights)
    # the backend's stub starts its own Python, which must find the same packages (`model.py` reads this variable)
    settings["S2OPS_PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if program.libraries is not None:
        own = [str(program.libraries), sysconfig.get_config_var("LIBDIR")]  # LIBDIR contains libpython
        settings["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*own, settings.get("LD_LIBRARY_PATH")]))
    return settings


class TritonServer:
    """Running tritonserver process; end it by `stop` or `kill`."""

    def __init__(self, folder: Path, program: TritonProgram, options: ServerOptions, weights: Path | None) -> None:
        self._options = options
        self._ready_backends: set[str] = set()
        """Ids of the Python processes at the time when the server became ready."""
        self.process = subprocess.Popen(  # noqa: S603 -- our own command line
            build_command(folder, program, options),
            env=build_environment(program, weights),
            stdin=subprocess.DEVNULL,
            stdout=_STDERR_DESCRIPTOR,  # stdout is reserved for the messages of `s2ops serve`
        )

    @property
    def url(self) -> str:
        """URL that clients use as `segmenter`."""
        scheme = "tritons" if self._options.certificate else "triton"
        return f"{scheme}://{self._options.address}:{self._options.port}"

    def wait(self, timeout_s: float) -> None:
        """Wait until all models are loaded and warmed up.

        Raises:
            TransientError: If the server ends, or is not ready in time.
        """
        end = time.monotonic() + timeout_s
        while not self._is_ready():
            code = self.process.poll()
            if code is not None:
                raise TransientError(
                    f"tritonserver did not start: it ended with code {code} before it was ready; "
                    "see its messages above."
                )
            if time.monotonic() > end:
                raise TransientError(
                    f"tritonserver did not start: it was not ready after {timeout_s:g} s; allow more time with --wait."
                )
            time.sleep(0.1)
        self._ready_backends = self.list_backends()

    def _is_ready(self) -> bool:
        host = "127.0.0.1" if self._options.address == "0.0.0.0" else self._options.address  # noqa: S104
        url = f"http://{host}:{self._options.http_port}/v2/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def watch(self) -> Never:
        """Wait until the server fails; a healthy server runs until it is stopped.

        Triton 2.51 never replaces a Python process that died and rejects all its requests. The server must then be
        started again.

        Raises:
            TransientError: If the server or one of its Python processes ended.
        """
        while True:
            try:
                code = self.process.wait(_WATCH_INTERVAL_S)
            except subprocess.TimeoutExpired:
                if self._ready_backends <= self.list_backends():
                    continue
                raise TransientError(
                    "tritonserver failed: the process of a network ended (killed, or out of memory); start it again."
                ) from None
            raise TransientError(
                f"tritonserver failed: it ended with code {code}; see its messages above, then start it again."
            )

    def list_backends(self) -> set[str]:
        """Return the ids of the server's live Python processes."""
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {one for one in found if read_process_state(one) not in {"Z", "X"}}

    def stop(self) -> int:
        """Stop the server after the requests in flight are finished; return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(self._options.exit_timeout_s + 10)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill the server and its Python processes, which would outlive it; return its exit code."""
        backends = self.list_backends() if self.process.poll() is None else set()
        self.process.kill()
        code = self.process.wait()
        for pid in backends:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return code


def read_process_state(pid: str) -> str:
    """Read the state letter of a process from /proc (Z is a zombie); return X if the process does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "X"


@contextmanager
def run_server(options: ServerOptions, timeout_s: float = 600) -> Iterator[TritonServer]:
    """Run a server that is ready; on exit, stop it and remove its files."""
    program = find_program()
    folder = Path(tempfile.mkdtemp(prefix="s2ops-triton-"))
    try:
        server = TritonServer(folder, program, options, prepare_server_folder(folder, program, options))
        try:
            server.wait(timeout_s)
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for region in _SHARED_MEMORY_FOLDER.glob(f"{folder.name}*"):  # a killed server does not remove them
            region.unlink(missing_ok=True)
