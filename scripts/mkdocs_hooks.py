"""Pages of the documentation site that are made while it is built (`hooks` in mkdocs.yml).

API reference by package (mkdocstrings), the chart's values, benchmarks with their results, changelog, contributing.
"""

import ast
import os
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]

_COPIES: Final = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "helm/s2ops/README.md": "reference/chart.md",
    "benchmarks/README.md": "reference/benchmarks.md",
    "benchmarks/results/*.md": "reference/benchmarks/{name}",
}
"""Files of the repository, and the page that each becomes."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for source, target in list_copies().items():
        files.append(File.generated(config, target, content=source.read_text(encoding="utf-8")))
    for name, text in write_api_pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Point links to files of the repository at the page that shows them; without such a page, name the path."""
    pages = {path: ROOT / "docs" / target for path, target in list_copies().items()}
    sources = {target: path for path, target in list_copies().items()}
    folder = (ROOT / "docs" / page.file.src_uri).parent
    source_folder = sources.get(page.file.src_uri, ROOT / "docs" / page.file.src_uri).parent

    def rewrite(match: re.Match[str]) -> str:
        path, mark, anchor = match[2].partition("#")
        if not path or "://" in path:
            return match[0]
        target = Path(os.path.normpath(source_folder / path))
        shown = pages.get(target, target)
        if shown.is_relative_to(ROOT / "docs"):
            return f"[{match[1]}]({Path(os.path.relpath(shown, folder)).as_posix()}{mark}{anchor})"
        return f"{match[1]} (`{target.relative_to(ROOT).as_posix()}`)"

    return re.sub(r"\[([^\]]*)\]\(([^()\s]+)\)", rewrite, markdown)


def list_copies() -> dict[Path, str]:
    """Return the page of each file that is shown as it stands."""
    return {path: target.format(name=path.name) for pattern, target in _COPIES.items() for path in ROOT.glob(pattern)}


def write_api_pages() -> dict[str, str]:
    """Return a page per package of s2ops, and an index with the first line of each package's docstring."""
    packages = sorted({path.parent for path in (ROOT / "s2ops").rglob("*.py")})
    pages: dict[str, str] = {}
    index = ["# Python API", "", "| package | contents |", "|---|---|"]
    for folder in packages:
        modules = [path for path in sorted(folder.glob("*.py")) if path.name not in {"__init__.py", "__main__.py"}]
        name = folder.relative_to(ROOT).as_posix().replace("/", ".")
        if not modules:
            continue
        summary = read_summary(folder / "__init__.py")
        body = [f"# {name}", "", summary, ""]
        for path in modules:
            body += [f"::: {name}.{path.stem}", ""]
        pages[f"reference/api/{name}.md"] = "\n".join(body)
        index.append(f"| [{name}]({name}.md) | {summary} |")
    pages["reference/api/index.md"] = "\n".join(index) + "\n"
    return pages


def read_summary(path: Path) -> str:
    """Return the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
