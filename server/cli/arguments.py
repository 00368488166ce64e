"""Arguments that many commands have, and how the shell completes them."""

from typing import Annotated

import typer

from ..errors import CupolaError


def model_names(incomplete: str) -> list[str]:
    """Names and aliases of models that begin so, and the variants of the one whose name ends with @."""
    from ..models.registry import Registry
    from ..settings import load_settings

    try:
        registry = Registry.load(load_settings().overlay)
    except CupolaError:
        return []  # the command itself says what is wrong; here is no room for it
    names = [name for model in registry.models for name in (model.name, *registry.aliases(model))]
    if "@" in incomplete:
        variants = ((model, variant) for model in registry.models for variant in model.variants)
        aliases = {model.name: (model.name, *registry.aliases(model)) for model in registry.models}
        names = [f"{name}@{variant.name}" for model, variant in variants for name in aliases[model.name]]
    return sorted(name for name in names if name.startswith(incomplete))


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Name or alias, with @VARIANT or @ENGINE to choose one: smollm2@llama.",
        autocompletion=model_names,
    ),
]
