"""Which networks there are, and where their weights lie: one ONNX file each, with its metadata inside."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError as StoreError
from obstore.store import ObjectStore, from_url
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.constants import UInt8
from s2ops.errors import ModelError, StoreUnreachable

WEIGHTS: Final = Path(__file__).parent / "weights"
"""The networks of the package."""

METADATA_KEY: Final = "s2ops"
"""Name of the one metadata entry of the ONNX file; its value is `ModelMeta` as JSON."""


MANIFEST: Final = "models.json"
"""Beside weights in an object store: their checksums (`library.py`)."""


@dataclass(frozen=True, slots=True)
class Network:
    """What a network of the chain takes and gives; every weights file of that name must fit."""

    bands: tuple[str, ...]
    """In the order of the input's second axis."""
    classes: tuple[str, ...]
    """In the order of the output's second axis; a single one for a network that gives one probability."""
    window: int
    """Side of the windows it is run in, pixels; a multiple of 32."""
    heads: tuple[str, ...] = ()
    """The networks whose tasks it does together, on one trunk: their classes one after the other. Empty: its own."""


LANDCOVER: Final = "landcover"
"""The network of the land-cover map: the paper's three as heads of one trunk."""

NETWORKS: Final[dict[str, Network]] = {
    "preview-cloud": Network(("red", "green", "blue"), ("clear", "cloud"), 352),
    "preview-haze": Network(("red", "green", "blue"), ("hazy",), 352),
    "scene-cloud": Network(("red", "green", "blue", "nir"), ("clear", "cloud", "shadow"), 512),
    "water": Network(("nir", "red", "green"), ("other", "water"), 512),
    "vegetation": Network(("nir", "red", "green"), ("other", "grass", "tree"), 512),
    "building": Network(("red", "green", "blue"), ("none", "residential", "industrial"), 512),
    LANDCOVER: Network(
        ("red", "green", "blue", "nir"),
        ("other", "water", "other", "grass", "tree", "none", "residential", "industrial"),
        512,
        heads=("water", "vegetation", "building"),
    ),
}

TRAINABLE: Final[dict[str, Network]] = NETWORKS | {
    "all-classes": Network(
        ("red", "green", "blue", "nir"), ("water", "grass", "tree", "residential", "industrial", "barren"), 512
    ),
}
"""With the network that the paper's three are compared with: all classes at once. The chain does not use it."""


@dataclass(frozen=True, slots=True)
class Task:
    """A group of a network's classes that sum to certainty."""

    name: str
    """The network that does this alone."""
    classes: slice
    """Among the network's."""


def tasks(name: str) -> tuple[Task, ...]:
    """What the network `name` answers: one task, or one for each of its heads."""
    done, found = 0, []
    for head in TRAINABLE[name].heads or (name,):
        count = len(TRAINABLE[head].classes)
        found.append(Task(head, slice(done, done + count)))
        done += count
    return tuple(found)


def by_head(name: str, probs: UInt8) -> list[UInt8]:
    """(class, y, x) of the network -> the same of each of its heads."""
    return [probs[task.classes] for task in tasks(name)]


def head_sizes(name: str) -> list[int]:
    """Numbers of classes of the network's heads; their classes follow each other."""
    return [task.classes.stop - task.classes.start for task in tasks(name)]


class ModelMeta(BaseModel):
    """What a weights file says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(description="one of `TRAINABLE`")]
    version: Annotated[str, Field(min_length=1, description="version of the weights")]
    bands: tuple[str, ...]
    classes: tuple[str, ...]
    window: Annotated[int, Field(gt=0, multiple_of=32)]
    width: Annotated[int, Field(gt=0, description="channels of the first block")]
    levels: Annotated[str, Field(description="what the 8-bit input is: 'tone-curve' or 'tci'")]
    temperature: Annotated[
        float | tuple[float, ...],
        Field(description="the logits were divided by this (already in the weights); one for each head of several"),
    ]
    trained_on: Annotated[tuple[str, ...], Field(min_length=1, description="data sets, with their licences")]
    scores: Annotated[dict[str, float], Field(description="on data that training did not see (docs/how-to/train-a-network.md)")]
    licence: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A weights file that has been found, read and checked."""

    path: Path
    meta: ModelMeta
    sha256: str
    """Of the file; part of the fingerprint of everything made with it."""


