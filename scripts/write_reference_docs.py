"""Write the generated reference pages: command line and run configuration.

python scripts/write_reference_docs.py             # docs/reference/cli.md and configuration.md
python scripts/write_reference_docs.py --check     # write nothing; exit 1 if a page has drifted
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
import typer.cli

from s2ops.cli.app import app
from s2ops.config import RunConfig

REFERENCE: Final = Path(__file__).resolve().parents[1] / "docs/reference"

CLI_HEAD: Final = """# Command line

<!-- written by scripts/write_reference_docs.py -->

Exit codes: 0 success, 1 findings of `verify`, 2 the input must be fixed, 75 the same command may succeed later.

"""

CONFIGURATION_HEAD: Final = """# Run configuration

<!-- written by scripts/write_reference_docs.py -->

A run is described by one YAML file. `s2ops schema` prints its JSON schema
([config.schema.json](config.schema.json)), which editors use for completion. `${NAME}` is replaced by an environment
variable. [Run a region](../how-to/run-a-region.md) has complete examples.

"""


def write_cli_page() -> str:
    """Return the page of all commands and options, from the help texts of the commands."""
    command = typer.main.get_command(app)
    with typer.Context(command, info_name="s2ops") as context:
        text = typer.cli.get_docs_for_click(obj=command, ctx=context, name="s2ops")
    _, _, body = text.partition("\n")
    return CLI_HEAD + body.strip() + "\n"


def list_config_rows(schema: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a table row per field; the fields of a nested object follow under dotted names."""
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        nested = definitions.get(field.get("$ref", "").rpartition("/")[2])
        if nested is not None:
            yield from list_config_rows(nested, definitions, f"{prefix}{name}.")
            continue
        default = "**required**" if name in required else f"`{format_value(field.get('default'))}`"
        yield f"| `{prefix}{name}` | {describe_type(field)} | {default} | {field.get('description', '')} |"


def describe_type(field: dict[str, Any]) -> str:
    """Return the type of a field with its limits in words."""
    if "anyOf" in field:
        return " or ".join(describe_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        items = field.get("items") or field["prefixItems"][0]
        return f"list of {describe_type(items)}"
    kind = {"string": "text", "object": "mapping", "boolean": "true or false"}.get(field["type"], field["type"])
    if field.get("format") == "date":
        return "date"
    limits = [
        f"{sign} {field[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in field
    ]
    return " ".join([kind, ", ".join(limits)]).strip()


def format_value(value: Any) -> str:
    """Return a default as YAML spells it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_configuration_page() -> str:
    """Return the page of all configuration keys, from their descriptions."""
    schema = RunConfig.model_json_schema()
    rows = list_config_rows(schema, schema["$defs"])
    return CONFIGURATION_HEAD + "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def main() -> int:
    """Write the pages, or compare them; return 1 where --check found a difference."""
    pages = {"cli.md": write_cli_page(), "configuration.md": write_configuration_page()}
    drifted = [name for name, text in pages.items() if not is_current(REFERENCE / name, text)]
    for name in drifted:
        if "--check" in sys.argv[1:]:
            print(f"docs/reference/{name} has drifted: run python scripts/write_reference_docs.py")
        else:
            (REFERENCE / name).write_text(pages[name], encoding="utf-8")
    return int("--check" in sys.argv[1:] and bool(drifted))


def is_current(path: Path, text: str) -> bool:
    """Return True if the file holds this text."""
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
