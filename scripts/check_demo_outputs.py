"""Compare the outputs of `make demo` with a stored list of SHA-256 checksums.

    python scripts/check_demo_outputs.py [demo]            # exit 1 and a line per difference
    python scripts/check_demo_outputs.py [demo] --write    # store the list of this run

A change that must not alter what a run writes is checked by this script on the same kind of machine. Records of
processor time differ from run to run: of `run/run/**/*.json` only the field names count, and of the report all but
numbers and tile names. The list is made in the root of a checkout, because a plan contains the given path of its
catalog.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

LIST: Final = Path(__file__).resolve().parents[1] / "tests/data/demo_outputs.sha256"


def list_field_names(value: Any, prefix: str = "") -> list[str]:
    """Return the paths of all fields of a JSON document, without their values."""
    if isinstance(value, dict):
        return [name for key in sorted(value) for name in list_field_names(value[key], f"{prefix}/{key}")]
    return [prefix]


def compute_checksum(path: Path, key: str) -> str:
    """Return the SHA-256 of an output, leaving out measured times (see above)."""
    data = path.read_bytes()
    if key.startswith("run/run/"):
        data = "\n".join(list_field_names(json.loads(data))).encode()
    elif key.startswith("run/report/"):
        data = re.sub(rb"\d+[A-Z]{3}\b", b"TILE", data)  # the slowest tiles
        data = re.sub(rb"(\d+ (h|min) )*\d+(\.\d+)?", b"0", data)
    return hashlib.sha256(data).hexdigest()


def compute_checksums(folder: Path) -> dict[str, str]:
    """Return the checksum of every file below `folder`, by its path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    keys = {path: path.relative_to(folder).as_posix() for path in files}
    return {keys[path]: compute_checksum(path, keys[path]) for path in files}


def read_list(path: Path) -> dict[str, str]:
    """Return the stored checksums by path."""
    lines = (line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return {key: checksum for checksum, key in lines}


def main() -> None:
    """Compare or write; exit 1 where a file differs, is missing, or is new."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"))
    parser.add_argument("--write", action="store_true", help="store the checksums of this run")
    given = parser.parse_args()
    found = compute_checksums(given.folder)
    if given.write:
        LIST.write_text("".join(f"{checksum}  {key}\n" for key, checksum in found.items()), encoding="utf-8")
        return
    wanted = read_list(LIST)
    differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    for key in differing:
        print(f"{'new' if key not in wanted else 'missing' if key not in found else 'differs'}: {key}")
    print(f"{len(found)} files, {len(differing)} differences")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
