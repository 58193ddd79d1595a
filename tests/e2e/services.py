"""Services that the chart expects in a cluster: DNS, an S3 server, and Argo's workflow controller."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .cluster_layout import NODE, REGION, S3, S3_KEY, S3_SECRET, ClusterLayout
from .images import ARGOEXEC
from .kubectl import Kubectl
from .processes import Processes
from .toolchain import TOOLS_BY_NAME, find_module_folder

NAMESPACE = "s2ops"
BUCKET = "s2ops"
CONTROLLER_METRICS = 19190
"""Port of the controller's metrics: not the usual 9090, where the machine may run its own Prometheus."""
ARGO_SERVER_PORT = 12746


def start_dns(layout: ClusterLayout, processes: Processes) -> None:
    """Start CoreDNS on the bridge's address, which kubelet writes into each pod's resolv.conf."""
    corefile = layout.work / "Corefile"
    corefile.write_text(
        f".:53 {{\n  bind {NODE}\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {layout.kubeconfig}\n"
        "    endpoint_pod_names\n    ttl 2\n  }\n}\n"
    )
    processes.start("dns", [TOOLS_BY_NAME["coredns"].bin / "coredns", "-conf", corefile])


def start_s3(layout: ClusterLayout, processes: Processes) -> None:
    """Start the S3 server with one bucket; a bucket is a folder."""
    (layout.buckets / BUCKET).mkdir(parents=True, exist_ok=True)
    address = S3.removeprefix("http://")
    keys = {"ROOT_ACCESS_KEY": S3_KEY, "ROOT_SECRET_KEY": S3_SECRET}
    processes.start("s3", [TOOLS_BY_NAME["versitygw"].bin / "posix", address, REGION, layout.buckets], keys)
    processes.wait("s3", lambda: _is_http_server(S3), limit_s=60)


def create_public_bucket(layout: ClusterLayout, name: str, source: Path) -> str:
    """Create a public bucket with a copy of a folder, like the buckets of open scenes; return its URL."""
    target = layout.buckets / name
    shutil.copytree(source, target, dirs_exist_ok=True)
    policy = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{name}/*"]}
    # The server stores bucket policies in this attribute; PutBucketPolicy would need a client that signs requests.
    os.setxattr(target, "user.policy", json.dumps({"Version": "2012-10-17", "Statement": [policy]}).encode())
    return f"{S3}/{name}"


def _is_http_server(url: str) -> bool:
    """Return true if an HTTP server responds; status 403, as of the S3 server without keys, is sufficient."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


TEST_SETTINGS = {
    # The executor polls child workflows every second, not every five, and rarely collects garbage: it runs for seconds.
    "executor": "imagePullPolicy: Never\nresources:\n  requests: {cpu: 10m, memory: 32Mi}\n"
    'env:\n- {name: RESOURCE_STATE_CHECK_INTERVAL, value: "1s"}\n- {name: GOGC, value: "400"}\n',
    "metricsConfig": f"port: {CONTROLLER_METRICS}\nsecure: false\n",
    "parallelism": "20",
    "podGCDeleteDelayDuration": "5s",
    "nodeEvents": "enabled: false\n",
}
"""Settings of the controller for tests: succeeded pods are deleted soon."""


def install_argo(kubectl: Kubectl, settings: Mapping[str, str] = TEST_SETTINGS) -> None:
    """Install Argo's resource types, and the controller's configuration in the namespace that it manages."""
    crds = sorted((find_module_folder("argo") / "manifests/base/crds/minimal").glob("argoproj.io_*.yaml"))
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


def start_argo(layout: ClusterLayout, processes: Processes) -> None:
    """Start the workflow controller, outside the cluster and as an administrator."""
    binaries = TOOLS_BY_NAME["argo"].bin
    words: list[str | Path] = [
        "--kubeconfig",
        layout.kubeconfig,
        "--namespaced",
        "--managed-namespace",
        NAMESPACE,
        "--namespace",
        NAMESPACE,
    ]
    environment = {
        "LEADER_ELECTION_DISABLE": "true",
        "LEADER_ELECTION_IDENTITY": "test",  # without a name it exits at once, even without leader election
        "DEFAULT_REQUEUE_TIME": "1s",
        "ARGO_PROGRESS_PATCH_TICK_DURATION": "2s",
        "ARGO_PROGRESS_FILE_TICK_DURATION": "1s",
        "KUBECONFIG": str(layout.kubeconfig),
    }
    processes.start(
        "workflow-controller",
        [binaries / "workflow-controller", "--executor-image", ARGOEXEC, *words],
        environment,
    )


def start_argo_server(layout: ClusterLayout, processes: Processes) -> str:
    """Start Argo's server; return its address. Its clients authenticate with a token of the API server."""
    address = f"127.0.0.1:{ARGO_SERVER_PORT}"
    words = ["--namespaced", "--managed-namespace", NAMESPACE, "--namespace", NAMESPACE, "--auth-mode", "client"]
    words += ["--secure=false", "--port", str(ARGO_SERVER_PORT)]
    environment = {"KUBECONFIG": str(layout.kubeconfig)}  # --kubeconfig would be ignored for clients with tokens
    processes.start("argo-server", [TOOLS_BY_NAME["argo"].bin / "argo", "server", *words], environment)
    processes.wait("argo-server", lambda: _is_http_server(f"http://{address}/"), limit_s=60)
    return address
