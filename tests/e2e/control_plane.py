"""Kubernetes control plane on one machine: etcd, API server, controller manager and scheduler."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from .cluster_layout import SERVICES, TOKEN, ClusterLayout
from .processes import Processes
from .toolchain import TOOLS_BY_NAME


def start(layout: ClusterLayout, processes: Processes) -> None:
    """Start all four programs and wait until the API server is ready; the first service accounts follow soon after."""
    _write_credentials(layout)
    processes.start("etcd", _build_etcd_command(layout))
    processes.start("apiserver", _build_apiserver_command(layout))
    processes.wait("apiserver", lambda: _is_healthy(f"{layout.addresses.url}/readyz"), limit_s=90)
    write_kubeconfig(layout)
    common: list[str | Path] = ["--kubeconfig", layout.kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1"]
    binaries = TOOLS_BY_NAME["kubernetes"].bin
    scheduler = f"--secure-port={layout.addresses.scheduler}"
    processes.start("scheduler", [binaries / "kube-scheduler", *common, scheduler])
    processes.start(
        "controller-manager",
        [
            binaries / "kube-controller-manager",
            *common,
            f"--secure-port={layout.addresses.controller_manager}",
            f"--service-account-private-key-file={layout.certificates / 'service-accounts.key'}",
            f"--root-ca-file={layout.certificates / 'apiserver.crt'}",
            "--use-service-account-credentials=true",
            # Pods of a drained or dead node are given up within seconds, not minutes, because the tests wait for it.
            "--node-monitor-grace-period=20s",
        ],
    )


def _build_etcd_command(layout: ClusterLayout) -> list[str | Path]:
    """Build the command of etcd, without fsync because the data is needed for the test run only."""
    url, peer = layout.addresses.etcd_url, f"http://127.0.0.1:{layout.addresses.etcd + 1}"
    urls = [f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
    peers = [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
    return ["etcd", f"--data-dir={layout.work / 'etcd'}", "--unsafe-no-fsync", *urls, *peers]


def _build_apiserver_command(layout: ClusterLayout) -> list[str | Path]:
    keys, addresses = layout.certificates, layout.addresses
    return [
        TOOLS_BY_NAME["kubernetes"].bin / "kube-apiserver",
        f"--etcd-servers={addresses.etcd_url}",
        f"--bind-address={addresses.host}",
        f"--advertise-address={addresses.host}",
        f"--secure-port={addresses.api}",
        f"--cert-dir={keys}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--token-auth-file={keys / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
    ]


def _write_credentials(layout: ClusterLayout) -> None:
    """Write a key for service accounts and the administrator's token."""
    keys = layout.certificates
    keys.mkdir(parents=True)
    private, public = keys / "service-accounts.key", keys / "service-accounts.pub"
    subprocess.run(["openssl", "genrsa", "-out", str(private), "2048"], check=True, capture_output=True)
    subprocess.run(
        ["openssl", "rsa", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True
    )
    (keys / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')


def write_kubeconfig(layout: ClusterLayout) -> None:
    """Write the administrator's kubeconfig as JSON, which is valid YAML."""
    cluster = {"server": layout.addresses.url, "certificate-authority": str(layout.certificates / "apiserver.crt")}
    layout.kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "admin", "user": {"token": TOKEN}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                "current-context": "test",
            }
        )
    )


def _is_healthy(url: str) -> bool:
    """Return true if the API server reports ok; its certificate is made at its first start, so it is not checked."""
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
