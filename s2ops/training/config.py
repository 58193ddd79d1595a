"""Training configuration (hyperparameters): one YAML file, validated before training starts."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s2ops.config import describe_findings
from s2ops.errors import ConfigError
from s2ops.training.datasets.folder_config import FolderConfig


class TrainConfig(BaseModel):
    """Training configuration of a network (docs/how-to/train-a-network.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Annotated[dict[str, float], Field(description="share of each batch by pool of samples")] = {}
    untaught: Annotated[
        tuple[str, ...],
        Field(description="pools that are learned from their labels alone, without the teacher"),
    ] = ()
    validation: Annotated[tuple[str, ...], Field(description="held-out pools for validation")] = ()
    folders: Annotated[tuple[FolderConfig, ...], Field(description="folders of your own images with labels")] = ()
    trained_on: Annotated[
        tuple[str, ...], Field(min_length=1, description="data sets with their licences, for the metadata")
    ]
    version: str = "1"
    licence: str = "Apache-2.0"
    width: Annotated[int, Field(ge=4, le=64, description="channels of the first block; VGG16 has 64")] = 16
    steps: Annotated[int, Field(ge=1)] = 4000
    batch: Annotated[int, Field(ge=1)] = 32
    crop: Annotated[int, Field(ge=32, multiple_of=32, description="side of the training windows in pixels")] = 256
    learning_rate: Annotated[
        float, Field(gt=0, description="peak learning rate, reached after a tenth of the steps")
    ] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    class_weights: Annotated[
        tuple[float, ...], Field(description="weight of each class in the loss; empty: all 1")
    ] = ()
    dice: Annotated[float, Field(ge=0, description="weight of the Dice loss beside cross entropy")] = 0.5
    jitter: Annotated[
        tuple[float, float, float],
        Field(description="standard deviations of the random shift of a sample, a band and a pixel, in levels"),
    ] = (5.0, 2.0, 1.2)
    start: Annotated[
        Path | None, Field(description="weights to start from: an ONNX file of the network, or VGG16 (safetensors)")
    ] = None
    learn: Annotated[
        Literal["all", "last"],
        Field(description="`last`: train only the layers at full resolution of the weights in `start`"),
    ] = "all"
    keep: Annotated[
        float,
        Field(ge=0, lt=1, description="fraction of the weights in `start` that is mixed into the exported weights"),
    ] = 0.0
    shift: Annotated[
        tuple[float, ...], Field(description="offset of the logits of each class in the exported weights; empty: none")
    ] = ()
    teacher: Annotated[
        Path | dict[str, Path] | None,
        Field(
            description="teacher for distillation: ONNX file of the same network, of any width; or one file per head"
        ),
    ] = None
    distil: Annotated[float, Field(ge=0, description="weight of the distillation loss")] = 1.0
    haze: Annotated[
        float,
        Field(
            ge=0,
            le=0.3,
            description="maximum path reflectance in blue of the haze that is added to half of the samples",
        ),
    ] = 0.0
    noise: Annotated[
        float,
        Field(ge=0, le=0.03, description="maximum standard deviation of the noise added to reflectance"),
    ] = 0.0
    without_nir: Annotated[
        float, Field(ge=0, lt=1, description="fraction of the samples whose near infrared is removed (no data, 0)")
    ] = 0.0
    leaves: Annotated[
        float,
        Field(ge=0, le=1, description="fraction of the samples whose labelled trees are brightened in near infrared"),
    ] = 0.0
    season: Annotated[
        float,
        Field(
            ge=0, description="standard deviation of the shift of near infrared of green ground per sample, in levels"
        ),
    ] = 0.0
    teacher_sees: Annotated[
        Literal["same", "plain"],
        Field(description="`plain`: the teacher gets the window before haze, light and foliage were changed"),
    ] = "same"
    seed: int = 0
    settle: Annotated[
        float,
        Field(
            ge=0, lt=1, description="fraction of the steps, at the end, with frozen statistics of batch normalisation"
        ),
    ] = 0.2
    checkpoint_every: Annotated[int, Field(ge=1, description="steps between checkpoints")] = 500

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        """Check that there are samples to train and to validate on, and that options fit together."""
        if not self.sources and not self.folders:
            raise ValueError("there is nothing to train on; name pools as sources, or folders of images with labels")
        if not self.validation and not any(folder.val for folder in self.folders):
            raise ValueError(
                "nothing is held out for validation; name pools as validation, or files of a folder as val"
            )
        unknown = set(self.untaught) - set(self.shares)
        if unknown:
            raise ValueError(f"untaught names {', '.join(sorted(unknown))}; name only pools of sources or folders")
        if self.learn == "last" and self.start is None:
            raise ValueError("learn: last needs weights to start from; name them as start")
        if self.keep and (self.start is None or self.start.suffix != ".onnx"):
            raise ValueError("keep needs weights of the same network to start from; name an ONNX file as start")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each batch by pool, including the pools of folders."""
        return self.sources | {folder.pool: folder.share for folder in self.folders}


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration. Raises ConfigError."""
    try:
        return TrainConfig.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigError(
            f"Cannot read the training configuration {path}: {error.strerror}; check the path."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Cannot read the training configuration {path}: it is not valid YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(
            f"The training configuration {path} is not valid: {describe_findings(error)}; "
            "see docs/how-to/train-a-network.md."
        ) from error
