"""Templates of one pod: plan, balance and publish for the whole run, and group, which finds tiles with work."""

from hera.workflows import Parameter, Resources, WorkflowTemplate
from hera.workflows.models import ValueFrom

from workflows.pod_template import build_pod
from workflows.template_defaults import build_workflow_template
from workflows.tile_group_templates import STAGES

SEGMENTER = "--segmenter={{workflow.parameters.segmenter}}"
LOGS = "--log-format=json"
CHILDREN = "/tmp/children.json"  # noqa: S108 -- the pod's own volume

_SMALL = Resources(cpu_request="250m", memory_request="768Mi", memory_limit="1536Mi")
"""Resources of plan, group and publish, which read records: 250 to 350 MiB measured, most of it imports."""

_BALANCE = Resources(cpu_request="500m", memory_request="1Gi", memory_limit="2Gi")
"""Resources of balance: two composites at 120 m at a time, and the equations of all tiles."""


def build_single_pod_templates() -> list[WorkflowTemplate]:
    """Build plan, group, balance and publish; each can also be submitted alone."""
    return [build_plan_template(), build_group_template(), build_balance_template(), build_publish_template()]


def build_plan_template() -> WorkflowTemplate:
    """Build the template that checks the configuration and writes plan/plan.json."""
    main = build_pod("main", "plan", ["step", "plan", "-", SEGMENTER, LOGS], _SMALL)
    return build_workflow_template("s2ops-plan", "Check a run's configuration and list its tiles", "main", [main])


def build_group_template() -> WorkflowTemplate:
    """Build the template that writes plan/groups/STAGE/NNN.json and returns the {first, last} groups of each child."""
    inputs = [
        Parameter(name="stage", description="the stage whose tiles are looked at", enum=[one.name for one in STAGES]),
        Parameter(name="size", description="tiles a pod, 10 to 20 in production"),
        Parameter(name="child", description="tiles a child workflow, at most 500"),
    ]
    words = {str(one.name): f"{{{{inputs.parameters.{one.name}}}}}" for one in inputs}
    main = build_pod(
        "main",
        "group",
        [
            "group", words["stage"], "-", "--size", words["size"], "--child", words["child"],
            "--list", CHILDREN, SEGMENTER, LOGS,
        ],
        _SMALL,
        inputs=inputs,
        outputs=[
            Parameter(name="children", description="the child workflows", value_from=ValueFrom(path=CHILDREN))
        ],
        lock="catalog",
    )  # fmt: skip
    return build_workflow_template(
        "s2ops-group", "Find a stage's tiles with work and put them into groups", "main", [main]
    )


def build_balance_template() -> WorkflowTemplate:
    """Build the template that writes balance/balance.json."""
    main = build_pod("main", "balance", ["step", "balance", "-", SEGMENTER, LOGS], _BALANCE)
    return build_workflow_template("s2ops-balance", "Solve one radiometry for the whole region", "main", [main])


def build_publish_template() -> WorkflowTemplate:
    """Build the template that writes catalog, indexes and report of the tiles that exist and names the missing ones."""
    main = build_pod("main", "publish", ["step", "publish", "-", SEGMENTER, LOGS], _SMALL)
    return build_workflow_template(
        "s2ops-publish", "Publish what a run has made, and name what is missing", "main", [main]
    )
