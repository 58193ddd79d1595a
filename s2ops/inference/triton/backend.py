"""Triton python backend: the class that `model.py` of every served model exports.

Inference runs by the torch engine on a GPU, otherwise by ONNX Runtime. Tensors are exchanged through DLPack, because
the backend of Triton 2.51 was built for NumPy 1 and gives NumPy 2 wrong strides.
"""

import ctypes
import json
import os
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.onnx import open_image_classifier, open_segmenter
from s2ops.inference.triton.model_info import (
    INPUT_NAME,
    OUTPUT_NAME,
    PARAMETER_NAME,
    ServedModelInfo,
    drop_reference_class,
)
from s2ops.models.registry import ModelFile, find_weights
from s2ops.telemetry.log_config import configure_logging

MODELS_ENV: Final = "S2OPS_MODELS"
"""Environment variable with the folder or URI of the weights; the package's weights are used if it is not set."""


class InferenceEngine(Protocol):
    """Engine that computes one model's network on one device."""

    def predict(self, images: Sequence[UInt8]) -> list[UInt8]:
        """Compute one batch.

        A result never depends on other requests of the batch. Results must be read before the next call, because an
        engine may reuse its buffers.

        Args:
            images: uint8 levels (n, band, y, x) of each request.

        Returns:
            uint8 probabilities of each request without each head's reference class: (n, transmitted class, y, x).
        """


class OnnxEngine:
    """Engine that runs ONNX Runtime: for machines without a GPU, and for image classifiers."""

    def __init__(self, info: ServedModelInfo, models: str | None, threads: int) -> None:
        self._info = info
        if info.is_image_classifier:
            self._score = open_image_classifier(info.model, models, threads).score
        else:
            self._segmenter = open_segmenter(info.model, models, threads)

    def predict(self, images: Sequence[UInt8]) -> list[UInt8]:
        """Compute one batch, its windows in parallel (see `InferenceEngine.predict`)."""
        windows = np.concatenate(images)
        if self._info.is_image_classifier:
            probs = self._score(windows)[:, None]
        else:
            probs = drop_reference_class(self._info, self._segmenter.predict(windows))
        ends = np.cumsum([len(image) for image in images])
        return np.split(probs, ends[:-1])


def _create_engine(info: ServedModelInfo, models: str | None, kind: str, device: int, batch: int) -> InferenceEngine:
    file = _check_checksum(find_weights(info.model, models), info.sha256)
    if kind == "GPU":
        from s2ops.inference.gpu.engine import GpuEngine  # noqa: PLC0415 -- needs torch, which the CPU's image lacks

        engine: InferenceEngine = GpuEngine(file, device, batch)
        return engine
    return OnnxEngine(info, models, threads=len(os.sched_getaffinity(0)))


def _check_checksum(file: ModelFile, sha256: str) -> ModelFile:
    if file.sha256 != sha256:
        raise ModelError(
            f"The model repository does not match the weights {file.path}: SHA-256 is {file.sha256}, but the "
            f"repository expects {sha256} for {file.meta.name}; write it again with `s2ops models repository`."
        )
    return file


class TritonPythonModel:
    """Model of Triton's python backend; each instance runs in its own process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights that the model's configuration names."""
        configure_logging("text")  # Triton runs each instance in a new process; stderr is part of the server's log
        config = json.loads(args["model_config"])
        info = ServedModelInfo.from_json(args["model_name"], config["parameters"][PARAMETER_NAME]["string_value"])
        kind, device = args["model_instance_kind"], int(args["model_instance_device_id"])
        self._engine = _create_engine(info, os.environ.get(MODELS_ENV), kind, device, config["max_batch_size"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Compute one batch and return one response per request, in the same order."""
        import triton_python_backend_utils as triton  # noqa: PLC0415 -- only the server has it

        images: list[UInt8] = [
            np.from_dlpack(triton.get_input_tensor_by_name(request, INPUT_NAME)).view(np.uint8) for request in requests
        ]
        results = self._engine.predict(images)
        return [
            triton.InferenceResponse([triton.Tensor.from_dlpack(OUTPUT_NAME, _export_to_dlpack(probs))])
            for probs in results
        ]


def _export_to_dlpack(probs: UInt8) -> object:
    """Export an array as a DLPack capsule without a destructor.

    Triton renames the capsule when it consumes it and frees the array itself. NumPy's destructor does not expect the
    new name and would print a warning for each capsule.
    """
    capsule: object = np.ascontiguousarray(probs).__dlpack__()
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return capsule
