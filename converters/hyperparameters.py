"""The sizes in a checkpoint's config.json, checked, with the defaults that transformers gives what is not there."""

from dataclasses import dataclass
from typing import Any

from server.errors import InvalidValue

from .checkpoint import Checkpoint, finite

ARCHITECTURES = {  # classes of transformers, and what llama.cpp calls them
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma3ForCausalLM": "gemma3",
    "Phi3ForCausalLM": "phi3",
}
_HEAD_SIZES = {"qwen3": 128, "gemma3": 256}  # where config.json names none
_BASES = {"gemma3": 1_000_000.0}
_LARGEST = 1 << 24
_SMALLEST_DIVISOR, _LARGEST_DIVISOR = 1e-6, 1e15
_DIVISORS = (
    "factor",
    "attention_factor",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
)
Rope = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """A decoder's sizes. `rope` is of layers that see everything, `near_base` the base of those with a window."""

    architecture: str
    vocabulary: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int | None  # None: hidden / heads, and nobody says so
    feed_forward: int
    context: int
    epsilon: float
    rope: Rope
    near_base: float | None
    window: int | None
    final_softcap: float | None
    raw: dict[str, Any]  # config.json

    @property
    def width(self) -> int:
        """Of a head."""
        return self.head_size or self.hidden // self.heads


def read(checkpoint: Checkpoint) -> Hyperparameters:
    """Raises InvalidValue for an architecture that is not known, or a size that cannot be."""
    found = _Config(checkpoint)
    architecture = ARCHITECTURES.get(checkpoint.architecture)
    if architecture is None:
        known = ", ".join(ARCHITECTURES)
        raise InvalidValue(f"{found.name} is a {checkpoint.architecture[:60] or 'model of no class'}. Known: {known}.")
    heads, hidden = found.count("num_attention_heads"), found.count("hidden_size")
    rope, near = _rope(found, architecture)
    return Hyperparameters(
        architecture,
        vocabulary=found.count("vocab_size"),
        layers=found.count("num_hidden_layers", most=512),
        hidden=hidden,
        heads=heads,
        kv_heads=found.count("num_key_value_heads", heads),
        head_size=_head_size(found, architecture, hidden // heads),
        feed_forward=found.count("intermediate_size"),
        context=found.count("max_position_embeddings", 2048),
        epsilon=found.number("rms_norm_eps", 1e-6),
        rope=rope,
        near_base=near,
        window=found.count("sliding_window") if found.config.get("sliding_window") is not None else None,
        final_softcap=found.number("final_logit_softcapping", 0.0) or None,
        raw=found.config,
    )


@dataclass(frozen=True, slots=True)
class _Config:
    checkpoint: Checkpoint

    @property
    def config(self) -> dict[str, Any]:
        return self.checkpoint.config

    @property
    def name(self) -> str:
        return self.checkpoint.folder.name

    def count(self, key: str, default: int | None = None, most: int = _LARGEST) -> int:
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
            raise InvalidValue(
                f"{self.name}: {key} in config.json is {str(value)[:60]}, not a number of the usual size."
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self.config.get(key)
        return self.checked(key, default if value is None else value)

    def checked(self, key: str, value: object) -> float:
        number = finite(value)
        if number is None or number < 0:
            raise InvalidValue(f"{self.name}: {key} in config.json is {str(value)[:60]}, not a number.")
        return number

    def positive(self, key: str, value: object) -> float:
        """Of the rotary positions: what is divided by, or whose logarithm is taken."""
        number = self.checked(key, value)
        if not _SMALLEST_DIVISOR <= number <= _LARGEST_DIVISOR:
            raise InvalidValue(
                f"{self.name}: {key} in config.json is {str(value)[:60]}; usual are {_SMALLEST_DIVISOR:g} to"
                f" {_LARGEST_DIVISOR:g}."
            )
        return number


def _head_size(found: _Config, architecture: str, quotient: int) -> int | None:
    if found.config.get("head_dim") is not None:
        return found.count("head_dim", most=1 << 12)
    return _HEAD_SIZES.get(architecture, quotient if architecture == "llama" else None)


def _rope(found: _Config, architecture: str) -> tuple[Rope, float | None]:
    """Rotary positions as transformers 5 writes them (`rope_parameters`), or as those before it did.

    What depends on the kind of layer comes apart: for those that see everything, and the base of those with a window.
    """
    config = found.config
    stated = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(stated, dict):
        raise InvalidValue(f"{found.name}: the rotary positions in config.json are no object.")
    near: object = None
    if isinstance(stated.get("full_attention"), dict):
        sliding = stated.get("sliding_attention")
        near = sliding.get("rope_theta") if isinstance(sliding, dict) else None
        stated = stated["full_attention"]
    elif architecture == "gemma3":
        near = config.get("rope_local_base_freq", 10_000.0)
    rope = {key: value for key, value in stated.items() if value is not None}
    rope.setdefault("rope_type", rope.get("type", "default"))
    base = rope.get("rope_theta", config.get("rope_theta"))
    rope["rope_theta"] = found.positive("rope_theta", _BASES.get(architecture, 10_000.0) if base is None else base)
    for key in ("partial_rotary_factor", "original_max_position_embeddings"):
        if config.get(key) is not None:
            rope.setdefault(key, config[key])
    for key in _DIVISORS:
        if key in rope:
            rope[key] = found.positive(key, rope[key])
    if rope.get("low_freq_factor", 1.0) >= rope.get("high_freq_factor", 4.0):
        raise InvalidValue(f"{found.name}: low_freq_factor in config.json is not less than high_freq_factor.")
    return rope, None if near is None else found.positive("rope_theta", near)
