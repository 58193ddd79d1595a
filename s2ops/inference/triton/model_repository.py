"""The Triton model repository, generated from the weights: `s2ops models repository OUT`.

    OUT/water/config.pbtxt        fixed shapes, batching, queue, warm-up; the weights' metadata as a parameter
    OUT/water/74210457/model.py   the version is made from the weights' SHA-256

Nothing is left for Triton to complete or guess.
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
from s2ops.inference.triton.model_info import IMAGE, PARAMETER, PROBS, Served
from s2ops.models.registry import NETWORKS, find

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How a kind of machine is used; docs/how-to/serve-the-networks.md has the measurements."""

    instances: int
    """Processes a model: one copies while another computes."""
    batch_pixels: int
    """Most pixels computed at once."""


PROFILES: Final[dict[Device, Profile]] = {
    "gpu": Profile(instances=3, batch_pixels=4 * 2**20),
    "cpu": Profile(instances=1, batch_pixels=2**20),
}

DELAY_US: Final = 3000
"""How long a request waits for others to share its batch."""

QUEUE: Final = 64
"""Requests waiting a model; one more is rejected, and its client backs off."""

QUEUE_TIMEOUT_US: Final = 30_000_000
"""A request that waited so long is rejected: its client has given up or is better served elsewhere."""

_HEAD: Final = "# Generated from the weights by `s2ops models repository`; `make repository` writes it anew.\n"

_MODEL: Final = '''"""One Triton model: all it does is in s2ops."""

import os
import sys

# the backend's Python ignores PYTHONPATH
sys.path += filter(None, os.environ.get("S2OPS_PYTHONPATH", "").split(os.pathsep))

from s2ops.inference.triton.backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def config(served: Served, device: Device, instances: int | None = None) -> pb.ModelConfig:
    """Triton's configuration of one model. `instances` replaces the profile's number."""
    profile = PROFILES[device]
    batch = max(1, profile.batch_pixels // served.side**2)
    # scoring an image is so little work that it stays on the processor
    kind = pb.ModelInstanceGroup.KIND_GPU if device == "gpu" and not served.scores else pb.ModelInstanceGroup.KIND_CPU
    warmup = [
        pb.ModelWarmup(
            name=f"batch of {size}",
            batch_size=size,
            inputs={IMAGE: pb.ModelWarmup.Input(data_type=pb.TYPE_UINT8, dims=served.shape_in, random_data=True)},
        )
        for size in sorted({1, batch})
    ]
    policy = pb.ModelQueuePolicy(
        timeout_action=pb.ModelQueuePolicy.REJECT,
        default_timeout_microseconds=QUEUE_TIMEOUT_US,
        max_queue_size=QUEUE,
    )
    return pb.ModelConfig(
        name=served.model,
        backend="python",
        max_batch_size=batch,
        version_policy=pb.ModelVersionPolicy(specific=pb.ModelVersionPolicy.Specific(versions=[served.version])),
        input=[pb.ModelInput(name=IMAGE, data_type=pb.TYPE_UINT8, dims=served.shape_in)],
        output=[pb.ModelOutput(name=PROBS, data_type=pb.TYPE_UINT8, dims=served.shape_out)],
        instance_group=[pb.ModelInstanceGroup(kind=kind, count=instances or profile.instances)],
        dynamic_batching=pb.ModelDynamicBatching(
            max_queue_delay_microseconds=DELAY_US, default_queue_policy=policy, preserve_ordering=False
        ),
        model_warmup=warmup,
        parameters={PARAMETER: pb.ModelParameter(string_value=served.model_dump_json())},
    )


def write(
    out: Path,
    models: str | None = None,
    device: Device = "gpu",
    instances: int | None = None,
    only: Sequence[str] = (),
) -> list[Served]:
    """Write the repository over the weights in `models` (None: the package's); other versions in `out` go.

    `only` names the Triton models to write; all seven by default. Raises ModelError for weights that are not there.
    """
    unknown = [name for name in only if name not in NETWORKS]
    if unknown:
        raise ConfigError(f"there is no Triton model {', '.join(unknown)}; the models are {', '.join(NETWORKS)}")
    done = []
    for model in only or NETWORKS:
        served = Served.of(find(model, models))
        shutil.rmtree(out / model, ignore_errors=True)
        version = out / model / str(served.version)
        version.mkdir(parents=True)
        (version / "model.py").write_text(_MODEL)
        text = text_format.MessageToString(config(served, device, instances), as_utf8=True)
        (out / model / "config.pbtxt").write_text(_HEAD + text)
        done.append(served)
    return done


def drift(committed: Path, fresh: Path) -> list[str]:
    """Files of two repositories that differ, or are in one alone; relative paths, sorted."""
    names = {path.relative_to(folder) for folder in (committed, fresh) for path in folder.rglob("*") if _counts(path)}
    return sorted(str(name) for name in names if not _same(committed / name, fresh / name))


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
