"""The torch engine on a CPU: the numbers of ONNX Runtime, and the fused layers as Triton's interpreter runs them."""

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
from s2ops.inference.gpu import calibration_images  # noqa: E402
from s2ops.inference.gpu.engine import GpuEngine, reference  # noqa: E402
from s2ops.inference.gpu.layers import layers, merge, sent  # noqa: E402
from s2ops.inference.gpu.quantization import peaks, quantised  # noqa: E402
from s2ops.inference.onnx import open_segmenter  # noqa: E402
from s2ops.models.onnx_export import load_into_torch  # noqa: E402
from s2ops.models.registry import ModelFile, find, head_sizes  # noqa: E402
from s2ops.models.unet import UNet  # noqa: E402


def small(name: str, window: int = 64) -> ModelFile:
    """The package's network with a small window."""
    file = find(name)
    return ModelFile(file.path, file.meta.model_copy(update={"window": window}), file.sha256)


def levels(count: int, side: int = 64) -> UInt8:
    """Windows of the simulated world, (count, 4, side, side)."""
    return np.ascontiguousarray(calibration_images.images()[:count, :, :side, :side])


def own(name: str, image: UInt8) -> UInt8:
    """The bands that a network takes."""
    return np.ascontiguousarray(image[:, [BANDS.index(band) for band in find(name).meta.bands]])


@pytest.mark.parametrize("name", ["water", "scene-cloud", "landcover"])
def test_the_torch_engine_gives_the_numbers_of_onnx_within_one_level(name: str) -> None:
    image = own(name, levels(3))
    found = GpuEngine(small(name), None, 4).predict([image[:2], image[2:]])
    wanted = open_segmenter(name).predict(image)[:, sent(head_sizes(name))]
    assert [len(part) for part in found] == [2, 1]
    assert np.abs(np.concatenate(found).astype(int) - wanted).max() <= 1


def test_an_answer_does_not_depend_on_the_batch() -> None:
    engine, image = GpuEngine(small("water"), None, 3), own("water", levels(3))
    whole = engine.predict([image])[0].copy()
    np.testing.assert_array_equal(engine.predict([image[2:]])[0], whole[2:])


def test_a_network_that_labels_no_pixels_is_refused() -> None:
    with pytest.raises(ModelError, match="preview-haze labels no pixels"):
        GpuEngine(find("preview-haze"), None, 1)


def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match="there is no GPU 99"):
        GpuEngine(small("water"), 99, 1)


def test_merging_a_doubling_into_the_next_convolution_changes_nothing() -> None:
    torch.manual_seed(3)
    up, weight, image = torch.randn(5, 3, 2, 2), torch.randn(4, 3, 3, 3), torch.randn(1, 5, 6, 7)
    doubled = torch.nn.functional.conv_transpose2d(image, up, stride=2)
    wanted = torch.nn.functional.conv2d(doubled, weight, padding=1)
    merged = merge(up, weight)
    for down in (0, 1):
        for across in (0, 1):
            framed = torch.nn.functional.pad(image, (1 - across, across, 1 - down, down))
            found = torch.nn.functional.conv2d(framed, merged[down, across])
            torch.testing.assert_close(found, wanted[:, :, down::2, across::2], rtol=1e-4, atol=1e-4)


def test_the_fused_layers_are_the_networks_convolutions_in_their_order() -> None:
    model = UNet(3, 2, 16)
    found = layers(model)
    assert [layer.name for layer in found[:3]] == ["encoder.0.0", "encoder.0.1", "encoder.1.0"]
    assert found[2].reads == ("encoder.0.1/2",)
    assert found[-2].reads == ("decoder.1.1", "encoder.0.1")
    assert [layer.kind for layer in found].count("join") == 5
    assert found[-1].kind == "last"
    assert len(found) == 25  # 13 in the encoder, 2 in the centre, 10 in the decoder


def test_int8_weights_stand_for_the_weights_within_half_a_step() -> None:
    model = load_into_torch(find("water").path)
    assert isinstance(model, UNet)
    found = peaks(model, torch.from_numpy(own("water", levels(2))))
    layer = next(layer for layer in layers(model) if layer.kind == "join")
    numbers = quantised(layer, "int8", found)
    steps = torch.cat(list(numbers.steps.values()))[layer.columns()]
    error = numbers.weight * numbers.unit[:, None] - layer.weight * steps
    assert bool((error.abs() <= 0.5001 * numbers.unit[:, None]).all())
    assert int(numbers.weight.abs().max()) == 127


INTERPRETED = """
import numpy as np, torch
from s2ops.inference import calibration
from s2ops.inference.gpu.fused_unet import FusedUNet
from s2ops.inference.gpu.quantization import peaks
from s2ops.models.unet import UNet, probabilities

torch.manual_seed(1)
model = UNet(4, 5, 4, heads=(2, 3)).eval().double()
for weight in model.parameters():
    if weight.ndim == 4:
        torch.nn.init.kaiming_normal_(weight)
model.head.weight.data *= 8
image = torch.from_numpy(calibration.images()[4:6, :, :32, 32:64].copy())
with torch.inference_mode():
    made = {{"wanted": probabilities(model(image), model.heads).numpy()}}
for plan in ("int8", "mixed", "float16"):
    out = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    FusedUNet(model, image, out, plan, peaks(model, image)).run(2)
    made[plan] = out.numpy()
np.savez({path!r}, **made)
"""


def test_the_fused_kernels_compute_the_network_in_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    path = str(tmp_path / "made.npz")
    # the interpreter has to be asked for before the kernels are imported
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", INTERPRETED.format(path=path)], check=True, timeout=900, env=environment)
    with np.load(path) as made:
        wanted = made["wanted"][:, [1, 3, 4]].astype(int)
        assert wanted.std() > 20
        for plan, mean, largest in (("int8", 6.0, 150), ("mixed", 4.0, 100), ("float16", 0.1, 4)):
            difference = np.abs(made[plan] - wanted)
            assert difference.mean() < mean, plan
            assert difference.max() <= largest, plan


def test_the_serving_benchmark_runs_on_a_processor(tmp_path: Path) -> None:
    program = Path(__file__).parents[2] / "benchmarks/bench_gpu_serving.py"
    words = "--network water --width 16 --window 96 --batch 1 --budget 0.01 --seconds 0.1 --instances 1 --device cpu"
    made = tmp_path / "made.json"
    command = [sys.executable, str(program), *words.split(), "--parts", "plain", "engine", "--json", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    found = json.loads(made.read_text())
    assert found["plain"]["eager"] > 0
    assert found["engine"]["CPU"]["changed"]["simulated"][1] <= 1  # levels
    assert "| engine, on the device, CPU |" in done.stdout


def test_the_reference_in_strips_is_the_network_in_float32() -> None:
    model = load_into_torch(find("landcover").path)
    assert isinstance(model, UNet)
    image = torch.from_numpy(own("landcover", calibration_images.window(192)))
    with torch.inference_mode():
        torch.testing.assert_close(reference(model)(image), model(image), atol=1e-3, rtol=0)
