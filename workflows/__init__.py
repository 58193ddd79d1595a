"""The Argo Workflows of s2ops, in Hera: what runs where, never what a step does.

`python -m workflows` writes them to helm/s2ops/files/workflows/ as plain YAML; `python -m workflows --sizes 20000`
prints how large the objects of a run of 20,000 tiles are. What differs between deployments (image, segmenter,
requests) is not templated: a workflow reads it from the ConfigMap `s2ops-settings` when it starts.

- chain.py: `s2ops-chain`, the one that people submit
- stages.py: `s2ops-scenes`, `s2ops-blend`, `s2ops-landcover`: the child workflows, a pod for each group of tiles
- whole.py: `s2ops-plan`, `s2ops-group`, `s2ops-balance`, `s2ops-publish`: one pod each
- pods.py: what all pods have in common
"""

from hera.workflows import WorkflowTemplate

from workflows import chain, single_pod_templates, tile_group_templates


def all_templates() -> list[WorkflowTemplate]:
    """Every WorkflowTemplate, the chain first."""
    return [chain.template(), *tile_group_templates.templates(), *single_pod_templates.templates()]
