"""A Hugging Face folder, read without running anything of it: config, tensors in safetensors, tokenizer, template.

Weights in pickles are refused by their first bytes, whatever they are called, and so is a model that brings code.
"""

import json
import shutil
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

from server.errors import InvalidValue

from . import safetensors_file
from .safetensors_file import Floats, Safetensors

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
# What belongs to a model beside its weights and config, and goes where it goes.
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
ADAPTER_WEIGHTS = "adapter_model.safetensors"  # PEFT's
LARGEST_JSON = 64 << 20  # bytes; tokenizers of large vocabularies come near
# Rows by words, as transformers calls the matrix in decoders, alone or beside an encoder of images.
_EMBEDDINGS = tuple(
    f"{prefix}embed_tokens.weight" for prefix in ("model.", "language_model.model.", "model.language_model.")
)
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_ZIP = b"PK\x03\x04"  # what torch.save writes since 1.6: a zip with a pickle in it
_PICKLE = b"\x80"  # the first byte of a pickle of protocol 2 and up


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened folder. Tensors are mapped, and become float32 one at a time."""

    folder: Path
    config: dict[str, Any]
    files: tuple[Safetensors, ...]
    shapes: dict[str, tuple[int, ...]]
    _where: dict[str, Safetensors]

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Raises InvalidValue for a folder that is no such model, would have to run code, or is damaged."""
        config = checked_config(folder)
        if config.get("quantization_config"):
            raise InvalidValue(f"{folder.name} is quantised already; take the checkpoint that it was made from.")
        files = tuple(safetensors_file.read(path) for path in _weight_files(folder))
        where: dict[str, Safetensors] = {}
        for file in files:
            if twice := where.keys() & file.entries.keys():
                raise InvalidValue(f"{folder.name} has {min(twice)} in two files.")
            where |= dict.fromkeys(file.entries, file)
        shapes = {name: tuple(file.entries[name].shape) for name, file in where.items()}
        refuse_rows(folder, config, shapes)
        return cls(folder, config, files, shapes, where)

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def architecture(self) -> str:
        """The class that transformers would load, as config.json names it."""
        names: list[str] = self.config.get("architectures") or [""]
        return names[0]

    def kind(self, name: str) -> str:
        """How a tensor is stored: F32, F16 or BF16."""
        return self._where[name].entries[name].dtype

    def floats(self, name: str) -> Floats:
        """A tensor as float32. Raises InvalidValue where there is none, or it does not lie in its file."""
        if name not in self._where:
            raise InvalidValue(f"{self.folder.name} has no tensor {name}.")
        return self._where[name].floats(name, *self.shapes[name])

    def types(self) -> dict[str, int]:
        """How many tensors are stored in which type."""
        kinds = sorted(self.kind(name) for name in self.shapes)
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def companions(self) -> list[Path]:
        """The files of tokenizer, template and generation that are there, and the licence."""
        named = [self.folder / name for name in COMPANIONS]
        return [path for path in (*named, *sorted(self.folder.glob("LICENSE*"))) if path.is_file()]


def checked_config(folder: Path) -> dict[str, Any]:
    """The content of config.json, of a folder that needs no code to run. Raises InvalidValue."""
    if not folder.is_dir():
        raise InvalidValue(f"{folder} is no folder.")
    refuse_code(folder)
    refuse_strangers(folder)
    config = read_json(folder / CONFIG)
    if "auto_map" in config:
        raise InvalidValue(f"{folder.name} brings Python code of its own (auto_map), which is never run.")
    classes = config.get("architectures") or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InvalidValue(f"{folder / CONFIG}: architectures is no list of names.")
    if (folder / INDEX).is_file():
        _weight_files(folder)  # libraries follow the names in an index, wherever those lead
    return config


