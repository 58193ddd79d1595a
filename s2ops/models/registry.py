"""Model registry: specifications of the networks, and lookup of their weights (one ONNX file with metadata each)."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import numpy as np
import obstore
from obstore.exceptions import BaseError as StoreError
from obstore.store import ObjectStore, from_url
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import NetworkChoice, RunConfig
from s2ops.constants import UInt8
from s2ops.errors import ModelError, StoreUnreachable

PACKAGE_WEIGHTS: Final = Path(__file__).parent / "weights"
"""Folder of the weights that the package ships."""

METADATA_KEY: Final = "s2ops"
"""Name of the one metadata entry of the ONNX file; its value is `ModelMeta` as JSON."""

MANIFEST_NAME: Final = "models.json"
"""Name of the checksum manifest beside weights in an object store (`model_store.py`)."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Input and output specification of a network; every weights file of that name must match it."""

    bands: tuple[str, ...]
    """Input bands, in the order of the input's second axis."""
    classes: tuple[str, ...]
    """Output classes, in the order of the output's second axis; an image classifier has exactly one."""
    window: int
    """Side of the network's square windows in pixels; a multiple of 32."""
    heads: tuple[str, ...] = ()
    """Networks whose tasks a multi-head network combines on one trunk, in class order; empty for one head."""


LANDCOVER: Final = "landcover"
"""Name of the land-cover network: the paper's three networks as heads of one trunk."""

NETWORKS: Final[dict[str, NetworkSpec]] = {
    "preview-cloud": NetworkSpec(("red", "green", "blue"), ("clear", "cloud"), 352),
    "preview-haze": NetworkSpec(("red", "green", "blue"), ("hazy",), 352),
    "scene-cloud": NetworkSpec(("red", "green", "blue", "nir"), ("clear", "cloud", "shadow"), 512),
    "water": NetworkSpec(("nir", "red", "green"), ("other", "water"), 512),
    "vegetation": NetworkSpec(("nir", "red", "green"), ("other", "grass", "tree"), 512),
    "building": NetworkSpec(("red", "green", "blue"), ("none", "residential", "industrial"), 512),
    LANDCOVER: NetworkSpec(
        ("red", "green", "blue", "nir"),
        ("other", "water", "other", "grass", "tree", "none", "residential", "industrial"),
        512,
        heads=("water", "vegetation", "building"),
    ),
}

TRAINABLE: Final[dict[str, NetworkSpec]] = NETWORKS | {
    "all-classes": NetworkSpec(
        ("red", "green", "blue", "nir"), ("water", "grass", "tree", "residential", "industrial", "barren"), 512
    ),
}
"""All networks that can be trained (and ship): those of the pipeline, and `all-classes` for comparison only."""


LANDCOVER_NETWORKS: Final[Mapping[NetworkChoice, tuple[str, ...]]] = {
    "separate": NETWORKS[LANDCOVER].heads,
    "shared": (LANDCOVER,),
    "both": (LANDCOVER, *NETWORKS[LANDCOVER].heads),
}
"""Networks that each pixel of the land-cover map passes through, by the user's choice."""


