"""The models as Foundry Local's clients list them: one row a model and kind of device that it can run on here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...models.manifest import Manifest
from ...models.places import PLACES, Place, place_id, place_of
from ...models.select import Choice
from ...models.spec import HuggingFaceSource, ModelSpec, Variant
from ...pool.resident import Resident
from ..services import Services
from .schemas import Row, Runtime

PROVIDER = "Cupola"
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A model in a place: the variant that a pull would bring or has brought, and what is here, of any variant."""

    spec: ModelSpec
    place: Place
    variant: Variant
    manifest: Manifest | None

    @property
    def id(self) -> str:
        return place_id(self.spec.name, self.place)

    @property
    def size(self) -> int:
        """Bytes of its files, known or estimated."""
        origin = self.spec.origin(self.variant)
        known = self.manifest.size if self.manifest else self.variant.size or (origin.size if origin else None)
        return known if known is not None else estimated(self.spec.parameters or 0, self.variant.quantization)


def entries(services: Services) -> list[Entry]:
    """Everything that can run here, in the order that clients rely on: the first row of an alias is the best one."""
    found = [entry for spec in services.registry.models for entry in _of(services, spec)]
    return sorted(found, key=lambda entry: PLACES.index(entry.place))


def cached(services: Services) -> list[str]:
    """Ids of what is here."""
    return [entry.id for entry in entries(services) if entry.manifest is not None]


def loaded(services: Services) -> list[str]:
    """Ids of what is loaded, each once, also where two variants are."""
    return list(dict.fromkeys(_resident_id(r) for r in services.pool.residents if r.state in {"loaded", "asleep"}))


def _resident_id(resident: Resident) -> str:
    return place_id(resident.spec.name, place_of(resident.choice.device or "cpu"))


def _of(services: Services, spec: ModelSpec) -> Iterator[Entry]:
    _, choices = services.chooser.ranking(spec.name)
    places: dict[Place, list[Choice]] = {}
    for choice in choices:
        if choice.usable and choice.device is not None:
            places.setdefault(place_of(choice.device), []).append(choice)
    for place, found in places.items():
        here = next((choice for choice in found if choice.candidate.manifest), found[0])
        yield Entry(spec, place, here.variant, here.candidate.manifest)


def row(services: Services, entry: Entry) -> Row:
    spec, variant = entry.spec, entry.variant
    aliases = services.registry.aliases(spec)
    return Row(
        name=entry.id,
        display_name=entry.id.partition(":")[0],
        alias=aliases[0] if aliases else spec.name,
        version=entry.id.partition(":")[2],
        provider_type=PROVIDER,
        publisher=_publisher(variant, spec),
        uri=f"cupola://{spec.variant_id(variant)}",
        parent_model_uri=f"cupola://{spec.name}",
        model_type=variant.format.upper(),
        task="embeddings" if spec.encodes else "chat-completion",
        runtime=Runtime(device_type=entry.place.kind, execution_provider=entry.place.provider),
        file_size_mb=round(entry.size / MEGABYTE),
        license=spec.licence,
        license_description=f"This model is provided under: {spec.licence}.",
        prompt_template={},
        model_settings={"parameters": []},
        supports_tool_calling="tools" in spec.tasks,
        max_output_tokens=None if spec.encodes else services.pool.context_of(spec, variant),
    )


def _publisher(variant: Variant, spec: ModelSpec) -> str:
    """Whose files they are, where the source says so."""
    origin = spec.origin(variant) or variant
    return origin.source.repo.partition("/")[0] if isinstance(origin.source, HuggingFaceSource) else PROVIDER


def estimated(parameters: int, quantization: str) -> int:
    """Bytes of files that nobody has counted: the bits that the quantization names, and half a bit for scales."""
    bits = re.search(r"\d+", quantization)
    return round(parameters * (int(bits[0]) + 0.5) / 8) if bits else parameters * 2
