"""GPU engine on a CPU: agreement with ONNX Runtime, and the fused kernels in the Triton language's interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from s2ops.constants import BANDS, UInt8  # noqa: E402
from s2ops.errors import ModelError  # noqa: E402
from s2ops.inference.gpu.calibration_images import build_calibration_window, load_calibration_images  # noqa: E402
from s2ops.inference.gpu.engine import GpuEngine, build_reference_model, measure_changed_fractions  # noqa: E402
from s2ops.inference.gpu.layers import list_fused_layers, merge_upsampling  # noqa: E402
from s2ops.inference.gpu.quantization import measure_activation_peaks, quantize_layer  # noqa: E402
from s2ops.inference.onnx import open_segmenter  # noqa: E402
from s2ops.models.onnx_export import load_into_torch  # noqa: E402
from s2ops.models.registry import ModelFile, find_weights, list_head_sizes, list_transmitted_classes  # noqa: E402
from s2ops.models.unet import UNet  # noqa: E402


def get_small_model(name: str, window: int = 64) -> ModelFile:
    """Return the package's weights with a small window."""
    file = find_weights(name)
    return ModelFile(file.path, file.meta.model_copy(update={"window": window}), file.sha256)


def load_levels(count: int, side: int = 64) -> UInt8:
    """Load windows of the simulated world, (count, 4, side, side)."""
    return np.ascontiguousarray(load_calibration_images()[:count, :, :side, :side])


def pick_bands(name: str, image: UInt8) -> UInt8:
    """Select the bands of a network, in its order."""
    return np.ascontiguousarray(image[:, [BANDS.index(band) for band in find_weights(name).meta.bands]])


@pytest.mark.parametrize("name", ["water", "scene-cloud", "landcover"])
def test_gpu_engine_on_cpu_equals_onnx_within_one_level(name: str) -> None:
    image = pick_bands(name, load_levels(3))
    found = GpuEngine(get_small_model(name), None, 4).predict([image[:2], image[2:]])
    wanted = open_segmenter(name).predict(image)[:, list_transmitted_classes(list_head_sizes(name))]
    assert [len(part) for part in found] == [2, 1]
    assert np.abs(np.concatenate(found).astype(int) - wanted).max() <= 1


def test_gpu_engine_result_does_not_depend_on_the_batch() -> None:
    engine, image = GpuEngine(get_small_model("water"), None, 3), pick_bands("water", load_levels(3))
    whole = engine.predict([image])[0].copy()
    np.testing.assert_array_equal(engine.predict([image[2:]])[0], whole[2:])


def test_gpu_engine_logs_the_chosen_precision(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="s2ops.inference.gpu.engine"):
        engine = GpuEngine(get_small_model("water"), None, 1)
    (record,) = caplog.records
    fields = {name: getattr(record, name) for name in ("model", "precision", "reason")}
    assert record.getMessage() == "precision chosen"
    assert fields == {"model": "water", "precision": "CPU", "reason": "no GPU requested"}
    assert engine.precision == "CPU"


def test_measure_changed_fractions_counts_each_head_alone() -> None:
    transmitted = torch.tensor([[[200, 10]], [[20, 30]], [[200, 40]]], dtype=torch.uint8)  # heads of 2 and 3 classes
    reference = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]])
    assert measure_changed_fractions(transmitted, reference, (2, 3)) == [0.0, 1.0]


def test_gpu_engine_rejects_an_image_classifier() -> None:
    with pytest.raises(ModelError, match="Cannot run preview-haze by the GPU engine: it is not a U-net"):
        GpuEngine(find_weights("preview-haze"), None, 1)


def test_gpu_engine_names_a_missing_gpu() -> None:
    with pytest.raises(ModelError, match="GPU 99 does not exist: torch finds"):
        GpuEngine(get_small_model("water"), 99, 1)


def test_merge_upsampling_equals_upsampling_then_convolution() -> None:
    torch.manual_seed(3)
    up, weight, image = torch.randn(5, 3, 2, 2), torch.randn(4, 3, 3, 3), torch.randn(1, 5, 6, 7)
    doubled = torch.nn.functional.conv_transpose2d(image, up, stride=2)
    wanted = torch.nn.functional.conv2d(doubled, weight, padding=1)
    merged = merge_upsampling(up, weight)
    for down in (0, 1):
        for across in (0, 1):
            padded = torch.nn.functional.pad(image, (1 - across, across, 1 - down, down))
            found = torch.nn.functional.conv2d(padded, merged[down, across])
            torch.testing.assert_close(found, wanted[:, :, down::2, across::2], rtol=1e-4, atol=1e-4)


