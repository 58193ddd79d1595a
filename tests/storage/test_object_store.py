"""Object store and done markers: objects are whole or absent, and errors name the remedy."""

import errno
from pathlib import Path

import pytest

from s2ops.errors import ConfigError, OutputError, StoreUnreachable
from s2ops.storage import object_store as store_module
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint, to_json
from s2ops.storage.object_store import Store, get_gdal_endpoint_options


def test_store_get_returns_what_put_wrote(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    store.put("a/b.json", b"{}")
    (tmp_path / "file").write_bytes(b"x" * 1000)
    store.put_file("a/c.tif", tmp_path / "file")
    assert store.get("a/b.json") == b"{}"
    assert store.list_keys() == ["a/b.json", "a/c.tif"]
    assert Path(store.get_gdal_path("a/c.tif")).read_bytes() == b"x" * 1000


def test_move_file_renames_on_the_same_disk_and_copies_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_rename(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    store = Store(str(tmp_path / "out"))
    for name in ("renamed", "copied"):
        path = tmp_path / "made.tif"
        path.write_bytes(b"x" * 1000)
        if name == "copied":
            monkeypatch.setattr(Path, "replace", refuse_rename)
        assert store.move_file(f"a/{name}.tif", path) is (name == "copied")
        assert not path.exists()
        assert store.get(f"a/{name}.tif") == b"x" * 1000


def test_store_get_returns_none_and_delete_accepts_a_missing_key(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.delete("nothing")
    assert store.get("nothing") is None
    assert not store.has_key("nothing")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/a/b", "/vsis3/bucket/a/b/key.tif"),
        ("gs://bucket", "/vsigs/bucket/key.tif"),
        ("az://container/x/", "/vsiaz/container/x/key.tif"),
        ("file:///data/out", "/data/out/key.tif"),
    ],
)
def test_get_gdal_path_maps_each_scheme(uri: str, path: str) -> None:
    assert Store(uri).get_gdal_path("key.tif") == path


def test_store_rejects_an_unknown_scheme() -> None:
    with pytest.raises(ConfigError, match="Cannot open ftp://host/x: use a folder, or a file://"):
        Store("ftp://host/x").get("key")


def test_store_error_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Cannot open .*/file/out: .*; free space"):
        Store(str(tmp_path / "file" / "out")).put("key", b"")


def test_store_without_response_raises_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "local"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(store_module._RETRY, "max_retries", 2)
    with pytest.raises(StoreUnreachable, match=r"Cannot access key in s3://bucket: .*; run again"):
        Store("s3://bucket").get("key")
    assert get_gdal_endpoint_options()["AWS_S3_ENDPOINT"] == "127.0.0.1:9"


def test_done_marker_is_current_for_equal_inputs_only(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    mark = DoneMarker("item.json", compute_fingerprint("step", 1, {"a": 1, "b": [2]}))
    assert not mark.is_current(store)
    store.put(mark.key, to_json({"fingerprint": mark.fingerprint}))
    assert mark.is_current(store)
    assert DoneMarker("item.json", compute_fingerprint("step", 1, {"b": [2], "a": 1})).is_current(store)
    assert not DoneMarker("item.json", compute_fingerprint("step", 2, {"a": 1, "b": [2]})).is_current(store)


def test_done_marker_that_is_truncated_is_not_current(tmp_path: Path) -> None:
    store, mark = Store(str(tmp_path)), DoneMarker("item.json", compute_fingerprint("x"))
    store.put("item.json", to_json({"fingerprint": mark.fingerprint})[:-20])
    assert not mark.is_current(store)
