"""GGUF architectures, one file each, named as `general.architecture` names them: `describe(gguf) -> Decoder`."""

from importlib import import_module
from pkgutil import iter_modules

from server.errors import InvalidValue
from server.models.gguf import Gguf

from ..decoder import Decoder
from ..hf_layout import Layout


def known_architectures() -> list[str]:
    return sorted(module.name for module in iter_modules(__path__) if module.name != "common")


def describe(gguf: Gguf) -> Decoder:
    """The decoder in a GGUF file. Raises InvalidValue for an unknown architecture, or values that cannot be."""
    if gguf.architecture not in known_architectures():
        known = ", ".join(known_architectures())
        raise InvalidValue(f"{gguf.path.name} has the architecture {gguf.architecture[:60]!r}. Known: {known}.")
    decoder: Decoder = import_module(f".{gguf.architecture}", __package__).describe(gguf)
    return decoder


def layout_of(gguf: Gguf) -> Layout:
    """How Hugging Face names what a file holds, whose architecture is known."""
    layout: Layout = import_module(f".{gguf.architecture}", __package__).LAYOUT
    return layout
