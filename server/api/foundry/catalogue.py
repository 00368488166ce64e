"""The models as Foundry Local's clients list them: one row a model and kind of device that it can run on here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...models.choice import Chooser
from ...models.manifest import Manifest
from ...models.places import PLACES, Place, place_id, place_of
from ...models.registry import Registry
from ...models.select import Choice
from ...models.spec import HuggingFaceSource, ModelSpec, Variant
from ...pool.resident import Resident
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


def entries(registry: Registry, chooser: Chooser) -> list[Entry]:
    """Everything that can run here, in the order that clients rely on: the first row of an alias is the best one."""
    found = [entry for spec in registry.models for entry in _of(spec, chooser.ranking(spec.name)[1])]
    return sorted(found, key=lambda entry: PLACES.index(entry.place))


def loaded(residents: list[Resident]) -> list[str]:
    """Ids of what is loaded, each once, also where two variants are."""
    return list(dict.fromkeys(_resident_id(resident) for resident in residents if resident.loaded))


def _resident_id(resident: Resident) -> str:
    return place_id(resident.spec.name, place_of(resident.choice.device or "cpu"))


def _of(spec: ModelSpec, choices: list[Choice]) -> Iterator[Entry]:
    places: dict[Place, list[Choice]] = {}
    for choice in choices:
        if choice.usable and choice.device is not None:
            places.setdefault(place_of(choice.device), []).append(choice)
    for place, found in places.items():
        here = next((choice for choice in found if choice.candidate.manifest), found[0])
        yield Entry(spec, place, here.variant, here.candidate.manifest)


def row(entry: Entry, aliases: tuple[str, ...], context: int) -> Row:
    """One row of the list. `context` are the tokens that a sequence may have here."""
    spec, variant = entry.spec, entry.variant
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
        max_output_tokens=None if spec.encodes else context,
    )


def _publisher(variant: Variant, spec: ModelSpec) -> str:
    """Whose files they are, where the source says so."""
    origin = spec.origin(variant) or variant
    return origin.source.repo.partition("/")[0] if isinstance(origin.source, HuggingFaceSource) else PROVIDER


def estimated(parameters: int, quantization: str) -> int:
    """Bytes of files that nobody has counted: the bits that the quantization names, and half a bit for scales."""
    bits = re.search(r"\d+", quantization)
    return round(parameters * (int(bits[0]) + 0.5) / 8) if bits else parameters * 2
