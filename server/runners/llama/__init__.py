"""The `llama` engine: GGUF models on llama.cpp. Decoders with continuous batching, and encoders."""

from .loading import load

__all__ = ["load"]
