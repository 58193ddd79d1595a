"""20,000 windows through a real tritonserver: `make soak`."""

import gc
import hashlib
import os
from pathlib import Path

import pytest

from s2ops.inference.triton.networks import TritonNetworks
from s2ops.inference.triton.server import Options
from tests.helpers.triton import children, ground, machine, rss_mib, tiny_weights

WINDOWS, ROW = 20_000, 40
WARM = 4_000
"""Until then buffers grow: those of gRPC, of the shared memory, of the allocator."""

GROWTH_MIB = 16.0
"""A window and its answer are 0.6 MiB: 16,000 that leak one page each would show as 64 MiB."""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_20000_windows_leave_the_memory_of_client_and_server_flat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows, answers = ground(ROW, 3, 352), set()
    with machine(Options(models=str(tiny_weights(tmp_path)), only=("preview-cloud",))) as place:
        server = place.start()
        try:
            network = TritonNetworks(place.url).segmenter("preview-cloud")
            processes = {"client": os.getpid(), "server": server.process.pid}
            processes["backend"] = children(server.process)[0]
            seen: list[tuple[int, dict[str, float]]] = []
            for done in range(0, WINDOWS, ROW):
                answers.add(hashlib.sha256(network.predict(windows).tobytes()).hexdigest())
                if done >= WARM and done % 2_000 == 0:
                    gc.collect()
                    sizes = {name: rss_mib(pid) for name, pid in processes.items()}
                    seen.append((done, sizes))
                    with capsys.disabled():
                        print(
                            f"{done:6} windows: " + ", ".join(f"{name} {mib:6.1f} MiB" for name, mib in sizes.items())
                        )
            answered = place.metric("nv_inference_count")
        finally:
            server.kill()
    assert len(answers) == 1
    assert answered >= WINDOWS
    half = len(seen) // 2
    for name in processes:
        # the least of each half: what is on its way when one looks comes and goes, a leak stays
        first, second = (min(sizes[name] for _, sizes in part) for part in (seen[:half], seen[half:]))
        assert second - first < GROWTH_MIB, name
