"""Loading of the run configuration: from a path, a URI of an object store, or an environment variable."""

import os
import re
from pathlib import Path
from typing import Final

from s2ops.config import RunConfig, parse_config
from s2ops.errors import ConfigError
from s2ops.storage.object_store import read_text

TEXT_VARIABLE: Final = "S2OPS_CONFIG"
"""Environment variable of the configuration's text, or of its URI, where no file can be had: in a container."""


def load_config(place: str | Path, **overrides: str | None) -> RunConfig:
    """Read a run configuration from a path, a URI (s3://...), or `-`: the text or URI in $S2OPS_CONFIG.

    Relative paths inside it are taken from the current folder.
    """
    if str(place) != "-":
        return parse_config(read_text(str(place), "the configuration"), str(place), **overrides)
    text = os.environ.get(TEXT_VARIABLE, "").strip()
    if not text:
        raise ConfigError(f"{TEXT_VARIABLE} is empty: put the configuration's text or URI there, or name a file")
    if re.fullmatch(r"\w+://\S+", text):
        return load_config(text, **overrides)
    return parse_config(text, TEXT_VARIABLE, **overrides)
