"""Copy the npm packages of the page of `s2ops view` into its vendor/ folder.

    python scripts/vendor_page.py [--check]

package.json pins version, npm's integrity (SHA-512 of the package) and the SHA-256 of each file. `--check` needs no
network: it compares the files that lie there. To take a newer version, change version and integrity, and run it.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PAGE = Path(__file__).parents[1] / "s2ops/view/page"
PINS = PAGE / "package.json"


def read_package(name: str, version: str, integrity: str) -> dict[str, bytes]:
    """Return the files of an npm package by path; exit if it is not the pinned one."""
    with TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)  # noqa: S603, S607
        archive = next(Path(folder).glob("*.tgz"))
        kind, _, digest = integrity.partition("-")
        if base64.b64encode(hashlib.new(kind, archive.read_bytes()).digest()).decode() != digest:
            raise SystemExit(f"{name}@{version} is not what package.json pins: its integrity differs")
        with tarfile.open(archive) as files:
            read = {one.name.removeprefix("package/"): files.extractfile(one) for one in files if one.isfile()}
            return {path: file.read() for path, file in read.items() if file is not None}


def write(pins: dict[str, Any]) -> None:
    """Fetch and extract the packages and record the checksums."""
    for name, rules in pins["vendored"].items():
        found = read_package(name, pins["dependencies"][name], rules["integrity"])
        for inside, outside in rules["files"].items():
            (PAGE / "vendor" / outside).write_bytes(found[inside])
        rules["sha256"] = {
            outside: hashlib.sha256(found[inside]).hexdigest() for inside, outside in rules["files"].items()
        }
    PINS.write_text(json.dumps(pins, indent=2) + "\n")


def list_differences(pins: dict[str, Any]) -> list[str]:
    """Return one line per difference between vendor/ and the recorded checksums."""
    wanted = {file: digest for rules in pins["vendored"].values() for file, digest in rules["sha256"].items()}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (PAGE / "vendor").iterdir()}
    wrong = (file for file in sorted(wanted.keys() | found.keys()) if wanted.get(file) != found.get(file))
    return [f"vendor/{file} differs from package.json" for file in wrong]


if __name__ == "__main__":
    given = json.loads(PINS.read_text())
    if "--check" not in sys.argv:
        (PAGE / "vendor").mkdir(exist_ok=True)
        write(given)
    if wrong := list_differences(given):
        raise SystemExit("\n".join([*wrong, "run: make page"]))
