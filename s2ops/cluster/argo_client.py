"""The two doors to a cluster: the Kubernetes API, and an Argo server. Both are of the extra `s2ops[cluster]`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, cast

from s2ops.errors import ConfigError, S2opsError, TransientError

Json: TypeAlias = dict[str, Any]

_GROUP: Final = ("argoproj.io", "v1alpha1")
_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Cluster(Protocol):
    """Where workflows are submitted to."""

    def template(self, name: str) -> Json:
        """A WorkflowTemplate. ConfigError where there is none."""

    def create(self, workflow: Json) -> str:
        """Submit; gives the name."""

    def workflow(self, name: str) -> Json:
        """A workflow as it stands."""

    def children(self, name: str) -> list[Json]:
        """The child workflows of a run."""


def open_cluster(namespace: str | None) -> Cluster:
    """The Argo server that ARGO_SERVER names, else the cluster of the kubeconfig, or the one that this pod is in."""
    chosen = namespace or os.environ.get("ARGO_NAMESPACE")
    try:
        if os.environ.get("ARGO_SERVER"):
            return ArgoServer(chosen)
        return KubernetesApi(chosen)
    except ModuleNotFoundError as error:
        raise ConfigError(f"submitting needs {error.name}: pip install 's2ops[cluster]'") from error


class KubernetesApi:
    """Workflows as objects of the Kubernetes API."""

    def __init__(self, namespace: str | None) -> None:
        from kubernetes import client, config  # noqa: PLC0415 -- an extra

        try:
            config.load_config()  # type: ignore[no-untyped-call]  # the kubeconfig, or this pod's account
            inside = _OWN_NAMESPACE.exists()
            context = {} if inside else config.list_kube_config_contexts()[1]  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise ConfigError(f"no cluster to submit to ({error}): set KUBECONFIG, or ARGO_SERVER") from error
        own = _OWN_NAMESPACE.read_text() if inside else context.get("context", {}).get("namespace")
        self._namespace = namespace or own or "default"
        self._objects = client.CustomObjectsApi()

    def template(self, name: str) -> Json:
        """A WorkflowTemplate."""
        with _explained(f"WorkflowTemplate {name} in namespace {self._namespace}"):
            found = self._objects.get_namespaced_custom_object(*_GROUP, self._namespace, "workflowtemplates", name)
            return cast("Json", found)

    def create(self, workflow: Json) -> str:
        """Submit."""
        with _explained(f"a workflow in namespace {self._namespace}"):
            made = self._objects.create_namespaced_custom_object(*_GROUP, self._namespace, "workflows", workflow)
            return str(cast("Json", made)["metadata"]["name"])

    def workflow(self, name: str) -> Json:
        """A workflow as it stands."""
        with _explained(f"workflow {name} in namespace {self._namespace}"):
            found = self._objects.get_namespaced_custom_object(*_GROUP, self._namespace, "workflows", name)
            return cast("Json", found)

    def children(self, name: str) -> list[Json]:
        """Workflows with the run's label."""
        with _explained(f"workflows in namespace {self._namespace}"):
            found = self._objects.list_namespaced_custom_object(
                *_GROUP, self._namespace, "workflows", label_selector=f"s2ops/run={name}"
            )
            return cast("list[Json]", cast("Json", found)["items"])


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    from kubernetes.client import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        if error.status == 404:
            raise ConfigError(f"there is no {what}: install the chart there, or give --namespace") from error
        if error.status is not None and error.status < 500:
            raise ConfigError(f"{what} is refused ({error.status} {error.reason}): {_short(error.body)}") from error
        raise TransientError(f"the cluster failed for now at {what} ({error.status} {error.reason})") from error
    except HTTPError as error:
        raise TransientError(f"the cluster does not answer ({_short(str(error))}): check KUBECONFIG") from error


class ArgoServer:
    """Workflows through an Argo server, by Hera."""

    def __init__(self, namespace: str | None) -> None:
        from hera.workflows import WorkflowsService  # noqa: PLC0415 -- an extra

        address = os.environ["ARGO_SERVER"]
        scheme = "http" if os.environ.get("ARGO_SECURE") == "false" else "https"
        self._namespace = namespace or "default"
        self._service = WorkflowsService(
            host=address if "://" in address else f"{scheme}://{address}",
            token=os.environ.get("ARGO_TOKEN"),
            verify_ssl=os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true",
            namespace=self._namespace,
        )

    def template(self, name: str) -> Json:
        """A WorkflowTemplate."""
        with self._explained(f"WorkflowTemplate {name} in namespace {self._namespace}"):
            return _plain(self._service.get_workflow_template(name))

    def create(self, workflow: Json) -> str:
        """Submit."""
        from hera.workflows.models import Workflow, WorkflowCreateRequest  # noqa: PLC0415

        with self._explained(f"a workflow in namespace {self._namespace}"):
            request = WorkflowCreateRequest(workflow=Workflow.model_validate(workflow))
            return str(_plain(self._service.create_workflow(request))["metadata"]["name"])

    def workflow(self, name: str) -> Json:
        """A workflow as it stands."""
        with self._explained(f"workflow {name} in namespace {self._namespace}"):
            return _plain(self._service.get_workflow(name))

    def children(self, name: str) -> list[Json]:
        """Workflows with the run's label."""
        with self._explained(f"workflows in namespace {self._namespace}"):
            return _plain(self._service.list_workflows(label_selector=f"s2ops/run={name}")).get("items") or []

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn Hera's errors into ours."""
        from hera.exceptions import HeraException, NotFound  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415

        try:
            yield
        except NotFound as error:
            raise ConfigError(f"there is no {what}: install the chart there, or give --namespace") from error
        except HeraException as error:
            raise ConfigError(f"the Argo server refuses {what}: {_short(str(error))}") from error
        except RequestException as error:
            raise TransientError(
                f"the Argo server does not answer ({_short(str(error))}): check ARGO_SERVER"
            ) from error


def _plain(model: Any) -> Json:
    """A model of Hera's as plain values."""
    return cast("Json", model.model_dump(mode="json", by_alias=True, exclude_none=True))


def _short(text: object) -> str:
    return " ".join(str(text).split())[:300]


class RunFailed(S2opsError):
    """The workflow ended without success; its message says why."""
