"""The models that Cupola knows: the bundled models.yaml with the user's overlay on top."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import yaml
from pydantic import ValidationError

from ..errors import ConfigError, ModelNotFound
from .adapters import AdapterSpec, AddedAdapter, named
from .names import ModelName
from .places import Place, placed
from .spec import BACKENDS, FileSource, ModelsFile, ModelSpec, Variant
from .standard import with_standard_variants

Adapted = TypeVar("Adapted", bound=AdapterSpec)

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def bundled_models() -> Path:
    """The models.yaml that comes with Cupola: package data of a wheel, the repository's own in a checkout."""
    shipped = _PACKAGE / "models.yaml"
    return shipped if shipped.is_file() else _PACKAGE.parent / "models.yaml"


def read_models_file(path: Path) -> ModelsFile:
    """Parse one models.yaml. Raises ConfigError with the file, the key and what is wrong there."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None
    return parse_models(text, path)


def parse_models(text: str, path: Path) -> ModelsFile:
    """The content of a models.yaml that stands (or is to stand) at `path`."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # the latter for dates and numbers that are none
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid YAML: it nests too deeply.") from None
    try:
        found = ModelsFile.model_validate({} if content is None else content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_describe(content, wrong) for wrong in error.errors())}.") from None
    models = tuple(_anchored(model, path.parent) for model in found.models)
    adapters = tuple(_anchored_adapter(adapter, path.parent) for adapter in found.adapters)
    return found.model_copy(update={"models": models, "adapters": adapters})


