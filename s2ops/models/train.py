"""Train one network: `train(network, config, pools, out)`. The same configuration, pools and machine give the same run.

Samples lie in memory (on the GPU where there is one). Every draw depends on the seed and the step alone, so that a run
that was killed and continued is the run that was not. Checkpoints are safetensors beside a small JSON; no pickles.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2ops.errors import ConfigError, ModelError
from s2ops.models import evaluate
from s2ops.models.configuration import TrainConfig, load_config
from s2ops.models.datasets.pools import Pool, images, labels
from s2ops.models.export import export
from s2ops.models.haze import HazeNet
from s2ops.models.registry import NETWORKS, ModelMeta
from s2ops.models.scores import haze_loss, segmentation_loss
from s2ops.models.unet import UNet, folded


class Samples:
    """The pools of one network on the training device, with their shares."""

    def __init__(
        self, network: str, shares: dict[str, float], pools: Path, device: torch.device, made: Mapping[str, Pool]
    ) -> None:
        """`made` holds pools that lie in no folder of `pools`."""
        self.parts: list[tuple[Tensor, Tensor]] = []
        for name in shares:
            pool = made[name] if name in made else Pool.load(pools / name)
            image, label = images(network, pool), labels(network, pool)
            self.parts.append((torch.from_numpy(image).to(device), torch.from_numpy(label).to(device)))
        total = sum(shares.values())
        self.shares = [share / total for share in shares.values()]

    def draw(self, config: TrainConfig, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch of windows: (n, band, y, x) levels and their labels, both uint8, jittered and turned."""
        image, label = [], []
        crop = config.crop
        for (source, truth), count in zip(self.parts, self._counts(config.batch), strict=True):
            index = torch.randint(len(source), (count,), generator=random, device=random.device)
            room = source.shape[-1] - crop
            y, x = (int(v) for v in torch.randint(room + 1, (2,), generator=random, device=random.device))
            image.append(source[index][:, :, y : y + crop, x : x + crop])
            label.append(truth[index] if truth.ndim == 1 else truth[index][:, y : y + crop, x : x + crop])
        return _turned(_jittered(torch.cat(image), config.jitter, random), torch.cat(label), random)

    def _counts(self, batch: int) -> list[int]:
        """Whole numbers of samples, in proportion to the shares, that sum to the batch."""
        ends = [round(batch * sum(self.shares[: index + 1])) for index in range(len(self.shares))]
        return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _jittered(levels: Tensor, jitter: tuple[float, float, float], random: torch.Generator) -> Tensor:
    """Other gains and a little noise; on the logarithmic tone curve a gain is a shift. No data stays 0."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=random.device)

    count, bands, height, width = levels.shape
    scene, band, pixel = jitter
    noise = (
        scene * normal(count, 1, 1, 1) + band * normal(count, bands, 1, 1) + pixel * normal(count, bands, height, width)
    )
    return torch.where(levels == 0, 0, torch.clamp(torch.round(levels + noise), 1, 255)).to(torch.uint8)


def _turned(image: Tensor, label: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of the eight symmetries of the square for the whole batch."""
    way = int(torch.randint(8, (1,), generator=random, device=random.device))
    turned = [torch.rot90(part, way % 4, (-2, -1)) if part.ndim > 2 else part for part in (image, label)]
    if way >= 4:
        turned = [part.flip(-1) if part.ndim > 2 else part for part in turned]
    return turned[0], turned[1]


def learning_rate(config: TrainConfig, step: int) -> float:
    """One cycle: up over the first tenth of the steps, down to zero along a cosine."""
    rise = max(config.steps // 10, 1)
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(config.steps - rise, 1)))


def make_network(network: str, width: int) -> UNet | HazeNet:
    """The untrained network, with batch normalisation where it is a U-net."""
    spec = NETWORKS[network]
    if len(spec.classes) == 1:
        return HazeNet(len(spec.bands), width)
    model = UNet(len(spec.bands), len(spec.classes), width, norm=True)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


