"""Networks and weights: U-net, haze CNN, ONNX export, registry, model store."""
