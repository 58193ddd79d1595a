"""Small texts that a user names by path or URI: the configuration of a run, the outline of its region."""

from pathlib import Path

from s2ops.errors import ConfigError
from s2ops.storage.object_store import SCHEMES, Store


def read_text(place: str, what: str) -> str:
    """The text at a path or at a URI of an object store; `what` names it in the ConfigError that a missing one raises.

    Raises StoreUnreachable where the store does not answer.
    """
    if "://" not in place:
        try:
            return Path(place).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read {what} {place}: {error.strerror}; give the path of a file") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"cannot read {what} {place}: it is no UTF-8 text") from error
    folder, _, name = place.rpartition("/")
    if not folder.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise ConfigError(f"cannot read {what} {place}: use a path, or a URI of {', '.join(SCHEMES)}")
    data = Store(folder).get(name)
    if data is None:
        raise ConfigError(f"cannot read {what} {place}: there is no such object; check bucket and key")
    return data.decode(errors="replace")