class Run:
    """The state of a training run: network, optimiser, step; can be written and taken up again."""

    def __init__(self, network: str, config: TrainConfig, out: Path, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.network, self.config, self.out, self.device = network, config, out, device
        self.model = make_network(network, config.width).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=config.weight_decay)
        classes = len(NETWORKS[network].classes)
        self.weights = torch.tensor(config.class_weights or (1.0,) * classes, device=device)
        self.step = 0
        self.history: list[tuple[int, float]] = []

    def advance(self, samples: Samples) -> float:
        """One step; gives the loss. Raises ModelError where it is no number, before anything is changed by it."""
        random = torch.Generator(self.device).manual_seed(self.config.seed * 1_000_003 + self.step)
        image, label = samples.draw(self.config, random)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.model(image)
        if label.ndim == 1:
            loss = haze_loss(logits, label)
        else:
            loss = segmentation_loss(logits, label, self.weights, self.config.dice)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"training of {self.network} diverged at step {self.step} (loss {value}): lower learning_rate "
                f"({self.config.learning_rate}); the last good checkpoint stays in {self.out}"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return value

    def save(self) -> None:
        """Write the checkpoint; the JSON that names the step comes last, so a kill leaves the older one whole."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        self.out.mkdir(parents=True, exist_ok=True)
        name = f"checkpoint-{self.step}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, self.out / name)
        state = {
            "step": self.step,
            "file": name,
            "config": self.config.model_dump(mode="json"),
            "history": self.history,
        }
        part = self.out / "state.json.part"
        part.write_text(json.dumps(state))
        part.replace(self.out / "state.json")
        for old in self.out.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()

    def resume(self) -> None:
        """Take up the checkpoint in `out`, if there is one of the same configuration."""
        try:
            state = json.loads((self.out / "state.json").read_text())
        except FileNotFoundError:
            return
        if state["config"] != self.config.model_dump(mode="json"):
            raise ConfigError(f"{self.out} holds a run of another configuration: give an empty folder")
        tensors = load_file(self.out / state["file"], device=str(self.device))
        self.model.load_state_dict(
            {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
        )
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                moments.setdefault(int(index), {})[name] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
        self.step, self.history = state["step"], [(step, loss) for step, loss in state["history"]]


def train(
    network: str, config: TrainConfig, pools: Path, out: Path, *, device: str | None = None, until: int | None = None
) -> ModelMeta:
    """Train `network` on `pools`, continuing what `out` holds; writes `out`/NETWORK.onnx, curve.png and checkpoints.

    `until` stops at that step and leaves the rest to the next call. Raises ConfigError and ModelError.
    """
    if network not in NETWORKS:
        raise ConfigError(f"there is no network named {network!r}; the networks are {', '.join(NETWORKS)}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    run = Run(network, config, out, place)
    run.resume()
    made = _own_pools(network, config)
    samples = Samples(network, config.shares, pools, place, made)
    while run.step < min(config.steps, until or config.steps):
        loss = run.advance(samples)
        if run.step % 50 == 0 or run.step == config.steps:
            run.history.append((run.step, loss))
            print(f"{network} step {run.step}/{config.steps} loss {loss:.4f}", flush=True)
        if run.step % config.checkpoint_every == 0 or run.step == config.steps:
            run.save()
    model = folded(run.model) if isinstance(run.model, UNet) else run.model.cpu().eval()
    judges = (*config.validation, *(name for name in made if name not in config.shares))
    temperature, scores = evaluate.judge(network, model.to(place), judges, pools, place, made)
    spec = NETWORKS[network]
    meta = ModelMeta(
        name=network,
        version=config.version,
        bands=spec.bands,
        classes=spec.classes,
        window=spec.window,
        width=config.width,
        levels="tci" if network.startswith("preview") else "tone-curve",
        temperature=temperature,
        trained_on=config.trained_on,
        scores=scores,
        licence=config.licence,
    )
    export(model.cpu(), meta, out / f"{network}.onnx")
    evaluate.draw_curve(run.history, network, out / "curve.png")
    return meta


def _own_pools(network: str, config: TrainConfig) -> dict[str, Pool]:
    """The pools of the configuration's folders, by name. Raises ConfigError and RasterError."""
    if not config.folders:
        return {}
    from s2ops.models.datasets import folders  # noqa: PLC0415 - needs GDAL, which a training machine may lack

    made = folders.make_folder_pools(network, config.folders, config.crop)
    if not config.sources:
        folders.require_classes(network, [made[folder.pool] for folder in config.folders])
    return made


def train_command(network: str, config_path: Path, out: Path) -> None:
    """`s2ops train NETWORK --config F --out OUT`: pools are looked for in `S2OPS_POOLS`, else in OUT/pools."""
    pools = Path(os.environ.get("S2OPS_POOLS", out / "pools"))
    meta = train(network, load_config(config_path), pools, out / network)
    for name, value in meta.scores.items():
        print(f"{network} {name}: {value}")
