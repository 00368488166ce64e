"""A Hugging Face folder as a folder for ONNX Runtime, by the model builder of ONNX Runtime GenAI.

    python -m converters hf-to-onnx FOLDER TARGET --precision int4 [--device cpu]

The builder needs torch and transformers. It loads the weights from safetensors and never runs code of the folder.
AWQ and GPTQ are ways to make a checkpoint: one that was quantised so is built as it is, at the precision it has.
"""

import contextlib
import errno
import io
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from server.errors import ConversionFailed, CupolaError, InvalidValue
from server.models import genai_config
from server.models.files import FULL

from . import manifest, tensor_types
from .appearing import appearing, require_growth
from .builder_memory import spilling
from .checkpoint import WEIGHTS, check_weights, checked_config, copy_own

Precision = Literal["fp32", "fp16", "bf16", "int8", "int4"]
Algorithm = Literal["rtn", "k_quant", "k_quant_mixed", "k_quant_last", "rtn_last"]
# The device in the words of `cupola convert`, and the builder's for the execution provider.
PROVIDERS = {"cpu": "cpu", "cuda": "cuda", "dml": "dml", "webgpu": "webgpu"}
WEIGHT_ONLY = ("int4", "int8")
BLOCKS = (16, 32, 64, 128, 256)
MOST_WORDS = 400  # of the builder, in an error
TEMPLATE = "chat_template.jinja"
# What the builder and the libraries below it raise where a model or an option is not for them.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the builder is asked. `block_size`, `symmetric`, `accuracy_level` and `algorithm` are of int4 and int8.

    `accuracy_level`: 1 float32, 2 float16, 3 bfloat16, 4 int8 activations in products; None the builder's choice.
    `prune_lm_head`: logits of the last position only; prompts are faster, and echo, log-probabilities of prompts and
    perplexity are gone.
    """

    precision: str = "int4"
    device: str = "cpu"
    block_size: int = 32
    symmetric: bool = True
    accuracy_level: int | None = None
    algorithm: str | None = None
    prune_lm_head: bool = False

    def check(self) -> None:
        """Raises InvalidValue for what the builder cannot do, before anything heavy is loaded."""
        if self.precision not in get_args(Precision):
            raise InvalidValue(f"There is no precision {self.precision!r}. Known: {', '.join(get_args(Precision))}.")
        if self.device == "npu":
            raise InvalidValue(
                "Models for an NPU are compiled by its maker's tools (QNN, OpenVINO, Ryzen AI); run those through"
                " --olive, or pull a package made for it."
            )
        if self.device not in PROVIDERS:
            raise InvalidValue(f"There is no device {self.device!r}. Known: {', '.join(PROVIDERS)}, npu.")
        if self.block_size not in BLOCKS:
            raise InvalidValue(f"block_size: {self.block_size} is not one of {', '.join(map(str, BLOCKS))}.")
        if self.algorithm is not None and self.algorithm not in get_args(Algorithm):
            raise InvalidValue(f"There is no algorithm {self.algorithm!r}. Known: {', '.join(get_args(Algorithm))}.")
        if self.algorithm is not None and self.precision not in WEIGHT_ONLY:
            raise InvalidValue(f"algorithm: {self.precision} quantises nothing; use int4 or int8.")
        if self.accuracy_level not in {None, 1, 2, 3, 4}:
            raise InvalidValue(f"accuracy_level: {self.accuracy_level} is not a number from 1 to 4.")
        if self.device == "cpu" and self.precision in {"fp16", "bf16"}:
            raise InvalidValue(f"{self.precision} is not for the processor, whose kernels are of float32; use fp32.")

    def for_builder(self) -> list[str]:
        """KEY=VALUE, as its command takes them. `hf_remote`: whether code of the folder may run."""
        pairs: dict[str, Any] = {"hf_remote": False, "hf_token": False}
        if self.precision in WEIGHT_ONLY:
            pairs |= {"block_size": self.block_size, "is_symmetric": self.symmetric}
            if self.accuracy_level is not None:
                pairs["accuracy_level"] = self.accuracy_level
            if self.algorithm is not None:
                pairs["algo_config"] = self.algorithm
        if self.prune_lm_head:
            pairs["prune_lm_head"] = True
        return [f"{key}={str(value).lower()}" for key, value in pairs.items()]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was made, and the bytes that the process held at most."""

    folder: Path
    tensors: dict[str, int]
    peak_memory: int | None


def convert(source: Path, folder: Path, options: Options = Options()) -> Outcome:
    """Write `folder`. Raises InvalidValue for options or a checkpoint that do not convert, ConversionFailed with the
    builder's own words, CupolaError where it is not installed; nothing is left under the name then.
    """
    options.check()
    config = checked_config(source)
    if not (source / WEIGHTS).is_file() and not any(source.glob("*.safetensors")):
        raise InvalidValue(f"{source} has no {WEIGHTS}; weights of other kinds are not read.")
    check_weights(source, config)
    libraries = ("onnxruntime-genai", "onnxruntime", "torch", "transformers")
    work = manifest.Work("hf-to-onnx", asdict(options), libraries=libraries)
    work.read(source)
    with appearing(folder) as partial:
        scratch = partial.resolve() / "builder"  # as large as the float model, and gone with what a killed run left
        scratch.mkdir()
        with quiet() as words:
            _build(source.resolve(), partial.resolve(), options, scratch, words, config)
        shutil.rmtree(scratch)
        if (source / TEMPLATE).is_file() and not (partial / TEMPLATE).is_file():
            copy_own(source / TEMPLATE, partial)
        genai_config.read(partial)  # what the server would refuse is no artifact
        types = tensor_types.of_onnx(partial)
        record = manifest.write(partial, work, tensor_types=types)
    return Outcome(folder, types, record.steps[-1].peak_memory)


def model_builder() -> Any:
    """GenAI's module. Raises CupolaError where something that it needs is not installed."""
    try:
        from onnxruntime_genai.models import builder
    except ModuleNotFoundError as error:
        raise CupolaError(
            f"This converter needs {error.name}. Install it with: pip install 'cupola[cpu,convert]'"
        ) from None
    return builder


def _build(
    source: Path, target: Path, options: Options, scratch: Path, words: io.StringIO, config: dict[str, Any]
) -> None:
    architecture = (config.get("architectures") or ["unknown"])[0]
    builder = model_builder()
    provider = PROVIDERS[options.device]
    places = ("", str(source), str(target), options.precision, provider, str(scratch / "cache"))
    try:
        with spilling(builder, scratch):
            extra = builder.parse_extra_options(*places, options.for_builder())
            builder.create_model(*places, **extra)
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in {*FULL, errno.EFBIG}:
            raise
        require_growth(target)
        last = words.getvalue().strip().rpartition("\n")[2]
        reason = str(error) or last or type(error).__name__
        raise ConversionFailed(f"The model builder cannot make {architecture}: {reason[:MOST_WORDS]}") from None


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """The builder tells of every tensor: kept for the error, and not shown."""
    words = io.StringIO()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
            yield words
    finally:
        logging.disable(level)
