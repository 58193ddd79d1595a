"""Inference with the networks: sliding window, ONNX Runtime, Triton, GPU engine."""
