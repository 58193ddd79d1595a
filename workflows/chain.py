"""The chain: plan, then for each stage the groups with work as child workflows, balance between them, publish."""

from hera.workflows import DAG, Parameter, Resource, Task, WorkflowTemplate
from hera.workflows.models import TemplateRef

from workflows.parameters import handed_down, of_workflow
from workflows.pod_template import labels, retry, tolerations
from workflows.template_defaults import workflow_template
from workflows.tile_group_templates import STAGES, Stage

CHILDREN_AT_ONCE = 8
"""Child workflows of a run at a time: 8 x 100 pods is more than the semaphores let in."""

CHAIN_ACCOUNT = "s2ops-chain"
"""May make and read workflows; only the pods that wait for children have it."""


def template() -> WorkflowTemplate:
    """`s2ops-chain`."""
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
    return workflow_template(
        "s2ops-chain",
        "Cloud-free mosaic and land cover of a region",
        "chain",
        [_chain(), *(_child(stage) for stage in STAGES), _leave()],
        parameters,
        on_exit="leave",
    )


def _chain() -> DAG:
    return DAG(
        name="chain",
        fail_fast=False,  # the other children finish: what they make stays
        parallelism=CHILDREN_AT_ONCE,
        tasks=[
            _whole("plan"),
            *_stage("scenes", after="plan"),
            _whole("balance", after="scenes"),
            *_stage("blend", after="balance"),
            *_stage("landcover", after="blend"),
            _whole("publish", after="landcover"),
        ],
    )


def _whole(name: str, after: str | None = None) -> Task:
    """A step of one pod."""
    return Task(name=name, template_ref=TemplateRef(name=f"s2ops-{name}", template="main"), depends=after)


def _stage(name: str, after: str) -> list[Task]:
    """Look for tiles with work, then a child workflow for each part of them; none where all is done."""
    groups = Task(
        name=f"group-{name}",
        template_ref=TemplateRef(name="s2ops-group", template="main"),
        depends=after,
        arguments=[
            Parameter(name="stage", value=name),
            *(Parameter(name=size, value=of_workflow(size)) for size in ("size", "child")),
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


def _child(stage: Stage) -> Resource:
    """Make a child workflow and wait for it. Its name is fixed: a pod that is lost finds its child again."""
    return Resource(
        name=stage.name,
        inputs=[Parameter(name="first"), Parameter(name="last")],
        action="apply",
        flags=["--server-side"],  # without the annotation that would hold the configuration a second time
        manifest=child_manifest(stage),
        set_owner_reference=True,  # deleting a run deletes its children
        success_condition="status.phase == Succeeded",
        failure_condition="status.phase in (Failed, Error)",
        retry_strategy=retry(),
        service_account_name=CHAIN_ACCOUNT,
        priority_class_name=of_workflow("priority_class"),
        tolerations=tolerations(),
        labels=labels(stage.name) | {"app.kubernetes.io/component": "child"},
    )


def child_manifest(stage: Stage) -> str:
    """The child as text: Argo fills it in and applies it; toJson quotes a configuration of many lines."""
    lines = [
        "apiVersion: argoproj.io/v1alpha1",
        "kind: Workflow",
        "metadata:",
        f'  name: "{{{{workflow.name}}}}-{stage.name}-{{{{inputs.parameters.first}}}}"',
        "  labels:",
        *(f'    {key}: "{value}"' for key, value in (labels(stage.name) | _OF_RUN).items()),
        "spec:",
        f"  workflowTemplateRef: {{name: {stage.template}}}",
        "  arguments:",
        "    parameters:",
        *(f"    - {{name: {name}, value: {{{{=toJson(workflow.parameters.{name})}}}}}}" for name in handed_down()),
        '    - {name: first, value: "{{inputs.parameters.first}}"}',
        '    - {name: last, value: "{{inputs.parameters.last}}"}',
    ]
    return "\n".join(lines) + "\n"


_OF_RUN = {"app.kubernetes.io/component": "child", "s2ops/run": "{{workflow.name}}"}


def _leave() -> DAG:
    """The exit handler: a run that failed publishes what it has made, and publish names what is missing."""
    publish = Task(
        name="publish",
        template_ref=TemplateRef(name="s2ops-publish", template="main"),
        when="{{workflow.status}} != Succeeded && {{workflow.parameters.on_failure}} == publish",
    )
    return DAG(name="leave", tasks=[publish])
