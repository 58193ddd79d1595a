"""New weights rolled out while a run is under way."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from s2ops.models.registry import PACKAGE_WEIGHTS
from s2ops.storage.object_store import Store

from .conftest import TILES
from .deployment import install
from .few import Few, run_here
from .regions import hashes, keys, s2ops

pytestmark = pytest.mark.cluster


@pytest.mark.slow
def test_new_weights_rolled_out_during_a_run_never_meet_old_ones_in_a_tile(
    single: Few, values: dict[str, Any], tmp_path: Path
) -> None:
    uri = single.object_store.out("weights")
    new = other_land_network(tmp_path / "weights", uri)
    expected = single.expected  # that run is over before the weights change
    run, out = single.submit("rollout")
    try:
        run.until("a tile is selected", lambda: f"select/{TILES[0]}.json" in keys(out))
        install(single.kubectl, tmp_path, values | {"models": {"uri": uri}})
        run.succeeded()
        renewed = run_here(single.kubectl, single.configuration(out), single.object_store.out("rollout-here"), tmp_path)
    finally:
        install(single.kubectl, tmp_path, values)
    made = hashes(out)
    item = json.loads(Store(out).get(f"landcover/{TILES[0]}/item.json") or b"")
    assert made == (renewed if item["properties"]["s2ops:weights"]["landcover"] == new else expected)


def other_land_network(folder: Path, uri: str) -> str:
    """The package's weights with another land-cover network, pushed to an object store; gives its SHA-256."""
    shutil.copytree(PACKAGE_WEIGHTS, folder)
    network = onnx.load(folder / "landcover.onnx")
    last = network.graph.initializer[-1]
    last.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(last) * 1.02, last.name))
    onnx.save(network, folder / "landcover.onnx")
    s2ops("models", "push", uri, "--from", str(folder))
    return hashlib.sha256((folder / "landcover.onnx").read_bytes()).hexdigest()
