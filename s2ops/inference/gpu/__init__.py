"""GPU engine: fused kernels, quantization, choice of precision."""
