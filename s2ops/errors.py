"""Every error that s2ops raises on purpose, split by what the operator does next.

S2opsError
├── InputError            exit 2: fix the input, then run again
│   ├── ConfigError       a field of the run's YAML, or a command-line option
│   ├── GridError         a tile name, or a resolution that does not fit the grid
│   ├── CatalogError      a catalog, item or asset that cannot be used as it is
│   ├── RasterError       a raster that is missing, broken or of the wrong kind
│   │   └── OffTile       a scene that shows nothing of the tile
│   ├── ModelError        a weights file or its metadata
│   ├── NotMade           what an earlier step makes is not there
│   └── OutputError       the output cannot be written: read-only, full, no rights
└── TransientError        exit 75 (EX_TEMPFAIL): the same command may succeed later
    ├── CatalogUnreachable
    ├── StoreUnreachable
    └── InferenceUnreachable

A message is one sentence that names the input, the value found and the remedy.
"""


class S2opsError(Exception):
    """Base of the tree; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(S2opsError):
    """The user's input cannot be used; running again unchanged fails again."""

    exit_code = 2


class ConfigError(InputError):
    """A field of the run configuration, or a command-line option."""


class GridError(InputError):
    """An unknown tile name, or a resolution that does not fit the tile."""


class CatalogError(InputError):
    """A catalog, item or asset that cannot be used as it is."""


class RasterError(InputError):
    """A raster that is missing, broken or of the wrong kind."""


class OffTile(RasterError):
    """A scene that can be read and shows nothing of the tile: its swath misses it."""


class ModelError(InputError):
    """A weights file or its metadata."""


class NotMade(InputError):
    """What an earlier step makes is not there: it failed for the tile, or has not run."""


class OutputError(InputError):
    """The output place cannot be written: read-only, full, or no rights."""


class TransientError(S2opsError):
    """Something outside failed for now; the same command may succeed later."""

    exit_code = 75


class CatalogUnreachable(TransientError):
    """The catalog did not answer, or answered with a server error."""


class StoreUnreachable(TransientError):
    """The object store did not answer, or answered with a server error."""


class InferenceUnreachable(TransientError):
    """The inference server did not answer, or no longer serves the weights that the process began with."""


class Stopped(BaseException):
    """The process was told to stop (SIGTERM), as when a node is drained: exit 75. What it had finished stands.

    Like KeyboardInterrupt it is no error, so that nothing that mends or records errors holds it up.
    """

    exit_code = 75
