"""Serving benchmark within one process: peak rates of the device, and throughput of each way to run a network."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from s2ops.constants import UInt8
from s2ops.inference.gpu.cudnn_unet import TorchUNet
from s2ops.inference.gpu.engine import GpuEngine, measure_changed_fractions
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import ModelFile, list_transmitted_classes
from s2ops.models.unet import UNet, compute_probabilities


class Ceilings(NamedTuple):
    """Peak rates of the device; NaN where it does not support an operation."""

    bf16: float
    """Multiplications and additions per second, matrices of 8192."""
    int8: float
    memory: float
    """Bytes per second, read and written."""
    copy_in: float
    """Bytes per second from pinned memory."""
    copy_out: float


def measure_seconds(work: Callable[[], object], device: torch.device, budget_s: float) -> float:
    """Measure the median time of one call in seconds, after warming up, repeated for about `budget_s`."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    start = time.perf_counter()
    work()
    wait()
    several = max(1, int(budget_s / 5 / max(time.perf_counter() - start, 1e-6)))
    found = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(several):
            work()
        wait()
        found.append((time.perf_counter() - start) / several)
    return float(np.median(found))


def measure_ceilings(device: torch.device, budget_s: float) -> Ceilings:
    """Measure the peak rates of matrix products and copies."""
    cuda = device.type == "cuda"
    side = 8192 if cuda else 512
    kind = torch.bfloat16 if cuda else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    bf16 = 2 * side**3 / measure_seconds(lambda: one @ other, device, budget_s)
    large = torch.empty(2**32 if cuda else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(large)
    memory = 2 * len(large) / measure_seconds(lambda: target.copy_(large), device, budget_s)
    if not cuda:
        return Ceilings(bf16, np.nan, memory, np.nan, np.nan)
    left, right = (torch.randint(0, 128, (side, side), device=device, dtype=torch.int8) for _ in range(2))
    product_s = measure_seconds(lambda: torch._int_mm(left, right.t()), device, budget_s)  # noqa: SLF001 -- torch has no public function
    pinned = torch.empty(2**27, dtype=torch.uint8, pin_memory=True)
    there = large[: len(pinned)]
    into = len(pinned) / measure_seconds(lambda: there.copy_(pinned, non_blocking=True), device, budget_s)
    out = len(pinned) / measure_seconds(lambda: pinned.copy_(there, non_blocking=True), device, budget_s)
    return Ceilings(bf16, 2 * side**3 / product_s, memory, into, out)


def measure_torch_ways(file: ModelFile, images: UInt8, device: torch.device, budget_s: float) -> dict[str, float]:
    """Measure the pixels per second of torch alone on whole windows in device memory: eager, compiled, cuDNN-fused."""
    model = load_into_torch(file.path)
    assert isinstance(model, UNet)
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = model.to(device=device, dtype=kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    levels = torch.from_numpy(images).to(device)
    pixels = len(images) * images.shape[-1] ** 2

    def predict(given: Tensor) -> Tensor:
        return compute_probabilities(model(given), model.heads)

    ways: dict[str, Callable[[], object]] = {"eager": lambda: predict(levels)}
    if device.type == "cuda":
        compiled = torch.compile(predict, dynamic=False)
        ways["compiled"] = lambda: compiled(levels)
        planes = len(list_transmitted_classes(model.heads))
        out = torch.zeros(len(images), planes, *images.shape[2:], dtype=torch.uint8, device=device)
        again = load_into_torch(file.path)
        assert isinstance(again, UNet)
        fused = TorchUNet(again, levels, out)
        ways["fused by cuDNN"] = lambda: fused.run(len(images))
    with torch.inference_mode():
        return {name: pixels / measure_seconds(way, device, budget_s) for name, way in ways.items()}


def measure_engine_ways(engine: GpuEngine, images: UInt8, device: torch.device, budget_s: float) -> dict[str, float]:
    """Measure the pixels per second of the engine: within device memory, and from host memory to host memory."""
    pixels = len(images) * images.shape[-1] ** 2
    engine.predict([images])
    on_device = pixels / measure_seconds(lambda: engine.compute(len(images)), device, budget_s)
    with_copies = pixels / measure_seconds(lambda: engine.predict([images]), device, budget_s)
    return {"engine, on the device": on_device, "engine, host to host": with_copies}


def measure_stages(engine: GpuEngine, images: UInt8, device: torch.device, budget_s: float) -> dict[str, float]:
    """Measure the stages of one batch in milliseconds: staging, copy to the device, network, copy back."""
    count = len(images)

    def copy_into_staging() -> None:
        engine.host_images.numpy()[:count] = images

    steps: dict[str, Callable[[], object]] = {
        "into staging": copy_into_staging,
        "to the GPU": lambda: engine.device_images[:count].copy_(engine.host_images[:count], non_blocking=True),
        "networks": lambda: engine.compute(count),
        "from the GPU": lambda: engine.host_probs[:count].copy_(engine.device_probs[:count], non_blocking=True),
    }
    return {name: 1000 * measure_seconds(step, device, budget_s) for name, step in steps.items()}


def measure_engines_in_threads(engines: list[GpuEngine], images: UInt8, seconds: float) -> float:
    """Measure the pixels per second of several engines, each in its own thread: one copies while another computes."""

    def run_engine(engine: GpuEngine) -> int:
        stream = torch.cuda.Stream() if torch.cuda.is_available() else None
        done, end = 0, time.perf_counter() + seconds
        with torch.cuda.stream(stream):  # type: ignore[arg-type]
            while time.perf_counter() < end:
                engine.predict([images])
                done += 1
        return done

    with ThreadPoolExecutor(len(engines)) as pool:
        start = time.perf_counter()
        done = sum(pool.map(run_engine, engines))
        return done * len(images) * images.shape[-1] ** 2 / (time.perf_counter() - start)


def measure_deviation(
    file: ModelFile, engine: GpuEngine, images: UInt8, device: torch.device
) -> tuple[float, int, float]:
    """Compare an engine with the network in float32.

    Returns:
        The fraction of pixels whose class changes (of the head with the most changes), and the largest and the mean
        difference of the transmitted probabilities in levels of 255.
    """
    model = load_into_torch(file.path)
    assert isinstance(model, UNet)
    model.to(device)
    changed, largest, total = np.zeros(len(model.heads)), 0, 0.0
    for image in images:
        found = torch.from_numpy(engine.predict([image[None]])[0][0].copy())
        with torch.inference_mode():
            logits = model(torch.from_numpy(image[None]).to(device))
            probs = compute_probabilities(logits, model.heads)[0].int().cpu()
        difference = (found.int() - probs[list_transmitted_classes(model.heads)]).abs()
        largest, total = max(largest, int(difference.max())), total + float(difference.float().mean())
        changed += measure_changed_fractions(found, probs, model.heads)
    return float(changed.max()) / len(images), largest, total / len(images)