def _describe(content: object, wrong: Any) -> str:
    """One validation error with its key; an entry of a list is called by its name where it has one."""
    key = ""
    for step in wrong["loc"]:
        content = _child(content, step)
        name = content.get("name") if isinstance(step, int) and isinstance(content, dict) else None
        key += f"[{name or step}]" if isinstance(step, int) else f".{step}"
    message = wrong["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    return f"{key.lstrip('.') or 'top level'}: {message}"


def _child(content: object, step: int | str) -> object:
    if isinstance(content, dict):
        # The tag of a union ("huggingface") is a step of the location, though not a key: stay where we are.
        return content.get(step, content)
    if isinstance(content, list) and isinstance(step, int) and step < len(content):
        return content[step]
    return None


def _anchored(model: ModelSpec, folder: Path) -> ModelSpec:
    """Paths of `file` sources are relative to the models.yaml, not to where the user stands."""
    variants = tuple(
        variant.model_copy(update={"source": FileSource(path=str(folder / variant.source.path))})
        if isinstance(variant.source, FileSource)
        else variant
        for variant in model.variants
    )
    adapters = tuple(_anchored_adapter(adapter, folder) for adapter in model.adapters)
    return model.model_copy(update={"variants": variants, "adapters": adapters})


def _anchored_adapter(adapter: Adapted, folder: Path) -> Adapted:
    files = {form: str(folder / path) for form, path in adapter.files.items()}
    return adapter.model_copy(update={"files": files})


class Changes(NamedTuple):
    """Names of models that a newer models.yaml has and an older one had not, and so on."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Registry:
    """All known models by name and alias. It changes as a whole, or not at all: see `follow`."""

    default: Final = "smollm2-135m-instruct"

    def __init__(self, bundled: ModelsFile, overlay: ModelsFile = ModelsFile()) -> None:
        """Raises ConfigError where an alias of the overlay shadows a model's name or leads nowhere."""
        listed = {model.name: model for model in (*bundled.models, *overlay.models)}
        self._models = {name: with_standard_variants(model) for name, model in listed.items()}
        self._aliases = {alias: name for alias, name in _aliases(bundled, listed) if alias not in listed}
        for alias, name in _aliases(overlay, listed):
            if alias in self._models:
                raise ConfigError(f"Alias '{alias}' is the name of a model; choose another alias in your models.yaml.")
            self._aliases[alias] = name
        for added in (*bundled.adapters, *overlay.adapters):
            self._add_adapter(added)
        for alias, name in self._aliases.items():
            if name not in self._models:
                raise ConfigError(f"Alias '{alias}' points at '{name}', which is no model; correct your models.yaml.")

    def _add_adapter(self, added: AddedAdapter) -> None:
        model = self._models.get(self._aliases.get(added.model, added.model))
        if model is None:
            raise ConfigError(f"Adapter '{added.name}' is for '{added.model}', which is no model; correct models.yaml.")
        if any(known.name == added.name for known in model.adapters):
            raise ConfigError(f"Model '{model.name}' has two adapters '{added.name}'; rename one in your models.yaml.")
        self._models[model.name] = model.model_copy(update={"adapters": (*model.adapters, added)})

    @classmethod
    def load(cls, overlay: Path | None = None) -> Self:
        """The bundled models with the overlay's on top: its models replace those of the same name, its aliases win."""
        bundled = read_models_file(bundled_models())
        return cls(bundled, read_models_file(overlay)) if overlay is not None and overlay.is_file() else cls(bundled)

    def follow(self, newer: "Registry") -> Changes:
        """Know what a newer one knows, and say what that changes."""
        before, after = self._models, newer._models
        self._models, self._aliases = after, newer._aliases
        return Changes(
            added=tuple(name for name in after if name not in before),
            changed=tuple(name for name in after if name in before and after[name] != before[name]),
            removed=tuple(name for name in before if name not in after),
        )

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """Every model, in the order of the files."""
        return tuple(self._models.values())

    def aliases(self, model: ModelSpec) -> tuple[str, ...]:
        """The aliases that lead to this model, with the overlay's word applied."""
        return tuple(alias for alias, name in self._aliases.items() if name == model.name)

    def place(self, name: str) -> Place | None:
        """The kind of device that a plain name asks for, as Foundry Local's clients do; None if it asks for none."""
        apart = None if self._find(name) else placed(name)
        return apart[1] if apart is not None and self._find(apart[0]) else None

    def _find(self, name: str) -> ModelSpec | None:
        return self._models.get(self._aliases.get(name, name))

    def model(self, name: str) -> ModelSpec:
        """The model of a plain name or alias, with or without a place behind it.

        Raises ModelNotFound, which lists the known names.
        """
        apart = placed(name)
        found = self._find(name) or (self._find(apart[0]) if apart is not None else None)
        if found is None:
            near = get_close_matches(name, [*self._aliases, *self._models], n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            known = ", ".join(sorted(self._models))
            raise ModelNotFound(f"Model '{name}' does not exist.{hint} Known models: {known}.", param="model")
        return found

    def resolve(self, name: str) -> tuple[ModelSpec, tuple[Variant, ...]]:
        """The model and the variants that `name` admits, in the order of preference of models.yaml.

        `@` narrows to an engine or to one variant, `+` to those that an adapter is for; an engine that is not the
        default of a format is written into the variants returned. Raises ModelNotFound.
        """
        asked = ModelName.parse(name)
        model = self.model(asked.name)
        variants = tuple(_admitted(model.variants, asked.engine))
        if not variants:
            known = ", ".join(model.variant_id(variant) for variant in model.variants)
            raise ModelNotFound(
                f"Model '{model.name}' has no variant or engine '{asked.engine}'. It comes as {known}.", param="model"
            )
        if asked.adapter is None:
            return model, variants
        formats = named(model.adapters, asked.adapter, model.name).files.keys()
        fitting = tuple(variant for variant in variants if variant.format in formats)
        if not fitting:
            raise ModelNotFound(
                f"Adapter '{asked.adapter}' of '{model.name}' is for {' and '.join(sorted(formats))} only.",
                param="model",
            )
        return model, fitting


def _aliases(file: ModelsFile, models: dict[str, ModelSpec]) -> Iterable[tuple[str, str]]:
    """Aliases of one file; a bundled model that the overlay replaced brings only its new aliases."""
    for model in file.models:
        if models[model.name] is model:
            yield from ((alias, model.name) for alias in model.aliases)
    yield from file.aliases.items()


def _admitted(variants: tuple[Variant, ...], engine: str | None) -> Iterable[Variant]:
    for variant in variants:
        if engine is None or engine in {variant.name, variant.backend}:
            yield variant
        elif engine in BACKENDS[variant.format]:
            yield variant.model_copy(update={"backend": engine})
