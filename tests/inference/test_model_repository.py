"""Model repository and wire format, without a server."""

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
from s2ops.config import parse_config
from s2ops.errors import ConfigError, ModelError
from s2ops.inference.triton import model_repository
from s2ops.inference.triton.model_info import (
    PREVIEW_SIDE_PX,
    ServedModelInfo,
    compute_version,
    drop_reference_class,
    restore_reference_class,
)
from s2ops.inference.triton.server import (
    TRITON_WHEEL,
    ServerOptions,
    TritonProgram,
    build_command,
    build_environment,
    prepare_server_folder,
)
from s2ops.inference.triton.wire_format import decode_response, encode_request
from s2ops.models.model_store import push_weights
from s2ops.models.registry import NETWORKS, find_weights, list_head_sizes
from tests.helpers.triton import write_tiny_weights

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@lru_cache
def get_info(model: str) -> ServedModelInfo:
    return ServedModelInfo.from_file(find_weights(model))


def read_config(folder: Path, model: str) -> pb.ModelConfig:
    return text_format.Parse((folder / model / "config.pbtxt").read_text(), pb.ModelConfig())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    model_repository.write_repository(folder)
    return folder


def test_committed_repository_equals_a_new_one(written: Path) -> None:
    assert model_repository.list_differences(REPOSITORY, written) == [], "run `make repository`"


@pytest.mark.parametrize("model", NETWORKS)
def test_model_config_is_complete(written: Path, model: str) -> None:
    config = read_config(written, model)
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


def test_model_config_contains_metadata_and_checksum_of_the_weights(written: Path) -> None:
    config = read_config(written, "water")
    parameter = json.loads(config.parameters["s2ops"].string_value)
    assert parameter["sha256"] == find_weights("water").sha256
    assert parameter["meta"] == json.loads(find_weights("water").meta.model_dump_json())
    assert list(config.version_policy.specific.versions) == [int(find_weights("water").sha256[:7], 16) + 1]


def test_landcover_model_has_four_bands_and_transmits_five_classes(written: Path) -> None:
    config = read_config(written, "landcover")
    assert list(config.input[0].dims) == [4, 512, 512]
    assert list(config.output[0].dims) == [5, 512, 512]
    info = ServedModelInfo.from_json("landcover", config.parameters["s2ops"].string_value)
    assert info.sha256 == find_weights("landcover").sha256


def test_write_repository_replaces_the_version_of_other_weights(tmp_path: Path) -> None:
    for seed in (1, 2):
        weights = write_tiny_weights(tmp_path / f"weights{seed}", seed=seed)
        (written,) = model_repository.write_repository(tmp_path / "out", str(weights), "cpu", only=["preview-cloud"])
        assert [path.name for path in (tmp_path / "out/preview-cloud").iterdir() if path.is_dir()] == [
            str(written.version)
        ]
    assert written.version != compute_version(find_weights("preview-cloud").sha256)


def test_write_repository_reads_weights_from_a_uri(tmp_path: Path) -> None:
    push_weights(None, (tmp_path / "store").as_uri())
    model_repository.write_repository(tmp_path / "out", (tmp_path / "store").as_uri())
    assert model_repository.list_differences(REPOSITORY, tmp_path / "out") == []


def test_list_differences_finds_edited_and_extra_files(written: Path, tmp_path: Path) -> None:
    model_repository.write_repository(tmp_path)
    path = tmp_path / "water/config.pbtxt"
    path.write_text(path.read_text().replace("max_queue_size: 64", "max_queue_size: 9"))
    (tmp_path / "water/extra.txt").write_text("")
    assert model_repository.list_differences(tmp_path, written) == ["water/config.pbtxt", "water/extra.txt"]


def test_write_repository_names_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown Triton model: snow; choose from preview-cloud"):
        model_repository.write_repository(tmp_path, only=["snow"])


def test_model_info_with_other_bands_is_rejected() -> None:
    text = get_info("water").model_dump_json().replace('["nir","red","green"]', '["red","green","blue"]')
    with pytest.raises(
        ModelError,
        match=r"model water does not match the pipeline: it has the bands red, green, blue .* expected nir, red, green",
    ):
        ServedModelInfo.from_json("water", text)


def test_model_info_of_another_network_is_rejected() -> None:
    with pytest.raises(
        ModelError,
        match="The server's model water contains the network vegetation; serve each network under its own name",
    ):
        ServedModelInfo.from_json("water", get_info("vegetation").model_dump_json())
    with pytest.raises(ModelError, match="The metadata of the server's model water are not valid"):
        ServedModelInfo.from_json("water", "{}")


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.sampled_from(["water", "scene-cloud", "landcover"]))
def test_restore_reference_class_is_exact_within_one_level(numbers: list[float], model: str) -> None:
    info = get_info(model)
    parts, taken = [], 0
    for count in list_head_sizes(model):
        share = np.array(numbers[taken : taken + count]) + 1e-6
        parts.append(np.rint(share / share.sum() * 255))
        taken += count
    probs = np.concatenate(parts).astype(np.uint8)[None, :, None, None]
    transmitted = drop_reference_class(info, probs)
    assert transmitted.shape[1] == info.transmitted_count
    again = restore_reference_class(info, transmitted)
    assert np.abs(again.astype(int) - probs).max() <= 1
    np.testing.assert_array_equal(drop_reference_class(info, again), transmitted)


