"""Command `python -m tests.e2e up | down`: test cluster for inspection by hand with kubectl and argo."""

from __future__ import annotations

import argparse

from . import cluster
from .cluster_layout import ClusterLayout
from .toolchain import TOOLS_BY_NAME


def main() -> None:
    """Start the test cluster and leave it running, or stop it."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=main.__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    layout = ClusterLayout.from_cache()
    if parser.parse_args().verb == "down":
        cluster.stop(layout)
        return
    cluster.start(layout)
    path = ":".join(str(TOOLS_BY_NAME[name].bin) for name in ("kubernetes", "argo", "helm"))
    print(f"export KUBECONFIG={layout.kubeconfig} PATH={path}:$PATH")
    print("kubectl --namespace s2ops get pods; python -m tests.e2e down")


if __name__ == "__main__":
    main()
