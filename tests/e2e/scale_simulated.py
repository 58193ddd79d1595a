"""KWOK configuration: simulated nodes of a usual size, and pods that run until an annotation ends them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .toolchain import find_module_folder

Json = dict[str, Any]

EXIT_CODE_ANNOTATION = "s2ops.test/exit-code"
"""Annotation by which scale_executor.py ends a pod: the exit code of its container `main`."""

_FROM_KWOK = ("node/fast/node-initialize", "node/heartbeat/node-heartbeat", "pod/fast/pod-ready", "pod/fast/pod-delete")

_POD_ENDS = f"""
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: pod-ends
spec:
  resourceRef:
    apiGroup: v1
    kind: Pod
  selector:
    matchExpressions:
    - {{key: '.metadata.deletionTimestamp', operator: DoesNotExist}}
    - {{key: '.status.phase', operator: In, values: [Running]}}
    - {{key: '.metadata.annotations["{EXIT_CODE_ANNOTATION}"]', operator: Exists}}
  next:
    statusTemplate: |
      {{{{ $now := Now }}}}
      {{{{ $code := index .metadata.annotations "{EXIT_CODE_ANNOTATION}" }}}}
      {{{{ $root := . }}}}
      containerStatuses:
      {{{{ range $index, $item := .spec.containers }}}}
      {{{{ $origin := index $root.status.containerStatuses $index }}}}
      - image: {{{{ $item.image | Quote }}}}
        name: {{{{ $item.name | Quote }}}}
        ready: false
        restartCount: 0
        started: false
        state:
          terminated:
            exitCode: {{{{ if eq $item.name "main" }}}}{{{{ $code }}}}{{{{ else }}}}0{{{{ end }}}}
            finishedAt: {{{{ $now | Quote }}}}
            reason: {{{{ if eq $code "0" }}}}Completed{{{{ else }}}}Error{{{{ end }}}}
            startedAt: {{{{ $origin.state.running.startedAt | Quote }}}}
      {{{{ end }}}}
      phase: {{{{ if eq $code "0" }}}}Succeeded{{{{ else }}}}Failed{{{{ end }}}}
"""


def render_stages() -> str:
    """Return kwok's configuration: its own stages for nodes and for start and removal of pods, ours for their end."""
    folder = find_module_folder("kwok") / "kustomize/stage"
    return "\n---\n".join([*((folder / f"{name}.yaml").read_text() for name in _FROM_KWOK), _POD_ENDS])


def build_nodes(count: int) -> Iterator[Json]:
    """Build nodes with 32 processors, 128 GiB and at most 110 pods, which is Kubernetes' default."""
    size = {"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    for number in range(count):
        name = f"simulated-{number:03d}"
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "type": "kwok"}},
            "status": {"allocatable": size, "capacity": size},
        }


def write_stages(path: Path) -> Path:
    """Write the stages into a file for `kwok --config`; return its path."""
    path.write_text(render_stages())
    return path
