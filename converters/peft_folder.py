"""A LoRA adapter as PEFT saves it: adapter_config.json and adapter_model.safetensors, read without torch or PEFT.

LoRA (https://arxiv.org/abs/2106.09685) adds scale * B A to a matrix, with A [rank, in] and B [out, rank]; scale is
alpha / rank, or with rank-stabilised LoRA (https://arxiv.org/abs/2312.03732) alpha / sqrt(rank). Which matrices those
are says the file; the patterns of the configuration (target modules, ranks) have done their work when it was trained.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import SchemaError, SchemaValidator, core_schema

from server.errors import InvalidValue

from . import safetensors_file
from .checkpoint import finite, is_pickle, read_json, refuse_strangers
from .safetensors_file import Floats, Safetensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
LONGEST_PATTERN = 300  # characters of a regular expression in `alpha_pattern`
MOST_PATTERNS = 4096
LONGEST_NAME = 512  # characters of a tensor's name
Matches = Callable[[str], bool]
_MATRIX = re.compile(r"(?P<module>.+)\.lora_(?P<kind>[AB])(?:\.default)?\.weight")
# What the configuration may say that is more than B A, each with what it is called.
_MORE = {
    "use_dora": "DoRA",
    "lora_bias": "biases",
    "use_qalora": "QALoRA",
    "modules_to_save": "whole modules (modules_to_save)",
    "trainable_token_indices": "embeddings of new tokens",
    "target_parameters": "parameters that are no layers",
    "alora_invocation_tokens": "an activation in the middle of a prompt (aLoRA)",
    "arrow_config": "several adapters (Arrow)",
}
# Ways to begin that change the weights of the base, too: the adapter does not fit the base that everybody has.
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class Pair:
    """What is added to one matrix: `scale` * `b` [out, rank] `a` [rank, in]."""

    a: Floats
    b: Floats
    scale: float

    @property
    def rank(self) -> int:
        return len(self.a)


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter: its pairs by the names of the modules in the base, and the alpha that is stated for most of them."""

    folder: Path
    base_model: str
    alpha: float
    pairs: dict[str, Pair]


def read(folder: Path) -> Lora:
    """Raises InvalidValue for a folder that is no such adapter, holds a pickle, or does more than LoRA."""
    config = _config(folder)
    path = folder / WEIGHTS
    if not path.is_file() or is_pickle(path):
        for other in (path, *sorted(folder.glob("adapter_model.*"))):
            if other.is_file() and is_pickle(other):
                raise InvalidValue(
                    f"{other} is a pickle, and loading one runs its code; save the adapter as safetensors."
                )
        raise InvalidValue(f"{folder} has no {WEIGHTS}.")
    modules = _modules(safetensors_file.read(path))
    alpha = _number(config, "lora_alpha", folder)
    alphas = _alphas(config, folder)
    pairs: dict[str, Pair] = {}
    for module, matrices in modules.items():
        if matrices.keys() != {"A", "B"}:
            raise InvalidValue(f"{path} has only one of the two matrices of {module[:80]}.")
        a, b = matrices["A"], matrices["B"]
        if a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1] or not len(a):
            raise InvalidValue(f"{path}: the matrices of {module[:80]} do not fit each other.")
        own = next((value for matches, value in alphas if matches(module)), alpha)
        pairs[module] = Pair(a, b, own / (sqrt(len(a)) if config.get("use_rslora") else len(a)))
    if not pairs:
        raise InvalidValue(f"{path} has no matrices of LoRA.")
    return Lora(folder, str(config.get("base_model_name_or_path") or ""), alpha, pairs)


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InvalidValue(f"{folder} is no folder.")
    refuse_strangers(folder)
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise InvalidValue(f"{folder.name} is of the kind {str(config.get('peft_type'))[:40]}; only LORA is supported.")
    more = [name for key, name in _MORE.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        more.append("biases")
    if more:
        raise InvalidValue(
            f"{folder.name} has {more[0]} beside LoRA, which is not supported; merge it with PEFT instead."
        )
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(_CHANGED_BASE):
        raise InvalidValue(
            f"{folder.name} was begun with {start}, which changes the base; save it as plain LoRA with PEFT"
            " (path_initial_model_for_weight_conversion)."
        )
    return config


def _modules(file: Safetensors) -> dict[str, dict[str, Floats]]:
    """A and B of each module. Raises InvalidValue for a tensor that is neither, or not finite."""
    found: dict[str, dict[str, Floats]] = {}
    for name, entry in file.entries.items():
        place = _MATRIX.fullmatch(name.removeprefix(PREFIX)) if len(name) <= LONGEST_NAME else None
        if place is None:
            raise InvalidValue(
                f"{file.path} has {name[:100]}, which is no matrix of LoRA; merge it into its base with PEFT instead."
            )
        values = file.floats(name, *entry.shape)
        if not np.isfinite(values).all():
            raise InvalidValue(f"{file.path}: {name[:100]} has numbers that are not finite.")
        found.setdefault(place["module"], {})[place["kind"]] = values
    return found


def _alphas(config: dict[str, Any], folder: Path) -> list[tuple[Matches, float]]:
    """Alphas of certain modules, by what PEFT matches their names with: the end, or a regular expression."""
    stated = config.get("alpha_pattern") or {}
    if not isinstance(stated, dict):
        raise InvalidValue(f"{folder / CONFIG}: alpha_pattern is no object.")
    if len(stated) > MOST_PATTERNS:
        raise InvalidValue(f"{folder / CONFIG}: alpha_pattern has more than {MOST_PATTERNS} patterns.")
    return [(_pattern(key, folder), _number(stated, key, folder)) for key in stated]


def _pattern(key: str, folder: Path) -> Matches:
    """By an automaton, in time that grows with the name alone: Python's `re` goes back, for hours if a stranger's
    pattern is made for it. What an automaton cannot do (looking around, references) is refused. So is counting, since
    `(.{1,100}){1,90}` makes a large one.
    """
    if len(key) > LONGEST_PATTERN:
        raise InvalidValue(f"{folder / CONFIG}: a pattern in alpha_pattern has more than {LONGEST_PATTERN} characters.")
    if "{" in key:
        raise InvalidValue(f"{folder / CONFIG}: {key[:80]!r} in alpha_pattern counts repetitions; write them out.")
    whole = rf"^(?:.*\.)?(?:{key})$"
    try:
        return SchemaValidator(core_schema.str_schema(pattern=whole, regex_engine="rust-regex")).isinstance_python
    except SchemaError as error:
        reason = str(error).strip().rpartition("\n")[2].strip()
        raise InvalidValue(f"{folder / CONFIG}: {key[:80]!r} in alpha_pattern is no pattern: {reason}.") from None


def _number(values: dict[str, Any], key: str, folder: Path) -> float:
    value = finite(values.get(key))
    if value is None:
        raise InvalidValue(f"{folder / CONFIG}: {key[:80]} is {str(values.get(key))[:40]}, not a number.")
    return value
