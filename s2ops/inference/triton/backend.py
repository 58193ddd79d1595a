"""The server's side of a Triton model (python backend): `model.py` of every model is this class.

On a GPU the torch engine computes, else ONNX Runtime. Tensors come and go through DLPack: the backend of Triton 2.51
was built for NumPy 1 and gives NumPy 2 wrong strides.
"""

import ctypes
import json
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.onnx import open_scorer, open_segmenter
from s2ops.inference.triton.model_info import IMAGE, PARAMETER, PROBS, Served, without_first
from s2ops.models.registry import ModelFile, find

MODELS = "S2OPS_MODELS"
"""Environment: folder or URI of the weights; the package's where it is not set."""


class Engine(Protocol):
    """What computes: one model's networks on one device."""

    def predict(self, images: Sequence[UInt8]) -> list[UInt8]:
        """Of each request (n, band, y, x) levels -> (n, sent, y, x) probabilities without each head's first class.

        An answer never depends on what else is in the batch. It is read before the next call: buffers may be reused.
        """


class OnnxEngine:
    """The in-process engine behind the server: for machines without a GPU, and for scoring."""

    def __init__(self, served: Served, models: str | None, threads: int) -> None:
        self._served = served
        if served.scores:
            self._score = open_scorer(served.model, models, threads).score
        else:
            self._segmenter = open_segmenter(served.model, models, threads)

    def predict(self, images: Sequence[UInt8]) -> list[UInt8]:
        """See `Engine`; all windows of the batch side by side."""
        windows = np.concatenate(images)
        if self._served.scores:
            probs = self._score(windows)[:, None]
        else:
            probs = without_first(self._served, self._segmenter.predict(windows))
        ends = np.cumsum([len(image) for image in images])
        return np.split(probs, ends[:-1])


def _engine(served: Served, models: str | None, kind: str, device: int, batch: int) -> Engine:
    file = _checked(find(served.model, models), served.sha256)
    if kind == "GPU":
        from s2ops.inference.gpu.engine import GpuEngine  # noqa: PLC0415 -- needs torch, which the CPU's image lacks

        engine: Engine = GpuEngine(file, device, batch)
        return engine
    return OnnxEngine(served, models, threads=len(os.sched_getaffinity(0)))


def _checked(file: ModelFile, sha256: str) -> ModelFile:
    if file.sha256 != sha256:
        raise ModelError(
            f"the repository was made for {file.meta.name} of SHA-256 {sha256}, but {file.path} has {file.sha256}: "
            "write it again with `s2ops models repository`"
        )
    return file


class TritonPythonModel:
    """What Triton calls; one object an instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights that the configuration names."""
        config = json.loads(args["model_config"])
        served = Served.read(args["model_name"], config["parameters"][PARAMETER]["string_value"])
        kind, device = args["model_instance_kind"], int(args["model_instance_device_id"])
        self._engine = _engine(served, os.environ.get(MODELS), kind, device, config["max_batch_size"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One batch: a response for each request, in their order."""
        import triton_python_backend_utils as triton  # noqa: PLC0415 -- only the server has it

        images: list[UInt8] = [
            np.from_dlpack(triton.get_input_tensor_by_name(request, IMAGE)).view(np.uint8) for request in requests
        ]
        answers = self._engine.predict(images)
        return [triton.InferenceResponse([triton.Tensor.from_dlpack(PROBS, _capsule(probs))]) for probs in answers]


def _capsule(probs: UInt8) -> object:
    """The array for Triton, which renames the capsule it has taken and frees the array itself.

    NumPy's own destructor does not know that name and would complain of each capsule.
    """
    capsule: object = np.ascontiguousarray(probs).__dlpack__()
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return capsule
