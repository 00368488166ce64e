"""The `onnx` engine: plain ONNX Runtime. Decoders with continuous batching, and encoders."""

from pathlib import Path

from ..base import Placement, ReportProgress
from .encoder import OnnxEncoder, load_encoder
from .loading import load as load_decoder
from .runner import OnnxRunner

__all__ = ["load"]


def load(artifact: Path | None, placement: Placement, report: ReportProgress) -> OnnxRunner | OnnxEncoder:
    """Load a folder: an encoder where it has no `genai_config.json` but a `config.json`. Raises LoadFailed."""
    if artifact and (artifact / "config.json").is_file() and not (artifact / "genai_config.json").exists():
        return load_encoder(artifact, placement, report)
    return load_decoder(artifact, placement, report)
