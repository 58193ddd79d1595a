"""`python -m tests.e2e up | down`: the test cluster by hand, to look into it with kubectl and argo."""

from __future__ import annotations

import argparse

from . import cluster
from .places import Places
from .toolchain import ALL


def main() -> None:
    """Start the test cluster and leave it running, or stop it."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=main.__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    places = Places.default()
    if parser.parse_args().verb == "down":
        cluster.stop(places)
        return
    cluster.start(places)
    path = ":".join(str(ALL[name].bin) for name in ("kubernetes", "argo", "helm"))
    print(f"export KUBECONFIG={places.kubeconfig} PATH={path}:$PATH")
    print("kubectl --namespace s2ops get pods; python -m tests.e2e down")


if __name__ == "__main__":
    main()
