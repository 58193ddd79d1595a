"""Weights in object storage: push them with a manifest of checksums, pull them and check every byte.

A folder or URI holds NETWORK.onnx for one to six networks and `models.json`, which is written last: what it names is
there in full. Full-width networks, too large for the package, are kept this way.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe
from s2ops.errors import ModelError
from s2ops.models.registry import MANIFEST, NETWORKS, WEIGHTS, ModelMeta, find
from s2ops.storage.object_store import Store


class Entry(BaseModel):
    """One weights file: what it is, and the bytes it must have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meta: ModelMeta
    size: Annotated[int, Field(ge=0, description="bytes")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @property
    def key(self) -> str:
        """Name of the file beside the manifest."""
        return f"{self.meta.name}.onnx"


class Manifest(BaseModel):
    """Content of `models.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    networks: dict[str, Entry]


def entries(models: str | None = None) -> list[Entry]:
    """The networks of a folder, a URI, or (None) the package, in the order of `NETWORKS`.

    Files of a folder are read, so that newly trained ones show; an object store is asked for its manifest.
    """
    folder = WEIGHTS if models is None else Store(models).folder
    if folder is None:
        found = _manifest(Store(str(models)))
        return [found.networks[name] for name in NETWORKS if name in found.networks]
    present = [name for name in NETWORKS if (folder / f"{name}.onnx").is_file()]
    if not present:
        raise ModelError(f"{folder} holds no weights: name a folder with NETWORK.onnx, such as water.onnx")
    return [_entry(name, folder) for name in present]


def push(source: str | None, target: str) -> list[Entry]:
    """Copy the weights of folder `source` (None: the package's) to `target`; networks that lie there alone stay.

    Raises ModelError for a file that is no network of ours, before anything is written.
    """
    folder = WEIGHTS if source is None else Path(source)
    store, own = Store(target), entries(str(folder))
    stored = store.get(MANIFEST)
    kept = {} if stored is None else _parsed(stored, target).networks
    for entry in own:
        store.put_file(entry.key, folder / entry.key)
    merged = kept | {entry.meta.name: entry for entry in own}
    manifest = Manifest(networks={name: merged[name] for name in NETWORKS if name in merged})
    store.put(MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
    return own


def pull(source: str, folder: Path, networks: Sequence[str] = ()) -> list[Entry]:
    """Copy weights (all, or those named) from `source` into `folder`, each checked against the manifest.

    Raises ModelError where a file is missing or is not what the manifest says; that file is not written.
    """
    store = Store(source)
    manifest = _manifest(store)
    unknown = [name for name in networks if name not in manifest.networks]
    if unknown:
        raise ModelError(f"{source} holds no {', '.join(unknown)}; it holds {', '.join(manifest.networks)}")
    wanted = [manifest.networks[name] for name in networks or manifest.networks]
    folder.mkdir(parents=True, exist_ok=True)
    for entry in wanted:
        data = _checked(store, entry)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            part.write(data)
        Path(part.name).replace(folder / entry.key)  # whole or not at all
        find(entry.meta.name, str(folder))
    return wanted


def _checked(store: Store, entry: Entry) -> bytes:
    data = store.get(entry.key)
    if data is None:
        raise ModelError(f"{store.uri} holds no {entry.key} although {MANIFEST} names it: push it again")
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ModelError(
            f"{store.uri}: {entry.key} ({len(data)} bytes) has SHA-256 {found}, but {MANIFEST} says {entry.sha256} "
            f"({entry.size} bytes): the copy is broken; push it again"
        )
    return data


def _entry(name: str, folder: Path) -> Entry:
    file = find(name, str(folder))
    return Entry(meta=file.meta, size=file.path.stat().st_size, sha256=file.sha256)


def _manifest(store: Store) -> Manifest:
    # a folder that is not there is no place to pull from, and must not be made by looking
    missing = store.folder is not None and not store.folder.is_dir()
    data = None if missing else store.get(MANIFEST)
    if data is None:
        raise ModelError(f"{store.uri} has no {MANIFEST}: put weights there with `s2ops models push`")
    return _parsed(data, store.uri)


def _parsed(data: bytes, uri: str) -> Manifest:
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(f"{uri}: {MANIFEST} is not valid ({describe(error)}): delete it and push again") from error


def _written(temperature: float | tuple[float, ...]) -> str:
    values = temperature if isinstance(temperature, tuple) else (temperature,)
    return "/".join(f"{value:.{3 if len(values) == 1 else 1}f}" for value in values)


def table(found: Sequence[Entry]) -> list[str]:
    """Lines for people: version, width, size, temperature and checksum of each network, then its scores."""
    lines = [f"{'network':14} {'version':8} {'width':>5} {'MB':>6} {'temperature':>11}  SHA-256"]
    for entry in found:
        meta = entry.meta
        lines.append(
            f"{meta.name:14} {meta.version:8} {meta.width:5} {entry.size / 1e6:6.2f} {_written(meta.temperature):>11}  "
            f"{entry.sha256}"
        )
        pools: dict[str, list[str]] = {}
        for key, value in meta.scores.items():
            pool, _, score = key.partition(": ")
            pools.setdefault(pool, []).append(f"{score} {value:.3f}")
        lines += [f"  {pool}: {', '.join(scores)}" for pool, scores in pools.items()]
    return lines