def find(name: str, models: str | None = None) -> ModelFile:
    """The weights of network `name` in `models`: a folder, a URI, or None for the package's own.

    Raises ModelError where the file is missing, is no ONNX model of ours, or does not fit the network's bands and
    classes; StoreUnreachable where the object store does not answer.
    """
    network = TRAINABLE.get(name)
    if network is None:
        raise ModelError(f"there is no network named {name!r}; the networks are {', '.join(TRAINABLE)}")
    path = _locate(name, models)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read the weights {path}: {error.strerror}; set `models` to a folder that holds {name}.onnx"
        ) from error
    meta = read_meta(path)
    for what, found, wanted in (
        ("name", meta.name, name),
        ("bands", meta.bands, network.bands),
        ("classes", meta.classes, network.classes),
    ):
        if found != wanted:
            raise ModelError(f"{path} has {what} {found}, but {name} needs {wanted}: give weights made for {name}")
    return ModelFile(path, meta, hashlib.sha256(data).hexdigest())


def read_meta(path: Path) -> ModelMeta:
    """The metadata inside an ONNX file."""
    from onnxruntime import (  # noqa: PLC0415 -- a run beside a server loads no runtime of its own
        GraphOptimizationLevel,
        InferenceSession,
        SessionOptions,
    )

    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL  # only the metadata is wanted
    try:
        session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen private classes without a common base
        raise ModelError(f"{path} is no ONNX model that onnxruntime can load: {error}") from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path} carries no {METADATA_KEY!r} metadata: export it with `s2ops train`")
    try:
        return ModelMeta.model_validate_json(text)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ModelError(f"the metadata of {path} is not valid ({fields}): export it with `s2ops train`") from error


def _locate(name: str, models: str | None) -> Path:
    if models is None:
        return WEIGHTS / f"{name}.onnx"
    parts = urlsplit(models)
    if parts.scheme in ("", "file"):
        return Path(parts.path if parts.scheme else models) / f"{name}.onnx"
    return _download(name, models)


def _download(name: str, models: str) -> Path:
    """Fetch the weights from an object store into the temporary folder, named by their content."""
    try:
        store = from_url(models)
        data = bytes(obstore.get(store, f"{name}.onnx").bytes())
        promised = _promised(store, name)
    except FileNotFoundError as error:
        raise ModelError(f"{models} holds no {name}.onnx: put the weights there or leave `models` out") from error
    except StoreError as error:
        raise StoreUnreachable(f"cannot fetch {name}.onnx from {models}: {error}; run again") from error
    found = hashlib.sha256(data).hexdigest()
    if promised not in (None, found):
        raise ModelError(
            f"{models}: {name}.onnx has SHA-256 {found}, but {MANIFEST} says {promised}: the copy is broken; push again"
        )
    folder = Path(tempfile.gettempdir()) / "s2ops-models" / found[:16]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.onnx"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            part.write(data)
        Path(part.name).replace(target)  # whole or not at all, also with several workers
    return target


def _promised(store: ObjectStore, name: str) -> str | None:
    """The SHA-256 that the manifest states for a network; None where there is no manifest or it lacks the network."""
    try:
        data = obstore.get(store, MANIFEST).bytes().to_bytes()
    except FileNotFoundError:
        return None
    try:
        entry = json.loads(data)["networks"].get(name)
        return None if entry is None else str(entry["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{MANIFEST} beside {name}.onnx is not valid ({error!r}): delete it and push again") from error
