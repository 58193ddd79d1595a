"""Soak test: 20,000 windows through a tritonserver (`make soak`)."""

import gc
import hashlib
import os
from pathlib import Path

import pytest

from s2ops.inference.triton.networks import TritonNetworks
from s2ops.inference.triton.server import ServerOptions
from tests.helpers.triton import (
    build_ground_windows,
    list_child_processes,
    open_server_host,
    read_private_memory_mib,
    write_tiny_weights,
)

WINDOWS, ROW = 20_000, 40
WARM = 4_000
"""Number of windows until the buffers of gRPC, shared memory and allocator have grown to their final size."""

GROWTH_MIB = 16.0
"""Allowed growth of memory: a leak of one page per window would be 64 MiB for 16,000 windows."""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_memory_of_client_and_server_is_constant_over_20000_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows, answers = build_ground_windows(ROW, 3, 352), set()
    with open_server_host(ServerOptions(models=str(write_tiny_weights(tmp_path)), only=("preview-cloud",))) as host:
        server = host.start()
        try:
            network = TritonNetworks(host.url).get_segmenter("preview-cloud")
            processes = {"client": os.getpid(), "server": server.process.pid}
            processes["backend"] = list_child_processes(server.process)[0]
            seen: list[tuple[int, dict[str, float]]] = []
            for done in range(0, WINDOWS, ROW):
                answers.add(hashlib.sha256(network.predict(windows).tobytes()).hexdigest())
                if done >= WARM and done % 2_000 == 0:
                    gc.collect()
                    sizes = {name: read_private_memory_mib(pid) for name, pid in processes.items()}
                    seen.append((done, sizes))
                    with capsys.disabled():
                        print(
                            f"{done:6} windows: " + ", ".join(f"{name} {mib:6.1f} MiB" for name, mib in sizes.items())
                        )
            answered = host.read_metric("nv_inference_count")
        finally:
            server.kill()
    assert len(answers) == 1
    assert answered >= WINDOWS
    half = len(seen) // 2
    for name in processes:
        # the minimum of each half: requests in flight come and go, but a leak stays
        first, second = (min(sizes[name] for _, sizes in part) for part in (seen[:half], seen[half:]))
        assert second - first < GROWTH_MIB, name
