"""Check of `helm test`, run in the steps' image: wait until Triton is ready and lists every network of the chain.

Usage: check_triton.py HOST:PORT SECONDS
"""

import sys
import time

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

NETWORKS = {"preview-cloud", "preview-haze", "scene-cloud", "water", "vegetation", "building", "landcover"}


def list_missing(client: InferenceServerClient) -> set[str]:
    """Return the networks that the server does not list as ready; all of them if it does not respond."""
    try:
        models = client.get_model_repository_index(as_json=True).get("models", [])
    except InferenceServerException:
        return NETWORKS
    return NETWORKS - {model["name"] for model in models if model.get("state") == "READY"}


def main() -> int:
    """Wait for the server at argv[1] for argv[2] seconds; return 0 if every network is ready."""
    address, deadline = sys.argv[1], time.monotonic() + float(sys.argv[2])
    client = InferenceServerClient(address)
    while lost := list_missing(client):
        if time.monotonic() > deadline:
            print(f"Triton at {address}: not ready: {', '.join(sorted(lost))}; see kubectl logs deploy/s2ops-triton")
            return 1
        time.sleep(2)
    print(f"Triton at {address}: ready: {', '.join(sorted(NETWORKS))}")
    return 0


sys.exit(main())
