"""A folder in the layout of sentence-transformers: how the output of an encoder becomes one vector a text.

`modules.json` lists the steps, `1_Pooling/config.json` says how the vectors of the tokens are made one. The layout:
https://github.com/huggingface/sentence-transformers (sentence_transformers/base/model.py and models/).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

import msgspec

from ..errors import InvalidValue

GRAPH = "model.onnx"
LARGEST = 1 << 20
_FOLDER = re.compile(r"(?:\w[\w.-]*)?", re.ASCII)
Pooling = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "lasttoken", "weightedmean"]
T = TypeVar("T")


class _Module(msgspec.Struct, frozen=True):
    type: str
    path: str = ""


class _Transformer(msgspec.Struct, frozen=True):
    max_seq_length: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)] | None = None


class _Config(msgspec.Struct, frozen=True):
    vocab_size: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    hidden_size: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    max_position_embeddings: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    pad_token_id: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] | None = 0


class EncoderFolder(msgspec.Struct, frozen=True):
    """What the small files of a folder say."""

    vocab_size: int
    dimension: int
    context_length: int
    pad: int
    pooling: Pooling
    normalise: bool


def read(folder: Path) -> EncoderFolder:
    """Parse the files of a folder. Raises InvalidValue for a step that this project does not know.

    A folder without `modules.json` is an encoder as transformers has it; sentence-transformers takes the mean then.
    """
    config = _decoded(folder / "config.json", _Config)
    modules = _modules(folder)
    kinds = [module.type.rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer"], ["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InvalidValue(
            f"{folder.name} has the steps {', '.join(kinds)}; known are Transformer, Pooling, Normalize."
        )
    limit = folder / modules[0].path / "sentence_bert_config.json"
    longest = _decoded(limit, _Transformer).max_seq_length if limit.is_file() else None
    return EncoderFolder(
        vocab_size=config.vocab_size,
        dimension=config.hidden_size,
        context_length=min(longest or config.max_position_embeddings, config.max_position_embeddings),
        pad=config.pad_token_id or 0,
        pooling=_pooling(folder / modules[1].path / "config.json") if len(modules) > 1 else "mean",
        normalise="Normalize" in kinds,
    )


def small_files(folder: Path) -> list[str]:
    """Names of the files that an artifact needs beside its weights. Raises InvalidValue where one is missing."""
    read(folder)
    modules = _modules(folder)
    names = ["config.json", "tokenizer.json"]
    names += [f"{module.path}/config.json" for module in modules[1:2]]
    optional = ["modules.json", "tokenizer_config.json", "sentence_bert_config.json"]
    for name in names:
        if not (folder / name).is_file():
            raise InvalidValue(f"{folder} has no {name}.")
    return names + [name for name in optional if (folder / name).is_file()]


def _modules(folder: Path) -> list[_Module]:
    """The steps; paths lead nowhere but into the folder."""
    path = folder / "modules.json"
    modules = _decoded(path, list[_Module]) if path.is_file() else [_Module("Transformer")]
    for module in modules:
        if not _FOLDER.fullmatch(module.path):
            raise InvalidValue(f"{path}: '{module.path[:100]}' is no name of a folder inside.")
    return modules


def _pooling(path: Path) -> Pooling:
    """The one way that is switched on; the newer files name it."""
    content = _decoded(path, dict[str, Any])
    chosen = [content["pooling_mode"]] if isinstance(content.get("pooling_mode"), str) else list(_switched_on(content))
    if len(chosen) != 1 or chosen[0] not in get_args(Pooling):
        found = ", ".join(map(str, chosen)) or "nothing"
        raise InvalidValue(f"{path} pools by {found[:100]}; known is one of {', '.join(get_args(Pooling))}.")
    return cast("Pooling", chosen[0])


def _switched_on(content: dict[str, Any]) -> Iterator[str]:
    shorter = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "weightedmean_tokens": "weightedmean"}
    for key, value in content.items():
        if key.startswith("pooling_mode_") and value is True:
            name = key.removeprefix("pooling_mode_")
            yield shorter.get(name, name)


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} is larger than {LARGEST} bytes.")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidValue(f"{path} cannot be read: {error}.") from None
