"""GPU inference engine (torch), used by a Triton server with a GPU: uint8 levels in, uint8 probabilities out.

On a Hopper GPU (H100, H200) networks run by fused kernels (`fused_unet.py`), on other GPUs in float16 by cuDNN, without
a GPU in float32. The deviation caused by int8 is measured when the weights are loaded: each network gets the fastest
precision whose deviation is small enough. The engine chooses by the hardware and the weights; callers cannot choose.
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
from s2ops.inference.gpu.calibration_images import build_calibration_window, load_calibration_images
from s2ops.inference.gpu.cudnn_unet import TorchUNet
from s2ops.inference.gpu.quantization import PRECISIONS, Precision, measure_activation_peaks
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import ModelFile, list_head_sizes
from s2ops.models.unet import Convolution, UNet

_LOG: Final = logging.getLogger(__name__)

HOPPER_COMPUTE_CAPABILITY: Final = 9
"""Major compute capability of the GPUs for which the fused kernels are written."""

MAX_CHANGED_FRACTION: Final = 0.002
"""Maximum fraction of the calibration window's pixels whose class may change by a precision."""

STRIP_ROWS: Final = 64
"""Number of rows that the float32 reference computes at once."""


class DeviceNetwork(Protocol):
    """Network on a device, bound to the engine's buffers."""

    def run(self, images: int) -> None:
        """Compute the first `images` of the batch; only launch work on the current stream."""


