"""Tests of the code style and of docs/architecture.md; `scripts/measure_code_style.py` prints the figures."""

import ast
import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "s2ops"
MAX_ROOT_MODULES = 8
MIN_DOCSTRINGS_WITH_VERB = 0.85


@pytest.fixture(scope="module")
def style() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_code_style", ROOT / "scripts/measure_code_style.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def list_public_classes() -> Iterator[tuple[str, str]]:
    """Yield name and path of every public class at the top level of a module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path.relative_to(ROOT).as_posix()


def test_public_class_names_have_one_owner() -> None:
    owners = defaultdict(list)
    for name, path in list_public_classes():
        owners[name].append(path)
    assert owners
    assert {name: paths for name, paths in owners.items() if len(paths) > 1} == {}


def test_root_of_the_package_contains_few_modules(style: ModuleType) -> None:
    modules = style.list_root_modules()
    assert "config.py" in modules
    assert len(modules) <= MAX_ROOT_MODULES


def test_function_names_begin_with_a_verb(style: ModuleType) -> None:
    functions = [one for one in style.find_functions(PACKAGE) if not one.is_exempt]
    assert len(functions) > 1000
    assert [str(one) for one in functions if not one.is_well_named] == []


def test_function_names_are_not_bare_participles(style: ModuleType) -> None:
    functions = [one for one in style.find_functions(PACKAGE) if not one.is_exempt]
    assert [str(one) for one in functions if one.is_bare_participle] == []


def test_function_docstrings_begin_with_a_verb(style: ModuleType) -> None:
    documented = [one for one in style.find_functions(PACKAGE) if one.docstring and not one.is_exempt]
    good = sum(one.docstring_begins_with_verb for one in documented)
    assert good / len(documented) >= MIN_DOCSTRINGS_WITH_VERB


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("read_rows", True), ("_read", True), ("is_current", True), ("from_nodes", True), ("to_json", True),
        ("framed", False), ("onto", False), ("of", False), ("from", False), ("rows_of", False), ("levels", False),
    ],
)  # fmt: skip
def test_naming_check_distinguishes_verbs_from_other_words(style: ModuleType, name: str, fits: bool) -> None:
    function = style.Function(PACKAGE / "__init__.py", 1, name, "Read it.", is_property=False)
    assert function.is_well_named is fits


def test_docstring_check_distinguishes_imperatives_from_other_words(style: ModuleType) -> None:
    docstrings = {"Return the rows.": True, "The rows.": False, "What it reads.": False, "Returns rows.": False}
    for docstring, fits in docstrings.items():
        function = style.Function(PACKAGE / "__init__.py", 1, "read", docstring, is_property=False)
        assert function.docstring_begins_with_verb is fits, docstring


def read_features() -> list[tuple[str, str, str]]:
    """Return feature, term and file of each row of the table of features in docs/architecture.md."""
    page = (ROOT / "docs/architecture.md").read_text()
    _, _, section = page.partition("## Where features are")
    return re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| `([^`]+)` \|$", section, re.MULTILINE)


FEATURES = 27


def test_feature_table_is_complete() -> None:
    assert len(read_features()) >= FEATURES


@pytest.mark.parametrize(("feature", "term", "file"), read_features(), ids=lambda value: value)
def test_feature_is_found_by_its_file_and_term(feature: str, term: str, file: str) -> None:
    path = ROOT / file
    assert path.is_file(), feature
    first_line = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
    assert term.lower() in first_line.lower()


TERMS = (
    "feather", "low-pass", "set cover", "sliding window", "tone curve", "tone mapping", "harmonization",
    "distance transform", "resume", "done marker", "overviews", "retry",
)  # fmt: skip
"""Standard terms that a search must find in the first line of a module."""


@pytest.mark.parametrize("term", TERMS)
def test_standard_term_is_in_the_first_line_of_a_module(term: str) -> None:
    first_lines = [
        (ast.get_docstring(ast.parse(path.read_text())) or "\n").splitlines()[0] for path in PACKAGE.rglob("*.py")
    ]
    assert any(term in line.lower() for line in first_lines)
