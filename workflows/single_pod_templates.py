"""One pod for the whole run: plan, balance, publish; and group, which looks for tiles with work."""

from hera.workflows import Parameter, Resources, WorkflowTemplate
from hera.workflows.models import ValueFrom

from workflows.pod_template import pod
from workflows.template_defaults import workflow_template
from workflows.tile_group_templates import STAGES

SEGMENTER = "--segmenter={{workflow.parameters.segmenter}}"
LOGS = "--log-format=json"
CHILDREN = "/tmp/children.json"  # noqa: S108 -- the pod's own volume

_SMALL = Resources(cpu_request="250m", memory_request="768Mi", memory_limit="1536Mi")
"""plan, group and publish read records: 250 to 350 MiB measured, most of it imports."""

_BALANCE = Resources(cpu_request="500m", memory_request="1Gi", memory_limit="2Gi")
"""Two composites at 120 m at a time, and the equations of all tiles."""


def templates() -> list[WorkflowTemplate]:
    """plan, group, balance and publish; each can be submitted alone too."""
    return [plan(), group(), balance(), publish()]


def plan() -> WorkflowTemplate:
    """Checks the configuration, writes plan/plan.json."""
    main = pod("main", "plan", ["step", "plan", "-", SEGMENTER, LOGS], _SMALL)
    return workflow_template("s2ops-plan", "Check a run's configuration and list its tiles", "main", [main])


def group() -> WorkflowTemplate:
    """Writes plan/groups/STAGE/NNN.json; its output `children` is a list of {first, last} group numbers."""
    inputs = [
        Parameter(name="stage", description="the stage whose tiles are looked at", enum=[one.name for one in STAGES]),
        Parameter(name="size", description="tiles a pod, 10 to 20 in production"),
        Parameter(name="child", description="tiles a child workflow, at most 500"),
    ]
    words = {str(one.name): f"{{{{inputs.parameters.{one.name}}}}}" for one in inputs}
    main = pod(
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
    return workflow_template("s2ops-group", "Find a stage's tiles with work and put them into groups", "main", [main])


def balance() -> WorkflowTemplate:
    """Writes balance/balance.json."""
    main = pod("main", "balance", ["step", "balance", "-", SEGMENTER, LOGS], _BALANCE)
    return workflow_template("s2ops-balance", "Solve one radiometry for the whole region", "main", [main])


def publish() -> WorkflowTemplate:
    """Writes catalog, virtual mosaics and report over the tiles that are there, and names those that are not."""
    main = pod("main", "publish", ["step", "publish", "-", SEGMENTER, LOGS], _SMALL)
    return workflow_template("s2ops-publish", "Publish what a run has made, and name what is missing", "main", [main])
