"""Child workflows: one pod per group of tiles."""

from dataclasses import dataclass
from typing import Final

from hera.workflows import DAG, Container, Parameter, Task, WorkflowTemplate
from hera.workflows.metrics import Counter, Label
from hera.workflows.models import Sequence as NumberedItems
from hera.workflows.models import ValueFrom
from hera.workflows.models.io.k8s.apimachinery.pkg.util.intstr import IntOrString

from workflows.parameters import build_setting, refer_to_parameter
from workflows.pod_template import build_pod, render_pod_patch
from workflows.template_defaults import build_workflow_template

PODS_AT_ONCE: Final = 100
"""Maximum number of pods of a child at a time; the semaphores usually admit fewer."""

COUNTS = "/tmp/counts"  # noqa: S108 -- the pod's own volume


@dataclass(frozen=True)
class Stage:
    """Stage of the chain, and the resources of its pods (measured: docs/operations/operate-a-cluster.md)."""

    name: str
    title: str
    cpu: str
    memory: str
    lock: str | None
    """Semaphore that its pods wait for (`pod_template.build_semaphore` explains why there is only one)."""

    @property
    def template(self) -> str:
        """Name of its WorkflowTemplate."""
        return f"s2ops-{self.name}"


STAGES: Final = (
    Stage("scenes", "Select, acquire and composite groups of tiles", "2", "2Gi", "catalog"),
    Stage("blend", "Blend groups of tiles with their neighbours", "2", "2Gi", None),
    Stage("landcover", "Classify groups of tiles", "2", "2Gi", "inference"),
)


def build_tile_group_templates() -> list[WorkflowTemplate]:
    """Build one WorkflowTemplate per stage."""
    return [build_child_template(stage) for stage in STAGES]


def build_child_template(stage: Stage) -> WorkflowTemplate:
    """Build the template of a stage: pods for the groups `first` to `last`; a failed pod does not stop the others."""
    fan_out = Task(
        name="group",
        template="group",
        arguments=[Parameter(name="group", value="{{item}}")],
        with_sequence=NumberedItems(
            start=IntOrString(root=refer_to_parameter("first")),
            end=IntOrString(root=refer_to_parameter("last")),
            format="%03d",
        ),
    )
    groups = DAG(name="groups", tasks=[fan_out], fail_fast=False)
    parameters = [
        Parameter(name="first", description="number of the first group, such as 0"),
        Parameter(name="last", description="number of the last group"),
        build_setting(f"{stage.name}_cpu", "processors a pod; its threads follow", stage.cpu),
        build_setting(f"{stage.name}_memory", "memory a pod, requested and limit", stage.memory),
    ]
    return build_workflow_template(
        stage.template,
        stage.title,
        "groups",
        [groups, _build_group_container(stage)],
        parameters,
        parallelism=PODS_AT_ONCE,
    )


def _build_group_container(stage: Stage) -> Container:
    cpu, memory = (refer_to_parameter(f"{stage.name}_{kind}") for kind in ("cpu", "memory"))
    by_stage = Label(key="step", value=stage.name)
    return build_pod(
        "group",
        stage.name,
        [
            "stage", stage.name, "-", "--group={{inputs.parameters.group}}", f"--counts={COUNTS}",
            "--segmenter={{workflow.parameters.segmenter}}", "--log-format=json",
        ],
        None,
        inputs=[Parameter(name="group")],  # such as 007; a description would be repeated in the status of every pod
        outputs=[
            Parameter(name=name, value_from=ValueFrom(path=f"{COUNTS}/{name}", default="0"))
            for name in ("made", "failed")
        ],
        tile_metrics=[
            Counter(
                name="s2ops_tiles_total",
                help="Tiles by stage and result: made, or failed (recorded in run/)",
                labels=[by_stage, Label(key="result", value=name)],
                value=f"{{{{outputs.parameters.{name}}}}}",
                when="{{status}} == Succeeded",
            )
            for name in ("made", "failed")
        ],
        lock=stage.lock,
        pod_patch=render_pod_patch({"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}),
    )  # fmt: skip
