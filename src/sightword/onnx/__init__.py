"""Models as ONNX graphs: written with torch, run without it."""
