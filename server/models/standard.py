"""The variants that this device can make of any model that comes as GGUF, without models.yaml saying so."""

from .spec import DerivedSource, ModelSpec, Variant

# An exact or 8-bit ONNX artifact is used where it is the better one. The others are candidates of `cupola tune`.
MADE = (
    ("onnx-exact", "onnx", "exact", DerivedSource(variant="origin", converter="gguf-to-onnx", precision="exact")),
    ("onnx-int4", "onnx", "int4", DerivedSource(variant="origin", converter="gguf-to-onnx", precision="int4")),
    (
        "onnx-int4-128",
        "onnx",
        "int4-128",
        DerivedSource(variant="origin", converter="gguf-to-onnx", precision="int4_128"),
    ),
    ("gguf-q4_0", "gguf", "Q4_0", DerivedSource(variant="origin", converter="gguf-to-gguf", precision="q4_0")),
)


def with_standard_variants(model: ModelSpec) -> ModelSpec:
    """The model, with what can be made of its first GGUF variant, unless it lists a variant of that name itself."""
    origin = next((v for v in model.variants if v.format == "gguf" and not isinstance(v.source, DerivedSource)), None)
    if origin is None or model.encodes:  # the converters know decoders
        return model
    taken = {variant.name for variant in model.variants}
    made = tuple(
        Variant.model_validate(
            {
                "name": name,
                "format": form,
                "quantization": quantization,
                "context_length": origin.context_length,
                "source": source.model_copy(update={"variant": origin.name}),
            }
        )
        for name, form, quantization, source in MADE
        if name not in taken and origin.quantization.lower() != source.precision
    )
    return model.model_copy(update={"variants": (*model.variants, *made)})
