"""How the choice of a variant looks in a terminal; what the commands share that make it."""

from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import ModelNotPulled
from ..hardware.place import facts_of
from ..hardware.probe import read_system
from ..models.choice import Chooser
from ..models.manifest import Manifest
from ..models.registry import Registry
from ..models.select import Choice
from ..models.spec import ModelSpec, Variant
from ..models.store import Store
from ..settings import Settings
from .progress import megabytes


def open_chooser(settings: Settings) -> Chooser:
    """A chooser for this device, as it is now. Takes up to two seconds."""
    facts = facts_of(read_system(settings.home))
    return Chooser(Registry.load(settings.overlay), Store(settings.home), facts)


def pulled_files(store: Store, name: str, model: ModelSpec, variants: Iterable[Variant]) -> list[Manifest]:
    """What is here of the variants that `name` means, and has files. Raises ModelNotPulled where nothing is."""
    here = [manifest for variant in variants if (manifest := store.manifest(model, variant)) and manifest.files]
    if not here:
        raise ModelNotPulled(f"Model '{name}' is not here; get it with: cupola pull {name}")
    return here


def ranked(model: ModelSpec, choices: list[Choice]) -> Iterator[str]:
    """The ranking, a line a choice."""
    for place, choice in enumerate(choices, 1):
        mark = f"{place}." if choice.usable else "-"
        here = "" if choice.candidate.manifest else " (not here)"
        needs = f", takes {megabytes(choice.candidate.needs)}" if choice.candidate.needs else ""
        yield f"  {mark:<3}{choice.variant.name} on {choice.variant.backend}{here}{needs}"
        yield f"     {choice.reason}"


def described(model: ModelSpec, choice: Choice) -> dict[str, Any]:
    """One choice, for JSON."""
    return {
        "id": model.variant_id(choice.variant),
        "engine": choice.variant.backend,
        "device": choice.device,
        "usable": choice.usable,
        "reason": choice.reason,
        "pulled": choice.candidate.manifest is not None,
        "needs": choice.candidate.needs,
        "measured": choice.measurement.model_dump(mode="json") if choice.measurement else None,
    }
