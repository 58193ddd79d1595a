"""What all pods of steps have in common: security, environment, retries, labels, metrics."""

import json
from collections.abc import Sequence
from typing import Any

from hera.workflows import ConfigMapEnvFrom, Container, Env, Parameter, ResourceEnv, Resources, SecretEnvFrom
from hera.workflows.metrics import Counter, Histogram, Label
from hera.workflows.models import (
    Backoff,
    Capabilities,
    ConfigMapKeySelector,
    ContainerPort,
    EmptyDirVolumeSource,
    PodSecurityContext,
    Quantity,
    RetryStrategy,
    SeccompProfile,
    SecurityContext,
    SemaphoreRef,
    Synchronization,
    Toleration,
    Volume,
    VolumeMount,
)
from hera.workflows.models.io.k8s.apimachinery.pkg.util.intstr import IntOrString

from workflows.parameters import of_workflow

SERVICE_ACCOUNT = "s2ops-step"
SEMAPHORES = "s2ops-semaphores"
METRICS_PORT = 9090
"""Shows the metrics of a step while its pod runs (docs/reference/metrics.md)."""
USER = 10001
"""The user of all containers, Argo's own too: their image names none, and the images of s2ops this one."""

RETRY_WHEN = (
    # the node went away, the pod was deleted, or the executor failed: nothing is known against the step
    'lastRetry.status == "Error"'
    # the step says that the same command may succeed later (EX_TEMPFAIL), or was told to stop
    ' || lastRetry.exitCode in ["75", "143"]'
    # killed, but not by the kernel for its memory: that would happen again
    ' || (lastRetry.exitCode == "137" && !(lastRetry.message matches "OOMKilled"))'
    # the kubelet's words for a pod that it ended for the node's sake
    ' || lastRetry.message matches "imminent node shutdown|node is shutting down|[Pp]reempt|[Ee]vict"'
    # Argo's executor was told to stop while it waited for a child, such as by the drain of its node
    ' || lastRetry.message matches "context canceled"'
)

_LOCKED_DOWN: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def labels(component: str) -> dict[str, str]:
    """Labels of pods and objects; `component` names the step or stage."""
    return {
        "app.kubernetes.io/name": "s2ops",
        "app.kubernetes.io/part-of": "s2ops",
        "app.kubernetes.io/component": "step",
        "s2ops/step": component,
    }


def retry() -> RetryStrategy:
    """Start a pod again that was lost or failed for now; a real failure is not repeated."""
    return RetryStrategy(
        limit=IntOrString(root=of_workflow("retries")),
        retry_policy="Always",  # which failures count, the expression says
        expression=RETRY_WHEN,
        backoff=Backoff(duration=of_workflow("backoff"), factor=IntOrString(root="2"), cap="10m"),
    )


def semaphore(key: str) -> Synchronization:
    """Wait for a place before the pod is made; the ConfigMap says how many there are.

    Never for two: Argo lets in who stands first in the queues of both, and orders workflows of one second by chance, in
    each queue anew. Two children of a run that began together waited for each other for ever (tests/e2e met it).
    """
    place = SemaphoreRef(config_map_key_ref=ConfigMapKeySelector(name=SEMAPHORES, key=key))
    return Synchronization(semaphores=[place])


def tolerations() -> list[Toleration]:
    """Steps may run on nodes that can be taken away: a lost pod costs the tile it was at."""
    return [
        Toleration(key="cloud.google.com/gke-spot", operator="Equal", value="true", effect="NoSchedule"),
        Toleration(key="kubernetes.azure.com/scalesetpriority", operator="Equal", value="spot", effect="NoSchedule"),
        Toleration(key="s2ops/spot", operator="Exists", effect="NoSchedule"),  # for own node pools
    ]


