"""`cupola export`: a model of this store as another program keeps it."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..chat.renderer import Renderer
from ..errors import InvalidValue, ModelNotPulled, TemplateFailed
from ..models import foundry, genai_config
from ..models.files import storage_errors
from ..models.lineage import RECORD
from ..models.manifest import Manifest
from ..models.registry import Registry
from ..models.spec import ModelSpec, Variant
from ..models.store import Store
from ..models.tokenizer import JsonTokenizer
from ..settings import Settings, load_settings
from .arguments import AsJson


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Examples: cupola export smollm2@onnx-exact --foundry ~/.foundry/cache/models/mine/smollm2")(
        export
    )


def export(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A model that is here as ONNX: smollm2@onnx-exact.")],
    folder: Annotated[Path, typer.Option("--foundry", metavar="DIR", help="The folder to write; it must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Write the folder that Microsoft's Foundry Local loads, its prompt template included."""
    settings = load_settings()
    store = Store(settings.home)
    model, manifest = _chosen(Registry.load(settings.overlay), store, name)
    source, target = store.path(manifest), folder.expanduser()
    template, note = asyncio.run(_template(source, settings))
    with storage_errors(target.parent), _whole(target) as partial:
        for file in manifest.files:
            (partial / file.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file.name, partial / file.name)
        (partial / foundry.FILE).write_text(foundry.written(model, template), encoding="utf-8")
        if manifest.record is not None:
            (partial / RECORD).write_text(manifest.record.model_dump_json(indent=1), encoding="utf-8")
    variant = model.variant_id(_variant(model, manifest))
    if as_json:
        typer.echo(json.dumps({"folder": str(target), "variant": variant, "name": f"{model.name}:1", "note": note}))
        return
    typer.echo(f"{target} is written: {variant} as {model.name}:1.")
    if note:
        typer.echo(f"Note: {note}")


def _chosen(registry: Registry, store: Store, name: str) -> tuple[ModelSpec, Manifest]:
    """The ONNX artifact that is meant. Raises ModelNotFound, ModelNotPulled, InvalidValue where there are several."""
    model, variants = registry.resolve(name)
    onnx = [variant for variant in variants if variant.format == "onnx"]
    here = [manifest for variant in onnx if (manifest := store.manifest(model, variant))]
    if model.encodes:
        raise InvalidValue(f"{model.name} makes vectors; Foundry Local's layout is of models that make text.")
    if not here and onnx:
        raise ModelNotPulled(f"Foundry Local loads ONNX; get it with: cupola pull {model.variant_id(onnx[0])}")
    if not here:
        raise InvalidValue(
            f"Foundry Local loads ONNX; make it with: cupola convert {model.name} --to onnx -o {model.name}-onnx"
        )
    if len(here) > 1:
        names = ", ".join(f"{manifest.model}@{manifest.variant}" for manifest in here)
        raise InvalidValue(f"Here are {names}. Choose one.")
    return model, here[0]


def _variant(model: ModelSpec, manifest: Manifest) -> Variant:
    return next(variant for variant in model.variants if variant.name == manifest.variant)


async def _template(folder: Path, settings: Settings) -> tuple[foundry.PromptTemplate | None, str]:
    """What the model's chat template makes of messages, and what is to be said. The engine adds the first token."""
    config = genai_config.read(folder)
    tokenizer = JsonTokenizer(folder, frozenset(config.model.eos_ids), config.model.bos_token_id)
    if tokenizer.chat_template is None:
        return None, "The model has no chat template, so there is no PromptTemplate."
    template, renderer = tokenizer.chat_template, Renderer(settings)

    async def render(messages: list[dict[str, Any]], prompt: bool) -> str:
        return await renderer.render(
            template, messages, add_generation_prompt=prompt, bos_token="", eos_token=tokenizer.eos_token
        )

    await renderer.start()
    try:
        found = await foundry.derived(render, tokenizer.eos_token)
    except (InvalidValue, TemplateFailed) as error:
        return None, f"There is no PromptTemplate, and the chat template is used as it is. {error.message}"
    finally:
        await renderer.close()
    return (
        found,
        "" if found.system else "The PromptTemplate has no text for system messages, as the chat template has none.",
    )


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder that gets its name when everything is in it. Raises InvalidValue where the name is taken."""
    if folder.exists():
        raise InvalidValue(f"{folder} exists already; remove it or choose another name.")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
