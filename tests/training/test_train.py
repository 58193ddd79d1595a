"""Training on the CPU with a tiny network: it learns, it resumes, it stops when it diverges."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'torch'")

from s2ops.constants import UInt8  # noqa: E402
from s2ops.errors import ConfigError, ModelError  # noqa: E402
from s2ops.imaging.tone_curve import TOP  # noqa: E402
from s2ops.inference.onnx import open_segmenter  # noqa: E402
from s2ops.models.onnx_export import load_into_torch  # noqa: E402
from s2ops.models.registry import TRAINABLE, find_weights  # noqa: E402
from s2ops.models.unet import compute_probabilities  # noqa: E402
from s2ops.training import train as training  # noqa: E402
from s2ops.training.config import load_config  # noqa: E402
from s2ops.training.datasets.build_pools import build_pool, downsample, rotate_or_flip, simulate_sample  # noqa: E402
from s2ops.training.datasets.pools import BUILT, EITHER, IGNORE, Pool, derive_labels, select_images  # noqa: E402
from s2ops.training.evaluate import compute_class_scores, fit_temperature  # noqa: E402
from s2ops.training.losses import compute_segmentation_loss  # noqa: E402
from s2ops.training.train import compute_learning_rate, train  # noqa: E402
from tests.helpers.train_config import make_train_config  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples" / "train"


def make_samples(count: int, seed: int) -> Iterator[tuple[UInt8, UInt8, UInt8]]:
    """Make samples of dark woods with one bright square (cloud), a strip of water and a strip of shadow."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        image = rng.integers(40, 80, (4, 64, 64), dtype=np.uint8)
        mask, cover = np.zeros((64, 64), np.uint8), np.full((64, 64), 3, np.uint8)
        y, x = rng.integers(4, 30, 2)
        image[:, y : y + 30, x : x + 30] += 120
        mask[y : y + 30, x : x + 30] = 1
        cover[60:62], mask[62:] = 1, 2
        yield image, cover, mask


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    Pool.from_samples(make_samples(12, 1)).save(tmp_path / "pools" / "squares")
    Pool.from_samples(make_samples(4, 2)).save(tmp_path / "pools" / "squares-val")
    return tmp_path / "pools"


make_config = partial(make_train_config, "squares", steps=16, checkpoint_every=8)


def test_training_run_learns_and_writes_a_model_that_the_engine_opens(pools: Path, tmp_path: Path) -> None:
    run = training.TrainingRun("scene-cloud", make_config(steps=30), tmp_path / "run", torch.device("cpu"))
    drawn = training.BatchSampler("scene-cloud", make_config(steps=30), pools, torch.device("cpu"), {})
    losses = [run.advance(drawn) for _ in range(30)]
    assert np.mean(losses[-3:]) < 0.75 * losses[0]
    meta = train("scene-cloud", make_config(), pools, tmp_path / "out", device="cpu")
    assert find_weights("scene-cloud", str(tmp_path / "out")).meta == meta
    assert (tmp_path / "out" / "curve.png").stat().st_size > 1000


