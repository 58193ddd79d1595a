"""Argo Workflows client: submission and watching of runs."""
