"""Exception hierarchy (errors and exit codes) of s2ops, split by what the operator does next; translation of others.

S2opsError
├── InputError                exit 2: fix the input, then run again
│   ├── ConfigError           a field of the run's YAML, or a command-line option
│   ├── GridError             a tile name, or a resolution that does not fit the grid
│   ├── CatalogError          a catalog, item or asset that cannot be used as it is
│   ├── RasterError           a raster that is missing, broken or of the wrong kind
│   │   └── SceneOutsideTile  a scene without data over the tile
│   ├── ModelError            a weights file or its metadata
│   ├── MissingInput          an output of an earlier step that does not exist
│   └── OutputError           an output that cannot be written: read-only, disk full, no rights
└── TransientError            exit 75 (EX_TEMPFAIL): the same command may succeed later
    ├── CatalogUnreachable
    ├── StoreUnreachable
    └── InferenceUnreachable

A message has the form `<what failed>: <value found>; <what to do>.`
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple


class S2opsError(Exception):
    """Base class of all errors that s2ops raises on purpose."""

    exit_code: ClassVar[int] = 1
    """Exit code of the command line."""
    kind: ClassVar[str] = "S2opsError"
    """Name in failure records and in the label `reason` of metrics; it stays when a class is renamed."""

    def __init_subclass__(cls, kind: str | None = None) -> None:
        """Set `kind`, by default the name of the class."""
        super().__init_subclass__()
        cls.kind = kind or cls.__name__


class InputError(S2opsError):
    """Input that cannot be used; running again unchanged fails again."""

    exit_code = 2


class ConfigError(InputError):
    """A field of the run configuration, or a command-line option."""


class GridError(InputError):
    """An unknown tile name, or a resolution that does not fit the tile."""


class CatalogError(InputError):
    """A catalog, item or asset that cannot be used as it is."""


class RasterError(InputError):
    """A raster that is missing, broken or of the wrong kind."""


class SceneOutsideTile(RasterError, kind="OffTile"):
    """A readable scene without data over the tile: its swath misses the tile."""


class ModelError(InputError):
    """A weights file or its metadata."""


class MissingInput(InputError, kind="NotMade"):
    """An output of an earlier step that does not exist: the step failed for the tile, or has not run."""


class OutputError(InputError):
    """An output that cannot be written: read-only, disk full, or no rights."""


class TransientError(S2opsError):
    """A failure outside s2ops that may pass; the same command may succeed later."""

    exit_code = 75


class CatalogUnreachable(TransientError):
    """The catalog did not answer, or answered with a server error."""


class StoreUnreachable(TransientError):
    """The object store did not answer, or answered with a server error."""


class InferenceUnreachable(TransientError):
    """The inference server did not answer, or no longer serves the weights that the process began with."""


class Terminated(BaseException):
    """Termination of the process by SIGTERM, for instance when a node is drained: exit 75; finished outputs stay.

    Like KeyboardInterrupt it does not derive from Exception, so that no handler of errors delays it.
    """

    exit_code = 75


class Translation(NamedTuple):
    """Rule of `translate_errors`: exceptions of some types become an error of s2ops."""

    kinds: tuple[type[BaseException], ...]
    error: type[S2opsError]
    remedy: str
    """What the operator can do, as the last part of the message."""
    applies: Callable[[Any], bool] = lambda _: True
    """Returns true for those exceptions of `kinds` to which the rule applies."""


@contextmanager
def translate_errors(what_failed: str, *translations: Translation) -> Iterator[None]:
    """Translate exceptions of other libraries that are raised in the `with` block.

    The first matching rule decides; other exceptions, and errors of s2ops, pass unchanged.

    Args:
        what_failed: Beginning of the message, such as "Cannot write out/a.tif".
        translations: Rules, in the order of `except` clauses.

    Raises:
        S2opsError: `<what_failed>: <shortened message>; <remedy>.`
    """
    try:
        yield
    except S2opsError:
        raise
    except Exception as error:
        for rule in translations:
            if isinstance(error, rule.kinds) and rule.applies(error):
                raise rule.error(f"{what_failed}: {shorten_message(error)}; {rule.remedy}.") from error
        raise


def shorten_message(error: object, max_length: int = 200) -> str:
    """Return the innermost cause of an exception on one line: libraries nest exceptions and repeat their messages."""
    if isinstance(error, BaseException):
        error = error.__cause__ or error
    text = " ".join(str(error).split())
    cause = text.rsplit("Caused by", 1)[-1].split("Debug source", 1)[0].strip(" :.")
    return cause[-max_length:] or type(error).__name__
