"""Engines, one file each. `backend:` in models.yaml is the name of a module here; a new engine is one new file."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from ..errors import LoadFailed
from .base import Encoder, ModelRunner, Placement, ReportProgress

EXTRAS = {"onnx": "cpu", "genai": "cpu"}  # where the extra of a processor is not called like the engine


def known_backends() -> list[str]:
    """The names that `backend:` may have."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "base")


def load_runner(backend: str, artifact: Path | None, placement: Placement, report: ReportProgress) -> ModelRunner:
    """Load a model that writes text. Raises LoadFailed, also for an encoder."""
    model = load_model(backend, artifact, placement, report)
    if isinstance(model, Encoder):
        model.close()
        raise LoadFailed("This model makes embeddings and writes no text.")
    return model


def load_model(
    backend: str, artifact: Path | None, placement: Placement, report: ReportProgress
) -> ModelRunner | Encoder:
    """Load `artifact` with the engine named `backend`; LoadFailed says what to install when it is missing."""
    if backend not in known_backends():
        raise LoadFailed(f"There is no engine {backend!r}. Known: {', '.join(known_backends())}.")
    try:
        module = import_module(f".{backend}", __package__)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(backend, backend)
        raise LoadFailed(
            f"The {backend} engine needs the package {error.name!r}. Install it with: pip install 'cupola[{extra}]'"
        ) from None
    model: ModelRunner | Encoder = module.load(artifact, placement, report)
    return model
