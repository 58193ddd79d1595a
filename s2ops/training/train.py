"""Training loop with checkpoints and export: `train(network, config, pools, out)`.

A run is reproducible: the same configuration, pools and machine give the same weights. Random numbers depend on the
seed and the step alone, so a run that was killed and resumed equals an uninterrupted one. Samples lie in memory, on the
GPU if there is one. Checkpoints are safetensors with a small JSON; no pickles.
"""

import json
import math
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2ops.errors import ConfigError, ModelError
from s2ops.models.onnx_export import export_to_onnx
from s2ops.models.registry import TRAINABLE, ModelMeta
from s2ops.models.unet import UNet, fold_batch_norm
from s2ops.training import evaluate
from s2ops.training.batches import BatchSampler
from s2ops.training.config import TrainConfig, load_config
from s2ops.training.datasets.pools import Pool
from s2ops.training.distillation import HeadTeachers
from s2ops.training.initialization import build_network, interpolate_weights
from s2ops.training.losses import compute_haze_loss
from s2ops.training.targets import compute_network_loss, compute_teacher_loss


def compute_learning_rate(config: TrainConfig, step: int) -> float:
    """Compute the learning rate of a step: linear warm-up over a tenth of the steps, then cosine decay to zero."""
    rise = max(config.steps // 10, 1)
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(config.steps - rise, 1)))


class TrainingRun:
    """State of a training run: network, optimizer, step. It can be saved to checkpoints and resumed."""

    def __init__(self, network: str, config: TrainConfig, out: Path, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.network, self.config, self.out, self.device = network, config, out, device
        model = build_network(network, config.width, config.start)
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.learn == "last":
            _freeze_inner_layers(self.model)
        self.teacher = None if config.teacher is None else HeadTeachers(network, config.teacher).to(device)
        trainable = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trainable, weight_decay=config.weight_decay)
        classes = len(TRAINABLE[network].classes)
        self.weights = torch.tensor(config.class_weights or (1.0,) * classes, device=device)
        self.step = 0
        self.history: list[tuple[int, float]] = []

    def advance(self, samples: BatchSampler) -> float:
        """Run one step and return its loss.

        Raises:
            ModelError: If the loss is not finite; the weights are not changed then.
        """
        random = torch.Generator(self.device).manual_seed(self.config.seed * 1_000_003 + self.step)
        image, label, plain, known = samples.draw(self.config, random)
        self.model.train()
        if self.step >= (1 - self.config.settle) * self.config.steps:
            for layer in self.model.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()  # batches differ by pool; the exported network has one fixed normalisation
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.model(image)
            if self.teacher is not None:
                taught = self.teacher(plain if self.config.teacher_sees == "plain" else image, known)
        if label.ndim == 1:
            loss = compute_haze_loss(logits, label)
        else:
            loss = compute_network_loss(self.network, logits, label, self.weights, self.config.dice)
            if self.teacher is not None:
                loss = loss + self.config.distil * compute_teacher_loss(self.network, logits, taught)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"Training of {self.network} diverged at step {self.step}: the loss is {value}; lower "
                f"learning_rate ({self.config.learning_rate}). The last good checkpoint stays in {self.out}."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = compute_learning_rate(self.config, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return value

    def save(self) -> None:
        """Save the checkpoint; its JSON is written last, so that a kill leaves the previous checkpoint intact."""
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
        """Resume from the checkpoint in `out`, if there is one.

        Raises:
            ConfigError: If the checkpoint has another configuration.
            ModelError: If the checkpoint is broken.
        """
        if not (self.out / "state.json").exists():
            return
        try:
            state = json.loads((self.out / "state.json").read_text())
            same = state["config"] == self.config.model_dump(mode="json")
            tensors = load_file(self.out / state["file"], device=str(self.device))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ModelError(
                f"Cannot resume from the checkpoint in {self.out}: it is broken ({error}); give an empty folder."
            ) from error
        if not same:
            raise ConfigError(
                f"Cannot resume the run in {self.out}: it has another configuration; give an empty folder."
            )
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
    """Train a network and write NETWORK.onnx, curve.png and checkpoints; resume if `out` contains a checkpoint.

    Args:
        network: Name of the network.
        config: Training configuration.
        pools: Folder of the pools of samples.
        out: Folder of the results.
        device: Device of torch; default: the GPU if there is one.
        until: Stop at this step; the next call resumes there.

    Returns:
        Metadata of the network with its temperature and its scores on the held-out pools.

    Raises:
        ConfigError: If the configuration, its pools or its folders cannot be used.
        ModelError: If training diverges, or a checkpoint or weights file is broken.
    """
    if network not in TRAINABLE:
        raise ConfigError(
            f"Cannot train {network!r}: there is no such network; the networks are {', '.join(TRAINABLE)}."
        )
    if config.shift and len(config.shift) != len(TRAINABLE[network].classes):
        raise ConfigError(
            f"Cannot train {network}: shift has {len(config.shift)} numbers; give one for each of its classes "
            f"{', '.join(TRAINABLE[network].classes)}."
        )
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    run = TrainingRun(network, config, out, place)
    run.resume()
    made = _make_folder_pools(network, config)
    samples = BatchSampler(network, config, pools, place, made)
    while run.step < min(config.steps, until or config.steps):
        loss = run.advance(samples)
        if run.step % 50 == 0 or run.step == config.steps:
            run.history.append((run.step, loss))
            print(f"{network} step {run.step}/{config.steps} loss {loss:.4f}", flush=True)
        if run.step % config.checkpoint_every == 0 or run.step == config.steps:
            run.save()
    model = fold_batch_norm(run.model) if isinstance(run.model, UNet) else run.model.cpu().eval()
    if config.keep and config.start is not None:
        model = interpolate_weights(model, config.start, config.keep)
    if config.shift and isinstance(model, UNet) and model.head.bias is not None:
        model.head.bias.data += torch.tensor(config.shift)
    judges = (*config.validation, *(name for name in made if name not in config.shares))
    temperature, scores = evaluate.evaluate_network(network, model.to(place), judges, pools, place, made)
    spec = TRAINABLE[network]
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
    export_to_onnx(model.cpu(), meta, out / f"{network}.onnx")
    evaluate.plot_loss_curve(run.history, network, out / "curve.png")
    return meta


def _freeze_inner_layers(model: nn.Module) -> None:
    """Freeze all layers but those at full resolution, which locate edges.

    A step takes half the time, and training on a few labels of one place degrades other places little.
    """
    if not isinstance(model, UNet):
        raise ConfigError("Cannot train with learn: last: preview-haze does not classify pixels; remove `learn`.")
    model.requires_grad_(False)
    for part in (model.up[0], model.decoder[0], model.head):
        part.requires_grad_(True)


def _make_folder_pools(network: str, config: TrainConfig) -> dict[str, Pool]:
    """Make the pools of the configuration's folders, by name. Raises ConfigError and RasterError."""
    if not config.folders:
        return {}
    from s2ops.training.datasets import folder_dataset  # noqa: PLC0415 - needs GDAL, which a training machine may lack

    return folder_dataset.make_folder_pools(network, config.folders, config.crop)


def train_command(network: str, config_path: Path, out: Path) -> None:
    """Run `s2ops train NETWORK --config F --out OUT` with the pools in `S2OPS_POOLS`, by default OUT/pools."""
    pools = Path(os.environ.get("S2OPS_POOLS", out / "pools"))
    meta = train(network, load_config(config_path), pools, out / network)
    for name, value in meta.scores.items():
        print(f"{network} {name}: {value}")
