"""Defaults of all WorkflowTemplates: accounts, clean-up, deadlines."""

from collections.abc import Sequence

from hera.workflows import DAG, Container, Parameter, Resource, WorkflowTemplate
from hera.workflows.models import PodGC, TTLStrategy

from workflows.parameters import build_common_parameters
from workflows.pod_template import SERVICE_ACCOUNT, build_labels

DEADLINE_S = 7 * 24 * 3600
"""Deadline of a workflow in seconds (one week); its outputs are kept, and another submission resumes."""

KEPT_AFTER_SUCCESS_S = 24 * 3600
KEPT_AFTER_FAILURE_S = 7 * 24 * 3600


def build_workflow_template(
    name: str,
    title: str,
    entrypoint: str,
    templates: Sequence[Container | DAG | Resource],
    parameters: Sequence[Parameter] = (),
    *,
    parallelism: int | None = None,
    on_exit: str | None = None,
) -> WorkflowTemplate:
    """Build a WorkflowTemplate with the common parameters, followed by its own."""
    return WorkflowTemplate(
        name=name,
        labels=build_labels(name.removeprefix("s2ops-")) | {"app.kubernetes.io/component": "workflow"},
        annotations={"workflows.argoproj.io/title": name, "workflows.argoproj.io/description": title},
        entrypoint=entrypoint,
        on_exit=on_exit,
        templates=list(templates),
        arguments=[*build_common_parameters(), *parameters],
        service_account_name=SERVICE_ACCOUNT,
        parallelism=parallelism,
        active_deadline_seconds=DEADLINE_S,
        pod_gc=PodGC(strategy="OnPodSuccess", delete_delay_duration="30s"),
        ttl_strategy=TTLStrategy(
            seconds_after_success=KEPT_AFTER_SUCCESS_S, seconds_after_failure=KEPT_AFTER_FAILURE_S
        ),
    )