def test_preview_side_equals_the_size_of_previews() -> None:
    assert preview.PREVIEW_SIZE_PX == PREVIEW_SIDE_PX
    assert get_info("preview-haze").input_shape == (3, PREVIEW_SIDE_PX, PREVIEW_SIDE_PX)


def test_triton_wheel_is_the_version_in_constraints() -> None:
    assert TRITON_WHEEL in (REPOSITORY.parent / "constraints.txt").read_text().splitlines()


CONFIG = "region: {tiles: [33TWL]}\ndates: {start: 2023-06-01, end: 2023-07-31}\nout: out\n"


@pytest.mark.parametrize("place", ["onnx", "triton://s2ops-triton:8001", "tritons://10.0.0.7:443"])
def test_config_accepts_segmenters_in_process_and_servers(place: str) -> None:
    assert parse_config(CONFIG, "run.yaml", segmenter=place).segmenter == place


@pytest.mark.parametrize("place", ["triton", "triton://host", "http://host:8000", "triton://:8001", "onnx "])
def test_config_rejects_other_segmenters(place: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml: segmenter: .*given: "):
        parse_config(CONFIG, "run.yaml", segmenter=place)


def test_config_rejects_models_with_a_server() -> None:
    with pytest.raises(
        ConfigError,
        match=r"models cannot be used with segmenter triton://h:1, which serves its own weights; use segmenter: onnx",
    ):
        parse_config(CONFIG, "run.yaml", segmenter="triton://h:1", models="full-width")


def test_open_networks_in_process_loads_no_grpc() -> None:
    code = (
        "import sys; from s2ops.inference.networks import open_networks\n"
        "open_networks('onnx', None, 1).get_segmenter('water')\n"
        "assert not {'grpc', 'tritonclient'} & set(sys.modules), 'grpc was loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_prepare_server_folder_downloads_weights_and_rejects_damaged_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, backend = tmp_path / "bucket", tmp_path / "backend"
    push_weights(None, str(bucket))
    backend.mkdir()
    (backend / "stub").write_text("")
    monkeypatch.setattr("s2ops.storage.object_store.obstore.store.from_url", lambda _, **__: LocalStore(bucket))
    server = TritonProgram(backend / "tritonserver", None, backend, backend / "stub")
    options = ServerOptions(models="s3://bucket/full-width", device="gpu")
    (tmp_path / "one").mkdir()
    weights = prepare_server_folder(tmp_path / "one", server, options)
    assert weights == tmp_path / "one/weights"
    assert model_repository.list_differences(REPOSITORY, tmp_path / "one/models") == []
    assert build_environment(server, weights)["S2OPS_MODELS"] == str(weights)
    (bucket / "water.onnx").write_bytes(b"cut off")
    (tmp_path / "two").mkdir()
    with pytest.raises(
        ModelError,
        match=r"water\.onnx in s3://bucket/full-width are damaged: SHA-256 is .* \(7 bytes\).* upload them again",
    ):
        prepare_server_folder(tmp_path / "two", server, options)


def test_build_command_sets_all_server_options(tmp_path: Path) -> None:
    server = TritonProgram(tmp_path / "tritonserver", None, tmp_path, tmp_path / "stub")
    words = build_command(
        tmp_path, server, ServerOptions(port=9001, exit_timeout_s=5, certificate=Path("c"), key=Path("k"))
    )
    assert {
        "--disable-auto-complete-config", "--strict-readiness=true", "--grpc-port=9001", "--exit-timeout-secs=5",
        "--grpc-use-ssl=true", "--grpc-server-cert=c", "--grpc-server-key=k",
    } <= set(words)  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 40])
def test_encode_request_equals_protobuf(count: int) -> None:
    images = np.arange(count * 3 * 343 * 343, dtype=np.uint64).astype(np.uint8).reshape(count, 3, 343, 343)
    found = service.ModelInferRequest.FromString(encode_request(get_info("preview-haze"), images))
    assert (found.model_name, found.model_version) == ("preview-haze", str(get_info("preview-haze").version))
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [
        ("image", "UINT8", [count, 3, 343, 343])
    ]
    assert [one.name for one in found.outputs] == ["probs"]
    assert list(found.raw_input_contents) == [images.tobytes()]


def test_decode_response_rejects_another_shape() -> None:
    tensor = service.ModelInferResponse.InferOutputTensor(name="probs", datatype="UINT8", shape=[2, 1])
    message = service.ModelInferResponse(outputs=[tensor], raw_output_contents=[b"\1\2"]).SerializeToString()
    np.testing.assert_array_equal(decode_response(get_info("preview-haze"), 2, message), [[1], [2]])
    with pytest.raises(
        ModelError, match=r"response of model preview-haze: .*\(2, 1\).*, expected probs, UINT8, \(3, 1\)"
    ):
        decode_response(get_info("preview-haze"), 3, message)
