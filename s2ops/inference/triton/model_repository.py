"""Triton model repository, generated from the weights: `s2ops models repository OUT`.

    OUT/water/config.pbtxt        fixed shapes, batching, queue, warm-up; the weights' metadata as a parameter
    OUT/water/74210457/model.py   the version is derived from the weights' SHA-256

The configurations are complete: Triton need not infer anything.
"""

import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from s2ops.errors import ConfigError
from s2ops.inference.triton.model_info import INPUT_NAME, OUTPUT_NAME, PARAMETER_NAME, ServedModelInfo
from s2ops.models.registry import NETWORKS, find_weights

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class MachineProfile:
    """Use of one kind of machine; docs/how-to/serve-the-networks.md has the measurements."""

    instances: int
    """Number of processes per model: one copies data while another computes."""
    batch_pixels: int
    """Maximum number of pixels per batch."""


MACHINE_PROFILES: Final[dict[Device, MachineProfile]] = {
    "gpu": MachineProfile(instances=3, batch_pixels=4 * 2**20),
    "cpu": MachineProfile(instances=1, batch_pixels=2**20),
}

MAX_QUEUE_DELAY_US: Final = 3000
"""Maximum time in microseconds that a request waits for others to share its batch."""

MAX_QUEUE_SIZE: Final = 64
"""Maximum number of waiting requests per model; further requests are rejected and their clients back off."""

QUEUE_TIMEOUT_US: Final = 30_000_000
"""Waiting time in microseconds after which a request is rejected: its client gave up or should use another server."""

_CONFIG_HEADER: Final = "# Generated from the weights by `s2ops models repository`; `make repository` writes it anew.\n"

_MODEL: Final = '''"""One Triton model: all it does is in s2ops."""

import os
import sys

# the backend's Python ignores PYTHONPATH
sys.path += filter(None, os.environ.get("S2OPS_PYTHONPATH", "").split(os.pathsep))

from s2ops.inference.triton.backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
"""Content of every model's `model.py`."""


def build_model_config(info: ServedModelInfo, device: Device, instances: int | None = None) -> pb.ModelConfig:
    """Build Triton's configuration of one model.

    Args:
        info: Description of the model.
        device: Kind of machine that will serve it.
        instances: Number of processes, or None for the machine profile's number.
    """
    profile = MACHINE_PROFILES[device]
    batch = max(1, profile.batch_pixels // info.side**2)
    # image classifiers stay on the CPU, because they need little computation
    on_gpu = device == "gpu" and not info.is_image_classifier
    kind = pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    warmup = [
        pb.ModelWarmup(
            name=f"batch of {size}",
            batch_size=size,
            inputs={INPUT_NAME: pb.ModelWarmup.Input(data_type=pb.TYPE_UINT8, dims=info.input_shape, random_data=True)},
        )
        for size in sorted({1, batch})
    ]
    policy = pb.ModelQueuePolicy(
        timeout_action=pb.ModelQueuePolicy.REJECT,
        default_timeout_microseconds=QUEUE_TIMEOUT_US,
        max_queue_size=MAX_QUEUE_SIZE,
    )
    return pb.ModelConfig(
        name=info.model,
        backend="python",
        max_batch_size=batch,
        version_policy=pb.ModelVersionPolicy(specific=pb.ModelVersionPolicy.Specific(versions=[info.version])),
        input=[pb.ModelInput(name=INPUT_NAME, data_type=pb.TYPE_UINT8, dims=info.input_shape)],
        output=[pb.ModelOutput(name=OUTPUT_NAME, data_type=pb.TYPE_UINT8, dims=info.output_shape)],
        instance_group=[pb.ModelInstanceGroup(kind=kind, count=instances or profile.instances)],
        dynamic_batching=pb.ModelDynamicBatching(
            max_queue_delay_microseconds=MAX_QUEUE_DELAY_US, default_queue_policy=policy, preserve_ordering=False
        ),
        model_warmup=warmup,
        parameters={PARAMETER_NAME: pb.ModelParameter(string_value=info.model_dump_json())},
    )


def write_repository(
    out: Path,
    models: str | None = None,
    device: Device = "gpu",
    instances: int | None = None,
    only: Sequence[str] = (),
) -> list[ServedModelInfo]:
    """Write a model repository; other versions of the written models are removed from `out`.

    Args:
        out: Folder of the repository.
        models: Folder or URI of the weights, or None for the package's own.
        device: Kind of machine that will serve the models.
        instances: Number of processes per model, or None for the machine profile's number.
        only: Names of the models to write; empty for all.

    Raises:
        ConfigError: If a model does not exist.
        ModelError: If weights are missing or not valid.
    """
    unknown = [name for name in only if name not in NETWORKS]
    if unknown:
        raise ConfigError(f"Unknown Triton model: {', '.join(unknown)}; choose from {', '.join(NETWORKS)}.")
    written = []
    for model in only or NETWORKS:
        info = ServedModelInfo.from_file(find_weights(model, models))
        shutil.rmtree(out / model, ignore_errors=True)
        version = out / model / str(info.version)
        version.mkdir(parents=True)
        (version / "model.py").write_text(_MODEL)
        text = text_format.MessageToString(build_model_config(info, device, instances), as_utf8=True)
        (out / model / "config.pbtxt").write_text(_CONFIG_HEADER + text)
        written.append(info)
    return written


def list_differences(committed: Path, fresh: Path) -> list[str]:
    """Return the files that differ between two repositories or exist in only one; relative paths, sorted."""
    folders = (committed, fresh)
    names = {path.relative_to(folder) for folder in folders for path in folder.rglob("*") if _is_compared(path)}
    return sorted(str(name) for name in names if not _has_same_bytes(committed / name, fresh / name))


def _is_compared(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _has_same_bytes(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
