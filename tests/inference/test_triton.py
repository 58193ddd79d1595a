"""The client against a real tritonserver on the CPU: the same answers, whatever happens to the server meanwhile."""

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

from s2ops.errors import ConfigError, InferenceUnreachable, ModelError, TransientError
from s2ops.inference.networks import OnnxNetworks
from s2ops.inference.sliding_window import segment
from s2ops.inference.triton.client import Limits
from s2ops.inference.triton.networks import TritonNetworks
from s2ops.inference.triton.server import Options, _state
from s2ops.models.registry import NETWORKS, find
from tests.helpers.triton import Machine, children, free_ports, ground, machine, running, tiny_weights, until

SEGMENTERS = [name for name in NETWORKS if name != "preview-haze"]


@pytest.fixture(scope="module")
def full() -> Iterator[Machine]:
    """A server with all seven models over the package's weights."""
    with running(Options()) as place:
        yield place


@pytest.fixture(scope="module")
def shared(full: Machine) -> TritonNetworks:
    return TritonNetworks(full.url)


@pytest.fixture(scope="module")
def in_process() -> OnnxNetworks:
    return OnnxNetworks(threads=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preview-cloud network of next to no cost."""
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def tiny(weights: Path) -> Iterator[Machine]:
    """A place for servers over the tiny network alone; they are ended by whoever starts them."""
    with machine(Options(models=str(weights), only=("preview-cloud",))) as place:
        yield place


# the same answers


@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_network_answers_as_in_process(shared: TritonNetworks, in_process: OnnxNetworks, name: str) -> None:
    there, here = shared.segmenter(name), in_process.segmenter(name)
    assert (there.bands, there.classes, there.window) == (here.bands, here.classes, here.window)
    windows = ground(2, len(here.bands), here.window)
    answer = there.predict(windows)
    assert answer.dtype == np.uint8
    assert np.abs(answer.astype(int) - here.predict(windows)).max() <= 1
    assert shared.weights(name).sha256 == find(name).sha256


def test_haze_is_scored_as_in_process(shared: TritonNetworks, in_process: OnnxNetworks) -> None:
    images = np.concatenate([ground(2, 3, 343), np.full((1, 3, 343, 343), 25, np.uint8)])
    scores = shared.scorer.score(images)
    np.testing.assert_array_equal(scores, in_process.scorer.score(images))
    assert len(set(scores.tolist())) > 1


def test_a_map_put_together_from_windows_is_the_same_within_one_level(
    shared: TritonNetworks, in_process: OnnxNetworks
) -> None:
    image = ground(1, 3, 500)[0, :, :, :420]
    there, here = (segment(one.segmenter("preview-cloud"), image) for one in (shared, in_process))
    assert np.abs(there.astype(int) - here).max() <= 1
    assert (there.argmax(axis=0) == here.argmax(axis=0)).mean() > 0.9999


def test_an_answer_does_not_depend_on_what_shares_its_batch(shared: TritonNetworks) -> None:
    network, windows = shared.segmenter("preview-cloud"), ground(6, 3, 352)
    together = network.predict(windows)
    with ThreadPoolExecutor(6) as threads:
        alone = list(threads.map(lambda number: network.predict(windows[number : number + 1])[0], range(6)))
    np.testing.assert_array_equal(np.stack(alone), together)


# what a server refuses


def test_a_wrong_shape_is_refused_before_it_is_sent(shared: TritonNetworks) -> None:
    for shape in ((1, 4, 512, 512), (1, 3, 512, 480), (3, 512, 512)):
        with pytest.raises(ModelError, match=r"water on triton://.* takes uint8 \(n, 3, 512, 512\) with bands nir"):
            shared.segmenter("water").predict(np.ones(shape, np.uint8))
    with pytest.raises(ModelError, match=r"but was given float64 \(1, 3, 512, 512\)"):
        shared.segmenter("water").predict(np.ones((1, 3, 512, 512)))  # type: ignore[arg-type]


def test_a_model_that_is_not_served_is_named(tiny: Machine) -> None:
    server = tiny.start()
    try:
        with pytest.raises(ModelError, match=r"serves no model water .*s2ops serve"):
            TritonNetworks(tiny.url).segmenter("water")
    finally:
        server.kill()


def test_malformed_requests_are_refused_and_leave_the_server_well(full: Machine, shared: TritonNetworks) -> None:
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
    windows = ground(1, 3, 512)
    assert np.abs(shared.segmenter("water").predict(windows).astype(int)).max() > 0


def test_weights_that_were_replaced_are_never_mixed_with_the_old(tmp_path: Path, tiny: Machine) -> None:
    networks = TritonNetworks(tiny.url, Limits(answered_s=1.0))
    server = tiny.start()
    networks.segmenter("preview-cloud").predict(ground(1, 3, 352))
    server.kill()
    with machine(Options(models=str(tiny_weights(tmp_path, seed=7)), only=("preview-cloud",))) as other:
        other.options = tiny.options
        other.url = tiny.url
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(other, "_weights", tmp_path)
            server = other.start()
        try:
            with pytest.raises(
                InferenceUnreachable, match=r"version \d+ of preview-cloud is no longer served.*run again"
            ):
                networks.segmenter("preview-cloud").predict(ground(1, 3, 352))
            fresh = TritonNetworks(tiny.url)
            assert fresh.weights("preview-cloud").sha256 != networks.weights("preview-cloud").sha256
        finally:
            server.kill()


# servers that come, go, and are full


def test_a_client_waits_for_a_server_that_is_not_ready(tiny: Machine) -> None:
    networks = TritonNetworks(tiny.url)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(lambda: networks.segmenter("preview-cloud").predict(ground(3, 3, 352)))
        time.sleep(1.5)
        assert not answer.done()
        server = tiny.start(wait=False)
        try:
            assert answer.result(300).shape == (3, 2, 352, 352)
        finally:
            server.kill()


def test_patience_ends_with_an_error_that_says_so() -> None:
    (port,) = free_ports(1)
    networks = TritonNetworks(f"triton://127.0.0.1:{port}", Limits(patience_s=1.0))
    with pytest.raises(
        InferenceUnreachable,
        match=rf"triton://127.0.0.1:{port} gave no answer to a question about water in \d+ tries",
    ):
        networks.weights("water")


def test_killing_the_server_ten_times_under_load_loses_no_window_and_changes_no_byte(tiny: Machine) -> None:
    image = ground(1, 3, 1500)[0]
    networks, server = TritonNetworks(tiny.url), tiny.start()
    network = networks.segmenter("preview-cloud")
    undisturbed = segment(network, image)
    stop, maps, backends = threading.Event(), [], set[str]()

    def load() -> None:
        while not stop.is_set():
            maps.append(segment(network, image))

    dice = random.Random(20231)
    with ThreadPoolExecutor(2) as threads:
        loads = [threads.submit(load) for _ in range(2)]
        try:
            for _ in range(10):
                time.sleep(dice.uniform(0.1, 0.5))
                backends |= server._backends()
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
    assert {_state(pid) for pid in backends} <= {"Z", "X"}, "its Python processes outlive it"


def test_a_server_whose_backend_dies_ends_and_the_next_one_answers(tiny: Machine) -> None:
    server = tiny.start()
    network, windows = TritonNetworks(tiny.url).segmenter("preview-cloud"), ground(40, 3, 352)
    undisturbed = network.predict(windows)
    with ThreadPoolExecutor(1) as threads:
        try:
            answer = threads.submit(network.predict, windows)
            (backend,) = children(server.process)
            os.kill(backend, signal.SIGKILL)
            with pytest.raises(TransientError, match=r"a network's process died .*start it again"):
                server.watch()
            server.kill()
            server = tiny.start()
            np.testing.assert_array_equal(answer.result(300), undisturbed)
        finally:
            server.kill()


CLIENT = """
import hashlib, sys
sys.path.insert(0, {folder!r})
from tests.helpers.triton import ground
from s2ops.inference.triton.networks import TritonNetworks
network = TritonNetworks({url!r}).segmenter("preview-cloud")
print("ready", flush=True)
while True:
    answer = network.predict(ground(24, 3, 352))
    print(hashlib.sha256(answer.tobytes()).hexdigest(), flush=True)
    if {once!r}:
        break
"""


def client(place: Machine, *, once: bool) -> subprocess.Popen[str]:
    code = CLIENT.format(folder=str(Path(__file__).parents[2]), url=place.url, once=once)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_many_client_processes_get_the_same_answers_and_one_that_is_killed_leaves_nothing(tiny: Machine) -> None:
    server = tiny.start()
    try:
        network = TritonNetworks(tiny.url).segmenter("preview-cloud")
        wanted = hashlib.sha256(network.predict(ground(24, 3, 352)).tobytes()).hexdigest()
        victim, others = client(tiny, once=False), [client(tiny, once=True) for _ in range(3)]
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        for one in others:
            out, messages = one.communicate(timeout=300)
            assert (one.returncode, out, messages) == (0, f"ready\n{wanted}\n", "")
        until(lambda: tiny.metric("nv_inference_pending_request_count") == 0)
    finally:
        server.kill()


def rejected() -> float:
    labels = {"door": "inference", "reason": "UNAVAILABLE"}
    return REGISTRY.get_sample_value("s2ops_retries_total", labels) or 0.0


def test_a_full_queue_rejects_and_the_client_backs_off_without_losing_a_window(tiny: Machine) -> None:
    server = tiny.start()
    try:
        before = rejected()
        greedy = TritonNetworks(tiny.url, Limits(in_flight=400)).segmenter("preview-cloud")
        windows = ground(50, 3, 352)
        wanted = greedy.predict(windows)
        with ThreadPoolExecutor(200) as threads:  # each a request of its own
            numbers = [number % 50 for number in range(200)]
            answers = list(threads.map(lambda number: greedy.predict(windows[number : number + 1])[0], numbers))
        np.testing.assert_array_equal(np.stack(answers), wanted[numbers])
        assert rejected() > before
    finally:
        server.kill()


# TLS, and the command


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, file = folder / f"{name}.key", folder / f"{name}.pem"
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {file} -days 2 -subj /CN=localhost"
    extra = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*words.split(), *extra], check=True, capture_output=True)
    return file, key


def test_tls_is_used_when_asked_for_and_a_wrong_authority_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own, key), (other, _) = certificate(tmp_path, "own"), certificate(tmp_path, "other")
    with running(Options(models=str(weights), only=("preview-cloud",), certificate=own, key=key)) as place:
        secure, quick = place.url.replace("triton://", "tritons://"), Limits(patience_s=1.0)
        monkeypatch.setenv("S2OPS_TRITON_CA", str(own))
        assert TritonNetworks(secure).segmenter("preview-cloud").predict(ground(1, 3, 352)).shape == (1, 2, 352, 352)
        for authority, url in ((other, secure), (own, place.url)):
            monkeypatch.setenv("S2OPS_TRITON_CA", str(authority))
            with pytest.raises(InferenceUnreachable, match="gave no answer"):
                TritonNetworks(url, quick).segmenter("preview-cloud")
        monkeypatch.setenv("S2OPS_TRITON_CA", str(tmp_path / "none.pem"))
        with pytest.raises(ConfigError, match=r"S2OPS_TRITON_CA is .*none\.pem, which cannot be read"):
            TritonNetworks(secure).segmenter("preview-cloud")


def serve(*words: object) -> subprocess.Popen[str]:
    # a shell's background jobs ignore Ctrl-C, and so would all that they start
    line = ["env", "--default-signal=INT", sys.executable, "-c", "from s2ops.cli import main; main()", "serve"]
    return subprocess.Popen([*line, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_serve_command_says_when_it_is_ready_and_ends_cleanly(weights: Path, end: signal.Signals) -> None:
    grpc, http, metrics = free_ports(3)
    command = serve(
        "--models", weights, "--only", "preview-cloud", "--port", grpc, "--http-port", http, "--metrics-port", metrics
    )
    assert command.stdout is not None
    assert command.stdout.readline() == f"ready at triton://127.0.0.1:{grpc} on the cpu; end with Ctrl-C\n"
    network = TritonNetworks(f"triton://127.0.0.1:{grpc}").segmenter("preview-cloud")
    assert network.predict(ground(1, 3, 352)).shape == (1, 2, 352, 352)
    before = set(Path("/dev/shm").glob("s2ops-triton-*"))
    assert before
    command.send_signal(end)
    out, messages = command.communicate(timeout=300)
    assert (command.returncode, out) == (0, "ended\n"), messages
    assert not before & set(Path("/dev/shm").glob("s2ops-triton-*")) or len(before) > 1


def failed(command: subprocess.Popen[str]) -> tuple[int, str]:
    _, messages = command.communicate(timeout=300)
    return command.returncode, messages


def test_a_server_without_weights_says_what_it_lacks(tmp_path: Path) -> None:
    code, messages = failed(serve("--models", tmp_path))
    assert code == 2
    assert messages.startswith(f"s2ops: cannot read the weights {tmp_path}/preview-cloud.onnx: No such file")


def test_a_server_whose_port_is_taken_ends_with_an_error(weights: Path, tiny: Machine) -> None:
    server = tiny.start()
    try:
        ports = ("--port", tiny.options.port, "--http-port", free_ports(1)[0], "--metrics-port", free_ports(1)[0])
        code, messages = failed(serve("--models", weights, "--only", "preview-cloud", *ports))
        assert code == 75
        assert "tritonserver ended with code 1 before it was ready" in messages
    finally:
        server.kill()
