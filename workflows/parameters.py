"""The parameters of the workflows: what `argo submit -p NAME=VALUE` takes."""

from hera.workflows import Parameter
from hera.workflows.models import ConfigMapKeySelector, ValueFrom

SETTINGS = "s2ops-settings"
"""ConfigMap of the deployment. Argo sees it by its label workflows.argoproj.io/configmap-type: Parameter."""


def of_workflow(name: str) -> str:
    """How a template refers to a parameter of the workflow."""
    return f"{{{{workflow.parameters.{name}}}}}"


def setting(name: str, description: str, default: str | None = None) -> Parameter:
    """A parameter that the deployment decides, unless the submitter does."""
    key = ConfigMapKeySelector(name=SETTINGS, key=name)
    return Parameter(name=name, description=description, value_from=ValueFrom(config_map_key_ref=key, default=default))


def config() -> Parameter:
    """The run; without a default, so that a submission without it is refused."""
    return Parameter(
        name="config",
        description="the run: the text of its YAML file, or the URI of one (s3://bucket/run.yaml)",
    )


def common() -> list[Parameter]:
    """What every workflow of s2ops takes, and a parent hands to its children."""
    return [
        config(),
        setting("image", "the image of the steps, such as registry.example/s2ops-steps:1.0"),
        setting("segmenter", "onnx, triton://HOST:PORT or tritons://HOST:PORT", "onnx"),
        setting("priority_class", "PriorityClass of the pods; none where it is empty", ""),
        Parameter(name="retries", description="how often a pod that failed for now is started again", value="5"),
        Parameter(name="backoff", description="wait before the first retry, doubled at each, such as 30s", value="30s"),
        Parameter(name="deadline_s", description="seconds after which a pod is ended", value="21600"),
    ]


def handed_down() -> list[str]:
    """Names of the common parameters."""
    return [str(one.name) for one in common()]
