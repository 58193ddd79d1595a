"""ONNX export of torch networks, and import of exported weights back into torch.

The ONNX graph takes uint8 levels and returns uint8 probabilities: it includes normalization, temperature, softmax and
rounding. Weights are stored as float16 and cast to float32 on loading, which halves the file. The graph is built node
by node instead of by `torch.onnx.export`, so equal weights give equal bytes with every version of torch.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from s2ops.errors import ModelError
from s2ops.models.haze_net import DOWNSAMPLING_FACTOR, HazeNet
from s2ops.models.registry import METADATA_KEY, ModelMeta, list_head_sizes, read_metadata
from s2ops.models.unet import CENTER_LEVEL, CONVOLUTIONS_PER_BLOCK, LEVEL_SCALE, UNet

ONNX_OPSET: Final = 17

ONNX_IR_VERSION: Final = 9
"""Version of the ONNX file format; onnxruntime 1.16 and later can read it."""


class _GraphBuilder:
    """Builder of an ONNX graph: collects nodes and initializers; `add_` methods return the name of their output."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add_node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def add_constant(self, name: str, value: float | list[int]) -> str:
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def add_weight(self, name: str) -> str:
        array = self.weights[name].detach().cpu().numpy().astype(np.float16)
        self.initializers.append(numpy_helper.from_array(array, name))
        return self.add_node("Cast", name, to=TensorProto.FLOAT)

    def add_convolution(self, x: str, name: str, pads: int = 1) -> str:
        weight, bias = self.add_weight(f"{name}.weight"), self.add_weight(f"{name}.bias")
        return self.add_node("Conv", x, weight, bias, pads=[pads] * 4)

    def add_max_pooling(self, x: str) -> str:
        return self.add_node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def add_split(self, x: str, sizes: list[int]) -> list[str]:
        names = [f"head_{index}" for index in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.add_constant("sizes", sizes)], names, axis=1))
        return names

    def add_normalization(self) -> tuple[str, str]:
        """Add the conversion of the image; return the names of the float32 levels and of the network input."""
        levels = self.add_node("Cast", "image", to=TensorProto.FLOAT)
        shifted = self.add_node("Sub", levels, self.add_constant("centre_level", CENTER_LEVEL))
        return levels, self.add_node("Div", shifted, self.add_constant("level_step", LEVEL_SCALE))

    def add_rounding(self, probability: str) -> None:
        """Add the output: probabilities scaled to 0 to 255 and rounded to uint8."""
        scaled = self.add_node("Mul", probability, self.add_constant("certainty", 255.0))
        self.add_node("Cast", self.add_node("Round", scaled), output="probs", to=TensorProto.UINT8)


def _add_unet(graph: _GraphBuilder, head_sizes: list[int]) -> list[str | int]:
    """Add the U-net's nodes and return the output's axes; `head_sizes` is the number of classes of each head."""
    _, x = graph.add_normalization()
    skips = []
    for block, count in enumerate(CONVOLUTIONS_PER_BLOCK):
        for layer in range(count):
            x = graph.add_node("Relu", graph.add_convolution(x, f"encoder.{block}.{layer}.0"))
        skips.append(x)
        x = graph.add_max_pooling(x)
    for layer in range(2):
        x = graph.add_node("Relu", graph.add_convolution(x, f"centre.{layer}.0"))
    for level in range(len(skips) - 1, -1, -1):
        up = graph.add_node("ConvTranspose", x, graph.add_weight(f"up.{level}.weight"), strides=[2, 2])
        x = graph.add_node("Concat", up, skips[level], axis=1)
        for layer in range(2):
            x = graph.add_node("Relu", graph.add_convolution(x, f"decoder.{level}.{layer}.0"))
    logits = graph.add_convolution(x, "head", pads=0)
    if len(head_sizes) == 1:
        graph.add_rounding(graph.add_node("Softmax", logits, axis=1))
    else:
        parts = graph.add_split(logits, head_sizes)
        shares = [graph.add_node("Softmax", part, axis=1) for part in parts]
        graph.add_rounding(graph.add_node("Concat", *shares, axis=1))
    return ["n", int(graph.weights["head.bias"].shape[0]), "y", "x"]


