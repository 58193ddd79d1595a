"""Triton client and server on the CPU: equal results, whatever happens to the server meanwhile."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from s2ops.config import NetworkChoice, RunConfig
from s2ops.errors import ConfigError, InferenceUnreachable, ModelError, TransientError
from s2ops.inference.landcover_networks import open_landcover_segmenter
from s2ops.inference.networks import OnnxNetworks
from s2ops.inference.sliding_window import segment
from s2ops.inference.triton.client import ClientLimits
from s2ops.inference.triton.networks import TritonNetworks
from s2ops.inference.triton.server import ServerOptions, read_process_state
from s2ops.models.registry import NETWORKS, find_weights
from s2ops.run.check_networks import check_networks
from s2ops.run.context import RunContext
from tests.helpers.triton import (
    ServerHost,
    build_ground_windows,
    find_free_ports,
    list_child_processes,
    open_server_host,
    run_ready_server,
    wait_until,
    write_tiny_weights,
)

SEGMENTERS = [name for name in NETWORKS if name != "preview-haze"]


@pytest.fixture(scope="module")
def full() -> Iterator[ServerHost]:
    """Host of a server with all seven models and the package's weights."""
    with run_ready_server(ServerOptions()) as host:
        yield host


@pytest.fixture(scope="module")
def shared(full: ServerHost) -> TritonNetworks:
    return TritonNetworks(full.url)


