"""Addresses, folders and credentials of the test cluster; all traffic stays on loopback and the bridge of the pods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .toolchain import cache_root

NODE = "10.85.0.1"  # the bridge's own address: node, API server, DNS and S3 answer here
PODS = "10.85.0.0/16"
SERVICES = "10.96.0.0/16"
BRIDGE = "s2ops0"
API = f"https://{NODE}:6443"
S3 = f"http://{NODE}:7070"
S3_KEY, S3_SECRET = "s2ops-test", "s2ops-test-secret"  # opens nothing but the S3 server that the tests start
REGION = "us-east-1"
TOKEN = "s2ops-admin"  # as above: the administrator of a cluster that lives for one test run


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a control plane listens; with others, a second one lives beside the first."""

    host: str = NODE
    api: int = 6443
    etcd: int = 12379
    """Of its clients; the next one is for its peers."""
    scheduler: int = 10259
    controller_manager: int = 10257

    @property
    def url(self) -> str:
        """Of the API server."""
        return f"https://{self.host}:{self.api}"

    @property
    def etcd_url(self) -> str:
        """Of etcd, always on loopback."""
        return f"http://127.0.0.1:{self.etcd}"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one cluster; all under one work folder, which a start empties."""

    work: Path
    addresses: Addresses = Addresses()

    @classmethod
    def default(cls) -> Places:
        """The one cluster with a node on this machine: its bridge is fixed, so there is no second at a time."""
        return cls(cache_root() / "run")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's configuration."""
        return self.work / "kubeconfig"

    @property
    def certificates(self) -> Path:
        """The API server's own certificate, which the others trust."""
        return self.work / "certificates"

    @property
    def buckets(self) -> Path:
        """The S3 server's folder; a bucket is a folder in it."""
        return self.work / "s3"

    @property
    def containerd(self) -> Path:
        """Images, containers and the socket of containerd."""
        return self.work / "containerd"

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.containerd / "containerd.sock"