def _add_haze_net(graph: _GraphBuilder) -> list[str | int]:
    """Add the haze network's nodes and return the output's axes."""
    levels, x = graph.add_normalization()
    for layer in range(3):
        x = graph.add_max_pooling(graph.add_node("Relu", graph.add_convolution(x, f"layers.{layer}")))
    brightest = graph.add_node("ReduceMax", levels, axes=[1], keepdims=1)
    valid = graph.add_node("Clip", brightest, graph.add_constant("zero", 0.0), graph.add_constant("one", 1.0))
    cell = [DOWNSAMPLING_FACTOR, DOWNSAMPLING_FACTOR]
    part = graph.add_node("AveragePool", valid, kernel_shape=cell, strides=cell)
    plane = graph.add_constant("plane", [2, 3])
    weight = graph.add_node("ReduceSum", part, plane, keepdims=0)
    weight = graph.add_node("Max", weight, graph.add_constant("least", 1e-3))
    weighted_sum = graph.add_node("ReduceSum", graph.add_node("Mul", x, part), plane, keepdims=0)
    mean = graph.add_node("Div", weighted_sum, weight)
    logit = graph.add_node("Gemm", mean, graph.add_weight("head.weight"), graph.add_weight("head.bias"), transB=1)
    graph.add_rounding(graph.add_node("Squeeze", graph.add_node("Sigmoid", logit), graph.add_constant("last", [1])))
    return ["n"]


def export_to_onnx(model: UNet | HazeNet, meta: ModelMeta, path: Path) -> None:
    """Write a network with its metadata as an ONNX file; the head's weights are divided by the temperature.

    Args:
        model: Network without batch normalization (see `fold_batch_norm`).
        meta: Metadata to store in the file.
        path: File to write.

    Raises:
        ModelError: If the numbers of bands or classes differ between model and metadata.
    """
    bands, classes, _ = model.shape
    if (bands, classes) != (len(meta.bands), len(meta.classes)):
        raise ModelError(
            f"Cannot export {meta.name}: it has {bands} bands and {classes} classes, but its metadata list "
            f"{len(meta.bands)} and {len(meta.classes)}; correct the metadata."
        )
    weights = dict(model.state_dict())
    divisor = expand_temperatures(meta)
    for key in ("head.weight", "head.bias"):
        weights[key] = weights[key] / divisor.reshape(-1, *(1,) * (weights[key].ndim - 1))
    graph = _GraphBuilder(weights)
    axes = _add_unet(graph, list_head_sizes(meta.name)) if isinstance(model, UNet) else _add_haze_net(graph)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", bands, "y", "x"])
    probs = helper.make_tensor_value_info("probs", TensorProto.UINT8, axes)
    graph_proto = helper.make_graph(graph.nodes, meta.name, [image], [probs], graph.initializers)
    proto = helper.make_model(
        graph_proto, opset_imports=[helper.make_opsetid("", ONNX_OPSET)], ir_version=ONNX_IR_VERSION,
        producer_name="s2ops",
    )  # fmt: skip
    helper.set_model_props(proto, {METADATA_KEY: meta.model_dump_json()})
    onnx.checker.check_model(proto)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def expand_temperatures(meta: ModelMeta) -> torch.Tensor:
    """Return the temperature of each class, float32 (class,): the divisor of its logit."""
    values = meta.temperature if isinstance(meta.temperature, tuple) else (meta.temperature,)
    return torch.tensor(values).repeat_interleave(torch.tensor(list_head_sizes(meta.name)))


def load_into_torch(path: Path) -> UNet | HazeNet:
    """Load an exported network as a torch module in evaluation mode, float32, on the CPU.

    Raises:
        ModelError: If the file is not valid or lacks weights.
    """
    meta = read_metadata(path)
    stored = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(path)).graph.initializer}
    model: UNet | HazeNet
    if len(meta.classes) == 1:
        model = HazeNet(len(meta.bands), meta.width)
    else:
        model = UNet(len(meta.bands), len(meta.classes), meta.width, heads=list_head_sizes(meta.name))
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - stored.keys())
    if missing:
        raise ModelError(
            f"Cannot load {path}: it lacks the weights {', '.join(missing[:3])}; export it again with `s2ops train`."
        )
    state = {name: torch.from_numpy(stored[name].astype(np.float32)) for name in wanted}
    model.load_state_dict(state)
    model.eval()
    return model
