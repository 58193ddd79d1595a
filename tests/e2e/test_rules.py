"""Cluster tests of permissions and validation: requests that the cluster and the chart reject, with their messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .deployment import CHART, VALUES
from .kubectl import Kubectl

pytestmark = pytest.mark.cluster


def is_allowed(kubectl: Kubectl, account: str, verb: str, what: str) -> bool:
    """Return true if a service account may use a verb on a kind of object."""
    user = f"--as=system:serviceaccount:{kubectl.namespace}:{account}"
    return kubectl.run("auth", "can-i", verb, what, user, check=False).stdout.strip() == "yes"


@pytest.mark.parametrize("account", ["s2ops-step", "s2ops-chain", "s2ops-triton", "default"])
@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("get", "configmaps"),
        ("delete", "workflows"),
        ("create", "workflowtemplates"),
        ("create", "rolebindings"),
    ],
)
def test_service_account_of_the_chart_may_not(release: Kubectl, account: str, verb: str, what: str) -> None:
    assert not is_allowed(release, account, verb, what)


def test_chain_account_alone_may_create_workflows(release: Kubectl) -> None:
    assert is_allowed(release, "s2ops-chain", "create", "workflows.argoproj.io")
    assert not is_allowed(release, "s2ops-step", "create", "workflows.argoproj.io")
    assert is_allowed(release, "s2ops-step", "create", "workflowtaskresults.argoproj.io")


def test_helm_test_finds_every_network(release: Kubectl) -> None:
    done = release.run_helm("test", "s2ops", "--timeout", "240s")
    assert "Phase:          Succeeded" in done.stdout


def test_helm_notes_contain_the_submit_command(release: Kubectl) -> None:
    notes = release.run_helm("get", "notes", "s2ops").stdout
    assert f"argo submit -n {release.namespace} --from workflowtemplate/s2ops-chain -p config=" in notes


def test_namespace_rejects_a_root_container(release: Kubectl) -> None:
    """The namespace admits pods of the restricted standard only, so every pod of the other tests conforms to it."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "main", "image": "localhost/nothing"}]},
    }
    rejected = release.run("create", "-f", "-", stdin=json.dumps(pod), check=False)
    assert rejected.returncode
    assert 'violates PodSecurity "restricted' in rejected.stderr


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"triton": {"replicaz": 2}}, "replicaz"),
        ({"semaphores": {"inference": 0}}, "inference"),
        ({"triton": {"device": "tpu"}}, "device"),
        ({"images": {"steps": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
    ],
)
def test_helm_rejects_an_invalid_value_and_names_it(
    release: Kubectl, bad: dict[str, Any], named: str, tmp_path: Path
) -> None:
    given = tmp_path / "bad.json"
    given.write_text(json.dumps(bad))
    words = ["upgrade", "s2ops", str(CHART), "--values", str(VALUES), "--values", str(given), "--dry-run"]
    rejected = release.run_helm(*words, check=False)
    assert rejected.returncode
    assert named in rejected.stderr


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"on_failure": "shrug"}, "on_failure"),
        ({"no_such_parameter": "1"}, "no_such_parameter"),
    ],
)
def test_argo_rejects_an_invalid_parameter_and_names_it(release: Kubectl, given: dict[str, str], named: str) -> None:
    words = [word for key, value in ({"config": "-"} | given).items() for word in ("--parameter", f"{key}={value}")]
    rejected = release.run_argo("submit", "--from", "workflowtemplate/s2ops-chain", *words, check=False)
    assert rejected.returncode
    assert named in rejected.stderr


def test_argo_rejects_a_run_without_a_configuration(release: Kubectl) -> None:
    rejected = release.run_argo("submit", "--from", "workflowtemplate/s2ops-chain", check=False)
    assert rejected.returncode
    assert "config" in rejected.stderr
