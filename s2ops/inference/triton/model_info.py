"""What a Triton model says of itself and sends: shared by the repository, the server's side and the client.

Each model's `config.pbtxt` carries `Served` as JSON, and its version is made from the weights' checksum: a client that
pins the version knows which weights answer. The first class of every head stays behind, since it is what the others
leave of certainty: that saves a third of the bytes of three classes, half of two, and costs at most one level of 255.
"""

from itertools import pairwise
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2ops.config import describe
from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.models.registry import NETWORKS, ModelFile, ModelMeta, head_sizes, tasks

PARAMETER: Final = "s2ops"
"""Name of the parameter in `config.pbtxt`."""

PREVIEW: Final = 343
"""Side of a scored image: `preview.SIZE`, without what reading previews needs."""

IMAGE: Final = "image"
PROBS: Final = "probs"
"""Names of the one input and the one output of every model."""


class Served(BaseModel):
    """All that a client must know of a Triton model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meta: ModelMeta
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, file: ModelFile) -> "Served":
        """The model over these weights."""
        return cls(meta=file.meta, sha256=file.sha256)

    @classmethod
    def read(cls, model: str, text: str) -> "Served":
        """Parse what a server says. Raises ModelError where that is not what the chain needs of `model`."""
        try:
            served = cls.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(f"the server's {model} has metadata that is not valid ({describe(error)})") from error
        if served.model != model:
            raise ModelError(f"the server's {model} says it is {served.model}: serve that network under its own name")
        network, meta = NETWORKS[model], served.meta
        if (meta.bands, meta.classes) != (network.bands, network.classes):
            raise ModelError(
                f"the server's {model} takes {', '.join(meta.bands)} and gives {', '.join(meta.classes)}, but "
                f"the chain needs {', '.join(network.bands)} and {', '.join(network.classes)}: serve other weights"
            )
        return served

    @property
    def model(self) -> str:
        """The network, which is the name of its Triton model."""
        return self.meta.name

    @property
    def version(self) -> int:
        """Triton's version of the model: 1 to 2**28, from the weights' checksum."""
        return version_of(self.sha256)

    @property
    def scores(self) -> bool:
        """Whether it gives one probability an image instead of labelling pixels."""
        return len(self.meta.classes) == 1

    @property
    def side(self) -> int:
        """Height and width of the input, pixels: the window, or the whole preview where images are scored."""
        return PREVIEW if self.scores else self.meta.window

    @property
    def sent(self) -> int:
        """Number of classes that cross the wire."""
        return 1 if self.scores else len(self.meta.classes) - len(head_sizes(self.model))

    @property
    def shape_in(self) -> tuple[int, int, int]:
        """(band, y, x) of one input."""
        return len(self.meta.bands), self.side, self.side

    @property
    def shape_out(self) -> tuple[int, ...]:
        """Of one output: (class, y, x), or (1,) where images are scored."""
        return (1,) if self.scores else (self.sent, self.side, self.side)


def version_of(sha256: str) -> int:
    """Triton's version for weights of this checksum."""
    return int(sha256[:7], 16) + 1


def without_first(served: Served, probs: UInt8) -> UInt8:
    """(n, class, y, x) -> (n, sent, y, x): all but each head's first class."""
    sent = [index for index in range(len(served.meta.classes)) if index not in _firsts(served)]
    return probs[:, sent]


def with_first(served: Served, sent: UInt8) -> UInt8:
    """(n, sent, y, x) -> (n, class, y, x): each head's first class is what its others leave of 255."""
    out = np.empty((sent.shape[0], len(served.meta.classes), *sent.shape[2:]), np.uint8)
    firsts = [*_firsts(served), len(served.meta.classes)]
    for head, (first, end) in enumerate(pairwise(firsts)):
        others = sent[:, first - head : end - head - 1]
        out[:, first + 1 : end] = others
        # rounding may have made them 256 in all
        out[:, first] = 255 - np.minimum(others.sum(axis=1, dtype=np.uint16), 255)
    return out


def _firsts(served: Served) -> list[int]:
    """Where the classes of each head begin."""
    return [task.classes.start for task in tasks(served.model)]