@pytest.fixture(scope="module")
def in_process() -> OnnxNetworks:
    return OnnxNetworks(threads=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a preview-cloud network that costs little."""
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def tiny(weights: Path) -> Iterator[ServerHost]:
    """Host for servers of the tiny network; each test ends the servers that it starts."""
    with open_server_host(ServerOptions(models=str(weights), only=("preview-cloud",))) as host:
        yield host


# equal results


@pytest.mark.parametrize("name", SEGMENTERS)
def test_triton_segmenter_equals_onnx_within_one_level(
    shared: TritonNetworks, in_process: OnnxNetworks, name: str
) -> None:
    there, here = shared.get_segmenter(name), in_process.get_segmenter(name)
    assert (there.bands, there.classes, there.window) == (here.bands, here.classes, here.window)
    windows = build_ground_windows(2, len(here.bands), here.window)
    answer = there.predict(windows)
    assert answer.dtype == np.uint8
    assert np.abs(answer.astype(int) - here.predict(windows)).max() <= 1
    assert shared.get_weights_info(name).sha256 == find_weights(name).sha256


def test_triton_haze_classifier_equals_onnx(shared: TritonNetworks, in_process: OnnxNetworks) -> None:
    images = np.concatenate([build_ground_windows(2, 3, 343), np.full((1, 3, 343, 343), 25, np.uint8)])
    scores = shared.haze_classifier.score(images)
    np.testing.assert_array_equal(scores, in_process.haze_classifier.score(images))
    assert len(set(scores.tolist())) > 1


def test_segment_on_triton_equals_onnx_within_one_level(shared: TritonNetworks, in_process: OnnxNetworks) -> None:
    image = build_ground_windows(1, 3, 500)[0, :, :, :420]
    there, here = (segment(one.get_segmenter("preview-cloud"), image) for one in (shared, in_process))
    assert np.abs(there.astype(int) - here).max() <= 1
    assert (there.argmax(axis=0) == here.argmax(axis=0)).mean() > 0.9999


def test_triton_result_does_not_depend_on_other_requests_of_the_batch(shared: TritonNetworks) -> None:
    network, windows = shared.get_segmenter("preview-cloud"), build_ground_windows(6, 3, 352)
    together = network.predict(windows)
    with ThreadPoolExecutor(6) as threads:
        alone = list(threads.map(lambda number: network.predict(windows[number : number + 1])[0], range(6)))
    np.testing.assert_array_equal(np.stack(alone), together)


@pytest.mark.parametrize("choice", ["separate", "both"])
def test_land_cover_networks_on_triton_equal_onnx_within_rounding(
    shared: TritonNetworks, in_process: OnnxNetworks, choice: NetworkChoice
) -> None:
    there, here = (open_landcover_segmenter(choice, one.get_segmenter) for one in (shared, in_process))
    windows = build_ground_windows(2, 4, here.window)
    # the first class of a head is what the others leave of 255, in each of the networks
    assert np.abs(there.predict(windows).astype(int) - here.predict(windows)).max() <= 2


# requests that a server rejects


def test_triton_segmenter_rejects_a_wrong_shape_before_sending(shared: TritonNetworks) -> None:
    for shape in ((1, 4, 512, 512), (1, 3, 512, 480), (3, 512, 512)):
        with pytest.raises(
            ModelError, match=r"input for water on triton://.*; pass uint8 \(n, 3, 512, 512\) with the bands nir"
        ):
            shared.get_segmenter("water").predict(np.ones(shape, np.uint8))
    with pytest.raises(ModelError, match=r": float64 \(1, 3, 512, 512\); pass uint8"):
        shared.get_segmenter("water").predict(np.ones((1, 3, 512, 512)))  # type: ignore[arg-type]


def test_triton_client_names_a_model_that_is_not_served(tiny: ServerHost) -> None:
    server = tiny.start()
    try:
        with pytest.raises(ModelError, match=r"Model water is not served by triton://.*s2ops serve"):
            TritonNetworks(tiny.url).get_segmenter("water")
    finally:
        server.kill()


def test_check_of_a_run_asks_the_server_for_every_network(tiny: ServerHost, full: ServerHost) -> None:
    def build_context(url: str) -> RunContext:
        data = {"region": {"tiles": ["33TWL"]}, "dates": {"start": "2023-06-01", "end": "2023-08-31"}, "out": "nowhere"}
        config = RunConfig.model_validate({**data, "segmenter": url, "landcover": {"networks": "both"}})
        return RunContext(config, ())

    check_networks(build_context(full.url))
    server = tiny.start()
    try:
        with pytest.raises(ModelError, match=r"Model preview-haze is not served by triton://"):
            check_networks(build_context(tiny.url))
    finally:
        server.kill()


def test_server_rejects_malformed_requests_and_keeps_working(full: ServerHost, shared: TritonNetworks) -> None:
    client = InferenceServerClient(full.url.removeprefix("triton://"))
    wrong_type = InferInput("image", [1, 3, 512, 512], "FP32").set_data_from_numpy(
        np.ones((1, 3, 512, 512), np.float32)
    )
    wrong_shape = InferInput("image", [1, 4, 512, 512], "UINT8").set_data_from_numpy(
        np.ones((1, 4, 512, 512), np.uint8)
    )
    wrong_name = InferInput("picture", [1, 3, 512, 512], "UINT8").set_data_from_numpy(
        np.ones((1, 3, 512, 512), np.uint8)
    )
    too_many = InferInput("image", [99, 3, 512, 512], "UINT8").set_data_from_numpy(np.ones((99, 3, 512, 512), np.uint8))
    too_short = InferInput("image", [1, 3, 512, 512], "UINT8")
    too_short._raw_content = b"\1" * 1000
    for tensors in ([wrong_type], [wrong_shape], [wrong_name], [too_many], [too_short], []):
        with pytest.raises(InferenceServerException, match=r"image|picture|batch"):
            client.infer("water", tensors)
    client.close()
    windows = build_ground_windows(1, 3, 512)
    assert np.abs(shared.get_segmenter("water").predict(windows).astype(int)).max() > 0


def test_triton_client_never_mixes_replaced_weights(tmp_path: Path, tiny: ServerHost) -> None:
    networks = TritonNetworks(tiny.url, ClientLimits(answered_s=1.0))
    server = tiny.start()
    networks.get_segmenter("preview-cloud").predict(build_ground_windows(1, 3, 352))
    server.kill()
    with open_server_host(
        ServerOptions(models=str(write_tiny_weights(tmp_path, seed=7)), only=("preview-cloud",))
    ) as other:
        other.options = tiny.options
        other.url = tiny.url
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(other, "weights", tmp_path)
            server = other.start()
        try:
            with pytest.raises(
                InferenceUnreachable, match=r"version \d+ of preview-cloud is no longer served.*run again"
            ):
                networks.get_segmenter("preview-cloud").predict(build_ground_windows(1, 3, 352))
            fresh = TritonNetworks(tiny.url)
            assert fresh.get_weights_info("preview-cloud").sha256 != networks.get_weights_info("preview-cloud").sha256
        finally:
            server.kill()


# servers that start, end, or have a full queue


def test_triton_client_waits_for_a_server_that_is_not_ready(tiny: ServerHost) -> None:
    networks = TritonNetworks(tiny.url)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(
            lambda: networks.get_segmenter("preview-cloud").predict(build_ground_windows(3, 3, 352))
        )
        time.sleep(1.5)
        assert not answer.done()
        server = tiny.start(wait=False)
        try:
            assert answer.result(300).shape == (3, 2, 352, 352)
        finally:
            server.kill()


def test_triton_client_gives_up_with_an_error() -> None:
    (port,) = find_free_ports(1)
    networks = TritonNetworks(f"triton://127.0.0.1:{port}", ClientLimits(patience_s=1.0))
    with pytest.raises(
        InferenceUnreachable,
        match=rf"No answer from triton://127.0.0.1:{port} to a query for model water: \d+ attempts in",
    ):
        networks.get_weights_info("water")


def test_triton_client_survives_ten_server_kills_without_changing_a_byte(tiny: ServerHost) -> None:
    image = build_ground_windows(1, 3, 1500)[0]
    networks, server = TritonNetworks(tiny.url), tiny.start()
    network = networks.get_segmenter("preview-cloud")
    undisturbed = segment(network, image)
    stop, maps, backends = threading.Event(), [], set[str]()

    def segment_until_stopped() -> None:
        while not stop.is_set():
            maps.append(segment(network, image))

    dice = random.Random(20231)
    with ThreadPoolExecutor(2) as threads:
        loads = [threads.submit(segment_until_stopped) for _ in range(2)]
        try:
            for _ in range(10):
                time.sleep(dice.uniform(0.1, 0.5))
                backends |= server.list_backends()
                server.kill()
                server = tiny.start()
        finally:
            stop.set()
            for one in loads:
                one.result(600)
            server.kill()
    assert len(maps) >= 2
    for found in maps:
        np.testing.assert_array_equal(found, undisturbed)
    assert len(backends) >= 10
    assert {read_process_state(pid) for pid in backends} <= {"Z", "X"}, "the Python processes outlived the server"


def test_watch_reports_a_dead_backend_and_the_next_server_answers(tiny: ServerHost) -> None:
    server = tiny.start()
    network, windows = TritonNetworks(tiny.url).get_segmenter("preview-cloud"), build_ground_windows(40, 3, 352)
    undisturbed = network.predict(windows)
    with ThreadPoolExecutor(1) as threads:
        try:
            answer = threads.submit(network.predict, windows)
            (backend,) = list_child_processes(server.process)
            os.kill(backend, signal.SIGKILL)
            with pytest.raises(TransientError, match=r"the process of a network ended .*start it again"):
                server.watch()
            server.kill()
            server = tiny.start()
            np.testing.assert_array_equal(answer.result(300), undisturbed)
        finally:
            server.kill()


CLIENT = """
import hashlib, sys
sys.path.insert(0, {folder!r})
from tests.helpers.triton import build_ground_windows
from s2ops.inference.triton.networks import TritonNetworks
network = TritonNetworks({url!r}).get_segmenter("preview-cloud")
print("ready", flush=True)
while True:
    answer = network.predict(build_ground_windows(24, 3, 352))
    print(hashlib.sha256(answer.tobytes()).hexdigest(), flush=True)
    if {once!r}:
        break
"""


def start_client(host: ServerHost, *, once: bool) -> subprocess.Popen[str]:
    code = CLIENT.format(folder=str(Path(__file__).parents[2]), url=host.url, once=once)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_client_processes_get_equal_results_and_a_killed_one_leaves_no_request(tiny: ServerHost) -> None:
    server = tiny.start()
    try:
        network = TritonNetworks(tiny.url).get_segmenter("preview-cloud")
        wanted = hashlib.sha256(network.predict(build_ground_windows(24, 3, 352)).tobytes()).hexdigest()
        victim, others = start_client(tiny, once=False), [start_client(tiny, once=True) for _ in range(3)]
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        for one in others:
            out, messages = one.communicate(timeout=300)
            assert (one.returncode, out, messages) == (0, f"ready\n{wanted}\n", "")
        wait_until(lambda: tiny.read_metric("nv_inference_pending_request_count") == 0)
    finally:
        server.kill()


def count_rejections() -> float:
    labels = {"door": "inference", "reason": "UNAVAILABLE"}
    return REGISTRY.get_sample_value("s2ops_retries_total", labels) or 0.0


def test_triton_client_retries_when_the_queue_is_full(tiny: ServerHost) -> None:
    server = tiny.start()
    try:
        before = count_rejections()
        greedy = TritonNetworks(tiny.url, ClientLimits(in_flight=400)).get_segmenter("preview-cloud")
        windows = build_ground_windows(50, 3, 352)
        wanted = greedy.predict(windows)
        with ThreadPoolExecutor(200) as threads:  # one request each
            numbers = [number % 50 for number in range(200)]
            answers = list(threads.map(lambda number: greedy.predict(windows[number : number + 1])[0], numbers))
        np.testing.assert_array_equal(np.stack(answers), wanted[numbers])
        assert count_rejections() > before
    finally:
        server.kill()


# TLS, and the command


def create_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, file = folder / f"{name}.key", folder / f"{name}.pem"
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {file} -days 2 -subj /CN=localhost"
    extra = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*words.split(), *extra], check=True, capture_output=True)
    return file, key


def test_triton_client_uses_tls_and_rejects_a_wrong_authority(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own, key), (other, _) = create_certificate(tmp_path, "own"), create_certificate(tmp_path, "other")
    with run_ready_server(
        ServerOptions(models=str(weights), only=("preview-cloud",), certificate=own, key=key)
    ) as host:
        secure, quick = host.url.replace("triton://", "tritons://"), ClientLimits(patience_s=1.0)
        monkeypatch.setenv("S2OPS_TRITON_CA", str(own))
        assert TritonNetworks(secure).get_segmenter("preview-cloud").predict(build_ground_windows(1, 3, 352)).shape == (
            1,
            2,
            352,
            352,
        )
        for authority, url in ((other, secure), (own, host.url)):
            monkeypatch.setenv("S2OPS_TRITON_CA", str(authority))
            with pytest.raises(InferenceUnreachable, match="No answer from"):
                TritonNetworks(url, quick).get_segmenter("preview-cloud")
        monkeypatch.setenv("S2OPS_TRITON_CA", str(tmp_path / "none.pem"))
        with pytest.raises(ConfigError, match=r"Cannot read the certificate authority .*none\.pem \(S2OPS_TRITON_CA\)"):
            TritonNetworks(secure).get_segmenter("preview-cloud")


def serve(*words: object) -> subprocess.Popen[str]:
    # background jobs of a shell ignore SIGINT, and their child processes inherit that
    line = ["env", "--default-signal=INT", sys.executable, "-c", "from s2ops.cli import main; main()", "serve"]
    return subprocess.Popen([*line, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_serve_command_reports_readiness_and_ends_cleanly(weights: Path, end: signal.Signals) -> None:
    grpc, http, metrics = find_free_ports(3)
    command = serve(
        "--models", weights, "--only", "preview-cloud", "--port", grpc, "--http-port", http, "--metrics-port", metrics
    )
    assert command.stdout is not None
    assert command.stdout.readline() == f"ready at triton://127.0.0.1:{grpc} on the cpu; end with Ctrl-C\n"
    network = TritonNetworks(f"triton://127.0.0.1:{grpc}").get_segmenter("preview-cloud")
    assert network.predict(build_ground_windows(1, 3, 352)).shape == (1, 2, 352, 352)
    before = set(Path("/dev/shm").glob("s2ops-triton-*"))
    assert before
    command.send_signal(end)
    out, messages = command.communicate(timeout=300)
    assert (command.returncode, out) == (0, "ended\n"), messages
    assert not before & set(Path("/dev/shm").glob("s2ops-triton-*")) or len(before) > 1


def wait_for_failure(command: subprocess.Popen[str]) -> tuple[int, str]:
    _, messages = command.communicate(timeout=300)
    return command.returncode, messages


def test_serve_command_names_missing_weights(tmp_path: Path) -> None:
    code, messages = wait_for_failure(serve("--models", tmp_path))
    assert code == 2
    assert messages.startswith(f"s2ops: Cannot read the weights {tmp_path}/preview-cloud.onnx: No such file")


def test_serve_command_fails_if_its_port_is_taken(weights: Path, tiny: ServerHost) -> None:
    server = tiny.start()
    try:
        ports = (
            "--port",
            tiny.options.port,
            "--http-port",
            find_free_ports(1)[0],
            "--metrics-port",
            find_free_ports(1)[0],
        )
        code, messages = wait_for_failure(serve("--models", weights, "--only", "preview-cloud", *ports))
        assert code == 75
        assert "it ended with code 1 before it was ready" in messages
    finally:
        server.kill()
