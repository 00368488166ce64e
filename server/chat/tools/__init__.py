"""The ways in which models write calls of tools, one file each, and the choice between them."""

from . import deepseek, functionary, generic, hermes, llama3, mistral, phi4, qwen3_coder
from .base import ToolFormat

# The first that matches counts. A template that was derived from Llama's holds Llama's marks too, so that one is late;
# `generic` takes whatever is left.
FORMATS: tuple[ToolFormat, ...] = (
    mistral.NAMED,
    mistral.FORMAT,
    deepseek.FORMAT,
    qwen3_coder.FORMAT,  # its tags are also those of Hermes and Functionary
    hermes.FORMAT,
    phi4.FORMAT,
    functionary.RECIPIENTS,
    functionary.FORMAT,
    llama3.FORMAT,
    generic.FORMAT,
)


def format_for(template: str | None) -> ToolFormat:
    """How a model with this chat template writes calls. `generic` for one whose template knows no tools."""
    return next(known for known in FORMATS if known.matches(template or ""))
