"""From torch to the one file that is shipped, and back.

The ONNX graph takes uint8 levels and gives uint8 probabilities: normalisation, temperature, softmax and rounding are
inside. Its weights are stored as float16 and cast to float32 when loaded, which halves the file. It is written node by
node: the same weights give the same bytes with every version of torch.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from s2ops.errors import ModelError
from s2ops.models.haze_net import SHRINK, HazeNet
from s2ops.models.registry import METADATA_KEY, ModelMeta, head_sizes, read_meta
from s2ops.models.unet import BLOCKS, CENTRE_LEVEL, LEVEL_STEP, UNet

OPSET = 17
IR_VERSION = 9  # read by onnxruntime 1.16 and later


class _Graph:
    """Collects nodes and initialisers; each call gives the name of its output."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: float | list[int]) -> str:
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        self.initialisers.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, name: str) -> str:
        array = self.weights[name].detach().cpu().numpy().astype(np.float16)
        self.initialisers.append(numpy_helper.from_array(array, name))
        return self.op("Cast", name, to=TensorProto.FLOAT)

    def conv(self, x: str, name: str, pads: int = 1) -> str:
        return self.op("Conv", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), pads=[pads] * 4)

    def pool(self, x: str) -> str:
        return self.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def split(self, x: str, sizes: list[int]) -> list[str]:
        names = [f"head_{index}" for index in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.constant("sizes", sizes)], names, axis=1))
        return names

    def normalised(self) -> tuple[str, str]:
        """The image as float32 levels, and as network input."""
        levels = self.op("Cast", "image", to=TensorProto.FLOAT)
        shifted = self.op("Sub", levels, self.constant("centre_level", CENTRE_LEVEL))
        return levels, self.op("Div", shifted, self.constant("level_step", LEVEL_STEP))

    def rounded(self, probability: str) -> None:
        scaled = self.op("Mul", probability, self.constant("certainty", 255.0))
        self.op("Cast", self.op("Round", scaled), output="probs", to=TensorProto.UINT8)


def _unet_graph(graph: _Graph, sizes: list[int]) -> list[str | int]:
    """Add the U-net's nodes; gives the output's axes. `sizes` are the numbers of classes of its heads."""
    _, x = graph.normalised()
    skips = []
    for block, count in enumerate(BLOCKS):
        for layer in range(count):
            x = graph.op("Relu", graph.conv(x, f"encoder.{block}.{layer}.0"))
        skips.append(x)
        x = graph.pool(x)
    for layer in range(2):
        x = graph.op("Relu", graph.conv(x, f"centre.{layer}.0"))
    for level in range(len(skips) - 1, -1, -1):
        up = graph.op("ConvTranspose", x, graph.weight(f"up.{level}.weight"), strides=[2, 2])
        x = graph.op("Concat", up, skips[level], axis=1)
        for layer in range(2):
            x = graph.op("Relu", graph.conv(x, f"decoder.{level}.{layer}.0"))
    logits = graph.conv(x, "head", pads=0)
    if len(sizes) == 1:
        graph.rounded(graph.op("Softmax", logits, axis=1))
    else:
        parts = graph.split(logits, sizes)
        graph.rounded(graph.op("Concat", *(graph.op("Softmax", part, axis=1) for part in parts), axis=1))
    return ["n", int(graph.weights["head.bias"].shape[0]), "y", "x"]


def _haze_graph(graph: _Graph) -> list[str | int]:
    """Add the haze network's nodes; gives the output's axes."""
    levels, x = graph.normalised()
    for layer in range(3):
        x = graph.pool(graph.op("Relu", graph.conv(x, f"layers.{layer}")))
    brightest = graph.op("ReduceMax", levels, axes=[1], keepdims=1)
    valid = graph.op("Clip", brightest, graph.constant("zero", 0.0), graph.constant("one", 1.0))
    part = graph.op("AveragePool", valid, kernel_shape=[SHRINK, SHRINK], strides=[SHRINK, SHRINK])
    plane = graph.constant("plane", [2, 3])
    weight = graph.op("ReduceSum", part, plane, keepdims=0)
    weight = graph.op("Max", weight, graph.constant("least", 1e-3))
    mean = graph.op("Div", graph.op("ReduceSum", graph.op("Mul", x, part), plane, keepdims=0), weight)
    logit = graph.op("Gemm", mean, graph.weight("head.weight"), graph.weight("head.bias"), transB=1)
    graph.rounded(graph.op("Squeeze", graph.op("Sigmoid", logit), graph.constant("last", [1])))
    return ["n"]


def export(model: UNet | HazeNet, meta: ModelMeta, path: Path) -> None:
    """Write `model` (plain: `folded`) with its metadata. The temperature goes into the head's weights."""
    bands, classes, _ = model.shape
    if (bands, classes) != (len(meta.bands), len(meta.classes)):
        raise ModelError(
            f"{meta.name} has {bands} bands and {classes} classes, but its metadata names "
            f"{len(meta.bands)} and {len(meta.classes)}: make them agree"
        )
    weights = dict(model.state_dict())
    divisor = temperatures(meta)
    for key in ("head.weight", "head.bias"):
        weights[key] = weights[key] / divisor.reshape(-1, *(1,) * (weights[key].ndim - 1))
    graph = _Graph(weights)
    axes = _unet_graph(graph, head_sizes(meta.name)) if isinstance(model, UNet) else _haze_graph(graph)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", bands, "y", "x"])
    probs = helper.make_tensor_value_info("probs", TensorProto.UINT8, axes)
    made = helper.make_graph(graph.nodes, meta.name, [image], [probs], graph.initialisers)
    proto = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="s2ops"
    )
    helper.set_model_props(proto, {METADATA_KEY: meta.model_dump_json()})
    onnx.checker.check_model(proto)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def temperatures(meta: ModelMeta) -> torch.Tensor:
    """(class,): what the logits were divided by."""
    values = meta.temperature if isinstance(meta.temperature, tuple) else (meta.temperature,)
    return torch.tensor(values).repeat_interleave(torch.tensor(head_sizes(meta.name)))


def load_into_torch(path: Path) -> UNet | HazeNet:
    """The network of an exported file as a plain torch module in evaluation mode, float32, on the CPU."""
    meta = read_meta(path)
    stored = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(path)).graph.initializer}
    model: UNet | HazeNet
    if len(meta.classes) == 1:
        model = HazeNet(len(meta.bands), meta.width)
    else:
        model = UNet(len(meta.bands), len(meta.classes), meta.width, heads=head_sizes(meta.name))
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - stored.keys())
    if missing:
        raise ModelError(f"{path} lacks the weights {', '.join(missing[:3])}: export it with `s2ops train`")
    state = {name: torch.from_numpy(stored[name].astype(np.float32)) for name in wanted}
    model.load_state_dict(state)
    model.eval()
    return model
