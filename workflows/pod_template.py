"""Argo pod template of all steps: resources, security, environment, retries, labels, metrics."""

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

from workflows.parameters import refer_to_parameter

SERVICE_ACCOUNT = "s2ops-step"
SEMAPHORES = "s2ops-semaphores"
METRICS_PORT = 9090
"""Port of the metrics of a running step (docs/reference/metrics.md)."""
USER = 10001
"""User of all containers of a pod; overrides the user of the images (8737) and of Argo's executor image (none)."""

RETRY_WHEN = (
    # The node was lost, the pod was deleted, or the executor failed: the step itself did not fail.
    'lastRetry.status == "Error"'
    # The step reports that the same command may succeed later (EX_TEMPFAIL), or was terminated.
    ' || lastRetry.exitCode in ["75", "143"]'
    # Killed, but not for its memory use, which would be the same again.
    ' || (lastRetry.exitCode == "137" && !(lastRetry.message matches "OOMKilled"))'
    # The kubelet ended the pod because of its node.
    ' || lastRetry.message matches "imminent node shutdown|node is shutting down|[Pp]reempt|[Ee]vict"'
    # Argo's executor was terminated while it waited for a child, for example by a drain of its node.
    ' || lastRetry.message matches "context canceled"'
)

_LOCKED_DOWN: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def build_labels(component: str) -> dict[str, str]:
    """Build the labels of pods and objects; `component` is the step or stage."""
    return {
        "app.kubernetes.io/name": "s2ops",
        "app.kubernetes.io/part-of": "s2ops",
        "app.kubernetes.io/component": "step",
        "s2ops/step": component,
    }


def build_retry_strategy() -> RetryStrategy:
    """Build the retry strategy: restart pods that were lost or failed temporarily, never permanent failures."""
    return RetryStrategy(
        limit=IntOrString(root=refer_to_parameter("retries")),
        retry_policy="Always",  # the expression decides which failures count
        expression=RETRY_WHEN,
        backoff=Backoff(duration=refer_to_parameter("backoff"), factor=IntOrString(root="2"), cap="10m"),
    )


def build_semaphore(key: str) -> Synchronization:
    """Build the semaphore that a pod waits for before it is created; a ConfigMap contains its size.

    A pod must never wait for two semaphores. Argo admits the holder that is first in both queues, and the order of
    workflows created in the same second is arbitrary in each queue. Two children of one run blocked
    each other for ever.
    """
    place = SemaphoreRef(config_map_key_ref=ConfigMapKeySelector(name=SEMAPHORES, key=key))
    return Synchronization(semaphores=[place])


def build_tolerations() -> list[Toleration]:
    """Build the tolerations of spot nodes: a lost pod costs only the tile in progress."""
    return [
        Toleration(key="cloud.google.com/gke-spot", operator="Equal", value="true", effect="NoSchedule"),
        Toleration(key="kubernetes.azure.com/scalesetpriority", operator="Equal", value="spot", effect="NoSchedule"),
        Toleration(key="s2ops/spot", operator="Exists", effect="NoSchedule"),  # for own node pools
    ]


def build_metrics(component: str) -> list[Counter | Histogram]:
    """Build the metrics of pods: counts by result, and run time; the controller adds the prefix argo_workflows_."""
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


def render_pod_patch(resources: dict[str, Any] | None = None) -> str:
    """Return the pod patch for settings without a template field: executor security, resources, grace period."""
    main = {"name": "main", "resources": resources} if resources else None
    wait = {"name": "wait", "securityContext": _LOCKED_DOWN}
    return json.dumps(
        {
            "initContainers": [{"name": "init", "securityContext": _LOCKED_DOWN}],
            "containers": [main, wait] if main else [wait],
            "terminationGracePeriodSeconds": 60,  # the slab in progress ends within this time, then exit 75
        },
        separators=(",", ":"),
    )


def build_pod(
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
    """Build a container that runs one `s2ops` command in a restricted pod with retries."""
    return Container(
        name=name,
        image=refer_to_parameter("image"),
        command=["s2ops"],
        args=list(args),
        env=[
            Env(name="S2OPS_CONFIG", value=refer_to_parameter("config")),
            Env(name="S2OPS_TERMINATION_LOG", value="/dev/termination-log"),
            Env(name="TMPDIR", value="/tmp"),  # noqa: S108 -- the pod's own volume
            Env(name="HOME", value="/tmp"),  # noqa: S108
            Env(name="S2OPS_METRICS_PORT", value=f"0.0.0.0:{METRICS_PORT}"),
            ResourceEnv(name="S2OPS_THREADS", container_name="main", resource="requests.cpu", divisor=Quantity("1")),
        ],
        env_from=[
            ConfigMapEnvFrom(name="s2ops-env", optional=True),
            SecretEnvFrom(name="s2ops-object-store", optional=True),  # absent if the pod's identity opens the store
        ],
        ports=[ContainerPort(name="metrics", container_port=METRICS_PORT)],  # scraped by the chart's PodMonitor
        inputs=list(inputs) or None,
        outputs=list(outputs) or None,
        termination_message_policy="FallbackToLogsOnError",  # after a crash, s2ops has written no message
        resources=resources,
        retry_strategy=build_retry_strategy(),
        synchronization=build_semaphore(lock) if lock else None,
        active_deadline_seconds=refer_to_parameter("deadline_s"),
        service_account_name=SERVICE_ACCOUNT,
        priority_class_name=refer_to_parameter("priority_class"),
        tolerations=build_tolerations(),
        labels=build_labels(component),
        metrics=[*build_metrics(component), *tile_metrics],
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
        pod_spec_patch=pod_patch or render_pod_patch(),
        volumes=[Volume(name="scratch", empty_dir=EmptyDirVolumeSource(size_limit=Quantity("4Gi")))],
        volume_mounts=[VolumeMount(name="scratch", mount_path="/tmp")],  # noqa: S108
    )
