"""The child workflows: one pod for each group of tiles, and which groups a child has."""

from dataclasses import dataclass
from typing import Final

from hera.workflows import DAG, Container, Parameter, Task, WorkflowTemplate
from hera.workflows.metrics import Counter, Label
from hera.workflows.models import Sequence as NumberedItems
from hera.workflows.models import ValueFrom
from hera.workflows.models.io.k8s.apimachinery.pkg.util.intstr import IntOrString

from workflows.parameters import of_workflow, setting
from workflows.pod_template import patch, pod
from workflows.template_defaults import workflow_template

PODS_AT_ONCE: Final = 100
"""A child's pods at once; the semaphores usually say fewer."""

COUNTS = "/tmp/counts"  # noqa: S108 -- the pod's own volume


@dataclass(frozen=True)
class Stage:
    """A stage of the chain, and what a pod of it needs (measured: docs/operations/operate-a-cluster.md)."""

    name: str
    title: str
    cpu: str
    memory: str
    lock: str | None
    """The semaphore that its pods wait for (`pods.semaphore` says why there are never two)."""

    @property
    def template(self) -> str:
        """Name of its WorkflowTemplate."""
        return f"s2ops-{self.name}"


STAGES: Final = (
    Stage("scenes", "Select, acquire and composite groups of tiles", "2", "2Gi", "catalog"),
    Stage("blend", "Blend groups of tiles with their neighbours", "2", "2Gi", None),
    Stage("landcover", "Classify groups of tiles", "2", "2Gi", "inference"),
)


def templates() -> list[WorkflowTemplate]:
    """One WorkflowTemplate a stage."""
    return [child(stage) for stage in STAGES]


def child(stage: Stage) -> WorkflowTemplate:
    """Pods for the groups `first` to `last` of the stage; one that fails does not stop the others."""
    fan_out = Task(
        name="group",
        template="group",
        arguments=[Parameter(name="group", value="{{item}}")],
        with_sequence=NumberedItems(
            start=IntOrString(root=of_workflow("first")), end=IntOrString(root=of_workflow("last")), format="%03d"
        ),
    )
    groups = DAG(name="groups", tasks=[fan_out], fail_fast=False)
    parameters = [
        Parameter(name="first", description="number of the first group, such as 0"),
        Parameter(name="last", description="number of the last group"),
        setting(f"{stage.name}_cpu", "processors a pod; its threads follow", stage.cpu),
        setting(f"{stage.name}_memory", "memory a pod, requested and limit", stage.memory),
    ]
    return workflow_template(
        stage.template, stage.title, "groups", [groups, _group(stage)], parameters, parallelism=PODS_AT_ONCE
    )


def _group(stage: Stage) -> Container:
    cpu, memory = (of_workflow(f"{stage.name}_{kind}") for kind in ("cpu", "memory"))
    by_stage = Label(key="step", value=stage.name)
    return pod(
        "group",
        stage.name,
        [
            "stage", stage.name, "-", "--group={{inputs.parameters.group}}", f"--counts={COUNTS}",
            "--segmenter={{workflow.parameters.segmenter}}", "--log-format=json",
        ],
        None,
        inputs=[Parameter(name="group")],  # such as 007; a description would stand in the status of every pod
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
        pod_patch=patch({"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}),
    )  # fmt: skip
