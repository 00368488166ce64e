"""The `onnx` engine: continuous batching on plain ONNX Runtime."""

from .loading import load

__all__ = ["load"]
