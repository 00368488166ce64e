"""The models as Ollama's clients list them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import InvalidValue
from ...models import genai_config, gguf
from ...models.choice import not_pulled
from ...models.manifest import Manifest
from ...models.select import Choice
from ...models.spec import ModelSpec, Variant
from ...pool.resident import Resident
from ..services import Services

Body = dict[str, Any]

# A model leaves when another needs its place, never because of the time; clients want one all the same.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
OPTIONS = {"repetition_penalty": "repeat_penalty"}
CAPABILITIES = {
    "chat": "completion",
    "completion": "completion",
    "tools": "tools",
    "reasoning": "thinking",
    "embeddings": "embedding",
}


def installed(services: Services) -> list[Body]:
    """Every model whose files are here."""
    return [
        _listed(choice.candidate.manifest, spec, choice.variant)
        for spec in services.registry.models
        for choice in _here(services, spec.name)[1][:1]
        if choice.candidate.manifest
    ]


def running(services: Services) -> list[Body]:
    """Every model that is loaded."""
    return [_running(services, resident) for resident in services.pool.residents if resident.loaded]


async def shown(services: Services, name: str) -> Body:
    """All that is known of one model. Raises ModelNotFound and ModelNotPulled."""
    spec, choices = _here(services, name)
    if not choices:
        raise not_pulled(name)
    variant, manifest = choices[0].variant, choices[0].candidate.manifest
    assert manifest is not None
    resident = services.pool.resident(spec, variant)
    loaded = resident if resident is not None and resident.loaded else None
    family, template = await asyncio.to_thread(_header, services, manifest)
    if loaded:
        template = loaded.ready.chat_template or ""
    context = loaded.context_length if loaded else services.pool.context_of(spec, variant)
    return {
        "modelfile": "",
        "license": spec.licence,
        "parameters": _advice(spec),
        "template": template,
        "system": spec.system or "",
        "details": _details(spec, variant, family),
        "model_info": _facts(spec, family, context),
        "capabilities": list(dict.fromkeys(CAPABILITIES[task] for task in spec.tasks if task in CAPABILITIES)),
        "modified_at": manifest.created.isoformat(),
    }


def _advice(spec: ModelSpec) -> str:
    """What the makers advise for sampling, a line each, under Ollama's names."""
    said = spec.sampling.model_dump(exclude_defaults=True)
    return "\n".join(f"{OPTIONS.get(name, name)} {value:g}" for name, value in said.items())


def _here(services: Services, name: str) -> tuple[ModelSpec, list[Choice]]:
    spec, choices = services.chooser.ranking(name)
    return spec, [choice for choice in choices if choice.candidate.manifest]


def _listed(manifest: Manifest, spec: ModelSpec, variant: Variant) -> Body:
    return {
        "name": f"{spec.name}:latest",
        "model": f"{spec.name}:latest",
        "modified_at": manifest.created.isoformat(),
        "size": manifest.size,
        "digest": manifest.digest,
        "details": _details(spec, variant),
    }


def _running(services: Services, resident: Resident) -> Body:
    """`size` is that of the files. What of it lies on a device nobody knows exactly: all or nothing."""
    spec, variant = resident.spec, resident.variant
    manifest = services.store.manifest(spec, variant)
    size = manifest.size if manifest else 0
    return {
        "name": f"{spec.name}:latest",
        "model": f"{spec.name}:latest",
        "size": size,
        "digest": manifest.digest if manifest else "",
        "details": _details(spec, variant),
        "expires_at": NEVER.isoformat(),
        "size_vram": 0 if resident.choice.device in {None, "cpu"} else size,
        "context_length": resident.context_length,
    }


def _details(spec: ModelSpec, variant: Variant, family: str = "") -> Body:
    """Lists name no family: that would take a look into every file."""
    return {
        "parent_model": "",
        "format": variant.format,
        "family": family,
        "families": [family] if family else None,
        "parameter_size": parameter_size(spec.parameters),
        "quantization_level": variant.quantization,
    }


def _facts(spec: ModelSpec, family: str, context: int) -> Body:
    """`context_length` is how much a sequence may have here, which settings may make less than the model could."""
    facts: Body = {"general.basename": spec.name}
    if family:
        facts |= {"general.architecture": family, f"{family}.context_length": context}
    if spec.parameters:
        facts["general.parameter_count"] = spec.parameters
    return facts


def _header(services: Services, manifest: Manifest) -> tuple[str, str]:
    """Architecture and chat template, where the files say so in one place. Blocks."""
    if not manifest.files:
        return "", ""
    path = services.store.path(manifest)
    try:
        match manifest.format:
            case "gguf":
                found = gguf.read(path)
                return found.architecture, str(found.metadata.get("tokenizer.chat_template", ""))
            case "onnx":
                return _onnx_family(path), ""
            case _:
                return "", ""
    except InvalidValue:
        return "", ""  # its engine will say what is wrong with it


def _onnx_family(folder: Path) -> str:
    has_decoder = (folder / "genai_config.json").exists()
    return genai_config.read(folder).model.type if has_decoder else ""


def parameter_size(count: int | None) -> str:
    """As Ollama writes it: 135M, 1.7B. Empty where it is not known."""
    if not count:
        return ""
    unit, name = (10**9, "B") if count >= 10**9 else (10**6, "M")
    return f"{round(count / unit, 1):g}{name}"
