"""Which variant a pull brings: the one that this device serves best, and what stands in where it cannot be made."""

from collections.abc import Callable

from ..errors import ConversionFailed
from ..settings import Settings
from .choice import Chooser
from .manifest import Manifest
from .progress import Report
from .store import Store

Note = Callable[[str], None]


def pull_best(settings: Settings, store: Store, chooser: Chooser, name: str, report: Report, note: Note) -> Manifest:
    """Pull the first choice; one that cannot be made here gives way to the next, and a note says so.

    Where nothing can run here, what models.yaml lists first is pulled all the same, for another device or a later day.
    Raises ModelNotFound, SourceError and its kinds, and ConversionFailed.
    """
    model, choices = chooser.ranking(name)
    usable = [choice for choice in choices if choice.usable]
    if not usable:
        note(f"{model.name} cannot run here: {choices[0].reason}.")
        return store.pull(model, choices[0].variant, settings, report)
    *others, last = {choice.variant.name: choice.variant for choice in usable}.values()
    for variant in others:
        try:
            return store.pull(model, variant, settings, report)
        except ConversionFailed as error:
            note(f"{error.message} Taking the next variant.")
    return store.pull(model, last, settings, report)
