"""`s2ops models`: weights travel with checksums, and a broken copy is named."""

import json
from pathlib import Path

import pytest
from obstore.store import LocalStore
from typer.testing import CliRunner

from s2ops.cli.app import app
from s2ops.errors import ModelError
from s2ops.models import registry
from s2ops.models.model_store import entries, pull, push
from s2ops.models.registry import MANIFEST, NETWORKS, WEIGHTS, find

RUN = CliRunner()


def two_networks(folder: Path) -> Path:
    folder.mkdir()
    for name in ("water", "preview-haze"):
        (folder / f"{name}.onnx").write_bytes((WEIGHTS / f"{name}.onnx").read_bytes())
    return folder


def test_the_package_lists_its_six_networks_with_their_checksums() -> None:
    listed = RUN.invoke(app, ["models", "list"]).output
    assert [entry.meta.name for entry in entries()] == list(NETWORKS)
    assert all(find(name).sha256 in listed for name in NETWORKS)
    assert "preview-val: auc 1.000" in listed


def test_what_is_pushed_and_pulled_is_the_same_bytes(tmp_path: Path) -> None:
    source, store = two_networks(tmp_path / "source"), (tmp_path / "store").as_uri()
    pushed = RUN.invoke(app, ["models", "push", store, "--from", str(source)])
    pulled = RUN.invoke(app, ["models", "pull", store, "--out", str(tmp_path / "copy")])
    assert pushed.exit_code == pulled.exit_code == 0
    for name in ("water", "preview-haze"):
        assert (tmp_path / "copy" / f"{name}.onnx").read_bytes() == (WEIGHTS / f"{name}.onnx").read_bytes()
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["preview-haze.onnx", "water.onnx"]
    assert entries(store) == entries(str(source))


def test_pushing_one_network_keeps_the_others(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push(str(two_networks(tmp_path / "source")), store)
    (tmp_path / "source" / "water.onnx").unlink()
    push(str(tmp_path / "source"), store)
    assert list(json.loads((tmp_path / "store" / MANIFEST).read_text())["networks"]) == ["preview-haze", "water"]


def test_one_network_can_be_pulled_alone(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push(str(two_networks(tmp_path / "source")), store)
    assert [entry.meta.name for entry in pull(store, tmp_path / "copy", ["water"])] == ["water"]
    assert not (tmp_path / "copy" / "preview-haze.onnx").exists()
    with pytest.raises(ModelError, match="holds no building; it holds preview-haze, water"):
        pull(store, tmp_path / "copy", ["building"])


def test_a_changed_byte_is_named_and_not_written(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push(str(two_networks(tmp_path / "source")), store)
    broken = tmp_path / "store" / "water.onnx"
    data = bytearray(broken.read_bytes())
    data[100_000] ^= 1
    broken.write_bytes(data)
    with pytest.raises(ModelError, match=r"water\.onnx \(\d+ bytes\) has SHA-256 \w+, but models\.json says \w+"):
        pull(store, tmp_path / "copy", ["water"])
    assert not list((tmp_path / "copy").iterdir())


def test_weights_that_a_run_fetches_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(str(two_networks(tmp_path / "source")), str(tmp_path / "store"))
    monkeypatch.setattr(registry, "from_url", lambda _: LocalStore(tmp_path / "store"))
    monkeypatch.setattr(registry.tempfile, "gettempdir", lambda: str(tmp_path / "cache"))
    assert find("water", "s3://bucket/models").sha256 == find("water").sha256
    (tmp_path / "store" / "water.onnx").write_bytes((WEIGHTS / "vegetation.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"water\.onnx has SHA-256 \w+, but models\.json says \w+: the copy is broken"):
        find("water", "s3://bucket/models")
    (tmp_path / "store" / MANIFEST).write_text("[]")
    with pytest.raises(ModelError, match=r"models\.json beside water\.onnx is not valid"):
        find("water", "s3://bucket/models")


def test_a_file_that_the_manifest_names_but_nobody_has_is_named(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    push(str(two_networks(tmp_path / "source")), store)
    (tmp_path / "store" / "water.onnx").unlink()
    with pytest.raises(ModelError, match=r"holds no water\.onnx although models\.json names it"):
        pull(store, tmp_path / "copy")


def test_a_place_without_a_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no models\.json: put weights there with `s2ops models push`"):
        pull(str(tmp_path / "nothing"), tmp_path / "copy")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(ModelError, match=r"holds no weights: name a folder with NETWORK\.onnx"):
        entries(str(tmp_path))


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"networks": {"water": {"size": 3}}}')
    with pytest.raises(ModelError, match=r"models\.json is not valid \(networks\.water\.meta: Field required"):
        pull(str(tmp_path), tmp_path / "copy")
