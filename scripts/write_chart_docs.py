"""Carry the comments of helm/s2ops/values.yaml into values.schema.json (for editors) and README.md (for people).

Usage: chart_docs.py [--check]    with --check nothing is written, and exit 1 says that a file has drifted
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "helm/s2ops"
_KEY = re.compile(r"^( *)(?:- )?(?P<key>[\w.]+):")


def comments(text: str) -> dict[str, str]:
    """Dotted key -> the comment block right over it, for each key of a values file; list items carry no index."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []  # (indent, key) of the keys that enclose the line
    block: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith(("# ", "- # ")):
            block.append(line.lstrip(" -").removeprefix("#").strip())
            continue
        if match := _KEY.match(line):
            indent = len(match.group(1)) + 2 * line.lstrip().startswith("- ")
            path = [(depth, key) for depth, key in path if depth < indent] + [(indent, match.group("key"))]
            if block:
                found[".".join(key for _, key in path)] = " ".join(block)
        block = []
    return found


def described(schema: dict[str, Any], texts: dict[str, str], prefix: str = "") -> dict[str, Any]:
    """The schema with a description at each key that has a comment."""
    properties = {}
    for key, below in schema.get("properties", {}).items():
        name = f"{prefix}{key}"
        deeper = described(below, texts, f"{name}.")
        if below.get("type") == "array":
            deeper["items"] = described(below["items"], texts, f"{name}.")
        properties[key] = deeper | ({"description": texts[name]} if name in texts else {})
    return schema | ({"properties": properties} if properties else {})


def rows(schema: dict[str, Any], values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """A table row for each value that can be set; a map whose keys explain themselves is one value."""
    for key, below in schema["properties"].items():
        if key not in values:
            continue
        name = f"{prefix}{key}"
        if any("description" in child or "properties" in child for child in below.get("properties", {}).values()):
            yield from rows(below, values[key], f"{name}.")
        else:
            yield f"| `{name}` | {_kind(below)} | `{json.dumps(values[key])}` | {below['description']} |"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return schema["type"] if isinstance(schema["type"], str) else " or ".join(schema["type"])


def files() -> dict[Path, str]:
    """What the two generated files should hold."""
    text = (CHART / "values.yaml").read_text()
    schema = described(json.loads((CHART / "values.schema.json").read_text()), comments(text))
    table = ["| value | type | default | |", "|---|---|---|---|", *rows(schema, yaml.safe_load(text))]
    head = (CHART / "README.head.md").read_text()
    return {
        CHART / "values.schema.json": json.dumps(schema, indent=2) + "\n",
        CHART / "README.md": head
        + "\n## Values\n\nMade from `values.yaml` by `python scripts/write_chart_docs.py`.\n\n"
        + "\n".join(table)
        + "\n",
    }


def main() -> int:
    """Write the files, or compare them; 1 where --check found a difference."""
    drifted = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in drifted:
            print(f"{path} has drifted from values.yaml: run python scripts/write_chart_docs.py")
        return 1 if drifted else 0
    for path in drifted:
        path.write_text(files()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
