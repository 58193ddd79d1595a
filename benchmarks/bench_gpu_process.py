"""The serving benchmark inside one process: what the GPU can do, and what each way to run a network makes of it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from s2ops.constants import UInt8
from s2ops.inference.gpu.cudnn_unet import PlainUNet
from s2ops.inference.gpu.engine import GpuEngine
from s2ops.inference.gpu.layers import sent
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import ModelFile
from s2ops.models.unet import UNet, probabilities


class Ceilings(NamedTuple):
    """What the device does at best; NaN where it cannot."""

    bf16: float
    """Multiplications and additions a second, matrices of 8192."""
    int8: float
    memory: float
    """Bytes a second, read and written."""
    copy_in: float
    """Bytes a second from pinned memory."""
    copy_out: float


def seconds_of(work: Callable[[], object], device: torch.device, budget_s: float) -> float:
    """Median time of one call, after warming up, repeated for about `budget_s`."""

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


def ceilings(device: torch.device, budget_s: float) -> Ceilings:
    """Measure matrix products and copies."""
    cuda = device.type == "cuda"
    side = 8192 if cuda else 512
    kind = torch.bfloat16 if cuda else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    bf16 = 2 * side**3 / seconds_of(lambda: one @ other, device, budget_s)
    great = torch.empty(2**32 if cuda else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(great)
    memory = 2 * len(great) / seconds_of(lambda: target.copy_(great), device, budget_s)
    if not cuda:
        return Ceilings(bf16, np.nan, memory, np.nan, np.nan)
    left, right = (torch.randint(0, 128, (side, side), device=device, dtype=torch.int8) for _ in range(2))
    int8 = 2 * side**3 / seconds_of(lambda: torch._int_mm(left, right.t()), device, budget_s)  # noqa: SLF001 -- torch has no other
    pinned = torch.empty(2**27, dtype=torch.uint8, pin_memory=True)
    there = great[: len(pinned)]
    into = len(pinned) / seconds_of(lambda: there.copy_(pinned, non_blocking=True), device, budget_s)
    out = len(pinned) / seconds_of(lambda: pinned.copy_(there, non_blocking=True), device, budget_s)
    return Ceilings(bf16, int8, memory, into, out)


def plain_ways(file: ModelFile, images: UInt8, device: torch.device, budget_s: float) -> dict[str, float]:
    """Pixels a second of whole windows that lie on the device, by torch alone: eager, compiled, fused by cuDNN."""
    model = load_into_torch(file.path)
    assert isinstance(model, UNet)
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = model.to(device=device, dtype=kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    levels = torch.from_numpy(images).to(device)
    pixels = len(images) * images.shape[-1] ** 2

    def whole(given: Tensor) -> Tensor:
        return probabilities(model(given), model.heads)

    ways: dict[str, Callable[[], object]] = {"eager": lambda: whole(levels)}
    if device.type == "cuda":
        compiled = torch.compile(whole, dynamic=False)
        ways["compiled"] = lambda: compiled(levels)
        planes = len(sent(model.heads))
        out = torch.zeros(len(images), planes, *images.shape[2:], dtype=torch.uint8, device=device)
        again = load_into_torch(file.path)
        assert isinstance(again, UNet)
        fused = PlainUNet(again, levels, out)
        ways["fused by cuDNN"] = lambda: fused.run(len(images))
    with torch.inference_mode():
        return {name: pixels / seconds_of(way, device, budget_s) for name, way in ways.items()}


def engine_ways(engine: GpuEngine, images: UInt8, device: torch.device, budget_s: float) -> dict[str, float]:
    """Pixels a second of the engine: on the device alone, and from host memory to host memory."""
    pixels = len(images) * images.shape[-1] ** 2
    engine.predict([images])
    on_device = pixels / seconds_of(lambda: engine.compute(len(images)), device, budget_s)
    with_copies = pixels / seconds_of(lambda: engine.predict([images]), device, budget_s)
    return {"engine, on the device": on_device, "engine, host to host": with_copies}


def stages(engine: GpuEngine, images: UInt8, device: torch.device, budget_s: float) -> dict[str, float]:
    """Milliseconds of one batch: into pinned memory, to the device, the networks, back from the device."""
    count = len(images)

    def stage() -> None:
        engine.given.numpy()[:count] = images

    steps: dict[str, Callable[[], object]] = {
        "into staging": stage,
        "to the GPU": lambda: engine.image[:count].copy_(engine.given[:count], non_blocking=True),
        "networks": lambda: engine.compute(count),
        "from the GPU": lambda: engine.taken[:count].copy_(engine.out[:count], non_blocking=True),
    }
    return {name: 1000 * seconds_of(step, device, budget_s) for name, step in steps.items()}


def together(engines: list[GpuEngine], images: UInt8, seconds: float) -> float:
    """Pixels a second of several engines, each in a thread of its own: one copies while another computes."""

    def work(engine: GpuEngine) -> int:
        stream = torch.cuda.Stream() if torch.cuda.is_available() else None
        done, end = 0, time.perf_counter() + seconds
        with torch.cuda.stream(stream):  # type: ignore[arg-type]
            while time.perf_counter() < end:
                engine.predict([images])
                done += 1
        return done

    with ThreadPoolExecutor(len(engines)) as pool:
        start = time.perf_counter()
        done = sum(pool.map(work, engines))
        return done * len(images) * images.shape[-1] ** 2 / (time.perf_counter() - start)


def changed(file: ModelFile, engine: GpuEngine, images: UInt8, device: torch.device) -> tuple[float, int, float]:
    """Against float32: part of the pixels whose class changes, largest and mean difference of the levels sent.

    Of several heads the part is of the one with most.
    """
    model = load_into_torch(file.path)
    assert isinstance(model, UNet)
    model.to(device)
    other, largest, total, pixels = [0] * len(model.heads), 0, 0.0, 0
    for image in images:
        answer = torch.from_numpy(engine.predict([image[None]])[0][0].copy()).int()
        with torch.inference_mode():
            logits = model(torch.from_numpy(image[None]).to(device))
            probs = probabilities(logits, model.heads)[0].int().cpu()
        difference = (answer - probs[sent(model.heads)]).abs()
        largest, total = max(largest, int(difference.max())), total + float(difference.float().mean())
        parts = torch.split(answer, [size - 1 for size in model.heads])
        for head, (part, wanted) in enumerate(zip(parts, torch.split(probs, model.heads), strict=True)):
            found = torch.cat([(255 - part.sum(dim=0, keepdim=True)).clamp_min(0), part])
            other[head] += int((found.argmax(dim=0) != wanted.argmax(dim=0)).sum())
        pixels += answer[0].numel()
    return max(other) / pixels, largest, total / len(images)
