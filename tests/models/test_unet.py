"""Networks in torch, and their equality with the exported ONNX files."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'torch'")
onnx = pytest.importorskip("onnx", reason="export needs the extra 'torch'")

from s2ops.errors import ModelError  # noqa: E402
from s2ops.inference.onnx import open_image_classifier, open_segmenter  # noqa: E402
from s2ops.models.haze_net import HazeNet  # noqa: E402
from s2ops.models.onnx_export import export_to_onnx, load_into_torch  # noqa: E402
from s2ops.models.registry import NETWORKS, PACKAGE_WEIGHTS, ModelMeta, find_weights, list_head_sizes  # noqa: E402
from s2ops.models.unet import UNet, compute_probabilities, fold_batch_norm  # noqa: E402


def build_meta(name: str, width: int, temperature: float = 1.0) -> ModelMeta:
    network = NETWORKS[name]
    return ModelMeta(
        name=name,
        version="test",
        bands=network.bands,
        classes=network.classes,
        window=network.window,
        width=width,
        levels="tone-curve",
        temperature=temperature,
        trained_on=("nothing",),
        scores={},
        licence="Apache-2.0",
    )


def build_levels(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8))


def test_unet_encoder_is_vgg16() -> None:
    model = UNet(3, 2, 64)
    widths = [layer.out_channels for layer in model.encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    kernels = {layer.kernel_size for layer in model.encoder.modules() if isinstance(layer, torch.nn.Conv2d)}
    assert kernels == {(3, 3)}
    # VGG16's convolutions hold 14,714,688 weights and biases
    assert sum(weight.numel() for weight in model.encoder.parameters()) == 14_714_688


def test_unet_center_and_decoder_mirror_the_encoder() -> None:
    model = UNet(4, 3, 16)
    assert [layer[0].out_channels for layer in model.centre] == [128, 128]
    assert [up.out_channels for up in model.up] == [16, 32, 64, 128, 128]
    assert [block[0][0].in_channels for block in model.decoder] == [32, 64, 128, 256, 256]
    assert model(build_levels(1, 4, 64, 96)).shape == (1, 3, 64, 96)


def test_haze_net_has_three_convolutions_and_ignores_no_data() -> None:
    model = HazeNet(3, 8).eval()
    assert len([layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]) == 3
    whole = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)
    wide = torch.cat([whole, torch.zeros_like(whole)], dim=3)
    assert model(whole).shape == (1,)
    with torch.no_grad():
        np.testing.assert_allclose(model(wide).numpy(), model(whole).numpy(), atol=0.15)


def test_fold_batch_norm_keeps_the_logits() -> None:
    torch.manual_seed(1)
    model = UNet(4, 3, 4, norm=True)
    for _ in range(3):  # running statistics that differ from 0 and 1
        model(build_levels(4, 4, 64, 64))
    model.eval()
    image = build_levels(2, 4, 64, 64)
    with torch.no_grad():
        np.testing.assert_allclose(fold_batch_norm(model)(image).numpy(), model(image).numpy(), atol=1e-3)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "preview-haze"])
def test_package_weights_give_equal_results_in_torch_and_onnx(name: str) -> None:
    model, image = load_into_torch(PACKAGE_WEIGHTS / f"{name}.onnx"), build_levels(1, len(NETWORKS[name].bands), 96, 64)
    with torch.no_grad():
        expected = compute_probabilities(model(image), list_head_sizes(name)).numpy().astype(int)
    found = open_segmenter(name).predict(image.numpy()).astype(int)
    assert np.abs(found - expected).max() <= 1


def test_haze_net_gives_equal_results_in_torch_and_onnx() -> None:
    model, image = load_into_torch(PACKAGE_WEIGHTS / "preview-haze.onnx"), build_levels(2, 3, 343, 343)
    image[1, :, :, 100:] = 0
    with torch.no_grad():
        expected = torch.round(torch.sigmoid(model(image)) * 255.0).numpy().astype(int)
    assert np.abs(open_image_classifier("preview-haze").score(image.numpy()).astype(int) - expected).max() <= 1


def test_export_divides_the_logits_by_the_temperature(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = UNet(3, 2, 4).eval()
    model.head.weight.data *= 50
    image = build_levels(1, 3, 32, 32).numpy()
    spread = []
    for temperature in (1.0, 4.0):
        export_to_onnx(model, build_meta("water", 4, temperature), tmp_path / "water.onnx")
        spread.append(np.abs(open_segmenter("water", str(tmp_path)).predict(image)[0, 0].astype(int) - 128).mean())
    assert spread[1] < spread[0]


def test_export_stores_float16_and_is_deterministic(tmp_path: Path) -> None:
    model = UNet(3, 2, 4).eval()
    for name in ("a", "b"):
        export_to_onnx(model, build_meta("water", 4), tmp_path / name / "water.onnx")
    first, second = ((tmp_path / name / "water.onnx").read_bytes() for name in ("a", "b"))
    assert first == second
    parameters = sum(weight.numel() for weight in model.parameters())
    assert len(first) < 2 * parameters + 40_000


def test_export_stores_the_metadata(tmp_path: Path) -> None:
    export_to_onnx(UNet(3, 2, 4).eval(), build_meta("water", 4), tmp_path / "water.onnx")
    assert find_weights("water", str(tmp_path)).meta == build_meta("water", 4)


def test_find_weights_rejects_a_file_without_metadata(tmp_path: Path) -> None:
    proto = onnx.load(str(PACKAGE_WEIGHTS / "water.onnx"))
    del proto.metadata_props[:]
    (tmp_path / "water.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"water\.onnx cannot be used: they contain no 's2ops' metadata; export them"):
        find_weights("water", str(tmp_path))


def test_find_weights_names_metadata_that_are_not_valid(tmp_path: Path) -> None:
    proto = onnx.load(str(PACKAGE_WEIGHTS / "water.onnx"))
    onnx.helper.set_model_props(proto, {"s2ops": build_meta("water", 4).model_dump_json().replace("512", "500")})
    (tmp_path / "water.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"The metadata of .*water\.onnx are not valid: window: .*multiple of 32"):
        find_weights("water", str(tmp_path))


def test_export_rejects_a_model_that_does_not_match_its_metadata(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="Cannot export water: it has 4 bands and 2 classes, but its metadata list 3 and 2"
    ):
        export_to_onnx(UNet(4, 2, 4), build_meta("water", 4), tmp_path / "water.onnx")


def test_load_into_torch_names_missing_weights(tmp_path: Path) -> None:
    proto = onnx.load(str(PACKAGE_WEIGHTS / "water.onnx"))
    for item in proto.graph.initializer:
        if item.name == "head.bias":
            item.name = "tail.bias"
    for node in proto.graph.node:
        node.input[:] = ["tail.bias" if name == "head.bias" else name for name in node.input]
    (tmp_path / "water.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"it lacks the weights head\.bias; export it again"):
        load_into_torch(tmp_path / "water.onnx")
