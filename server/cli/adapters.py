"""`cupola add --adapter-of`: a LoRA adapter of a model, converted for what of the model is on this device."""

import shutil
from pathlib import Path

from ..errors import InvalidValue, ModelNotPulled
from ..models import conversion
from ..models.adapters import AdapterFormat, AddedAdapter
from ..models.files import delete_tree, private_folder, storage_errors
from ..models.lora_graph import GRAPH
from ..models.names import ModelName
from ..models.overlay import add_adapter
from ..models.progress import Report
from ..models.registry import Registry
from ..models.spec import ModelSpec, Variant
from ..models.store import Store
from ..settings import Settings
from .progress import shown

CONVERTERS: dict[AdapterFormat, str] = {"gguf": "adapter-to-gguf", "onnx": "adapter-to-onnx"}
SUFFIXES: dict[str, AdapterFormat] = {".gguf": "gguf", ".onnx_adapter": "onnx"}


def add(
    source: Path, model_name: str, name: str | None, licence: str, settings: Settings
) -> tuple[str, list[AdapterFormat]]:
    """Register an adapter: a folder of PEFT, or a file that an engine loads. Returns its name and formats.

    Raises InvalidValue, ModelNotFound, ModelNotPulled, ConversionFailed and StorageFailed; nothing is left then.
    """
    if not source.exists():
        raise InvalidValue(f"{source} does not exist; give a folder of PEFT, a GGUF file or an .onnx_adapter file.")
    model, variants = Registry.load(settings.overlay).resolve(model_name)
    wanted = ModelName.parse(f"{model.name}+{name or source.stem}").adapter or ""
    if wanted in {adapter.name for adapter in model.adapters}:
        raise InvalidValue(f"{model.name} already has an adapter '{wanted}'; choose another name with --name.")
    folder = settings.home / "adapters" / model.name / wanted
    with storage_errors(settings.home):
        delete_tree(folder)  # of an attempt that was killed: models.yaml does not name it
        private_folder(folder.parent)
        private_folder(folder)
        try:
            files = (
                _copied(source, folder) if source.is_file() else _converted(source, folder, model, variants, settings)
            )
            places = {form: file.relative_to(settings.overlay.parent).as_posix() for form, file in files.items()}
            entry = AddedAdapter(name=wanted, model=model.name, files=places, licence=licence)
            add_adapter(settings.overlay, entry)
        except BaseException:
            delete_tree(folder)
            raise
    return f"{model.name}+{wanted}", list(files)


def _copied(source: Path, folder: Path) -> dict[AdapterFormat, Path]:
    """A copy, since the user may edit or delete his own."""
    form = SUFFIXES.get(source.suffix)
    if form is None:
        raise InvalidValue(f"{source} is no adapter: those are folders of PEFT, *.gguf and *.onnx_adapter.")
    return {form: shutil.copyfile(source, folder / source.name)}


def _converted(
    source: Path, folder: Path, model: ModelSpec, variants: tuple[Variant, ...], settings: Settings
) -> dict[AdapterFormat, Path]:
    """The adapter for each format of the model that is here."""
    bases = _bases(Store(settings.home), model, variants)
    if not bases:
        raise ModelNotPulled(
            f"Nothing of {model.name} that takes adapters is here; get it with: cupola pull {model.name}"
            f" (an ONNX variant without {GRAPH} is of an older version: cupola rm it first)."
        )
    with shown(source.name) as report:
        return {form: _convert(source, base, folder / form, form, report) for form, base in bases.items()}


def _convert(source: Path, base: Path, target: Path, form: AdapterFormat, report: Report) -> Path:
    arguments = [CONVERTERS[form], str(source), str(base), str(target)]
    conversion.run(arguments, f"{source.name} cannot be converted for {form}", source.name, 1, report)
    return next(path for path in target.iterdir() if path.suffix in SUFFIXES)


def _bases(store: Store, model: ModelSpec, variants: tuple[Variant, ...]) -> dict[AdapterFormat, Path]:
    """What of the model is here, by format: one of each will do, since an adapter fits every precision."""
    found: dict[AdapterFormat, Path] = {}
    for variant in variants:
        manifest = store.manifest(model, variant)
        if manifest is None or not manifest.files:
            continue
        path = store.path(manifest)
        if variant.format == "gguf":
            found.setdefault("gguf", path)
        elif variant.format == "onnx" and (path / GRAPH).is_file():
            found.setdefault("onnx", path)
    return found
