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
from torch import Tensor, nn

from s2ops.constants import BANDS, UInt8
from s2ops.errors import ModelError
from s2ops.inference.gpu import calibration_images
from s2ops.inference.gpu.cudnn_unet import PlainUNet
from s2ops.inference.gpu.quantization import PLANS, Plan, peaks
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import ModelFile, head_sizes
from s2ops.models.unet import Convolution, UNet

_LOG = logging.getLogger(__name__)

HOPPER: Final = 9
"""Major compute capability of the GPUs for which the fused kernels are written."""

TOLERANCE: Final = 0.002
"""Largest part of the calibration window's pixels whose class may change."""

STRIP: Final = 64
"""Rows that the reference in float32 computes at once."""


class Network(Protocol):
    """One network on a device, bound to the engine's buffers."""

    def run(self, images: int) -> None:
        """Compute the first `images` of the batch; only launches work on the current stream."""


class GpuEngine:
    """The network of one Triton model."""

    def __init__(
        self, file: ModelFile, device: int | None, max_batch: int,
        plans: Sequence[Plan] = PLANS, tolerance: float = TOLERANCE,
    ) -> None:  # fmt: skip
        """Load and prepare everything; `device` is CUDA's number, None the CPU.

        The network gets the first of `plans` that changes the class of no more than `tolerance` of the pixels.

        Raises ModelError where the file is no U-net, or where there is no such GPU.
        """
        self._device, self._plans, self._tolerance = _device(device), plans, tolerance
        meta, self.side = file.meta, file.meta.window
        planes = len(meta.classes) - len(head_sizes(meta.name))
        self.image = torch.zeros(
            max_batch, len(meta.bands), self.side, self.side, dtype=torch.uint8, device=self._device
        )
        self.out = torch.zeros(max_batch, planes, self.side, self.side, dtype=torch.uint8, device=self._device)
        pinned = self._device.type == "cuda"
        self.given = torch.empty(self.image.shape, dtype=torch.uint8, pin_memory=pinned)
        self.taken = torch.empty(self.out.shape, dtype=torch.uint8, pin_memory=pinned)
        self.precision = "cuDNN" if pinned else "CPU"
        """A plan of the fused kernels, or `cuDNN` or `CPU`."""
        # the same bytes from every server, and a reference in true float32
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        self._network = self._load(file)
        if pinned:
            torch.cuda.empty_cache()  # what the comparison took: other instances need it
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        if self.precision in PLANS:
            self._graphs = {images: self._captured(images) for images in range(1, max_batch + 1)}

    def predict(self, images: Sequence[UInt8]) -> list[UInt8]:
        """Of each request (n, band, side, side) levels -> (n, plane, side, side): all classes but each head's first.

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
        """Run the network over the first `images` windows that lie on the device; does not wait for the end."""
        if images in self._graphs:
            self._graphs[images].replay()
            return
        self._network.run(images)

    def _load(self, file: ModelFile) -> Network:
        model = load_into_torch(file.path)
        if not isinstance(model, UNet):
            raise ModelError(f"{file.meta.name} labels no pixels: serve it by ONNX Runtime")
        name = file.meta.name
        if self._device.type == "cuda" and torch.cuda.get_device_capability(self._device)[0] == HOPPER:
            own = [BANDS.index(band) for band in file.meta.bands]
            exact = model.double().to(self._device)
            found = peaks(exact, torch.from_numpy(calibration_images.images()[:, own]).to(self._device))
            for plan in self._plans:
                fused = self._fused(exact, plan, found)
                changed = self._compared(model, fused, own)
                if changed <= self._tolerance:
                    _LOG.info("%s runs in %s: %.3f %% of the pixels change class", name, plan, 100 * changed)
                    self.precision = plan
                    return fused
            _LOG.warning(
                "%s: float16 by the fused kernels changes the class of %.2f %% of the pixels, so cuDNN computes it",
                name, 100 * changed,
            )  # fmt: skip
        return PlainUNet(model, self.image, self.out)

    def _fused(self, model: UNet, plan: Plan, found: Mapping[str, Tensor]) -> Network:
        from s2ops.inference.gpu.fused_unet import FusedUNet  # noqa: PLC0415 -- needs the compiler of torch for CUDA

        return FusedUNet(model, self.image, self.out, plan, found)

    def _compared(self, model: UNet, network: Network, own: list[int]) -> float:
        """Part of the calibration window's pixels to which `network` gives another class than the model in float32.

        Of several heads that with the most. `own` are the network's bands among `BANDS`.
        """
        levels = torch.from_numpy(calibration_images.window(self.side)[:, own]).to(self._device)
        self.image[0] = levels[0]
        network.run(1)
        sent = torch.split(self.out[0].int(), [size - 1 for size in model.heads])
        found = [torch.cat([255 - part.sum(dim=0, keepdim=True), part]).argmax(dim=0) for part in sent]
        with torch.inference_mode():
            logits = reference(model)(levels)[0]
        wanted = [part.argmax(dim=0) for part in torch.split(logits, list(model.heads))]
        return max(float((one != other).float().mean()) for one, other in zip(found, wanted, strict=True))

    def _captured(self, images: int) -> torch.cuda.CUDAGraph:
        """All launches for a batch of `images` as one."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._network.run(images)
        return graph


class _InStrips(nn.Module):
    """A 3 x 3 convolution computed some rows at a time: the same sums with a bounded workspace.

    For a whole window of full width cuDNN took up to 70 GB in float32, which other instances need.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._conv = conv

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, 0, 1, 1))
        weight, bias = self._conv.weight, self._conv.bias
        strips = [
            nn.functional.conv2d(padded[:, :, top : top + STRIP + 2], weight, bias, padding=(0, 1))
            for top in range(0, x.shape[2], STRIP)
        ]
        return torch.cat(strips, dim=2)


def reference(model: UNet) -> UNet:
    """A copy in float32 whose convolutions need little memory beside what they read and write."""
    plain = copy.deepcopy(model).float()
    for layer in plain.modules():
        if isinstance(layer, Convolution):
            (conv,) = (part for part in layer if isinstance(part, nn.Conv2d))
            layer[0] = _InStrips(conv)
    return plain


def _device(number: int | None) -> torch.device:
    if number is None:
        return torch.device("cpu")
    if number >= torch.cuda.device_count():
        raise ModelError(f"there is no GPU {number}: torch sees {torch.cuda.device_count()}; serve with --device cpu")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
