"""`python -m tests.e2e.times JUNIT.xml ... PAGE.md`: write how long each test of the cluster took into a page.

The table stands between two comments of the page; `make test-cluster-all` writes it anew.
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


def table(junits: Iterable[Path]) -> str:
    """One line a test, the parametrised ones together, with what they waited for in their set-up; then the sum.

    Raises:
        SystemExit: a test failed, so that its time says nothing.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    total, tests = 0.0, 0
    for junit in junits:
        suite = ET.parse(junit).getroot().find("testsuite")
        if suite is None or suite.attrib["failures"] != "0" or suite.attrib["errors"] != "0":
            raise SystemExit(f"{junit}: not every test passed, so there are no times to write")
        for case in suite.iter("testcase"):
            module = case.attrib["classname"].rsplit(".", 1)[-1]
            name = case.attrib["name"].split("[")[0].removeprefix("test_").replace("_", " ")
            seconds[f"| `{module}` | {name}"] += float(case.attrib["time"])
        total, tests = total + float(suite.attrib["time"]), tests + int(suite.attrib["tests"])
    rows = [f"{start} | {took:.0f} |" for start, took in seconds.items()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    head = f"{os.cpu_count()} cores, {memory:.0f} GiB; {tests} tests in {total / 60:.0f} minutes.\n"
    return "\n".join([head, "| file | what | s, with what it waits for |", "|---|---|---|", *rows]) + "\n"


def main() -> None:
    """Replace what stands between the comments."""
    *junits, page = map(Path, sys.argv[1:])
    made = BEGIN + table(junits) + END
    page.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: made, page.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
