"""Workflow files of Microsoft Olive: what one says, whether it brings code, and the one that says a conversion.

Pure. Olive itself runs in a converter, a program of its own.
"""

import json
from pathlib import Path
from typing import Any

from ..errors import InvalidValue
from .chain import Kind, Wish, precision_of

LARGEST = 1 << 20  # bytes
_HUGGING_FACE, _ONNX = "hfmodel", "onnxmodel"
# Where Olive imports a file, calls another interpreter or builds a container; the values false and null do none of it.
_CODE = frozenset(
    "model_script script_dir user_script model_loader model_attributes_loader trust_remote_code hf_remote custom_op_lib"
    " python_environment_path environment_variables prepend_to_path dockerfile build_context_path docker".split()
)
_LIBRARIES = (".so", ".dll", ".dylib", ".pyd", ".py")  # of files that a process loads and runs
_OTHER_MODELS = frozenset({"adapter_path", "test_model_path"})  # that Olive would load with PEFT or transformers
_SYSTEMS = frozenset({"localsystem"})
_OURS = ("output_dir", "cache_dir", "packaging_config", "cache_config", "clean_cache", "log_to_file")
_PROVIDERS = {
    "cpu": ("cpu", "CPUExecutionProvider"),
    "cuda": ("gpu", "CUDAExecutionProvider"),
    "dml": ("gpu", "DmlExecutionProvider"),
    "webgpu": ("gpu", "WebGpuExecutionProvider"),
}
_OPTIONS = {
    "--block-size": "int4_block_size",
    "--accuracy-level": "int4_accuracy_level",
    "--algorithm": "int4_algo_config",
}
Recipe = dict[str, Any]


def read(path: Path) -> Recipe:
    """The content of a workflow file. Raises InvalidValue."""
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} has more than {LARGEST} bytes, so it is no recipe.")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidValue(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"The recipe {path} is no JSON: {str(error)[:100]}.") from None
    if not isinstance(found, dict) or not isinstance(found.get("input_model"), dict):
        raise InvalidValue(f"{path} is no workflow of Olive: it has no input_model.")
    passes_ = found.get("passes")
    entries = list(passes_.values()) if isinstance(passes_, dict) else []
    if any(not isinstance(each, dict) for entry in entries for each in (entry if isinstance(entry, list) else [entry])):
        raise InvalidValue(f"{path} is no workflow of Olive: a pass is no object.")
    if not entries:
        raise InvalidValue(f"{path} names no passes; Olive's auto-optimiser is not run, since its choices change.")
    return found


def check(recipe: Recipe, *, allow_scripts: bool) -> None:
    """Raises InvalidValue for a recipe that brings code of its own, unless that is allowed."""
    if allow_scripts:
        return
    kind = str(recipe["input_model"].get("type", "")).lower()
    if kind not in {_HUGGING_FACE, _ONNX}:
        raise InvalidValue(
            f"The recipe's input_model is a {kind or 'model without a type'}, and loading one may run its code; HfModel"
            " and ONNXModel do not. Allow it with --allow-scripts if you trust the recipe and its model."
        )
    model = recipe["input_model"]
    nested = model.get("config")
    if isinstance(nested, dict) and (twice := sorted(nested.keys() & model.keys())):
        raise InvalidValue(f"The recipe's input_model says {twice[0][:60]} twice, itself and in its config.")
    _refuse_code(recipe, ())


def _are_names(value: object) -> bool:
    """Of execution providers. A pair is a name with a library to load, and options may name one."""
    return value is None or all(isinstance(name, str) for name in (value if isinstance(value, list) else [value]))


