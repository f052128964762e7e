"""Float networks in torch: transforms, hyperprior, context networks, ONNX graphs. Needs the extra ``train``."""
