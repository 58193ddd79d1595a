"""Print the figures of the code style: root modules, docstring mood, function names, import direction.

    python scripts/measure_code_style.py [PATH ...]     # default: s2ops; --list names every finding

`tests/project/test_code_style.py` holds the limits.
"""

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
VERBS: Final = frozenset(Path(__file__).with_name("style_verbs.txt").read_text().split())
"""Imperative verbs that a function's name or docstring may begin with."""

PREDICATES: Final = frozenset({"is", "has", "can", "needs", "should", "contains", "equals"})
"""Beginnings of functions that return a truth value."""

CONVERSIONS: Final = frozenset({"from", "to"})
"""Beginnings of constructors and conversions: `from_nodes`, `to_json`."""

_PROPERTIES: Final = ("property", "cached_property", "computed_field", "fixture", ".setter")
_NOT_OURS: Final = frozenset(
    {"forward", "setup", "main", "on_start", "on_end", "do_GET", "do_HEAD", "do_POST", "log_message"}
)
"""Names that a library or a convention prescribes."""

_PREPOSITIONS: Final = frozenset(
    {"of", "at", "by", "in", "into", "on", "onto", "over", "under", "with", "without", "within", "between", "across"}
    | {"along", "around", "before", "after", "for", "since", "until", "as"}
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method of the package."""

    path: Path
    line: int
    name: str
    docstring: str | None
    is_property: bool

    @property
    def first_word(self) -> str:
        """First word of the name, without leading underscores."""
        return self.name.lstrip("_").split("_")[0]

    @property
    def is_exempt(self) -> bool:
        """True for properties, special methods and names that a library prescribes."""
        return self.is_property or self.name.startswith("__") or self.name.lstrip("_") in _NOT_OURS

    @property
    def is_well_named(self) -> bool:
        """True if the name begins with a verb, a predicate or a conversion."""
        words = self.name.lstrip("_").split("_")
        return words[0] in VERBS | PREDICATES or (words[0] in CONVERSIONS and len(words) > 1)

    @property
    def is_bare_participle(self) -> bool:
        """True if the name is a participle or preposition alone (`framed`, `lent`, `onto`, `of`)."""
        name = self.name.lstrip("_")
        if "_" in name or name in VERBS:
            return False
        return (
            name in _PREPOSITIONS or name.endswith(("ed", "ing")) or name in {"lent", "made", "sent", "shown", "taken"}
        )

    @property
    def docstring_begins_with_verb(self) -> bool:
        """True if the first word of the docstring is a verb in the imperative."""
        words = (self.docstring or "").split()
        return bool(words) and words[0].strip("`.,:;").lower() in VERBS

    def __str__(self) -> str:
        """Return `path:line name`."""
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.name}"


def find_functions(*folders: Path) -> Iterator[Function]:
    """Yield every function and method of the modules in `folders` (or of single files)."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    decorators = [ast.unparse(one) for one in node.decorator_list]
                    is_property = any(word in one for one in decorators for word in _PROPERTIES)
                    yield Function(path, node.lineno, node.name, ast.get_docstring(node), is_property)


def list_root_modules() -> list[str]:
    """Return the names of the modules that lie directly in `s2ops/`."""
    return sorted(path.name for path in (ROOT / "s2ops").glob("*.py"))


def count_upward_imports() -> int:
    """Return the number of contracts that import-linter finds broken (`[tool.importlinter]` in pyproject.toml)."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 -- ours
    return sum(line.endswith("BROKEN") for line in done.stdout.splitlines())


def main() -> None:
    """Print the figures, and with --list every function that is against a rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "s2ops"])
    parser.add_argument("--list", action="store_true", help="name every finding")
    given = parser.parse_args()
    functions = [one for one in find_functions(*(path.resolve() for path in given.paths)) if not one.is_exempt]
    documented = [one for one in functions if one.docstring]
    badly_named = [one for one in functions if not one.is_well_named]
    participles = [one for one in functions if one.is_bare_participle]
    not_verbs = [one for one in documented if not one.docstring_begins_with_verb]
    if given.list:
        for one in badly_named:
            print(f"name: {one}")
        for one in not_verbs:
            print(f"docstring: {one}: {(one.docstring or '').splitlines()[0][:80]}")
    total, in_total = len(functions), len(documented)
    print(f"modules at the root of s2ops: {len(list_root_modules())}")
    print(f"function docstrings that begin with a verb: {1 - len(not_verbs) / in_total:.1%} of {in_total}")
    print(f"function names that begin with a verb: {1 - len(badly_named) / total:.1%} of {total}")
    print(f"function names that are bare participles or prepositions: {len(participles) / total:.1%}")
    print(f"broken import contracts: {count_upward_imports()}")


if __name__ == "__main__":
    main()
