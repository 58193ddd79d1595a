"""Argo Workflows of s2ops, defined with Hera: which pods run, never what a step does.

`python -m workflows` writes them to helm/s2ops/files/workflows/ as plain YAML; `python -m workflows --sizes 20000`
prints the object sizes of a run of 20,000 tiles. Settings that differ between deployments (image, segmenter, requests)
are not templated: a workflow reads them from the ConfigMap `s2ops-settings` when it starts.

- chain.py: `s2ops-chain`, the workflow that users submit
- tile_group_templates.py: `s2ops-scenes`, `s2ops-blend`, `s2ops-landcover`: child workflows, one pod per group of tiles
- single_pod_templates.py: `s2ops-plan`, `s2ops-group`, `s2ops-balance`, `s2ops-publish`: one pod each
- pod_template.py: settings of all pods
"""

from hera.workflows import WorkflowTemplate

from workflows import chain, single_pod_templates, tile_group_templates


def build_all_templates() -> list[WorkflowTemplate]:
    """Build every WorkflowTemplate, the chain first."""
    return [
        chain.build_chain_template(),
        *tile_group_templates.build_tile_group_templates(),
        *single_pod_templates.build_single_pod_templates(),
    ]
