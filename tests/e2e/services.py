"""What the chart expects to find in a cluster: DNS, an S3 server, and Argo's workflow controller."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .images import ARGOEXEC
from .kubectl import Kubectl
from .places import NODE, REGION, S3, S3_KEY, S3_SECRET, Places
from .processes import Processes
from .toolchain import ALL, module_folder

NAMESPACE = "s2ops"
BUCKET = "s2ops"
CONTROLLER_METRICS = 19190
"""Port of the controller's metrics: not the usual 9090, where a machine may have a Prometheus of its own."""
ARGO_SERVER_PORT = 12746


def start_dns(places: Places, processes: Processes) -> None:
    """CoreDNS beside the node, on the bridge's address, which kubelet writes into each pod's resolv.conf."""
    corefile = places.work / "Corefile"
    corefile.write_text(
        f".:53 {{\n  bind {NODE}\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {places.kubeconfig}\n"
        "    endpoint_pod_names\n    ttl 2\n  }\n}\n"
    )
    processes.start("dns", [ALL["coredns"].bin / "coredns", "-conf", corefile])


def start_s3(places: Places, processes: Processes) -> None:
    """The S3 server, with one bucket; a bucket is a folder."""
    (places.buckets / BUCKET).mkdir(parents=True, exist_ok=True)
    address = S3.removeprefix("http://")
    keys = {"ROOT_ACCESS_KEY": S3_KEY, "ROOT_SECRET_KEY": S3_SECRET}
    processes.start("s3", [ALL["versitygw"].bin / "posix", address, REGION, places.buckets], keys)
    processes.wait("s3", lambda: _speaks_http(S3), limit_s=60)


def public_bucket(places: Places, name: str, source: Path) -> str:
    """A bucket with a copy of a folder that anyone may read, as open scenes are; gives its URL."""
    target = places.buckets / name
    shutil.copytree(source, target, dirs_exist_ok=True)
    policy = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{name}/*"]}
    # Where the server keeps what PutBucketPolicy is given; a client that signs requests is not worth it here.
    os.setxattr(target, "user.policy", json.dumps({"Version": "2012-10-17", "Statement": [policy]}).encode())
    return f"{S3}/{name}"


def _speaks_http(url: str) -> bool:
    """Whether anyone answers there; without keys the S3 server says 403, which will do."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


QUICK = {
    # Looks at a child workflow every second, not every five, and collects little garbage, as it lives for seconds.
    "executor": "imagePullPolicy: Never\nresources:\n  requests: {cpu: 10m, memory: 32Mi}\n"
    'env:\n- {name: RESOURCE_STATE_CHECK_INTERVAL, value: "1s"}\n- {name: GOGC, value: "400"}\n',
    "metricsConfig": f"port: {CONTROLLER_METRICS}\nsecure: false\n",
    "parallelism": "20",
    "podGCDeleteDelayDuration": "5s",
    "nodeEvents": "enabled: false\n",
}
"""The controller's settings for tests: pods that have succeeded go soon."""


def install_argo(kubectl: Kubectl, settings: Mapping[str, str] = QUICK) -> None:
    """Argo's resource types, and the controller's configuration in the namespace that it looks after."""
    crds = sorted((module_folder("argo") / "manifests/base/crds/minimal").glob("argoproj.io_*.yaml"))
    kubectl.run("apply", "--server-side", *(word for path in crds for word in ("-f", str(path))))
    kubectl.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "workflow-controller-configmap", "namespace": NAMESPACE},
            "data": dict(settings),
        }
    )


def start_argo(places: Places, processes: Processes) -> None:
    """The workflow controller, outside the cluster as an administrator; restarting it is stop and start."""
    binaries = ALL["argo"].bin
    words: list[str | Path] = [
        "--kubeconfig",
        places.kubeconfig,
        "--namespaced",
        "--managed-namespace",
        NAMESPACE,
        "--namespace",
        NAMESPACE,
    ]
    environment = {
        "LEADER_ELECTION_DISABLE": "true",
        "LEADER_ELECTION_IDENTITY": "test",  # it ends at once without a name, even alone
        "DEFAULT_REQUEUE_TIME": "1s",
        "ARGO_PROGRESS_PATCH_TICK_DURATION": "2s",
        "ARGO_PROGRESS_FILE_TICK_DURATION": "1s",
        "KUBECONFIG": str(places.kubeconfig),
    }
    processes.start(
        "workflow-controller",
        [binaries / "workflow-controller", "--executor-image", ARGOEXEC, *words],
        environment,
    )


def start_argo_server(places: Places, processes: Processes) -> str:
    """Argo's server, the other door to a cluster; gives its address. A client shows a token of the API server."""
    address = f"127.0.0.1:{ARGO_SERVER_PORT}"
    words = ["--namespaced", "--managed-namespace", NAMESPACE, "--namespace", NAMESPACE, "--auth-mode", "client"]
    words += ["--secure=false", "--port", str(ARGO_SERVER_PORT)]
    environment = {"KUBECONFIG": str(places.kubeconfig)}  # --kubeconfig would not count for the tokens of clients
    processes.start("argo-server", [ALL["argo"].bin / "argo", "server", *words], environment)
    processes.wait("argo-server", lambda: _speaks_http(f"http://{address}/"), limit_s=60)
    return address
