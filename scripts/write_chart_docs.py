"""Copy the comments of helm/s2ops/values.yaml to values.schema.json (for editors) and README.md (for people).

python scripts/write_chart_docs.py [--check]    # --check writes nothing; exit 1 if a file has drifted
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


def read_comments(text: str) -> dict[str, str]:
    """Return the comment block above each key of a values file, by dotted key; list items have no index."""
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


def describe_schema(schema: dict[str, Any], texts: dict[str, str], prefix: str = "") -> dict[str, Any]:
    """Return the schema with a description at each key that has a comment."""
    properties = {}
    for key, below in schema.get("properties", {}).items():
        name = f"{prefix}{key}"
        deeper = describe_schema(below, texts, f"{name}.")
        if below.get("type") == "array":
            deeper["items"] = describe_schema(below["items"], texts, f"{name}.")
        properties[key] = deeper | ({"description": texts[name]} if name in texts else {})
    return schema | ({"properties": properties} if properties else {})


def list_rows(schema: dict[str, Any], values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a table row per value; a map with self-explanatory keys is one value."""
    for key, below in schema["properties"].items():
        if key not in values:
            continue
        name = f"{prefix}{key}"
        if any("description" in child or "properties" in child for child in below.get("properties", {}).values()):
            yield from list_rows(below, values[key], f"{name}.")
        else:
            yield f"| `{name}` | {_describe_type(below)} | `{json.dumps(values[key])}` | {below['description']} |"


def _describe_type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return schema["type"] if isinstance(schema["type"], str) else " or ".join(schema["type"])


def render_files() -> dict[Path, str]:
    """Return the contents of the two generated files."""
    text = (CHART / "values.yaml").read_text()
    schema = describe_schema(json.loads((CHART / "values.schema.json").read_text()), read_comments(text))
    table = ["| value | type | default | |", "|---|---|---|---|", *list_rows(schema, yaml.safe_load(text))]
    head = (CHART / "README.head.md").read_text()
    return {
        CHART / "values.schema.json": json.dumps(schema, indent=2) + "\n",
        CHART / "README.md": head
        + "\n## Values\n\nGenerated from `values.yaml` by `python scripts/write_chart_docs.py`.\n\n"
        + "\n".join(table)
        + "\n",
    }


def main() -> int:
    """Write the files, or compare them; return 1 if --check found a difference."""
    drifted = [path for path, text in render_files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in drifted:
            print(f"{path} has drifted from values.yaml: run python scripts/write_chart_docs.py")
        return 1 if drifted else 0
    for path in drifted:
        path.write_text(render_files()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
