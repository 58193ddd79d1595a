"""Write the table of docs/reference/metrics.md from the metrics in s2ops/telemetry/prometheus.py.

python scripts/write_metrics_docs.py [--check]    # --check writes nothing; exit 1 if the page has drifted
"""

import re
import sys
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from s2ops.telemetry import prometheus

PAGE = Path(__file__).parent.parent / "docs/reference/metrics.md"
HEAD = "| name | type | labels | |\n|---|---|---|---|\n"


def render_rows() -> str:
    """Return a table row per metric, by name."""
    found = [one for one in vars(prometheus).values() if isinstance(one, MetricWrapperBase)]
    lines = []
    for one in sorted(found, key=lambda one: one._name):  # noqa: SLF001 -- the library has no public access to these
        kind, labels = one._type, ", ".join(f"`{name}`" for name in one._labelnames)  # noqa: SLF001
        name = one._name + ("_total" if kind == "counter" else "")  # noqa: SLF001
        lines.append(f"| `{name}` | {kind} | {labels} | {one._documentation} |")  # noqa: SLF001
    return "\n".join(lines) + "\n"


def render_page() -> str:
    """Return the page with its table replaced."""
    return re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: HEAD + render_rows(), PAGE.read_text())


def main() -> int:
    """Write or compare the page; return 1 if --check found a difference."""
    if "--check" in sys.argv[1:]:
        same = PAGE.read_text() == render_page()
        if not same:
            print(f"{PAGE} has drifted from s2ops/telemetry/prometheus.py: run python scripts/write_metrics_docs.py")
        return 0 if same else 1
    PAGE.write_text(render_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
