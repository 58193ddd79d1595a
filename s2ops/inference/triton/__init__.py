"""Triton Inference Server: client, Python backend, model repository, server process."""
