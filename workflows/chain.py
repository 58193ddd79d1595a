"""Workflow `s2ops-chain`: plan, child workflows per stage for groups of tiles, balance between them, publish."""

from hera.workflows import DAG, Parameter, Resource, Task, WorkflowTemplate
from hera.workflows.models import TemplateRef

from workflows.parameters import list_common_names, refer_to_parameter
from workflows.pod_template import build_labels, build_retry_strategy, build_tolerations
from workflows.template_defaults import build_workflow_template
from workflows.tile_group_templates import STAGES, Stage

CHILDREN_AT_ONCE = 8
"""Maximum number of child workflows at a time; 8 x 100 pods exceed what the semaphores admit."""

CHAIN_ACCOUNT = "s2ops-chain"
"""Service account that may create and read workflows; used only by pods that wait for children."""


def build_chain_template() -> WorkflowTemplate:
    """Build the template `s2ops-chain`."""
    parameters = [
        Parameter(name="size", description="tiles a pod, 10 to 20 in production", value="16"),
        Parameter(name="child", description="tiles a child workflow, at most 500", value="500"),
        Parameter(
            name="on_failure",
            description="when a run fails: publish what there is, or keep what was published before",
            enum=["publish", "keep"],
            value="publish",
        ),
    ]
    return build_workflow_template(
        "s2ops-chain",
        "Cloud-free mosaic and land cover of a region",
        "chain",
        [_build_chain_dag(), *(_build_child_resource(stage) for stage in STAGES), _build_exit_handler()],
        parameters,
        on_exit="leave",
    )


def _build_chain_dag() -> DAG:
    return DAG(
        name="chain",
        fail_fast=False,  # the other children finish, and their outputs are kept
        parallelism=CHILDREN_AT_ONCE,
        tasks=[
            _build_single_pod_task("plan"),
            *_build_stage_tasks("scenes", after="plan"),
            _build_single_pod_task("balance", after="scenes"),
            *_build_stage_tasks("blend", after="balance"),
            *_build_stage_tasks("landcover", after="blend"),
            _build_single_pod_task("publish", after="landcover"),
        ],
    )


def _build_single_pod_task(name: str, after: str | None = None) -> Task:
    """Build the task of a step that runs in one pod."""
    return Task(name=name, template_ref=TemplateRef(name=f"s2ops-{name}", template="main"), depends=after)


def _build_stage_tasks(name: str, after: str) -> list[Task]:
    """Build the tasks of a stage: find tiles with work, then start child workflows for them."""
    groups = Task(
        name=f"group-{name}",
        template_ref=TemplateRef(name="s2ops-group", template="main"),
        depends=after,
        arguments=[
            Parameter(name="stage", value=name),
            *(Parameter(name=size, value=refer_to_parameter(size)) for size in ("size", "child")),
        ],
    )
    children = Task(
        name=name,
        template=name,
        depends=groups.name,
        with_param=f"{{{{tasks.{groups.name}.outputs.parameters.children}}}}",
        arguments=[Parameter(name=end, value=f"{{{{item.{end}}}}}") for end in ("first", "last")],
    )
    return [groups, children]


def _build_child_resource(stage: Stage) -> Resource:
    """Build the task that creates a child workflow and waits for it.

    The child's name is fixed, so that a pod that replaces a lost one finds the same child.
    """
    return Resource(
        name=stage.name,
        inputs=[Parameter(name="first"), Parameter(name="last")],
        action="apply",
        flags=["--server-side"],  # without the annotation that would store the configuration a second time
        manifest=render_child_manifest(stage),
        set_owner_reference=True,  # deleting a run deletes its children
        success_condition="status.phase == Succeeded",
        failure_condition="status.phase in (Failed, Error)",
        retry_strategy=build_retry_strategy(),
        service_account_name=CHAIN_ACCOUNT,
        priority_class_name=refer_to_parameter("priority_class"),
        tolerations=build_tolerations(),
        labels=build_labels(stage.name) | {"app.kubernetes.io/component": "child"},
    )


def render_child_manifest(stage: Stage) -> str:
    """Return the manifest of a child as text; Argo fills in parameters, and toJson quotes a long configuration."""
    lines = [
        "apiVersion: argoproj.io/v1alpha1",
        "kind: Workflow",
        "metadata:",
        f'  name: "{{{{workflow.name}}}}-{stage.name}-{{{{inputs.parameters.first}}}}"',
        "  labels:",
        *(f'    {key}: "{value}"' for key, value in (build_labels(stage.name) | _OF_RUN).items()),
        "spec:",
        f"  workflowTemplateRef: {{name: {stage.template}}}",
        "  arguments:",
        "    parameters:",
        *(
            f"    - {{name: {name}, value: {{{{=toJson(workflow.parameters.{name})}}}}}}"
            for name in list_common_names()
        ),
        '    - {name: first, value: "{{inputs.parameters.first}}"}',
        '    - {name: last, value: "{{inputs.parameters.last}}"}',
    ]
    return "\n".join(lines) + "\n"


_OF_RUN = {"app.kubernetes.io/component": "child", "s2ops/run": "{{workflow.name}}"}


def _build_exit_handler() -> DAG:
    """Build the exit handler: a failed run publishes the tiles that exist and names the missing ones."""
    publish = Task(
        name="publish",
        template_ref=TemplateRef(name="s2ops-publish", template="main"),
        when="{{workflow.status}} != Succeeded && {{workflow.parameters.on_failure}} == publish",
    )
    return DAG(name="leave", tasks=[publish])