def test_fused_layers_are_the_convolutions_in_execution_order() -> None:
    model = UNet(3, 2, 16)
    found = list_fused_layers(model)
    assert [layer.name for layer in found[:3]] == ["encoder.0.0", "encoder.0.1", "encoder.1.0"]
    assert found[2].inputs == ("encoder.0.1/2",)
    assert found[-2].inputs == ("decoder.1.1", "encoder.0.1")
    assert [layer.kind for layer in found].count("join") == 5
    assert found[-1].kind == "last"
    assert len(found) == 25  # 13 in the encoder, 2 in the centre, 10 in the decoder


def test_quantize_layer_keeps_weights_within_half_a_level() -> None:
    model = load_into_torch(find_weights("water").path)
    assert isinstance(model, UNet)
    found = measure_activation_peaks(model, torch.from_numpy(pick_bands("water", load_levels(2))))
    layer = next(layer for layer in list_fused_layers(model) if layer.kind == "join")
    numbers = quantize_layer(layer, "int8", found)
    steps = torch.cat(list(numbers.steps.values()))[layer.map_columns_to_channels()]
    error = numbers.weight * numbers.unit[:, None] - layer.weight * steps
    assert bool((error.abs() <= 0.5001 * numbers.unit[:, None]).all())
    assert int(numbers.weight.abs().max()) == 127


INTERPRETED = """
import numpy as np, torch
from s2ops.inference.gpu.calibration_images import load_calibration_images
from s2ops.inference.gpu.fused_unet import FusedUNet
from s2ops.inference.gpu.quantization import measure_activation_peaks
from s2ops.models.unet import UNet, compute_probabilities

torch.manual_seed(1)
model = UNet(4, 5, 4, heads=(2, 3)).eval().double()
for weight in model.parameters():
    if weight.ndim == 4:
        torch.nn.init.kaiming_normal_(weight)
model.head.weight.data *= 8
image = torch.from_numpy(load_calibration_images()[4:6, :, :32, 32:64].copy())
with torch.inference_mode():
    made = {{"wanted": compute_probabilities(model(image), model.heads).numpy()}}
for precision in ("int8", "mixed", "float16"):
    out = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    FusedUNet(model, image, out, precision, measure_activation_peaks(model, image)).run(2)
    made[precision] = out.numpy()
np.savez({path!r}, **made)
"""


def test_fused_kernels_compute_the_network_in_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    path = str(tmp_path / "made.npz")
    # the interpreter must be selected before the kernels are imported
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", INTERPRETED.format(path=path)], check=True, timeout=900, env=environment)
    with np.load(path) as made:
        wanted = made["wanted"][:, [1, 3, 4]].astype(int)
        assert wanted.std() > 20
        for precision, mean, largest in (("int8", 6.0, 150), ("mixed", 4.0, 100), ("float16", 0.1, 4)):
            difference = np.abs(made[precision] - wanted)
            assert difference.mean() < mean, precision
            assert difference.max() <= largest, precision


def test_serving_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    program = Path(__file__).parents[2] / "benchmarks/bench_gpu_serving.py"
    words = "--network water --width 16 --window 96 --batch 1 --budget 0.01 --seconds 0.1 --instances 1 --device cpu"
    made = tmp_path / "made.json"
    command = [sys.executable, str(program), *words.split(), "--parts", "plain", "engine", "--json", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    found = json.loads(made.read_text())
    assert found["plain"]["eager"] > 0
    assert found["engine"]["CPU"]["changed"]["simulated"][1] <= 1  # levels
    assert "| engine, on the device, CPU |" in done.stdout


def test_stripwise_reference_model_equals_the_network_in_float32() -> None:
    model = load_into_torch(find_weights("landcover").path)
    assert isinstance(model, UNet)
    image = torch.from_numpy(pick_bands("landcover", build_calibration_window(192)))
    with torch.inference_mode():
        torch.testing.assert_close(build_reference_model(model)(image), model(image), atol=1e-3, rtol=0)
