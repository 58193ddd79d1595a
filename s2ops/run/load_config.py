"""Loading of the run configuration: from a path, a URI of an object store, or an environment variable."""

import os
import re
from pathlib import Path
from typing import Final

from s2ops.config import RunConfig, parse_config
from s2ops.errors import ConfigError
from s2ops.storage.object_store import read_text

TEXT_VARIABLE: Final = "S2OPS_CONFIG"
"""Environment variable with the configuration's text or URI, for containers without a file."""


def load_config(place: str | Path, **overrides: str | None) -> RunConfig:
    """Load a run configuration. Relative paths inside it refer to the current folder.

    Args:
        place: Path, URI (s3://...), or `-` for the text or URI in $S2OPS_CONFIG.
        **overrides: Values that replace top-level fields; None replaces nothing.
    """
    if str(place) != "-":
        return parse_config(read_text(str(place), "the configuration"), str(place), **overrides)
    text = os.environ.get(TEXT_VARIABLE, "").strip()
    if not text:
        raise ConfigError(f"{TEXT_VARIABLE} is empty; set it to the configuration's text or URI, or give a file.")
    if re.fullmatch(r"\w+://\S+", text):
        return load_config(text, **overrides)
    return parse_config(text, TEXT_VARIABLE, **overrides)
