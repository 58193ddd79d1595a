"""Model store: upload (push) and download (pull) of weights in object storage, verified by a checksum manifest.

A folder or URI contains NETWORK.onnx for one or more networks and `models.json`. The manifest is written last, so all
files that it lists are complete. Full-width networks are stored here because they are too large for the package.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe_findings
from s2ops.errors import ModelError
from s2ops.models.registry import MANIFEST_NAME, PACKAGE_WEIGHTS, TRAINABLE, ModelMeta, find_weights
from s2ops.storage.object_store import Store


class WeightsEntry(BaseModel):
    """Manifest entry of one weights file: its metadata, size and checksum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meta: ModelMeta
    size: Annotated[int, Field(ge=0, description="file size in bytes")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @property
    def key(self) -> str:
        """Name of the file beside the manifest."""
        return f"{self.meta.name}.onnx"


class WeightsManifest(BaseModel):
    """Content of `models.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    networks: dict[str, WeightsEntry]


def list_entries(models: str | None = None) -> list[WeightsEntry]:
    """Return the networks of a folder or object store, in the order of `TRAINABLE`.

    A folder's weights files are read, so that newly trained ones are listed; for an object store its manifest is read.

    Args:
        models: Folder or URI of the weights, or None for the package's own.

    Raises:
        ModelError: If there are no weights or no manifest, or one of them is not valid.
    """
    folder = PACKAGE_WEIGHTS if models is None else Store(models).folder
    if folder is None:
        found = _read_manifest(Store(str(models)))
        return [found.networks[name] for name in TRAINABLE if name in found.networks]
    present = [name for name in TRAINABLE if (folder / f"{name}.onnx").is_file()]
    if not present:
        raise ModelError(
            f"No weights found: {folder} contains none; give a folder with NETWORK.onnx files, such as water.onnx."
        )
    return [_build_entry(name, folder) for name in present]


def push_weights(source: str | None, target: str) -> list[WeightsEntry]:
    """Upload the weights of a folder and add them to the target's manifest; other networks of the target stay.

    Args:
        source: Folder of the weights, or None for the package's own.
        target: Folder or URI to write to.

    Returns:
        The entries of the uploaded weights.

    Raises:
        ModelError: If a file is not valid s2ops weights; nothing is written then.
    """
    folder = PACKAGE_WEIGHTS if source is None else Path(source)
    store, own = Store(target), list_entries(str(folder))
    stored = store.get(MANIFEST_NAME)
    kept = {} if stored is None else _parse_manifest(stored, target).networks
    for entry in own:
        store.put_file(entry.key, folder / entry.key)
    merged = kept | {entry.meta.name: entry for entry in own}
    manifest = WeightsManifest(networks={name: merged[name] for name in TRAINABLE if name in merged})
    store.put(MANIFEST_NAME, (manifest.model_dump_json(indent=1) + "\n").encode())
    return own


def pull_weights(source: str, folder: Path, networks: Sequence[str] = ()) -> list[WeightsEntry]:
    """Download weights into a folder and verify each against the manifest.

    Args:
        source: Folder or URI with weights and a manifest.
        folder: Folder to write to; created if missing.
        networks: Names of the networks to download; empty for all.

    Returns:
        The entries of the downloaded weights.

    Raises:
        ModelError: If a file is missing or does not match the manifest; that file is not written.
    """
    store = Store(source)
    manifest = _read_manifest(store)
    unknown = [name for name in networks if name not in manifest.networks]
    if unknown:
        raise ModelError(
            f"Networks not found in {source}: {', '.join(unknown)}; choose from {', '.join(manifest.networks)}."
        )
    wanted = [manifest.networks[name] for name in networks or manifest.networks]
    folder.mkdir(parents=True, exist_ok=True)
    for entry in wanted:
        data = _read_verified(store, entry)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            part.write(data)
        Path(part.name).replace(folder / entry.key)  # atomic: no incomplete file is ever visible
        find_weights(entry.meta.name, str(folder))
    return wanted


def _read_verified(store: Store, entry: WeightsEntry) -> bytes:
    """Read a weights file and verify its checksum."""
    data = store.get(entry.key)
    if data is None:
        raise ModelError(
            f"Weights {entry.key} are missing in {store.uri}: {MANIFEST_NAME} lists them; "
            "upload them again with `s2ops models push`."
        )
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ModelError(
            f"Weights {entry.key} in {store.uri} are damaged: SHA-256 is {found} ({len(data)} bytes), but "
            f"{MANIFEST_NAME} lists {entry.sha256} ({entry.size} bytes); upload them again with `s2ops models push`."
        )
    return data


def _build_entry(name: str, folder: Path) -> WeightsEntry:
    file = find_weights(name, str(folder))
    return WeightsEntry(meta=file.meta, size=file.path.stat().st_size, sha256=file.sha256)


def _read_manifest(store: Store) -> WeightsManifest:
    # reading from a folder that does not exist would create it
    missing = store.folder is not None and not store.folder.is_dir()
    data = None if missing else store.get(MANIFEST_NAME)
    if data is None:
        raise ModelError(
            f"No manifest found: {store.uri} has no {MANIFEST_NAME}; upload weights with `s2ops models push`."
        )
    return _parse_manifest(data, store.uri)


def _parse_manifest(data: bytes, uri: str) -> WeightsManifest:
    try:
        return WeightsManifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(
            f"{MANIFEST_NAME} in {uri} is not valid: {describe_findings(error)}; "
            "delete it and upload the weights again with `s2ops models push`."
        ) from error


def _format_temperature(temperature: float | tuple[float, ...]) -> str:
    values = temperature if isinstance(temperature, tuple) else (temperature,)
    return "/".join(f"{value:.{3 if len(values) == 1 else 1}f}" for value in values)


def format_table(entries: Sequence[WeightsEntry]) -> list[str]:
    """Format a text table: version, width, size, temperature and checksum of each network, then its scores."""
    lines = [f"{'network':14} {'version':8} {'width':>5} {'MB':>6} {'temperature':>11}  SHA-256"]
    for entry in entries:
        meta = entry.meta
        lines.append(
            f"{meta.name:14} {meta.version:8} {meta.width:5} {entry.size / 1e6:6.2f} "
            f"{_format_temperature(meta.temperature):>11}  {entry.sha256}"
        )
        pools: dict[str, list[str]] = {}
        for key, value in meta.scores.items():
            pool, _, score = key.partition(": ")
            pools.setdefault(pool, []).append(f"{score} {value:.3f}")
        lines += [f"  {pool}: {', '.join(scores)}" for pool, scores in pools.items()]
    return lines
