"""GET /v1/models, GET /v1/models/{id}."""

from fastapi import APIRouter

from ...models.choice import not_pulled
from ...models.names import ModelName
from ...models.spec import ModelSpec, Variant
from ..schemas.models import Capabilities, ModelBody, ModelList
from ..services import Collaborators, Services

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(services: Collaborators) -> ModelList:
    """Every model whose files are here; a request for one that is not loaded loads it, if an engine here can."""
    found = []
    for spec in services.registry.models:
        _, choices = services.chooser.ranking(spec.name)
        here = [choice.variant for choice in choices if choice.candidate.manifest]
        found += [describe(services, spec, here[0])] if here else []
        for adapter in spec.adapters:
            fitting = [variant for variant in here if variant.format in adapter.files]
            found += [describe(services, spec, fitting[0], adapter.name)] if fitting else []
    return ModelList(data=found)


@router.get("/v1/models/{name}")
async def get_model(name: str, services: Collaborators) -> ModelBody:
    """One model, by name, alias or variant."""
    spec, choices = services.chooser.ranking(name)
    here = [choice.variant for choice in choices if choice.candidate.manifest]
    if not here:
        raise not_pulled(name)
    return describe(services, spec, here[0], ModelName.parse(name).adapter)


def describe(services: Services, spec: ModelSpec, variant: Variant, adapter: str | None = None) -> ModelBody:
    manifest = services.store.manifest(spec, variant)
    resident = services.pool.resident(spec, variant)
    loaded = resident is not None and resident.loaded
    context = resident.context_length if resident and loaded else services.pool.context_of(spec, variant)
    return ModelBody(
        id=spec.name if adapter is None else f"{spec.name}+{adapter}",
        root=spec.name,
        parent=None if adapter is None else spec.name,
        created=int(manifest.created.timestamp()) if manifest else 0,
        owned_by="cupola",
        aliases=[f"{alias}+{adapter}" if adapter else alias for alias in services.registry.aliases(spec)],
        variant=spec.variant_id(variant),
        engine=variant.backend,
        quantization=variant.quantization,
        context_length=context,
        capabilities=Capabilities.of(spec),
        loaded=loaded,
    )
