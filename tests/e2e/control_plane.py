"""etcd, API server, controller manager and scheduler of a one-machine Kubernetes."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from .places import SERVICES, TOKEN, Places
from .processes import Processes
from .toolchain import ALL


def start(places: Places, processes: Processes) -> None:
    """Start all four and wait until the API server answers; the first service accounts follow a moment later."""
    _credentials(places)
    processes.start("etcd", _etcd(places))
    processes.start("apiserver", _apiserver(places))
    processes.wait("apiserver", lambda: _answers(f"{places.addresses.url}/readyz"), limit_s=90)
    write_kubeconfig(places)
    common: list[str | Path] = ["--kubeconfig", places.kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1"]
    binaries = ALL["kubernetes"].bin
    scheduler = f"--secure-port={places.addresses.scheduler}"
    processes.start("scheduler", [binaries / "kube-scheduler", *common, scheduler])
    processes.start(
        "controller-manager",
        [
            binaries / "kube-controller-manager",
            *common,
            f"--secure-port={places.addresses.controller_manager}",
            f"--service-account-private-key-file={places.certificates / 'service-accounts.key'}",
            f"--root-ca-file={places.certificates / 'apiserver.crt'}",
            "--use-service-account-credentials=true",
            # A drained or dead node's pods are given up within seconds rather than minutes: the tests wait for it.
            "--node-monitor-grace-period=20s",
        ],
    )


def _etcd(places: Places) -> list[str | Path]:
    """Without fsync: the data lives as long as the test run."""
    url, peer = places.addresses.etcd_url, f"http://127.0.0.1:{places.addresses.etcd + 1}"
    urls = [f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
    peers = [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
    return ["etcd", f"--data-dir={places.work / 'etcd'}", "--unsafe-no-fsync", *urls, *peers]


def _apiserver(places: Places) -> list[str | Path]:
    keys, at = places.certificates, places.addresses
    return [
        ALL["kubernetes"].bin / "kube-apiserver",
        f"--etcd-servers={at.etcd_url}",
        f"--bind-address={at.host}",
        f"--advertise-address={at.host}",
        f"--secure-port={at.api}",
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


def _credentials(places: Places) -> None:
    """A key for service accounts and one administrator's token."""
    keys = places.certificates
    keys.mkdir(parents=True)
    private, public = keys / "service-accounts.key", keys / "service-accounts.pub"
    subprocess.run(["openssl", "genrsa", "-out", str(private), "2048"], check=True, capture_output=True)
    subprocess.run(
        ["openssl", "rsa", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True
    )
    (keys / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')


def write_kubeconfig(places: Places) -> None:
    """The administrator's kubeconfig; JSON is YAML."""
    cluster = {"server": places.addresses.url, "certificate-authority": str(places.certificates / "apiserver.crt")}
    places.kubeconfig.write_text(
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


def _answers(url: str) -> bool:
    """Whether the API server says ok; its certificate is made at its first start, so it is not checked here."""
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