def test_multi_task_network_learns_three_tasks_whose_probabilities_sum_to_one(pools: Path, tmp_path: Path) -> None:
    """Check that each head has its own labels, temperature and scores, and learns from its teacher."""
    every = [np.roll(np.repeat(np.arange(1, 7, dtype=np.uint8), [10, 10, 10, 10, 10, 14]), turn) for turn in range(3)]
    Pool.from_samples(
        (image, np.broadcast_to(cover, (64, 64)).copy(), np.zeros((64, 64), np.uint8))
        for (image, _, _), cover in zip(make_samples(3, 4), every, strict=True)
    ).save(pools / "every")
    sources = {"sources": {"every": 1.0, "squares": 1.0}, "validation": ("squares-val",), "without_nir": 0.5}
    meta = train("landcover", make_config(**sources), pools, tmp_path / "first", device="cpu")
    assert meta.classes == (
        *TRAINABLE["water"].classes,
        *TRAINABLE["vegetation"].classes,
        *TRAINABLE["building"].classes,
    )
    assert isinstance(meta.temperature, tuple)
    assert len(meta.temperature) == 3
    assert {"squares-val: water f1 water", "squares-val: vegetation f1 tree"} <= set(meta.scores)
    taught = make_config(**sources, teacher=tmp_path / "first" / "landcover.onnx", steps=4)
    train("landcover", taught, pools, tmp_path / "second", device="cpu")
    of_plain = taught.model_copy(update={"teacher_sees": "plain", "leaves": 1.0, "without_nir": 0.0})
    drawn = training.BatchSampler("landcover", of_plain, pools, torch.device("cpu"), {})
    runs = [training.TrainingRun("landcover", one, tmp_path, torch.device("cpu")) for one in (taught, of_plain)]
    assert runs[0].advance(drawn) != runs[1].advance(drawn)  # both start from the same weights
    image, label, plain, _ = drawn.draw(of_plain, torch.Generator().manual_seed(1))
    assert int(plain.min()) > 0  # unchanged, including near infrared
    assert float((image > plain)[:, 3][label == 3].float().mean()) > 0.7  # trees
    image = next(make_samples(1, 5))[0][None]
    probs = open_segmenter("landcover", str(tmp_path / "second")).predict(image).astype(int)
    for first, end in ((0, 2), (2, 5), (5, 8)):
        assert np.abs(probs[:, first:end].sum(axis=1) - 255).max() <= 1
    model = load_into_torch(tmp_path / "second" / "landcover.onnx")
    with torch.no_grad():
        again = compute_probabilities(model(torch.from_numpy(image)), (2, 3, 3)).numpy().astype(int)
    assert np.abs(again - probs).max() <= 1


def test_shift_makes_its_class_more_probable(pools: Path, tmp_path: Path) -> None:
    found = []
    for name, shift in (("plain", ()), ("shifted", (0.0, 6.0))):
        train("water", make_config(steps=2, shift=shift), pools, tmp_path / name, device="cpu")
        probs = open_segmenter("water", str(tmp_path / name)).predict(next(make_samples(1, 5))[0][None, :3])
        found.append(float(probs[:, 1].mean()))
    assert found[1] > found[0] + 50
    with pytest.raises(ConfigError, match="shift has 1 numbers; give one for each of its classes other, water"):
        train("water", make_config(shift=(1.0,)), pools, tmp_path / "wrong", device="cpu")


