"""Cluster test of a rollout: new weights during a run."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from s2ops.config import DEFAULT_NETWORKS
from s2ops.models.registry import LANDCOVER_NETWORKS, PACKAGE_WEIGHTS
from s2ops.storage.object_store import Store

from .conftest import TILES
from .deployment import install_chart
from .regions import compute_hashes, list_keys, run_s2ops
from .small_region import SmallRegion, run_locally

pytestmark = pytest.mark.cluster

CHANGED_NETWORK = LANDCOVER_NETWORKS[DEFAULT_NETWORKS][0]
"""Network whose weights are rolled out during the run."""


@pytest.mark.slow
def test_rollout_of_weights_during_a_run_never_mixes_versions_in_a_tile(
    single_tile: SmallRegion, values: dict[str, Any], tmp_path: Path
) -> None:
    uri = single_tile.object_store.get_run_uri("weights")
    new = push_changed_weights(tmp_path / "weights", uri)
    expected = single_tile.expected  # waits for the run on this machine, before the weights change
    run, out = single_tile.submit("rollout")
    try:
        run.wait_for("a tile is selected", lambda: f"select/{TILES[0]}.json" in list_keys(out))
        install_chart(single_tile.kubectl, tmp_path, values | {"models": {"uri": uri}})
        run.wait_until_succeeded()
        renewed = run_locally(
            single_tile.kubectl,
            single_tile.render_config(out),
            single_tile.object_store.get_run_uri("rollout-here"),
            tmp_path,
        )
    finally:
        install_chart(single_tile.kubectl, tmp_path, values)
    outputs = compute_hashes(out)
    item = json.loads(Store(out).get(f"landcover/{TILES[0]}/item.json") or b"")
    assert outputs == (renewed if item["properties"]["s2ops:weights"][CHANGED_NETWORK] == new else expected)


def push_changed_weights(folder: Path, uri: str) -> str:
    """Push the package's weights with one changed network of land cover to an object store; return its SHA-256."""
    shutil.copytree(PACKAGE_WEIGHTS, folder)
    path = folder / f"{CHANGED_NETWORK}.onnx"
    network = onnx.load(path)
    last = network.graph.initializer[-1]
    last.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(last) * 1.02, last.name))
    onnx.save(network, path)
    run_s2ops("models", "push", uri, "--from", str(folder))
    return hashlib.sha256(path.read_bytes()).hexdigest()