def list_run_networks(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the networks that a run needs."""
    cover = LANDCOVER_NETWORKS[config.landcover.networks] if config.landcover.enabled else ()
    return ("preview-cloud", "preview-haze", "scene-cloud", *cover)


@dataclass(frozen=True, slots=True)
class NetworkTask:
    """Task (head) of a network: consecutive classes whose probabilities sum to 255."""

    name: str
    """Name of the single-task network with the same classes."""
    classes: slice
    """Positions of the task's classes among all classes of the network."""


def list_tasks(name: str) -> tuple[NetworkTask, ...]:
    """Return the tasks of network `name`: one per head."""
    done, found = 0, []
    for head in TRAINABLE[name].heads or (name,):
        count = len(TRAINABLE[head].classes)
        found.append(NetworkTask(head, slice(done, done + count)))
        done += count
    return tuple(found)


def split_by_head(name: str, probs: UInt8) -> list[UInt8]:
    """Split the probabilities of network `name`, (class, y, x), into one array per head."""
    return [probs[task.classes] for task in list_tasks(name)]


def list_head_sizes(name: str) -> list[int]:
    """Return the number of classes of each head of network `name`."""
    return [task.classes.stop - task.classes.start for task in list_tasks(name)]


def list_reference_classes(head_sizes: Sequence[int]) -> list[int]:
    """Return the position of each head's first class: its probability is 255 minus those of the head's other classes.

    Args:
        head_sizes: Number of classes of each head.
    """
    return [sum(head_sizes[:head]) for head in range(len(head_sizes))]


def list_transmitted_classes(head_sizes: Sequence[int]) -> list[int]:
    """Return the positions of all classes except each head's reference class: only these leave a server or GPU.

    Args:
        head_sizes: Number of classes of each head.
    """
    references = list_reference_classes(head_sizes)
    return [index for index in range(sum(head_sizes)) if index not in references]


def fill_reference_classes(probs: UInt8, head_sizes: Sequence[int]) -> None:
    """Set the first class of each head to 255 minus the sum of the head's other classes, in place.

    Args:
        probs: uint8 probabilities (n, class, y, x).
        head_sizes: Number of classes of each head.
    """
    for first, size in zip(list_reference_classes(head_sizes), head_sizes, strict=True):
        # rounding can make the sum of the others 256
        others = probs[:, first + 1 : first + size].sum(axis=1, dtype=np.uint16)
        probs[:, first] = 255 - np.minimum(others, 255)


class ModelMeta(BaseModel):
    """Metadata of a weights file, stored inside it as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(description="name of the network, one of `TRAINABLE`")]
    version: Annotated[str, Field(min_length=1, description="version of the weights")]
    bands: tuple[str, ...]
    classes: tuple[str, ...]
    window: Annotated[int, Field(gt=0, multiple_of=32)]
    width: Annotated[int, Field(gt=0, description="number of channels of the first block")]
    levels: Annotated[str, Field(description="kind of the 8-bit input: 'tone-curve' or 'tci'")]
    temperature: Annotated[
        float | tuple[float, ...],
        Field(description="divisor of the logits (already part of the weights); one per head if there are several"),
    ]
    trained_on: Annotated[tuple[str, ...], Field(min_length=1, description="training data sets, with their licences")]
    scores: Annotated[dict[str, float], Field(description="scores on held-out data (docs/how-to/train-a-network.md)")]
    licence: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Weights file that has been found, read and checked."""

    path: Path
    meta: ModelMeta
    sha256: str
    """SHA-256 of the file; part of the fingerprint of every output that it produces."""


def find_weights(name: str, models: str | None = None) -> ModelFile:
    """Find, read and check the weights of a network.

    Args:
        name: Name of the network, one of `TRAINABLE`.
        models: Folder or URI of the weights, or None for the package's own.

    Raises:
        ModelError: If the file is missing, is not a valid ONNX model with s2ops metadata, or does not match the
            network's bands and classes.
        StoreUnreachable: If the object store does not answer.
    """
    network = TRAINABLE.get(name)
    if network is None:
        raise ModelError(f"Unknown network: {name!r}; choose one of {', '.join(TRAINABLE)}.")
    path = _locate(name, models)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"Cannot read the weights {path}: {error.strerror}; set `models` to a folder that contains {name}.onnx."
        ) from error
    meta = read_metadata(path)
    for what, found, wanted in (
        ("name", meta.name, name),
        ("bands", meta.bands, network.bands),
        ("classes", meta.classes, network.classes),
    ):
        if found != wanted:
            raise ModelError(
                f"Weights {path} do not match network {name}: {what} is {found}, expected {wanted}; "
                f"provide weights that were made for {name}."
            )
    return ModelFile(path, meta, hashlib.sha256(data).hexdigest())


def read_metadata(path: Path) -> ModelMeta:
    """Read the metadata inside an ONNX file.

    Raises:
        ModelError: If the file is not a valid ONNX model, or its metadata are missing or not valid.
    """
    from onnxruntime import (  # noqa: PLC0415 -- a run that uses a server loads no runtime of its own
        GraphOptimizationLevel,
        InferenceSession,
        SessionOptions,
    )

    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL  # only the metadata are needed
    try:
        session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen private classes without a common base
        raise ModelError(
            f"Cannot load the weights {path}: onnxruntime reports {error}; replace the file by a valid ONNX model."
        ) from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"Weights {path} cannot be used: they contain no {METADATA_KEY!r} metadata; export them with `s2ops train`."
        )
    try:
        return ModelMeta.model_validate_json(text)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ModelError(
            f"The metadata of {path} are not valid: {fields}; export the weights with `s2ops train`."
        ) from error


def _locate(name: str, models: str | None) -> Path:
    if models is None:
        return PACKAGE_WEIGHTS / f"{name}.onnx"
    parts = urlsplit(models)
    if parts.scheme in ("", "file"):
        return Path(parts.path if parts.scheme else models) / f"{name}.onnx"
    return _download(name, models)


def _download(name: str, models: str) -> Path:
    """Download the weights from an object store into a temporary folder named by their checksum."""
    try:
        store = from_url(models)
        data = bytes(obstore.get(store, f"{name}.onnx").bytes())
        expected = _read_manifest_checksum(store, name)
    except FileNotFoundError as error:
        raise ModelError(
            f"Weights not found: {models} contains no {name}.onnx; upload it there or omit `models`."
        ) from error
    except StoreError as error:
        raise StoreUnreachable(f"Cannot download {name}.onnx from {models}: {error}; run again.") from error
    found = hashlib.sha256(data).hexdigest()
    if expected not in (None, found):
        raise ModelError(
            f"Weights {name}.onnx in {models} are damaged: SHA-256 is {found}, but {MANIFEST_NAME} lists {expected}; "
            "upload them again with `s2ops models push`."
        )
    folder = Path(tempfile.gettempdir()) / "s2ops-models" / found[:16]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.onnx"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            part.write(data)
        Path(part.name).replace(target)  # atomic, because several workers may download at once
    return target


def _read_manifest_checksum(store: ObjectStore, name: str) -> str | None:
    """Return the SHA-256 of a network in the store's manifest, or None without a manifest or without that network."""
    try:
        data = obstore.get(store, MANIFEST_NAME).bytes().to_bytes()
    except FileNotFoundError:
        return None
    try:
        entry = json.loads(data)["networks"].get(name)
        return None if entry is None else str(entry["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{MANIFEST_NAME} beside {name}.onnx is not valid: {error!r}; "
            "delete it and upload the weights again with `s2ops models push`."
        ) from error