def test_resumed_run_equals_an_uninterrupted_run(pools: Path, tmp_path: Path) -> None:
    train("water", make_config(), pools, tmp_path / "whole", device="cpu")
    train("water", make_config(), pools, tmp_path / "parts", device="cpu", until=8)
    train("water", make_config(), pools, tmp_path / "parts", device="cpu")
    whole, parts = ((tmp_path / name / "water.onnx").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_kill_while_saving_a_checkpoint_keeps_the_previous_checkpoint(
    pools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training.save_file

    def save_half_and_interrupt(tensors: dict[str, torch.Tensor], path: Path) -> None:
        whole(tensors, path)
        if path.name == "checkpoint-16.safetensors":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_file", save_half_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        train("water", make_config(steps=24), pools, tmp_path / "killed", device="cpu")
    monkeypatch.setattr(training, "save_file", whole)
    for name in ("killed", "whole"):
        train("water", make_config(steps=24), pools, tmp_path / name, device="cpu")
    killed_file, whole_file = ((tmp_path / name / "water.onnx").read_bytes() for name in ("killed", "whole"))
    assert killed_file == whole_file


@pytest.mark.parametrize("name", ["state.json", "checkpoint-8.safetensors"])
def test_resume_names_a_broken_checkpoint(name: str, pools: Path, tmp_path: Path) -> None:
    train("water", make_config(), pools, tmp_path / "out", device="cpu", until=8)
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelError, match=r"the checkpoint in .*out: it is broken .*; give an empty folder"):
        train("water", make_config(), pools, tmp_path / "out", device="cpu")


def test_training_names_a_missing_class_and_a_missing_band(pools: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot train vegetation: no training label is grass"):
        train("vegetation", make_config(), pools, tmp_path / "out", device="cpu")
    Pool.from_samples((image[:3], cover, mask) for image, cover, mask in make_samples(4, 3)).save(pools / "rgb")
    with pytest.raises(ConfigError, match="water: it needs nir, red, green, but a pool has 3 bands"):
        train("water", make_config(sources={"rgb": 1.0}), pools, tmp_path / "out", device="cpu")


def test_pool_with_files_of_different_shapes_is_named(pools: Path, tmp_path: Path) -> None:
    np.save(pools / "squares" / "cover.npy", np.zeros((12, 32, 32), np.uint8))
    with pytest.raises(
        ConfigError, match=r"squares is broken: its images are \(12, 4, 64, 64\), its cover is \(12, 32, 32\)"
    ):
        train("water", make_config(), pools, tmp_path / "out", device="cpu")
    (pools / "squares" / "mask.npy").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"squares is broken: .*; make it again"):
        train("water", make_config(), pools, tmp_path / "out", device="cpu")


def test_training_stops_at_a_loss_that_is_not_finite_and_keeps_the_checkpoint(
    pools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    train("scene-cloud", make_config(), pools, out, device="cpu", until=8)
    before = {path.name: path.read_bytes() for path in out.glob("checkpoint*")}
    monkeypatch.setattr(training, "compute_network_loss", lambda _, logits, *__: logits.sum() * float("nan"))
    with pytest.raises(ModelError, match=r"scene-cloud diverged at step 8: the loss is nan; lower learning_rate"):
        train("scene-cloud", make_config(), pools, out, device="cpu")
    assert {path.name: path.read_bytes() for path in out.glob("checkpoint*")} == before
    assert list(before) == ["checkpoint-8.safetensors"]


def test_resume_refuses_a_run_of_another_configuration(pools: Path, tmp_path: Path) -> None:
    train("water", make_config(), pools, tmp_path / "out", device="cpu", until=8)
    with pytest.raises(ConfigError, match="it has another configuration; give an empty folder"):
        train("water", make_config(seed=1), pools, tmp_path / "out", device="cpu")


def test_haze_network_learns_from_one_label_per_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("previews", "previews-val"):
        parts = []
        for index in range(12):
            hazy = index % 2
            image = rng.integers(20, 60, (3, 64, 64), dtype=np.uint8) + np.uint8(80 * hazy)
            parts.append((image, np.full((64, 64), hazy, np.uint8), np.zeros((64, 64), np.uint8)))
        Pool.from_samples(parts).save(tmp_path / "pools" / name)
    changes = {"sources": {"previews": 1.0}, "validation": ("previews-val",), "learning_rate": 0.01, "steps": 60}
    meta = train("preview-haze", make_config(**changes), tmp_path / "pools", tmp_path / "out", device="cpu")
    assert meta.scores["previews-val: auc"] == 1.0


def test_training_names_a_missing_pool(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no pool of samples at .*squares; make it with"):
        train("water", make_config(), tmp_path, tmp_path / "out", device="cpu")


def test_example_configurations_are_valid() -> None:
    found = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.yaml"))
    assert set(found) >= {f"{network}.yaml" for network in TRAINABLE}
    for name in found:
        last = Path(name).stem.split("-")[-1]
        width = int(last) if last.isdigit() else 16
        assert load_config(EXAMPLES / name).width == width


def test_invalid_configuration_names_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("sources: {a: 1}\nvalidation: [b]\ntrained_on: [c]\nwidht: 3\nsteps: 0\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml is not valid: .*steps: .*widht: "):
        load_config(path)


def test_learning_rate_rises_and_falls_to_zero() -> None:
    rates = [compute_learning_rate(make_config(steps=100, learning_rate=0.01), step) for step in range(100)]
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 1e-5


def test_labels_ignore_ground_below_clouds() -> None:
    cover = np.array([[[1, 2, 3], [4, 5, 6], [BUILT, 0, 1]]], np.uint8)
    mask = np.zeros_like(cover)
    mask[0, 2, 2] = 1
    pool = Pool(np.ones((1, 4, 3, 3), np.uint8), cover, mask)
    assert derive_labels("water", pool)[0].tolist() == [[1, 0, 0], [0, 0, 0], [0, IGNORE, IGNORE]]
    assert derive_labels("vegetation", pool)[0].tolist() == [[0, 1, 2], [0, 0, 0], [0, IGNORE, IGNORE]]
    assert derive_labels("building", pool)[0].tolist() == [[0, 0, 0], [1, 2, 0], [EITHER, IGNORE, IGNORE]]
    assert derive_labels("scene-cloud", pool)[0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_images_of_preview_networks_are_true_colour_levels() -> None:
    image = np.array([0, 1, 255], np.uint8)[None, None, None] * np.ones((1, 4, 1, 1), np.uint8)
    pool = Pool(image, image[:, 0], image[:, 0])
    assert select_images("preview-cloud", pool)[0, 0, 0].tolist() == [0, 1, 255]
    assert select_images("water", pool).shape == (1, 3, 1, 3)
    assert TOP > 0.3558


def test_segmentation_loss_of_either_class_depends_on_their_sum_only() -> None:
    label = torch.full((1, 1, 1), EITHER, dtype=torch.uint8)
    weights = torch.ones(3)
    sure = [
        compute_segmentation_loss(torch.log(torch.tensor(p)).reshape(1, 3, 1, 1), label, weights, 0.0)
        for p in ([0.1, 0.9, 1e-9], [0.1, 0.45, 0.45], [0.8, 0.1, 0.1])
    ]
    assert float(sure[0]) == pytest.approx(-np.log(0.9), abs=1e-4)
    assert float(sure[1]) == pytest.approx(float(sure[0]), abs=1e-4)
    assert float(sure[2]) > float(sure[0])


def test_class_scores_equal_those_computed_by_hand() -> None:
    scores = compute_class_scores(np.array([[1, 1], [0, 2]]), ("a", "b"))
    assert scores == pytest.approx({"accuracy": 0.75, "iou a": 0.5, "f1 a": 2 / 3, "iou b": 2 / 3, "f1 b": 0.8})
    assert compute_class_scores(np.array([[1, 1], [0, 0]]), ("a", "b")).keys() == {"accuracy", "iou a", "f1 a"}
    assert compute_class_scores(np.zeros((2, 2), np.int64), ("a", "b")) == {"accuracy": 0.0}


def test_temperature_of_overconfident_logits_is_above_one() -> None:
    torch.manual_seed(0)
    label = torch.randint(2, (2000,))
    right = torch.rand(2000) < 0.8
    side = torch.where(right, label, 1 - label)
    logits = torch.nn.functional.one_hot(side, 2).float() * 5
    assert fit_temperature(logits, label) == pytest.approx(5 / np.log(4), rel=0.1)


def test_pool_has_simulated_samples_in_the_order_of_their_seeds() -> None:
    pool = build_pool(simulate_sample, range(2), 1)
    np.testing.assert_array_equal(pool.image[1], simulate_sample(1)[0])
    assert pool.image.shape == (2, 4, 256, 256)
    assert set(np.unique(pool.mask)) <= {0, 1, 2, 255}


def test_rotation_and_downsampling_keep_labels_on_their_pixels() -> None:
    stack = np.arange(2 * 128 * 128, dtype=np.uint32).astype(np.uint8).reshape(2, 128, 128)
    assert len({rotate_or_flip(stack, way).tobytes() for way in range(8)}) == 8
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(downsample(stack[0], 2, rng), stack[0, ::2, ::2])
    assert downsample(stack, 4, rng).shape == (2, 128, 128)