class GpuEngine:
    """Engine for the network of one Triton model (`InferenceEngine`)."""

    def __init__(
        self, file: ModelFile, device: int | None, max_batch: int,
        precisions: Sequence[Precision] = PRECISIONS, max_changed: float = MAX_CHANGED_FRACTION,
    ) -> None:  # fmt: skip
        """Load the network and allocate all buffers.

        Args:
            file: Weights of the network.
            device: Number of the CUDA device, or None for the CPU.
            max_batch: Maximum number of windows per batch.
            precisions: Precisions of the fused kernels in order of preference.
            max_changed: Maximum fraction of the pixels whose class a precision may change; the first precision within
                this limit is used.

        Raises:
            ModelError: If the network is not a U-net, or if the GPU does not exist.
        """
        self._device = _select_device(device)
        meta, self.side = file.meta, file.meta.window
        planes = len(meta.classes) - len(list_head_sizes(meta.name))
        shape = (max_batch, len(meta.bands), self.side, self.side)
        self.device_images = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        self.device_probs = torch.zeros(max_batch, planes, self.side, self.side, dtype=torch.uint8, device=self._device)
        on_gpu = self._device.type == "cuda"
        self.host_images = torch.empty(self.device_images.shape, dtype=torch.uint8, pin_memory=on_gpu)
        self.host_probs = torch.empty(self.device_probs.shape, dtype=torch.uint8, pin_memory=on_gpu)
        self.precision = "cuDNN" if on_gpu else "CPU"
        """Precision of the fused kernels, or `cuDNN` or `CPU`."""
        # equal bytes from all servers, and a reference in true float32
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        self._network = self._load(file, precisions, max_changed)
        if on_gpu:
            torch.cuda.empty_cache()  # release the memory of the comparison for other instances
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        if self.precision in PRECISIONS:
            self._graphs = {images: self._capture_graph(images) for images in range(1, max_batch + 1)}

    def predict(self, images: Sequence[UInt8]) -> list[UInt8]:
        """Compute one batch of at most `max_batch` windows in total (see `InferenceEngine.predict`).

        Results must be read before the next call, which reuses their memory.
        """
        host, ends = self.host_images.numpy(), np.cumsum([len(image) for image in images]).tolist()
        for image, end in zip(images, ends, strict=True):
            part = slice(end - len(image), end)
            host[part] = image
            self.device_images[part].copy_(self.host_images[part], non_blocking=True)
        self.compute(ends[-1])
        self.host_probs[: ends[-1]].copy_(self.device_probs[: ends[-1]], non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        return np.split(self.host_probs.numpy()[: ends[-1]], ends[:-1])

    def compute(self, images: int) -> None:
        """Run the network on the first `images` windows in device memory, without waiting for the result."""
        if images in self._graphs:
            self._graphs[images].replay()
            return
        self._network.run(images)

    def _load(self, file: ModelFile, precisions: Sequence[Precision], max_changed: float) -> DeviceNetwork:
        """Load the network in the fastest precision that the hardware supports and the limit allows."""
        model = load_into_torch(file.path)
        name = file.meta.name
        if not isinstance(model, UNet):
            raise ModelError(f"Cannot run {name} by the GPU engine: it is not a U-net; serve it by ONNX Runtime.")
        if self._device.type == "cuda" and _get_compute_capability(self._device) == HOPPER_COMPUTE_CAPABILITY:
            own = [BANDS.index(band) for band in file.meta.bands]
            exact = model.double().to(self._device)
            samples = torch.from_numpy(load_calibration_images()[:, own]).to(self._device)
            peaks = measure_activation_peaks(exact, samples)
            for precision in precisions:
                fused = self._build_fused(exact, precision, peaks)
                changed = self._measure_changed_fraction(model, fused, own)
                fields = {"model": name, "precision": precision, "changed_percent": round(100 * changed, 3)}
                if changed <= max_changed:
                    _LOG.info("precision chosen", extra=fields)
                    self.precision = precision
                    return fused
                _LOG.info("precision rejected", extra=fields | {"max_changed_percent": 100 * max_changed})
            _LOG.warning(
                "fused kernels not used",
                extra={"model": name, "precision": self.precision, "reason": "too many pixels change class"},
            )
        else:
            reason = "no Hopper GPU" if self._device.type == "cuda" else "no GPU requested"
            _LOG.info("precision chosen", extra={"model": name, "precision": self.precision, "reason": reason})
        return TorchUNet(model, self.device_images, self.device_probs)

    def _build_fused(self, model: UNet, precision: Precision, peaks: Mapping[str, Tensor]) -> DeviceNetwork:
        from s2ops.inference.gpu.fused_unet import FusedUNet  # noqa: PLC0415 -- needs the compiler of torch for CUDA

        return FusedUNet(model, self.device_images, self.device_probs, precision, peaks)

    def _measure_changed_fraction(self, model: UNet, network: DeviceNetwork, own: list[int]) -> float:
        """Measure the fraction of the calibration window's pixels whose class differs from the model in float32.

        Args:
            model: Reference model.
            network: Network to measure, bound to the engine's buffers.
            own: Positions of the network's bands in `BANDS`.

        Returns:
            The fraction of the head with the most changes, 0 to 1.
        """
        levels = torch.from_numpy(build_calibration_window(self.side)[:, own]).to(self._device)
        self.device_images[0] = levels[0]
        network.run(1)
        with torch.inference_mode():
            logits = build_reference_model(model)(levels)[0]
        return max(measure_changed_fractions(self.device_probs[0], logits, model.heads))

    def _capture_graph(self, images: int) -> torch.cuda.CUDAGraph:
        """Record all launches for a batch of `images` as one CUDA graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._network.run(images)
        return graph


def measure_changed_fractions(transmitted: Tensor, reference: Tensor, heads: Sequence[int]) -> list[float]:
    """Measure for each head the fraction of pixels whose most probable class differs from a reference.

    Args:
        transmitted: uint8 probabilities (transmitted class, y, x), without each head's reference class.
        reference: Logits or probabilities (class, y, x) of all classes.
        heads: Number of classes of each head.

    Returns:
        One fraction per head, 0 to 1.
    """
    parts = torch.split(transmitted.int(), [size - 1 for size in heads])
    found = [torch.cat([255 - part.sum(dim=0, keepdim=True), part]).argmax(dim=0) for part in parts]
    wanted = [part.argmax(dim=0) for part in torch.split(reference, list(heads))]
    return [float((one != other).float().mean()) for one, other in zip(found, wanted, strict=True)]


class _StripwiseConvolution(nn.Module):
    """3 x 3 convolution computed in strips of rows: equal sums with a limited workspace.

    For a whole window of full width cuDNN allocated up to 70 GB in float32, which other instances need.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._conv = conv

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, 0, 1, 1))
        weight, bias = self._conv.weight, self._conv.bias
        strips = [
            nn.functional.conv2d(padded[:, :, top : top + STRIP_ROWS + 2], weight, bias, padding=(0, 1))
            for top in range(0, x.shape[2], STRIP_ROWS)
        ]
        return torch.cat(strips, dim=2)


def build_reference_model(model: UNet) -> UNet:
    """Copy a model to float32, with convolutions that need little memory beyond their input and output."""
    plain = copy.deepcopy(model).float()
    for layer in plain.modules():
        if isinstance(layer, Convolution):
            (conv,) = (part for part in layer if isinstance(part, nn.Conv2d))
            layer[0] = _StripwiseConvolution(conv)
    return plain


def _select_device(number: int | None) -> torch.device:
    if number is None:
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if number >= count:
        raise ModelError(f"GPU {number} does not exist: torch finds {count} GPUs; serve with --device cpu.")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _get_compute_capability(device: torch.device) -> int:
    """Return the major compute capability of a GPU."""
    return int(torch.cuda.get_device_capability(device)[0])