def check_weights(folder: Path, config: dict[str, Any]) -> None:
    """For a folder that a library reads: its safetensors as `Checkpoint.open` checks them, quantised ones too.

    Raises InvalidValue.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= {name: tuple(entry.shape) for name, entry in safetensors_file.read(path).entries.items()}
    refuse_rows(folder, config, shapes)


def refuse_rows(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises InvalidValue where `vocab_size` is not how many rows the embedding has: libraries make what it says."""
    text = config.get("text_config")
    stated = (text if isinstance(text, dict) else config).get("vocab_size", config.get("vocab_size"))
    shape = next((shapes[name] for name in _EMBEDDINGS if name in shapes), None)
    if stated is not None and shape is not None and shape[:1] != (stated,):
        raise InvalidValue(
            f"{folder.name}: vocab_size in config.json is {str(stated)[:40]}, and the embedding is {list(shape)};"
            " one of them is another model's."
        )


def finite(value: object) -> float | None:
    """A number of a JSON file; None for what is none, or too large to be one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def refuse_strangers(folder: Path) -> None:
    """Raises InvalidValue for a pipe or device among a model's files, and for a link that leads out of its folder.

    Libraries open whatever a folder holds under the names they know.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            continue
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InvalidValue(f"{path} is neither a file nor a folder, and is not read.")
        _refuse_way_out(path)


def _refuse_way_out(path: Path) -> Path:
    """The file that is meant, which is of the model. Raises InvalidValue.

    The hub's cache keeps files as links into blobs/ beside its snapshots; those are the model's.
    """
    folder, real = path.parent.resolve(), path.resolve()
    blobs = [above / "blobs" for above in folder.parents if (above / "snapshots").is_dir()]
    if not any(real.is_relative_to(place) for place in (folder, *blobs)):
        raise InvalidValue(f"{path} is a link that leads out of the model's folder; put the file there itself.")
    return real


def copy_own(path: Path, target: Path) -> None:
    """Copy a file of a model's folder into another. Raises InvalidValue for a link to what is not the model's."""
    shutil.copyfile(_refuse_way_out(path), target / path.name)


def refuse_code(folder: Path) -> None:
    """Raises InvalidValue where the weights that a library would find are pickles: loading one runs its code."""
    pickles = [path for path in sorted(folder.iterdir()) if path.is_file() and is_pickle(path)]
    if pickles and not any((folder / name).is_file() for name in (WEIGHTS, INDEX, ADAPTER_WEIGHTS)):
        raise InvalidValue(
            f"{pickles[0]} is a pickle, and loading one runs its code; take the model's safetensors instead."
        )
    for path in folder.glob("*.safetensors"):
        if is_pickle(path):
            raise InvalidValue(f"{path} is called safetensors and is a pickle; it is not loaded.")


def is_pickle(path: Path) -> bool:
    """By its first bytes. Protocols 0 and 1 have no mark, so there the name decides."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_ZIP) or (head[:1] == _PICKLE and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}):
        return path.suffix != ".zip"
    return path.suffix in _PICKLED and path.name != "training_args.bin"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size. Raises InvalidValue."""
    try:
        if path.exists() and not path.is_file():
            raise InvalidValue(f"{path} is no file.")
        if path.stat().st_size > LARGEST_JSON:
            raise InvalidValue(f"{path} has more than {LARGEST_JSON >> 20} MB.")
        found = json.loads(path.read_bytes(), parse_int=_integer)
    except FileNotFoundError:
        raise InvalidValue(f"{path.parent} has no {path.name}.") from None
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{path} is no JSON: {str(error)[:100]}.") from None
    if not isinstance(found, dict):
        raise InvalidValue(f"{path} is no JSON object.")
    return found


def _integer(digits: str) -> int:
    """Raises ValueError for what no float holds: whatever computes with it would end in an error of its own."""
    number = int(digits)
    if finite(number) is None:
        raise ValueError(f"{digits[:20]}... is no number of the usual size")
    return number


def _weight_files(folder: Path) -> list[Path]:
    """One file, or those of the index. Raises InvalidValue."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise InvalidValue(f"{folder} has no {WEIGHTS}; weights of other kinds are not read.")
    parts = read_json(folder / INDEX).get("weight_map")
    names = sorted({str(name) for name in parts.values()}) if isinstance(parts, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise InvalidValue(f"{folder / INDEX} does not name the files of the model.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InvalidValue(f"{folder} lacks {missing[0]}, which its index names.")
    return [folder / name for name in names]
