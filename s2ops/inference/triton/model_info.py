"""Description of a served Triton model, shared by the model repository, the server's backend and the client.

Each model's `config.pbtxt` contains a `ServedModelInfo` as JSON. The model's version is derived from the checksum of
the weights, so a client that pins the version knows which weights it uses. The first class of every head (its reference
class) is not transmitted, because its probability is 255 minus the sum of the head's others. That saves a third of the
bytes of three classes and half of two, and costs at most one level of 255.
"""

from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe_findings
from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.models.registry import (
    NETWORKS,
    ModelFile,
    ModelMeta,
    fill_reference_classes,
    list_head_sizes,
    list_transmitted_classes,
)

PARAMETER_NAME: Final = "s2ops"
"""Name of the parameter in `config.pbtxt`."""

PREVIEW_SIDE_PX: Final = 343
"""Side of a classified image in pixels: the preview size of `acquisition`, whose imports a server does not need."""

INPUT_NAME: Final = "image"
"""Name of the single input of every model."""

OUTPUT_NAME: Final = "probs"
"""Name of the single output of every model."""


class ServedModelInfo(BaseModel):
    """Everything that a client must know about a Triton model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meta: ModelMeta
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def from_file(cls, file: ModelFile) -> "ServedModelInfo":
        """Describe the model that serves a weights file."""
        return cls(meta=file.meta, sha256=file.sha256)

    @classmethod
    def from_json(cls, model: str, text: str) -> "ServedModelInfo":
        """Parse the description of `model` that a server returned.

        Raises:
            ModelError: If it is not valid, or is not what the pipeline needs of that model.
        """
        try:
            info = cls.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(
                f"The metadata of the server's model {model} are not valid: {describe_findings(error)}; "
                "start the server with `s2ops serve` of the same s2ops version."
            ) from error
        if info.model != model:
            raise ModelError(
                f"The server's model {model} contains the network {info.model}; serve each network under its own name."
            )
        network, meta = NETWORKS[model], info.meta
        if (meta.bands, meta.classes) != (network.bands, network.classes):
            raise ModelError(
                f"The server's model {model} does not match the pipeline: it has the bands {', '.join(meta.bands)} and "
                f"the classes {', '.join(meta.classes)}, expected {', '.join(network.bands)} and "
                f"{', '.join(network.classes)}; serve weights that were made for {model}."
            )
        return info

    @property
    def model(self) -> str:
        """Name of the network, which is also the name of its Triton model."""
        return self.meta.name

    @property
    def version(self) -> int:
        """Triton version of the model: 1 to 2**28, from the weights' checksum."""
        return compute_version(self.sha256)

    @property
    def is_image_classifier(self) -> bool:
        """True if the network computes one probability per image instead of segmenting it."""
        return len(self.meta.classes) == 1

    @property
    def side(self) -> int:
        """Height and width of the input in pixels: the window, or the whole preview for an image classifier."""
        return PREVIEW_SIDE_PX if self.is_image_classifier else self.meta.window

    @property
    def transmitted_count(self) -> int:
        """Number of classes that are transmitted."""
        return 1 if self.is_image_classifier else len(list_transmitted_classes(list_head_sizes(self.model)))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one input: (band, y, x)."""
        return len(self.meta.bands), self.side, self.side

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output: (transmitted class, y, x), or (1,) for an image classifier."""
        return (1,) if self.is_image_classifier else (self.transmitted_count, self.side, self.side)


def compute_version(sha256: str) -> int:
    """Compute the Triton version of weights from their checksum: 1 to 2**28."""
    return int(sha256[:7], 16) + 1


def drop_reference_class(info: ServedModelInfo, probs: UInt8) -> UInt8:
    """Remove the first class of each head: (n, class, y, x) to (n, transmitted class, y, x)."""
    return probs[:, list_transmitted_classes(list_head_sizes(info.model))]


def restore_reference_class(info: ServedModelInfo, transmitted: UInt8) -> UInt8:
    """Add the first class of each head, which is 255 minus the sum of the head's other classes.

    Args:
        info: Description of the model.
        transmitted: uint8 probabilities (n, transmitted class, y, x).

    Returns:
        uint8 probabilities (n, class, y, x).
    """
    sizes = list_head_sizes(info.model)
    out = np.empty((transmitted.shape[0], len(info.meta.classes), *transmitted.shape[2:]), np.uint8)
    for position, index in enumerate(list_transmitted_classes(sizes)):
        out[:, index] = transmitted[:, position]
    fill_reference_classes(out, sizes)
    return out
