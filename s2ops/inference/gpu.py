"""The torch engine: what a Triton server with a GPU runs, uint8 levels in, uint8 probabilities out.

On a Hopper GPU (H100, H200) networks run by fused kernels (`gpu_fused.py`), elsewhere in half precision by cuDNN,
without a GPU in float32. What int8 changes is measured when the weights are loaded: each network gets the fastest plan
that changes little enough. The engine chooses by what it finds, the caller does not.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from s2ops.codes import BANDS, UInt8
from s2ops.errors import ModelError
from s2ops.inference import calibration
from s2ops.inference.gpu_plain import PlainUNet
from s2ops.inference.gpu_quantise import PLANS, Plan, peaks
from s2ops.models.export import load_into_torch
from s2ops.models.registry import ModelFile
from s2ops.models.unet import UNet

_LOG = logging.getLogger(__name__)

HOPPER: Final = 9
"""Major compute capability of the GPUs for which the fused kernels are written."""

TOLERANCE: Final = 0.002
"""Largest part of the calibration window's pixels whose class may change."""


class Network(Protocol):
    """One network on a device, bound to the engine's buffers."""

    def run(self, images: int) -> None:
        """Compute the first `images` of the batch; only launches work on the current stream."""


class GpuEngine:
    """The networks of one Triton model: one, or those of the combined model, which all see the same image."""

    def __init__(
        self, files: Sequence[ModelFile], device: int | None, max_batch: int,
        plans: Sequence[Plan] = PLANS, tolerance: float = TOLERANCE,
    ) -> None:  # fmt: skip
        """Load and prepare everything; `device` is CUDA's number, None the CPU.

        Each network gets the first of `plans` that changes the class of no more than `tolerance` of the pixels.

        Raises ModelError where a file is no U-net, where windows differ, or where there is no such GPU.
        """
        self._device, self._plans, self._tolerance = _device(device), plans, tolerance
        metas = [file.meta for file in files]
        sides = {meta.window for meta in metas}
        if len(sides) != 1:
            raise ModelError(f"{', '.join(meta.name for meta in metas)} have windows of {sides}: export them with one")
        bands, self.side = metas[0].bands if len(files) == 1 else BANDS, sides.pop()
        planes = sum(len(meta.classes) - 1 for meta in metas)
        self.image = torch.zeros(max_batch, len(bands), self.side, self.side, dtype=torch.uint8, device=self._device)
        self.out = torch.zeros(max_batch, planes, self.side, self.side, dtype=torch.uint8, device=self._device)
        pinned = self._device.type == "cuda"
        self.given = torch.empty(self.image.shape, dtype=torch.uint8, pin_memory=pinned)
        self.taken = torch.empty(self.out.shape, dtype=torch.uint8, pin_memory=pinned)
        self.precisions: dict[str, str] = {}
        """Of each network: a plan of the fused kernels, or `cuDNN` or `CPU`."""
        self.changed: dict[str, float] = {}
        self._networks: list[Network] = []
        plane = 0
        # the same bytes from every server, and a reference in true float32
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        for file in files:
            self._networks.append(self._load(file, [bands.index(band) for band in file.meta.bands], plane))
            plane += len(file.meta.classes) - 1
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        if all(precision in PLANS for precision in self.precisions.values()):
            self._graphs = {images: self._captured(images) for images in range(1, max_batch + 1)}

    def predict(self, images: Sequence[UInt8]) -> list[UInt8]:
        """Of each request (n, band, side, side) levels -> (n, plane, side, side): all classes but each network's first.

        At most `max_batch` windows together. Answers are read before the next call, which reuses their memory.
        """
        given, ends = self.given.numpy(), np.cumsum([len(image) for image in images]).tolist()
        for image, end in zip(images, ends, strict=True):
            part = slice(end - len(image), end)
            given[part] = image
            self.image[part].copy_(self.given[part], non_blocking=True)
        self.compute(ends[-1])
        self.taken[: ends[-1]].copy_(self.out[: ends[-1]], non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        return np.split(self.taken.numpy()[: ends[-1]], ends[:-1])

    def compute(self, images: int) -> None:
        """Run the networks over the first `images` windows that lie on the device; does not wait for the end."""
        if images in self._graphs:
            self._graphs[images].replay()
            return
        for network in self._networks:
            network.run(images)

    def _load(self, file: ModelFile, bands: Sequence[int], plane: int) -> Network:
        model = load_into_torch(file.path)
        if not isinstance(model, UNet):
            raise ModelError(f"{file.meta.name} labels no pixels: serve it by ONNX Runtime")
        name, cuda = file.meta.name, self._device.type == "cuda"
        self.precisions[name] = "cuDNN" if cuda else "CPU"
        if cuda and torch.cuda.get_device_capability(self._device)[0] == HOPPER:
            own = [BANDS.index(band) for band in file.meta.bands]
            exact = model.double().to(self._device)
            found = peaks(exact, torch.from_numpy(calibration.images()[:, own]).to(self._device))
            for plan in self._plans:
                fused = self._fused(exact, bands, plane, plan, found)
                changed = self._compared(model, fused, own, bands, plane)
                if changed <= self._tolerance:
                    _LOG.info("%s runs in %s: %.3f %% of the pixels change class", name, plan, 100 * changed)
                    self.precisions[name], self.changed[name] = plan, changed
                    return fused
            _LOG.warning(
                "%s: float16 by the fused kernels changes the class of %.2f %% of the pixels, so cuDNN computes it",
                name, 100 * changed,
            )  # fmt: skip
        return PlainUNet(model, bands, self.image, self.out, plane)

    def _fused(
        self, model: UNet, bands: Sequence[int], plane: int, plan: Plan, found: Mapping[str, Tensor]
    ) -> Network:  # fmt: skip
        from s2ops.inference.gpu_fused import FusedUNet  # noqa: PLC0415 -- needs the compiler of torch for CUDA

        return FusedUNet(model, bands, self.image, self.out, plane, plan, found)

    def _compared(self, model: UNet, network: Network, own: list[int], bands: Sequence[int], plane: int) -> float:
        """Part of the calibration window's pixels to which `network` gives another class than the model in float32.

        `own` are the network's bands among `BANDS`, `bands` those among the engine's.
        """
        levels = torch.from_numpy(calibration.window(self.side)[:, own]).to(self._device)
        self.image[0, list(bands)] = levels[0]
        network.run(1)
        plain = copy.deepcopy(model).float()
        with torch.inference_mode():
            wanted = plain(levels)[0].argmax(dim=0)
        sent = self.out[0, plane : plane + model.shape[1] - 1].int()
        found = torch.cat([255 - sent.sum(dim=0, keepdim=True), sent]).argmax(dim=0)
        return float((found != wanted).float().mean())

    def _captured(self, images: int) -> torch.cuda.CUDAGraph:
        """All launches for a batch of `images` as one."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for network in self._networks:
                network.run(images)
        return graph


def _device(number: int | None) -> torch.device:
    if number is None:
        return torch.device("cpu")
    if number >= torch.cuda.device_count():
        raise ModelError(f"there is no GPU {number}: torch sees {torch.cuda.device_count()}; serve with --device cpu")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
