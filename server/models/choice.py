"""The choice of a variant on this device: what `server.models.select` decides on, gathered from store and tuning."""

from collections.abc import Iterator

from ..errors import InvalidValue, LoadFailed, ModelNotFound, ModelNotPulled
from ..hardware.place import Facts
from .footprint import needed
from .names import ModelName
from .registry import Registry
from .select import Candidate, Choice, rank
from .spec import BACKENDS, ModelSpec, Variant
from .store import Store
from .tuning import read_tuning


class Chooser:
    """Ranks the variants of a model. Reads small files only; `facts` are those of the last probe."""

    def __init__(self, registry: Registry, store: Store, facts: Facts) -> None:
        self._registry = registry
        self._store = store
        self.facts = facts

    def ranking(self, name: str) -> tuple[ModelSpec, list[Choice]]:
        """The model of `name`, and every variant it admits on every engine that could run it, best first.

        Raises ModelNotFound.
        """
        spec, variants = self._registry.resolve(name)
        tuning = read_tuning(self._store.home, self.facts.fingerprint, spec.name)
        asked = ModelName.parse(name).engine in {variant.name for variant in variants}
        candidates = [*self._candidates(spec, name, variants)]
        return spec, self._in_place(name, rank(candidates, self.facts, tuning, spec.parameters, asked=asked))

    def means(self, name: str, spec: ModelSpec, variant: Variant) -> bool:
        """Whether `name` admits this variant of a model. False for a name that is none."""
        try:
            model, variants = self._registry.resolve(name)
        except ModelNotFound:
            return False
        return model.name == spec.name and variant.name in {admitted.name for admitted in variants}

    def serving(self, name: str) -> tuple[ModelSpec, list[Choice]]:
        """What is here and can serve `name`, best first; never empty.

        Raises ModelNotFound, ModelNotPulled, and LoadFailed where nothing that is here can run here.
        """
        spec, choices = self.ranking(name)
        here = [choice for choice in choices if choice.candidate.manifest]
        if not here:
            raise not_pulled(name)
        usable = [choice for choice in here if choice.usable]
        if not usable:
            reasons = "; ".join(f"{choice.variant.name}: {choice.reason}" for choice in here)
            raise LoadFailed(f"{spec.name} cannot run here as it is ({reasons}). See: cupola show {spec.name}")
        return spec, usable

    def ranking_with_sizes(self, name: str, context: int, slots: int) -> tuple[ModelSpec, list[Choice]]:
        """The same, with the memory that each artifact on this device takes at `context` tokens: reads its header."""
        spec, choices = self.ranking(name)
        tuning = read_tuning(self._store.home, self.facts.fingerprint, spec.name)
        sized = [self.sized(spec, choice.candidate, context, slots) for choice in choices]
        asked = ModelName.parse(name).engine in {choice.variant.name for choice in choices}
        return spec, rank(sized, self.facts, tuning, spec.parameters, asked=asked)

    def sized(self, spec: ModelSpec, candidate: Candidate, context: int, slots: int) -> Candidate:
        """The candidate with what it needs; unknown for one that is not here or cannot be read."""
        manifest, variant = candidate.manifest, candidate.variant
        if manifest is None or not manifest.files:
            return candidate
        length = min(context, variant.context_length or spec.context_length)
        try:
            needs = needed(self._store.path(manifest), variant.format, manifest.size, length, slots)
        except InvalidValue:
            return candidate  # the engine will say what is wrong with it
        return Candidate(variant, manifest, needs)

    def _in_place(self, name: str, choices: list[Choice]) -> list[Choice]:
        """The choices on the kind of device that `name` asks for. Raises ModelNotFound where there are none."""
        place = self._registry.place(ModelName.parse(name).name)
        if place is None:
            return choices
        found = [choice for choice in choices if choice.device in place.devices]
        if not found:
            raise ModelNotFound(
                f"'{name}' does not run on a {place.suffix} here; leave '-{place.suffix}' out.", param="model"
            )
        return found

    def _candidates(self, spec: ModelSpec, name: str, variants: tuple[Variant, ...]) -> Iterator[Candidate]:
        """Each variant with what was pulled of it, once for every engine that may run it."""
        for variant in variants:
            manifest = self._store.manifest(spec, variant)
            engines = (variant,) if spec.encodes else _on_engines(name, variant)  # only the usual ones have encoders
            yield from (Candidate(each, manifest) for each in engines)


def _on_engines(name: str, variant: Variant) -> Iterator[Variant]:
    """The variant on the engine that its entry or the name asks for, then on the others that run its format."""
    yield variant
    if ModelName.parse(name).engine not in BACKENDS[variant.format]:
        others = (backend for backend in BACKENDS[variant.format] if backend != variant.backend)
        yield from (variant.model_copy(update={"backend": backend}) for backend in others)


def not_pulled(name: str) -> ModelNotPulled:
    return ModelNotPulled(
        f"Model '{name}' is known but its files are not here. Get them with: cupola pull {name}", param="model"
    )


def require_pulled(registry: Registry, store: Store, name: str) -> None:
    """Raises ModelNotFound and ModelNotPulled, without a look at the device."""
    spec, variants = registry.resolve(name)
    if not any(store.manifest(spec, variant) for variant in variants):
        raise not_pulled(name)
