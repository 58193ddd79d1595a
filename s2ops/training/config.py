"""How a network is trained: one YAML file, checked before any work starts."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s2ops.config import describe
from s2ops.errors import ConfigError
from s2ops.training.datasets.folder_config import FolderConfig


class TrainConfig(BaseModel):
    """How a network is trained (docs/how-to/train-a-network.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Annotated[dict[str, float], Field(description="pool of samples -> its share of each batch")] = {}
    validation: Annotated[tuple[str, ...], Field(description="pools that training never sees")] = ()
    folders: Annotated[tuple[FolderConfig, ...], Field(description="images with labels of your own")] = ()
    trained_on: Annotated[tuple[str, ...], Field(min_length=1, description="data sets with licences, for the metadata")]
    version: str = "1"
    licence: str = "Apache-2.0"
    width: Annotated[int, Field(ge=4, le=64, description="channels of the first block; VGG16 has 64")] = 16
    steps: Annotated[int, Field(ge=1)] = 4000
    batch: Annotated[int, Field(ge=1)] = 32
    crop: Annotated[int, Field(ge=32, multiple_of=32, description="side of the training windows, pixels")] = 256
    learning_rate: Annotated[float, Field(gt=0, description="at its peak, after a tenth of the steps")] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    class_weights: Annotated[tuple[float, ...], Field(description="one a class; empty: all 1")] = ()
    dice: Annotated[float, Field(ge=0, description="weight of the Dice loss beside cross entropy")] = 0.5
    jitter: Annotated[
        tuple[float, float, float],
        Field(description="standard deviations, in levels, of the random shift of a sample, a band and a pixel"),
    ] = (5.0, 2.0, 1.2)
    start: Annotated[
        Path | None, Field(description="weights to start from: an ONNX file of the network, or VGG16 (safetensors)")
    ] = None
    learn: Annotated[
        Literal["all", "last"],
        Field(description="`last`: of the weights that training starts from only those at full resolution change"),
    ] = "all"
    keep: Annotated[
        float, Field(ge=0, lt=1, description="part of the weights that training starts from in those that are written")
    ] = 0.0
    shift: Annotated[
        tuple[float, ...], Field(description="added to the logits of each class in what is written; empty: nothing")
    ] = ()
    teacher: Annotated[
        Path | dict[str, Path] | None,
        Field(description="ONNX file of the same network, of any width, whose answers are learnt too; or one by head"),
    ] = None
    distil: Annotated[float, Field(ge=0, description="weight of the teacher's answers beside the labels")] = 1.0
    haze: Annotated[
        float,
        Field(ge=0, le=0.3, description="largest path reflectance in blue of the haze laid over half the samples"),
    ] = 0.0
    without_nir: Annotated[
        float, Field(ge=0, lt=1, description="part of the samples whose near infrared is taken away (no data, 0)")
    ] = 0.0
    leaves: Annotated[
        float, Field(ge=0, le=1, description="part of the samples whose labelled trees get brighter in near infrared")
    ] = 0.0
    season: Annotated[
        float,
        Field(
            ge=0, description="standard deviation, in levels, of a sample's shift of near infrared where it is green"
        ),
    ] = 0.0
    teacher_sees: Annotated[
        Literal["same", "plain"],
        Field(description="`plain`: the teacher answers for the window before haze, light and leaves changed it"),
    ] = "same"
    seed: int = 0
    settle: Annotated[
        float, Field(ge=0, lt=1, description="last part of the steps, in which batch normalisation no longer moves")
    ] = 0.2
    checkpoint_every: Annotated[int, Field(ge=1, description="steps")] = 500

    @model_validator(mode="after")
    def _learns_and_is_judged(self) -> Self:
        if not self.sources and not self.folders:
            raise ValueError("give pools as sources, or folders of images with labels")
        if not self.validation and not any(folder.val for folder in self.folders):
            raise ValueError("nothing is held out: name pools as validation, or files of a folder as val")
        if self.learn == "last" and self.start is None:
            raise ValueError("learn: last needs weights to start from: name them as start")
        if self.keep and (self.start is None or self.start.suffix != ".onnx"):
            raise ValueError("keep needs weights of the same network to start from: name an ONNX file as start")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each batch by pool, of sources and folders."""
        return self.sources | {folder.pool: folder.share for folder in self.folders}


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration. Raises ConfigError."""
    try:
        return TrainConfig.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigError(f"cannot read the training configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
