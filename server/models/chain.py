"""Which converters make one thing of another, in which order. Pure."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ..errors import InvalidValue
from .spec import PRECISIONS

Kind = Literal["huggingface", "gguf", "adapter"]
Target = Literal["onnx", "gguf", "hf"]
FLOATS = ("f32", "f16", "bf16", "q8_0")  # what a checkpoint becomes in one step
# What each converter makes. Those of gguf-to-gguf are llama.cpp's, whose library only the converter loads; a test
# compares them.
MADE_BY = {
    "hf-to-onnx": ("fp32", "fp16", "bf16", "int8", "int4"),
    "gguf-to-hf": ("fp32", "fp16", "bf16"),
    "gguf-to-onnx": PRECISIONS["gguf-to-onnx"],
    "gguf-to-gguf": tuple(
        "f32 bf16 f16 iq1_m iq1_s iq2_m iq2_s iq2_xs iq2_xxs iq3_m iq3_s iq3_xs iq3_xxs iq4_nl iq4_xs mxfp4_moe q1_0"
        " q2_0 q2_k q2_k_s q3_k_l q3_k_m q3_k_s q4_0 q4_1 q4_k_m q4_k_s q5_0 q5_1 q5_k_m q5_k_s q6_k q8_0 tq1_0"
        " tq2_0".split()
    ),
}
# Where the user does not say: close to the source, and what its engine runs fast.
DEFAULTS: dict[tuple[Kind, str], str] = {
    ("huggingface", "onnx"): "int8",
    ("huggingface", "gguf"): "q8_0",
    ("gguf", "onnx"): "exact",
    ("gguf", "gguf"): "q8_0",
    ("gguf", "hf"): "fp32",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One converter, what it reads beside its source, and its options."""

    converter: str
    options: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be made. `builder` are options of the model builder, by their names on the command line."""

    to: str
    precision: str | None = None
    device: str = "cpu"
    imatrix: str | None = None
    builder: dict[str, str] = field(default_factory=dict)
    prune_lm_head: bool = False


def kind_of(source: Path) -> Kind:
    """What a file or folder is. Raises InvalidValue for what is not converted."""
    if source.is_file():
        if source.suffix != ".gguf":
            raise InvalidValue(f"{source} is not called *.gguf; folders with config.json and safetensors convert too.")
        return "gguf"
    if (source / "adapter_config.json").is_file():
        return "adapter"
    if not (source / "config.json").is_file():
        raise InvalidValue(f"{source} has no config.json, so it is no Hugging Face model.")
    return "huggingface"


def precision_of(kind: Kind, wish: Wish) -> str:
    """The precision that is made. Raises InvalidValue for what there is no way to."""
    if wish.to not in get_args(Target):
        raise InvalidValue(f"--to: there is no way to {wish.to!r}. Known: {', '.join(get_args(Target))}.")
    default = DEFAULTS.get((kind, wish.to))
    if default is None:
        raise InvalidValue("It is a Hugging Face folder already.")
    return wish.precision or default


def stages(kind: Kind, wish: Wish) -> list[Stage]:
    """What to run, one after the other. Raises InvalidValue where an option has nothing to act on."""
    precision = precision_of(kind, wish)
    from_checkpoint = kind == "huggingface" and wish.to == "onnx"
    if wish.prune_lm_head and not from_checkpoint:
        raise InvalidValue("--prune-lm-head is for ONNX made of a Hugging Face model.")
    if wish.builder and not from_checkpoint:
        raise InvalidValue(f"{next(iter(wish.builder))} is for ONNX made of a Hugging Face model.")
    if wish.imatrix is not None and wish.to != "gguf":
        raise InvalidValue("--imatrix is for GGUF.")
    if wish.device != "cpu" and not from_checkpoint:
        raise InvalidValue(f"--device {wish.device} is for ONNX made of a Hugging Face model; others run anywhere.")
    known = MADE_BY["hf-to-onnx" if from_checkpoint else f"gguf-to-{wish.to}"]
    if precision not in known:  # said here, before a first converter has run for nothing
        raise InvalidValue(f"--precision: {wish.to} has no {precision!r}. Known: {', '.join(known)}.")
    chosen = ("--precision", precision)
    if from_checkpoint:
        options = [part for pair in wish.builder.items() for part in pair]
        options += ["--prune-lm-head"] * wish.prune_lm_head
        return [Stage("hf-to-onnx", (*chosen, "--device", wish.device, *options))]
    if wish.to != "gguf":
        return [Stage(f"gguf-to-{wish.to}", chosen)]
    weighed = ("--imatrix", wish.imatrix) if wish.imatrix else ()
    if kind == "gguf":
        return [Stage("gguf-to-gguf", (*chosen, *weighed))]
    if precision in FLOATS and not weighed:
        return [Stage("hf-to-gguf", chosen)]
    return [Stage("hf-to-gguf", ("--precision", "auto")), Stage("gguf-to-gguf", (*chosen, *weighed))]


def merged(adapter: Path, wish: Wish) -> list[Stage]:
    """What to run on the base of an adapter: the merge, and what makes the wish of a checkpoint."""
    merge = Stage("merge", inputs=(str(adapter),))
    if wish.to == "hf":
        if wish.precision is not None:
            raise InvalidValue("--precision: what is merged keeps the precision of its base.")
        return [merge]
    return [merge, *stages("huggingface", wish)]
