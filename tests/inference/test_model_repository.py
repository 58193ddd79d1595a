"""The model repository and what crosses the wire: no server is needed."""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.grpc import service_pb2 as service

from s2ops.acquisition import preview
from s2ops.config import parse
from s2ops.errors import ConfigError, ModelError
from s2ops.inference.triton import model_repository
from s2ops.inference.triton import wire_format as messages
from s2ops.inference.triton.model_info import PREVIEW, Served, version_of, with_first, without_first
from s2ops.inference.triton.server import WHEEL, Options, Program, command, environment, prepare
from s2ops.models.model_store import push
from s2ops.models.registry import NETWORKS, find, head_sizes
from tests.helpers.triton import tiny_weights

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@lru_cache
def served(model: str) -> Served:
    return Served.of(find(model))


def read(folder: Path, model: str) -> pb.ModelConfig:
    return text_format.Parse((folder / model / "config.pbtxt").read_text(), pb.ModelConfig())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    model_repository.write(folder)
    return folder


def test_the_committed_repository_is_what_the_command_writes(written: Path) -> None:
    assert model_repository.drift(REPOSITORY, written) == [], "run `make repository`"


@pytest.mark.parametrize("model", NETWORKS)
def test_a_configuration_leaves_nothing_to_guess(written: Path, model: str) -> None:
    config = read(written, model)
    (tensor,), (answer,) = config.input, config.output
    assert -1 not in (*tensor.dims, *answer.dims)
    assert config.dynamic_batching.max_queue_delay_microseconds == 3000
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.timeout_action, policy.max_queue_size) == (pb.ModelQueuePolicy.REJECT, 64)
    assert [warm.batch_size for warm in config.model_warmup] == [1, config.max_batch_size]
    assert [group.kind for group in config.instance_group] == [
        pb.ModelInstanceGroup.KIND_CPU if model == "preview-haze" else pb.ModelInstanceGroup.KIND_GPU
    ]
    (version,) = config.version_policy.specific.versions
    assert [path.name for path in (written / model).iterdir() if path.is_dir()] == [str(version)]
    assert (written / model / str(version) / "model.py").exists()


def test_a_configuration_carries_the_weights_metadata_and_checksum(written: Path) -> None:
    config = read(written, "water")
    said = json.loads(config.parameters["s2ops"].string_value)
    assert said["sha256"] == find("water").sha256
    assert said["meta"] == json.loads(find("water").meta.model_dump_json())
    assert list(config.version_policy.specific.versions) == [int(find("water").sha256[:7], 16) + 1]


def test_land_cover_takes_four_bands_once_and_sends_five_classes(written: Path) -> None:
    config = read(written, "landcover")
    assert list(config.input[0].dims) == [4, 512, 512]
    assert list(config.output[0].dims) == [5, 512, 512]
    said = Served.read("landcover", config.parameters["s2ops"].string_value)
    assert said.sha256 == find("landcover").sha256


def test_other_weights_are_another_version_and_the_old_one_goes(tmp_path: Path) -> None:
    for seed in (1, 2):
        weights = tiny_weights(tmp_path / f"weights{seed}", seed=seed)
        (made,) = model_repository.write(tmp_path / "out", str(weights), "cpu", only=["preview-cloud"])
        assert [path.name for path in (tmp_path / "out/preview-cloud").iterdir() if path.is_dir()] == [
            str(made.version)
        ]
    assert made.version != version_of(find("preview-cloud").sha256)


def test_weights_are_found_by_uri(tmp_path: Path) -> None:
    push(None, (tmp_path / "store").as_uri())
    model_repository.write(tmp_path / "out", (tmp_path / "store").as_uri())
    assert model_repository.drift(REPOSITORY, tmp_path / "out") == []


def test_an_edited_configuration_is_found(written: Path, tmp_path: Path) -> None:
    model_repository.write(tmp_path)
    path = tmp_path / "water/config.pbtxt"
    path.write_text(path.read_text().replace("max_queue_size: 64", "max_queue_size: 9"))
    (tmp_path / "water/extra.txt").write_text("")
    assert model_repository.drift(tmp_path, written) == ["water/config.pbtxt", "water/extra.txt"]


def test_a_model_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Triton model snow; the models are preview-cloud"):
        model_repository.write(tmp_path, only=["snow"])


def test_a_server_with_other_bands_is_refused() -> None:
    text = served("water").model_dump_json().replace('["nir","red","green"]', '["red","green","blue"]')
    with pytest.raises(ModelError, match=r"the server's water takes red, green, blue .* needs nir, red, green"):
        Served.read("water", text)


def test_a_server_with_another_network_under_the_name_is_refused() -> None:
    with pytest.raises(ModelError, match="the server's water says it is vegetation: serve that network"):
        Served.read("water", served("vegetation").model_dump_json())
    with pytest.raises(ModelError, match="the server's water has metadata that is not valid"):
        Served.read("water", "{}")


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.sampled_from(["water", "scene-cloud", "landcover"]))
def test_what_is_not_sent_is_rebuilt_within_one_level(numbers: list[float], model: str) -> None:
    model_served = served(model)
    parts, taken = [], 0
    for count in head_sizes(model):
        share = np.array(numbers[taken : taken + count]) + 1e-6
        parts.append(np.rint(share / share.sum() * 255))
        taken += count
    probs = np.concatenate(parts).astype(np.uint8)[None, :, None, None]
    sent = without_first(model_served, probs)
    assert sent.shape[1] == model_served.sent
    again = with_first(model_served, sent)
    assert np.abs(again.astype(int) - probs).max() <= 1
    np.testing.assert_array_equal(without_first(model_served, again), sent)


