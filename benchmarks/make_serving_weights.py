"""Weights and windows for the serving benchmark: networks of any width and window size, and input images."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from s2ops.constants import BANDS, UInt8
from s2ops.inference.gpu.calibration_images import build_calibration_window
from s2ops.models.onnx_export import expand_temperatures, export_to_onnx, load_into_torch
from s2ops.models.registry import NETWORKS, find_weights
from s2ops.models.unet import UNet


def write_weights(folder: Path, names: list[str], source: str | None, width: int, window: int) -> None:
    """Write the weights of networks with another window size, widened to `width` where they are narrower."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        file = find_weights(name, source)
        model = load_into_torch(file.path)
        if not isinstance(model, UNet):
            raise SystemExit(f"Cannot benchmark {name}: it is not a segmentation network; leave it out.")
        divisor = expand_temperatures(file.meta)  # the export divides by the temperature again
        model.head.weight.data *= divisor[:, None, None, None]
        model.head.get_parameter("bias").data *= divisor
        wide = widen_network(model, width)
        meta = file.meta.model_copy(update={"window": window, "width": wide.shape[2]})
        export_to_onnx(wide, meta, folder / f"{name}.onnx")


def widen_network(model: UNet, width: int) -> UNet:
    """Build a wider network that computes the same function: repeat channels and divide weights accordingly.

    It costs as much as a trained network of that width, and gives the results of the original network.
    """
    bands, classes, narrow = model.shape
    if width <= narrow:
        return model
    wide = UNet(bands, classes, width, heads=model.heads)
    source = dict(model.named_modules())
    copies = width // narrow
    for name, layer in wide.named_modules():
        twin = source[name]
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(twin, nn.Conv2d | nn.ConvTranspose2d):
            # the first axis of a transposed convolution's weights is its input
            into, out = (0, 1) if isinstance(layer, nn.ConvTranspose2d) else (1, 0)
            weight = _repeat_along(twin.weight.data, layer.weight.shape[into], into)
            weight = _repeat_along(weight, layer.weight.shape[out], out)
            layer.weight.data = weight / (copies if layer.weight.shape[into] > bands else 1)
            if layer.bias is not None and twin.bias is not None:
                layer.bias.data = _repeat_along(twin.bias.data, len(layer.bias), 0)
    return wide.eval()


def _repeat_along(values: Tensor, length: int, axis: int) -> Tensor:
    return values if values.shape[axis] == length else values.repeat_interleave(length // values.shape[axis], axis)


def cut_windows(bands: tuple[str, ...], count: int, side: int) -> UInt8:
    """Cut different windows from the simulated world: uint8 levels (count, band, side, side)."""
    world = build_calibration_window(2 * side)[0, [BANDS.index(band) for band in bands]]
    starts = np.random.default_rng(5).integers(0, side, (count, 2))
    return np.stack([world[:, y : y + side, x : x + side] for y, x in starts.tolist()])


def count_operations(network: str, width: int) -> float:
    """Count the multiplications and additions of a network per pixel, by its definition."""
    bands, classes = len(NETWORKS[network].bands), len(NETWORKS[network].classes)
    model, side = UNet(bands, classes, width), 32
    per_pixel: dict[str, float] = {}

    def count(name: str, layer: nn.Module, out: Tensor) -> None:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            pixels = out.shape[-1] ** 2
            if isinstance(layer, nn.ConvTranspose2d):
                pixels //= 4  # each input pixel is multiplied by every weight once
            per_pixel[name] = 2 * layer.weight.numel() * pixels / side**2

    for name, layer in model.named_modules():
        layer.register_forward_hook(lambda layer, _, out, name=name: count(name, layer, out))
    with torch.no_grad():
        model(torch.zeros(1, bands, side, side, dtype=torch.uint8))
    return sum(per_pixel.values())
