"""From a GGUF file to a runner or an encoder, or a sentence about why not."""

from pathlib import Path
from typing import Any

from ...errors import LoadFailed
from ..base import Placement, ReportProgress
from .encoder import LlamaEncoder, encoder_parameters, is_encoder
from .library import NativeLog, llama
from .runner import LlamaRunner, context_parameters


def load(artifact: Path | None, placement: Placement, report: ReportProgress) -> LlamaRunner | LlamaEncoder:
    """Load a GGUF file, an encoder where it says how it pools; LoadFailed has llama.cpp's own reason."""
    if artifact is None:
        raise LoadFailed("The llama engine needs a GGUF file.")
    native_log = NativeLog()
    llama.llama_backend_init()
    parameters = llama.llama_model_default_params()

    def progress(fraction: float, _: Any) -> bool:
        report(fraction)
        return True  # False would end the load

    parameters.progress_callback = callback = llama.llama_progress_callback(progress)
    model = llama.llama_model_load_from_file(str(artifact).encode(), parameters)
    del callback  # C had it until here
    if not model:
        raise LoadFailed(f"llama.cpp cannot load {artifact.name}: {_reason(native_log)}")
    encodes = is_encoder(model, artifact.name)
    parameters = encoder_parameters(model, placement) if encodes else context_parameters(model, placement)
    context = llama.llama_init_from_model(model, parameters)
    if not context:
        llama.llama_model_free(model)
        raise LoadFailed(f"llama.cpp cannot make a context for {artifact.name}: {_reason(native_log)}")
    kind = LlamaEncoder if encodes else LlamaRunner
    return kind(model, context, placement, native_log)


def _reason(native_log: NativeLog) -> str:
    return "; ".join(native_log.errors) or "it gave no reason"