def test_scored_images_are_whole_previews() -> None:
    assert preview.SIZE == PREVIEW
    assert served("preview-haze").shape_in == (3, PREVIEW, PREVIEW)


def test_the_wheel_that_serve_asks_for_is_the_one_that_ci_tests_with() -> None:
    assert WHEEL in (REPOSITORY.parent / "constraints.txt").read_text().splitlines()


CONFIG = "region: {tiles: [33TWL]}\ndates: {start: 2023-06-01, end: 2023-07-31}\nout: out\n"


@pytest.mark.parametrize("place", ["onnx", "triton://s2ops-triton:8001", "tritons://10.0.0.7:443"])
def test_a_segmenter_may_be_in_process_or_a_server(place: str) -> None:
    assert parse(CONFIG, "run.yaml", segmenter=place).segmenter == place


@pytest.mark.parametrize("place", ["triton", "triton://host", "http://host:8000", "triton://:8001", "onnx "])
def test_other_segmenters_are_refused_by_name(place: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml: segmenter: .*given: "):
        parse(CONFIG, "run.yaml", segmenter=place)


def test_a_server_has_its_own_weights() -> None:
    with pytest.raises(ConfigError, match=r"models is for segmenter: onnx; triton://h:1 serves its own"):
        parse(CONFIG, "run.yaml", segmenter="triton://h:1", models="full-width")


def test_a_run_in_process_loads_no_grpc() -> None:
    code = (
        "import sys; from s2ops.inference.networks import open_networks\n"
        "open_networks('onnx', None, 1).segmenter('water')\n"
        "assert not {'grpc', 'tritonclient'} & set(sys.modules), 'grpc was loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_full_width_weights_are_pulled_at_the_start_and_a_broken_copy_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, backend = tmp_path / "bucket", tmp_path / "backend"
    push(None, str(bucket))
    backend.mkdir()
    (backend / "stub").write_text("")
    monkeypatch.setattr("s2ops.storage.object_store.obstore.store.from_url", lambda _, **__: LocalStore(bucket))
    server = Program(backend / "tritonserver", None, backend, backend / "stub")
    options = Options(models="s3://bucket/full-width", device="gpu")
    (tmp_path / "one").mkdir()
    weights = prepare(tmp_path / "one", server, options)
    assert weights == tmp_path / "one/weights"
    assert model_repository.drift(REPOSITORY, tmp_path / "one/models") == []
    assert environment(server, weights)["S2OPS_MODELS"] == str(weights)
    (bucket / "water.onnx").write_bytes(b"cut off")
    (tmp_path / "two").mkdir()
    with pytest.raises(
        ModelError, match=r"s3://bucket/full-width: water\.onnx \(7 bytes\) has SHA-256 .* push it again"
    ):
        prepare(tmp_path / "two", server, options)


def test_a_server_is_told_all_that_it_must_not_guess(tmp_path: Path) -> None:
    server = Program(tmp_path / "tritonserver", None, tmp_path, tmp_path / "stub")
    words = command(tmp_path, server, Options(port=9001, exit_timeout_s=5, certificate=Path("c"), key=Path("k")))
    assert {
        "--disable-auto-complete-config", "--strict-readiness=true", "--grpc-port=9001", "--exit-timeout-secs=5",
        "--grpc-use-ssl=true", "--grpc-server-cert=c", "--grpc-server-key=k",
    } <= set(words)  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_request_put_together_by_hand_is_what_protobuf_writes(count: int) -> None:
    images = np.arange(count * 3 * 343 * 343, dtype=np.uint64).astype(np.uint8).reshape(count, 3, 343, 343)
    found = service.ModelInferRequest.FromString(messages.request(served("preview-haze"), images))
    assert (found.model_name, found.model_version) == ("preview-haze", str(served("preview-haze").version))
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [
        ("image", "UINT8", [count, 3, 343, 343])
    ]
    assert [one.name for one in found.outputs] == ["probs"]
    assert list(found.raw_input_contents) == [images.tobytes()]


def test_an_answer_of_another_shape_is_refused() -> None:
    tensor = service.ModelInferResponse.InferOutputTensor(name="probs", datatype="UINT8", shape=[2, 1])
    message = service.ModelInferResponse(outputs=[tensor], raw_output_contents=[b"\1\2"]).SerializeToString()
    np.testing.assert_array_equal(messages.answer(served("preview-haze"), 2, message), [[1], [2]])
    with pytest.raises(ModelError, match=r"preview-haze answered with .*\(2, 1\).* instead of probs, UINT8, \(3, 1\)"):
        messages.answer(served("preview-haze"), 3, message)
