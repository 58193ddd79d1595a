"""Model store (`s2ops models`): weights are transferred with checksums, and damaged copies are reported."""

import json
from pathlib import Path

import pytest
from obstore.store import LocalStore
from typer.testing import CliRunner

from s2ops.cli.app import app
from s2ops.errors import ModelError
from s2ops.models import registry
from s2ops.models.model_store import list_entries, pull_weights, push_weights
from s2ops.models.registry import MANIFEST_NAME, PACKAGE_WEIGHTS, TRAINABLE, find_weights

RUN = CliRunner()


def copy_two_networks(folder: Path) -> Path:
    folder.mkdir()
    for name in ("water", "preview-haze"):
        (folder / f"{name}.onnx").write_bytes((PACKAGE_WEIGHTS / f"{name}.onnx").read_bytes())
    return folder


def test_models_list_prints_all_package_networks_with_checksums() -> None:
    listed = RUN.invoke(app, ["models", "list"]).output
    assert [entry.meta.name for entry in list_entries()] == list(TRAINABLE)
    assert all(find_weights(name).sha256 in listed for name in TRAINABLE)
    assert "preview-val: auc 1.000" in listed


def test_push_then_pull_keeps_the_bytes(tmp_path: Path) -> None:
    source, store = copy_two_networks(tmp_path / "source"), (tmp_path / "store").as_uri()
    pushed = RUN.invoke(app, ["models", "push", store, "--from", str(source)])
    pulled = RUN.invoke(app, ["models", "pull", store, "--out", str(tmp_path / "copy")])
    assert pushed.exit_code == pulled.exit_code == 0
    for name in ("water", "preview-haze"):
        assert (tmp_path / "copy" / f"{name}.onnx").read_bytes() == (PACKAGE_WEIGHTS / f"{name}.onnx").read_bytes()
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["preview-haze.onnx", "water.onnx"]
    assert list_entries(store) == list_entries(str(source))


def test_push_weights_keeps_other_networks(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push_weights(str(copy_two_networks(tmp_path / "source")), store)
    (tmp_path / "source" / "water.onnx").unlink()
    push_weights(str(tmp_path / "source"), store)
    assert list(json.loads((tmp_path / "store" / MANIFEST_NAME).read_text())["networks"]) == ["preview-haze", "water"]


def test_pull_weights_of_one_network(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push_weights(str(copy_two_networks(tmp_path / "source")), store)
    assert [entry.meta.name for entry in pull_weights(store, tmp_path / "copy", ["water"])] == ["water"]
    assert not (tmp_path / "copy" / "preview-haze.onnx").exists()
    with pytest.raises(ModelError, match=r"Networks not found in .*: building; choose from preview-haze, water"):
        pull_weights(store, tmp_path / "copy", ["building"])


def test_pull_weights_rejects_a_changed_byte(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push_weights(str(copy_two_networks(tmp_path / "source")), store)
    broken = tmp_path / "store" / "water.onnx"
    data = bytearray(broken.read_bytes())
    data[100_000] ^= 1
    broken.write_bytes(data)
    with pytest.raises(ModelError, match=r"SHA-256 is \w+ \(\d+ bytes\), but models\.json lists \w+"):
        pull_weights(store, tmp_path / "copy", ["water"])
    assert not list((tmp_path / "copy").iterdir())


def test_find_weights_verifies_downloaded_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_weights(str(copy_two_networks(tmp_path / "source")), str(tmp_path / "store"))
    monkeypatch.setattr(registry, "from_url", lambda _: LocalStore(tmp_path / "store"))
    monkeypatch.setattr(registry.tempfile, "gettempdir", lambda: str(tmp_path / "cache"))
    assert find_weights("water", "s3://bucket/models").sha256 == find_weights("water").sha256
    (tmp_path / "store" / "water.onnx").write_bytes((PACKAGE_WEIGHTS / "vegetation.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"water\.onnx in .* are damaged: SHA-256 is \w+, but models\.json lists \w+"):
        find_weights("water", "s3://bucket/models")
    (tmp_path / "store" / MANIFEST_NAME).write_text("[]")
    with pytest.raises(ModelError, match=r"models\.json beside water\.onnx is not valid: "):
        find_weights("water", "s3://bucket/models")


def test_pull_weights_names_a_missing_file_of_the_manifest(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push_weights(str(copy_two_networks(tmp_path / "source")), store)
    (tmp_path / "store" / "water.onnx").unlink()
    with pytest.raises(ModelError, match=r"Weights water\.onnx are missing in .*: models\.json lists them"):
        pull_weights(store, tmp_path / "copy")


def test_model_store_without_manifest_or_weights_explains_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no models\.json; upload weights with `s2ops models push`"):
        pull_weights(str(tmp_path / "nothing"), tmp_path / "copy")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(ModelError, match=r"No weights found: .* contains none; give a folder with NETWORK\.onnx"):
        list_entries(str(tmp_path))


def test_pull_weights_rejects_a_damaged_manifest(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text('{"networks": {"water": {"size": 3}}}')
    with pytest.raises(ModelError, match=r"models\.json in .* is not valid: networks\.water\.meta: Field required"):
        pull_weights(str(tmp_path), tmp_path / "copy")
