"""A process that makes a derived variant, to be killed: `python -m tests.models.deriver HOME MODEL.gguf`."""

import sys
from pathlib import Path

from server.models.spec import FileSource, ModelSpec, Variant
from server.models.standard import with_standard_variants
from server.models.store import Store
from server.settings import Settings


def made_of(gguf: Path) -> ModelSpec:
    """A model that comes as this file."""
    origin = Variant(name="gguf-f32", format="gguf", quantization="F32", source=FileSource(path=str(gguf)))
    return with_standard_variants(ModelSpec(name="small", licence="MIT", context_length=256, variants=(origin,)))


def variant_of(model: ModelSpec, name: str) -> Variant:
    return next(variant for variant in model.variants if variant.name == name)


def main() -> None:
    home, gguf = map(Path, sys.argv[1:])
    model = made_of(gguf)
    Store(home).pull(model, variant_of(model, "onnx-exact"), Settings(home=home))


if __name__ == "__main__":
    main()