def _refuse_code(value: object, place: tuple[str, ...]) -> None:
    if isinstance(value, str) and value.lower().endswith(_LIBRARIES):
        raise _brings_code(place)
    if isinstance(value, list):
        for item in value:
            _refuse_code(item, place)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key.lower() in _CODE and item not in (None, False, "", [], {}):
                raise _brings_code((*place, key))
            if key.lower() in _OTHER_MODELS and item not in (None, ""):
                raise InvalidValue(
                    f"The recipe sets {'.'.join((*place, key))[:120]}, a model beside its own, whose files are not"
                    " checked; merge an adapter with `python -m converters merge` and name the result as model_path."
                )
            if "execution_provider" in key.lower() and not _are_names(item):
                raise _brings_code((*place, key))
            if key == "type" and _is_system(place) and str(item).lower() not in _SYSTEMS:
                raise _brings_code((*place, key))
            _refuse_code(item, (*place, key))


def _brings_code(place: tuple[str, ...]) -> InvalidValue:
    return InvalidValue(
        f"The recipe sets {'.'.join(place)[:120]}, which runs code or programs that it names; allow it with"
        " --allow-scripts if you trust it."
    )


def _is_system(place: tuple[str, ...]) -> bool:
    return place[:1] == ("systems",) or place[-1:] in {("host",), ("target",)}


def is_checkpoint(recipe: Recipe) -> bool:
    """Whether transformers will read its model, whatever else lies in the folder."""
    return str(recipe["input_model"].get("type", "")).lower() != _ONNX


def model_path(recipe: Recipe) -> str | None:
    """The folder, file or repository of its model, where it says."""
    found = _settings(recipe).get("model_path")
    return found if isinstance(found, str) else None


def prepared(recipe: Recipe, model: Path, work: Path) -> Recipe:
    """The recipe for the model at a path, with everything that is written below `work`."""
    changed = json.loads(json.dumps(recipe))
    _settings(changed)["model_path"] = str(model)
    engine = changed["engine"] if isinstance(changed.get("engine"), dict) else changed
    for place in (changed, engine):
        for key in _OURS:
            place.pop(key, None)
    folders = {"output_dir": str(work / "output"), "cache_dir": str(work / "cache"), "log_severity_level": 3}
    engine.update(folders)
    return dict(changed)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Where the fields of the model stand: in `config`, or beside its type."""
    model: dict[str, Any] = recipe["input_model"]
    nested = model.get("config")
    return nested if isinstance(nested, dict) and "model_path" not in model else model


def passes(recipe: Recipe) -> list[str]:
    """The types of its passes, in order."""
    return [str(each.get("type", "?")) for each in _passes(recipe)]


def _passes(recipe: Recipe) -> list[dict[str, Any]]:
    return [each for entry in recipe["passes"].values() for each in (entry if isinstance(entry, list) else [entry])]


def precision(recipe: Recipe) -> str:
    """The precision that a pass says, for a name; `olive` where none does."""
    said = [
        value for each in _passes(recipe) if isinstance(value := (each.get("config") or each).get("precision"), str)
    ]
    return said[-1] if said and said[-1].isalnum() else "olive"


def corresponding(model: str, kind: Kind, wish: Wish) -> Recipe:
    """The workflow that makes what `cupola convert` would. Raises InvalidValue where Olive has no such passes."""
    precision = precision_of(kind, wish)
    if kind != "huggingface" or wish.to != "onnx":
        raise InvalidValue("A recipe of Olive says how ONNX is made of a Hugging Face model, and no other conversion.")
    if wish.device not in _PROVIDERS:
        raise InvalidValue(f"There is no device {wish.device!r}. Known: {', '.join(_PROVIDERS)}.")
    device, provider = _PROVIDERS[wish.device]
    builder: dict[str, Any] = {"type": "ModelBuilder", "precision": precision}
    for option, value in wish.builder.items():
        builder[_OPTIONS[option]] = int(value) if value.isdigit() else value
    if wish.prune_lm_head:
        builder["extra_options"] = {"prune_lm_head": True}
    accelerator = {"device": device, "execution_providers": [provider]}
    return {
        "input_model": {"type": "HfModel", "model_path": model},
        "systems": {"local_system": {"type": "LocalSystem", "accelerators": [accelerator]}},
        "passes": {"builder": builder},
        "target": "local_system",
        "evaluate_input_model": False,
        "output_dir": "model",
    }
