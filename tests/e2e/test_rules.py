"""What the cluster and the chart refuse, each with a message that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .deployment import CHART, VALUES
from .kubectl import Kubectl

pytestmark = pytest.mark.cluster


def allowed(kubectl: Kubectl, account: str, verb: str, what: str) -> bool:
    who = f"--as=system:serviceaccount:{kubectl.namespace}:{account}"
    return kubectl.run("auth", "can-i", verb, what, who, check=False).stdout.strip() == "yes"


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
def test_no_account_of_the_chart_may(release: Kubectl, account: str, verb: str, what: str) -> None:
    assert not allowed(release, account, verb, what)


def test_only_the_chain_may_make_workflows(release: Kubectl) -> None:
    assert allowed(release, "s2ops-chain", "create", "workflows.argoproj.io")
    assert not allowed(release, "s2ops-step", "create", "workflows.argoproj.io")
    assert allowed(release, "s2ops-step", "create", "workflowtaskresults.argoproj.io")


def test_helm_test_finds_every_network(release: Kubectl) -> None:
    done = release.helm("test", "s2ops", "--timeout", "240s")
    assert "Phase:          Succeeded" in done.stdout


def test_helm_says_how_to_submit(release: Kubectl) -> None:
    notes = release.helm("get", "notes", "s2ops").stdout
    assert f"argo submit -n {release.namespace} --from workflowtemplate/s2ops-chain -p config=" in notes


def test_the_namespace_lets_no_root_container_in(release: Kubectl) -> None:
    """The proof that every pod of the other tests keeps the restricted standard: this namespace takes no other."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "main", "image": "localhost/nothing"}]},
    }
    refused = release.run("create", "-f", "-", stdin=json.dumps(pod), check=False)
    assert refused.returncode
    assert 'violates PodSecurity "restricted' in refused.stderr


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"triton": {"replicaz": 2}}, "replicaz"),
        ({"semaphores": {"inference": 0}}, "inference"),
        ({"triton": {"device": "tpu"}}, "device"),
        ({"images": {"steps": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
    ],
)
def test_helm_refuses_a_bad_value_and_names_it(
    release: Kubectl, bad: dict[str, Any], named: str, tmp_path: Path
) -> None:
    given = tmp_path / "bad.json"
    given.write_text(json.dumps(bad))
    words = ["upgrade", "s2ops", str(CHART), "--values", str(VALUES), "--values", str(given), "--dry-run"]
    refused = release.helm(*words, check=False)
    assert refused.returncode
    assert named in refused.stderr


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"on_failure": "shrug"}, "on_failure"),
        ({"no_such_parameter": "1"}, "no_such_parameter"),
    ],
)
def test_argo_refuses_a_bad_parameter_and_names_it(release: Kubectl, given: dict[str, str], named: str) -> None:
    words = [word for key, value in ({"config": "-"} | given).items() for word in ("--parameter", f"{key}={value}")]
    refused = release.argo("submit", "--from", "workflowtemplate/s2ops-chain", *words, check=False)
    assert refused.returncode
    assert named in refused.stderr


def test_argo_refuses_a_run_without_a_configuration(release: Kubectl) -> None:
    refused = release.argo("submit", "--from", "workflowtemplate/s2ops-chain", check=False)
    assert refused.returncode
    assert "config" in refused.stderr
