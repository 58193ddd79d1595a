"""Layout of the test cluster: addresses, folders, credentials. All traffic stays on loopback and the pods' bridge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .toolchain import get_cache_root

NODE = "10.85.0.1"  # the bridge's own address: node, API server, DNS and S3 listen here
PODS = "10.85.0.0/16"
SERVICES = "10.96.0.0/16"
BRIDGE = "s2ops0"
S3 = f"http://{NODE}:7070"
S3_KEY, S3_SECRET = "s2ops-test", "s2ops-test-secret"  # valid only for the S3 server that the tests start
REGION = "us-east-1"
TOKEN = "s2ops-admin"  # administrator of a cluster that exists for one test run


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses and ports of a control plane; with other ports, a second one can run beside the first."""

    host: str = NODE
    api: int = 6443
    etcd: int = 12379
    """Port for clients of etcd; the next port is for its peers."""
    scheduler: int = 10259
    controller_manager: int = 10257

    @property
    def url(self) -> str:
        """URL of the API server."""
        return f"https://{self.host}:{self.api}"

    @property
    def etcd_url(self) -> str:
        """URL of etcd, always on loopback."""
        return f"http://127.0.0.1:{self.etcd}"


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """Folders of one cluster, all below one work folder, which is emptied at each start."""

    work: Path
    addresses: Addresses = Addresses()

    @classmethod
    def from_cache(cls) -> ClusterLayout:
        """Return the layout of the cluster with a node on this machine; its bridge is fixed, so there is only one."""
        return cls(get_cache_root() / "run")

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the administrator."""
        return self.work / "kubeconfig"

    @property
    def certificates(self) -> Path:
        """Folder of the API server's certificate, which the other programs trust, and of the keys."""
        return self.work / "certificates"

    @property
    def buckets(self) -> Path:
        """Folder of the S3 server; each bucket is a folder in it."""
        return self.work / "s3"

    @property
    def containerd(self) -> Path:
        """Folder of containerd: images, containers and socket."""
        return self.work / "containerd"

    @property
    def socket(self) -> Path:
        """Socket on which containerd listens."""
        return self.containerd / "containerd.sock"