def metrics(component: str) -> list[Counter | Histogram]:
    """Pods by result and their run time; the controller adds the prefix argo_workflows_."""
    by_step = Label(key="step", value=component)
    return [
        Counter(
            name="s2ops_pods_total",
            help="Pods of s2ops that ended, by step and status",
            labels=[by_step, Label(key="status", value="{{status}}")],
            value="1",
        ),
        Histogram(
            name="s2ops_pod_duration_seconds",
            help="Run time of pods of s2ops that succeeded, by step",
            labels=[by_step],
            value="{{duration}}",
            buckets=[10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400],
            when="{{status}} == Succeeded",
        ),
    ]


def patch(resources: dict[str, Any] | None = None) -> str:
    """What Argo's template has no field for: its own containers locked down, requests from parameters, time to stop."""
    main = {"name": "main", "resources": resources} if resources else None
    wait = {"name": "wait", "securityContext": _LOCKED_DOWN}
    return json.dumps(
        {
            "initContainers": [{"name": "init", "securityContext": _LOCKED_DOWN}],
            "containers": [main, wait] if main else [wait],
            "terminationGracePeriodSeconds": 60,  # a slab in work ends within; then exit 75
        },
        separators=(",", ":"),
    )


def pod(
    name: str,
    component: str,
    args: Sequence[str],
    resources: Resources | None,
    *,
    inputs: Sequence[Parameter] = (),
    outputs: Sequence[Parameter] = (),
    tile_metrics: Sequence[Counter] = (),
    lock: str | None = None,
    pod_patch: str | None = None,
) -> Container:
    """One command of `s2ops` in a locked-down pod that is started again when it was lost or failed for now."""
    return Container(
        name=name,
        image=of_workflow("image"),
        command=["s2ops"],
        args=list(args),
        env=[
            Env(name="S2OPS_CONFIG", value=of_workflow("config")),
            Env(name="S2OPS_TERMINATION_LOG", value="/dev/termination-log"),
            Env(name="TMPDIR", value="/tmp"),  # noqa: S108 -- the pod's own volume
            Env(name="HOME", value="/tmp"),  # noqa: S108
            Env(name="S2OPS_METRICS_PORT", value=f"0.0.0.0:{METRICS_PORT}"),
            ResourceEnv(name="S2OPS_THREADS", container_name="main", resource="requests.cpu", divisor=Quantity("1")),
        ],
        env_from=[
            ConfigMapEnvFrom(name="s2ops-env", optional=True),
            SecretEnvFrom(name="s2ops-object-store", optional=True),  # absent where the node's identity opens the store
        ],
        ports=[ContainerPort(name="metrics", container_port=METRICS_PORT)],  # what the chart's PodMonitor scrapes
        inputs=list(inputs) or None,
        outputs=list(outputs) or None,
        termination_message_policy="FallbackToLogsOnError",  # where s2ops left no sentence: a crash
        resources=resources,
        retry_strategy=retry(),
        synchronization=semaphore(lock) if lock else None,
        active_deadline_seconds=of_workflow("deadline_s"),
        service_account_name=SERVICE_ACCOUNT,
        priority_class_name=of_workflow("priority_class"),
        tolerations=tolerations(),
        labels=labels(component),
        metrics=[*metrics(component), *tile_metrics],
        security_context=SecurityContext(
            allow_privilege_escalation=False,
            capabilities=Capabilities(drop=["ALL"]),
            read_only_root_filesystem=True,
            run_as_non_root=True,
            seccomp_profile=SeccompProfile(type="RuntimeDefault"),
        ),
        pod_security_context=PodSecurityContext(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            fs_group=USER,
            seccomp_profile=SeccompProfile(type="RuntimeDefault"),
        ),
        pod_spec_patch=pod_patch or patch(),
        volumes=[Volume(name="scratch", empty_dir=EmptyDirVolumeSource(size_limit=Quantity("4Gi")))],
        volume_mounts=[VolumeMount(name="scratch", mount_path="/tmp")],  # noqa: S108
    )
