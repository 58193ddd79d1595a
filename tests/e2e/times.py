"""Table of the durations of the cluster tests, written into a page.

    python -m tests.e2e.times JUNIT.xml ... PAGE.md

The table is between two comments of the page; `make test-cluster-all` updates it.
"""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

BEGIN, END = "<!-- times -->\n", "<!-- end of times -->"


def render_table(junits: Iterable[Path]) -> str:
    """Return a table with one row per test; parametrized cases are summed, and set-up time is included.

    Raises:
        SystemExit: If a test failed, because its time is then meaningless.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    total, tests = 0.0, 0
    for junit in junits:
        suite = ET.parse(junit).getroot().find("testsuite")
        if suite is None or suite.attrib["failures"] != "0" or suite.attrib["errors"] != "0":
            raise SystemExit(f"Cannot write times: {junit} contains failed tests; run them again.")
        for case in suite.iter("testcase"):
            module = case.attrib["classname"].rsplit(".", 1)[-1]
            name = case.attrib["name"].split("[")[0].removeprefix("test_").replace("_", " ")
            seconds[f"| `{module}` | {name}"] += float(case.attrib["time"])
        total, tests = total + float(suite.attrib["time"]), tests + int(suite.attrib["tests"])
    rows = [f"{start} | {duration:.0f} |" for start, duration in seconds.items()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    head = f"{os.cpu_count()} cores, {memory:.0f} GiB; {tests} tests in {total / 60:.0f} minutes.\n"
    return "\n".join([head, "| file | what | s, with what it waits for |", "|---|---|---|", *rows]) + "\n"


def main() -> None:
    """Replace the table between the comments."""
    *junits, page = map(Path, sys.argv[1:])
    text = BEGIN + render_table(junits) + END
    page.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: text, page.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
