"""One store: bytes under keys, whole or absent, and errors that say what to do."""

import errno
from pathlib import Path

import pytest

from s2ops.errors import ConfigError, OutputError, StoreUnreachable
from s2ops.storage import object_store as store_module
from s2ops.storage.done_marker import Marker, fingerprint, to_json
from s2ops.storage.object_store import Store, gdal_endpoint


def test_what_is_put_is_got_back(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    store.put("a/b.json", b"{}")
    (tmp_path / "file").write_bytes(b"x" * 1000)
    store.put_file("a/c.tif", tmp_path / "file")
    assert store.get("a/b.json") == b"{}"
    assert store.keys() == ["a/b.json", "a/c.tif"]
    assert Path(store.gdal("a/c.tif")).read_bytes() == b"x" * 1000


def test_a_file_on_the_same_disk_is_renamed_and_one_on_another_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    store = Store(str(tmp_path / "out"))
    for name in ("renamed", "copied"):
        path = tmp_path / "made.tif"
        path.write_bytes(b"x" * 1000)
        if name == "copied":
            monkeypatch.setattr(Path, "replace", another_disk)
        assert store.take_file(f"a/{name}.tif", path) is (name == "copied")
        assert not path.exists()
        assert store.get(f"a/{name}.tif") == b"x" * 1000


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.delete("nothing")
    assert store.get("nothing") is None
    assert not store.exists("nothing")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/a/b", "/vsis3/bucket/a/b/key.tif"),
        ("gs://bucket", "/vsigs/bucket/key.tif"),
        ("az://container/x/", "/vsiaz/container/x/key.tif"),
        ("file:///data/out", "/data/out/key.tif"),
    ],
)
def test_gdal_reads_the_same_object(uri: str, path: str) -> None:
    assert Store(uri).gdal("key.tif") == path


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="ftp://host/x: use a folder, or a file://"):
        Store("ftp://host/x").get("key")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file/out: cannot read or write"):
        Store(str(tmp_path / "file" / "out")).put("key", b"")


def test_a_server_that_does_not_answer_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "local"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(store_module._RETRY, "max_retries", 2)
    with pytest.raises(StoreUnreachable, match="s3://bucket: key failed for now"):
        Store("s3://bucket").get("key")
    assert gdal_endpoint()["AWS_S3_ENDPOINT"] == "127.0.0.1:9"


def test_a_marker_stands_for_equal_inputs_only(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    mark = Marker("item.json", fingerprint("step", 1, {"a": 1, "b": [2]}))
    assert not mark.stands_in(store)
    store.put(mark.key, to_json({"fingerprint": mark.fingerprint}))
    assert mark.stands_in(store)
    assert Marker("item.json", fingerprint("step", 1, {"b": [2], "a": 1})).stands_in(store)
    assert not Marker("item.json", fingerprint("step", 2, {"a": 1, "b": [2]})).stands_in(store)


def test_a_marker_that_was_cut_off_does_not_stand(tmp_path: Path) -> None:
    store, mark = Store(str(tmp_path)), Marker("item.json", fingerprint("x"))
    store.put("item.json", to_json({"fingerprint": mark.fingerprint})[:-20])
    assert not mark.stands_in(store)
