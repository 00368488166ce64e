"""A GGUF file as a folder for transformers: it computes what the file computes, and goes back to the same file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters import quality, reference
from converters.architectures.common import frequencies
from converters.architectures.llama import LLAMA3, stretched
from converters.checkpoint import Checkpoint
from converters.gguf_to_hf import convert
from converters.hf_to_gguf import convert as to_gguf
from converters.safetensors_writer import encode
from server.errors import ConversionFailed, InvalidValue
from server.models import gguf
from server.models.lineage import read_record

from .checkpoints import computed
from .conftest import say
from .small import write
from .test_architectures import LLAMA, MODELS

CLOSE = 1e-3  # of logits: two ways to sum in float32
LENGTH = 60
INEXPRESSIBLE = "llama with factors"  # that come of no stretch which config.json could name
EXPRESSIBLE = {name: model for name, model in MODELS.items() if name != INEXPRESSIBLE} | {
    "llama 3": replace(LLAMA, extra={"rope_freqs.weight": list(stretched(frequencies(1e4, 16), **LLAMA3[0]))})
}
# What llama.cpp has no key for, or none that its own converter writes.
ONE_WAY = {"gemma3 with a pattern and a cap", "gemma3 without a window"}


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_transformers_computes_what_the_file_says(name: str, tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", EXPRESSIBLE[name])
    convert(model, tmp_path / "folder")
    tokens = np.random.default_rng(1).integers(0, 250, LENGTH).tolist()
    truth = reference.logits(gguf.read(model), tokens, range(LENGTH))
    difference = np.abs(computed(tmp_path / "folder", tokens) - truth).max()
    say(f"{name}: {difference:.1e} in logits of {truth.std():.1f}")
    assert difference < CLOSE


@pytest.mark.parametrize("name", sorted(EXPRESSIBLE.keys() - ONE_WAY))
def test_and_back_it_is_the_same_model(name: str, tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", EXPRESSIBLE[name])
    convert(model, tmp_path / "folder")
    before, after = gguf.read(model), gguf.read(to_gguf(tmp_path / "folder", tmp_path / "back", "f32").file)
    assert before.tensors.keys() == after.tensors.keys()
    for tensor, info in before.tensors.items():
        one, other = before.raw(info).view("<f4"), after.raw(after.tensors[tensor]).view("<f4")
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=2e-7, err_msg=tensor)  # a norm has 1 taken and added
    tokens = np.random.default_rng(1).integers(0, 250, LENGTH).tolist()
    rows, others = (reference.logits(file, tokens, range(LENGTH)) for file in (before, after))
    np.testing.assert_allclose(rows, others, atol=1e-4)


@pytest.mark.real
@pytest.mark.timeout(180)
def test_the_default_model_is_what_transformers_computes(real_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    convert(real_model, tmp_path / "folder")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "folder")
    tokens = tokenizer.encode(quality.prose())[:LENGTH]
    truth = reference.logits(gguf.read(real_model), tokens, range(LENGTH))
    difference = np.abs(computed(tmp_path / "folder", tokens) - truth).max()
    say(f"{difference:.1e} in logits up to {np.abs(truth).max():.0f}")
    assert difference < CLOSE
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "<|im_start|>user\nHi<|im_end|>" in asked
    record = read_record(tmp_path / "folder")
    largest = max(
        info.shape[0] * info.shape[1] * 4 for info in gguf.read(real_model).tensors.values() if info.shape[1:]
    )
    assert record is not None
    say(f"record: peak {record.steps[-1].peak_memory} bytes, largest tensor {largest}")
    assert record.steps[-1].peak_memory


@pytest.mark.parametrize(
    ("precision", "kind", "step"), [("fp32", "F32", 0.0), ("fp16", "F16", 2**-11), ("bf16", "BF16", 2**-8)]
)
def test_a_type_rounds_and_no_more(precision: str, kind: str, step: float, tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", LLAMA)
    convert(model, tmp_path / "exact")
    convert(model, tmp_path / "folder", precision)
    exact, found = Checkpoint.open(tmp_path / "exact"), Checkpoint.open(tmp_path / "folder")
    assert found.types() == {kind: len(exact.shapes)}
    for name in exact.shapes:
        np.testing.assert_allclose(found.floats(name), exact.floats(name), rtol=step, atol=1e-7)


def test_numbers_are_rounded_as_torch_rounds_them() -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(3).standard_normal(20_000).astype(np.float32) * 10
    ties = (np.arange(-500, 500, dtype=np.int32) << 15).view(np.float32)
    for each in (values, ties[np.isfinite(ties)]):
        expected = torch.from_numpy(each.copy()).to(torch.bfloat16).view(torch.int16).numpy()
        assert encode(each, "BF16") == expected.tobytes()


def test_a_number_too_large_for_float16_is_an_error() -> None:
    with pytest.raises(ConversionFailed, match="bf16 or fp32"):
        encode(np.array([7e4], np.float32), "F16")


def test_what_config_json_has_no_words_for_is_refused(tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", MODELS[INEXPRESSIBLE])
    with pytest.raises(InvalidValue, match="no words for"):
        convert(model, tmp_path / "folder")
    with pytest.raises(InvalidValue, match="no precision 'int3'"):
        convert(model, tmp_path / "folder", "int3")
    assert not (tmp_path / "folder").exists()
