"""Command `python -m workflows`: write the YAML, or print the object sizes of a run."""

import argparse
from pathlib import Path
from typing import Final

from workflows import build_all_templates, object_size_estimate

FOLDER: Final = Path(__file__).parent.parent / "helm/s2ops/files/workflows"
HEADER: Final = "# Made by `python -m workflows` from the folder workflows/; edit that.\n"


def render_files() -> dict[str, str]:
    """Return the YAML of every WorkflowTemplate by file name."""
    return {f"{template.name}.yaml": HEADER + template.to_yaml() for template in build_all_templates()}


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = render_files()
    for path in folder.glob("*.yaml"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)
        print(folder / name)


def _print(tiles: int, group: int, child: int) -> None:
    print(f"{tiles} tiles, {group} per pod, {child} per child workflow; KiB, of 1024 that Argo stores uncompressed")
    print(f"{'object':<16}{'count':>6}{'pods':>6}{'once':>8}{'retried':>9}{'packed':>8}")
    for size in object_size_estimate.estimate_run(tiles, group, child):
        figures = (size.plain / 1024, size.retried / 1024, size.packed / 1024)
        print("{:<16}{:>6}{:>6}{:>8.0f}{:>9.0f}{:>8.0f}".format(size.what, size.count, size.pods, *figures))


def main() -> None:
    """Parse the options and run the command."""
    parser = argparse.ArgumentParser(prog="python -m workflows", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the YAML files")
    parser.add_argument(
        "--sizes", type=int, metavar="TILES", help="print the object sizes of a run of this many tiles instead"
    )
    parser.add_argument("--group", type=int, default=16, help="tiles per pod")
    parser.add_argument("--child", type=int, default=500, help="tiles per child workflow")
    options = parser.parse_args()
    if options.sizes:
        _print(options.sizes, options.group, options.child)
    else:
        _write(options.out)


if __name__ == "__main__":
    main()
