"""A checkpoint as a GGUF file, compared with what llama.cpp's own converter makes of it, key by key, byte by byte."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import gguf_to_hf
from converters.hf_to_gguf import convert
from server.models import gguf

from .checkpoints import Checkpoint, write_pieces, write_tokenizer
from .outside import PIECE_COUNT, Outside
from .small import Small, write

pytest.importorskip("torch")
pytest.importorskip("transformers")

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"type": "longrope", "short_factor": [1.0 + i / 8 for i in range(8)], "long_factor": [2.0 + i for i in range(8)]}
# Every case with the type that it is converted to.
BYTES = {
    "llama": (Checkpoint("Llama", {"tie_word_embeddings": False}), "f32"),
    "llama with llama3 rope": (
        Checkpoint(
            "Llama",
            {
                "hidden_size": 256,
                "rope_parameters": LLAMA3 | {"rope_theta": 5e5, "original_max_position_embeddings": 256},
            },
        ),
        "q8_0",
    ),
    "qwen2": (Checkpoint("Qwen2", {"tie_word_embeddings": True}), "bf16"),
    "qwen3": (Checkpoint("Qwen3", {"head_dim": 32}), "f16"),
}
PIECES = {
    "llama of pieces": (Checkpoint("Llama", {"attention_bias": False}), "f16"),
    "gemma3": (Checkpoint("Gemma3", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32}), "q8_0"),
    "phi3": (Checkpoint("Phi3", {"sliding_window": 64, "pad_token_id": 3}), "f32"),
    "phi3 with longrope": (
        Checkpoint("Phi3", {"rope_scaling": LONG, "original_max_position_embeddings": 128, "pad_token_id": 3}),
        "f16",
    ),
}
SMOLLM2 = "smollm2-135m-instruct"  # whole, dequantised
JSON = "llama of pieces in tokenizer.json alone"
TUNED = "a fine-tuned llama with more tokens"
# Where ours is another on purpose: the key, and why.
DELIBERATE = {
    JSON: {
        "tokenizer.ggml.scores": "theirs are -1000 for every piece, by which llama.cpp joins them in a wrong order",
        "tokenizer.ggml.token_type": "theirs has normal tokens where tokenizer.json says special",
    }
}


@pytest.fixture(scope="module")
def checkpoints(
    real_model: Path, coder_model: Path, sentencepiece: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, str]]:
    """Folders by case, with the type to convert them to."""
    home = tmp_path_factory.mktemp("checkpoints")
    found = {}
    for name, (checkpoint, precision) in BYTES.items():
        folder = home / name.replace(" ", "-")
        size = write_tokenizer(coder_model if "qwen" in name else real_model, folder)
        found[name] = (checkpoint.write(folder, size), precision)
    for name, (checkpoint, precision) in PIECES.items():
        folder = home / name.replace(" ", "-")
        write_pieces(sentencepiece, folder)
        found[name] = (checkpoint.write(folder, PIECE_COUNT + 8), precision)
    gguf_to_hf.convert(real_model, home / SMOLLM2)
    found[SMOLLM2] = (home / SMOLLM2, "f16")
    found[JSON] = (_of_json(home), "f16")
    found[TUNED] = (_tuned(real_model, home), "bf16")
    return found


def _of_json(home: Path) -> Path:
    model = write(home / "small.gguf", Small("llama", tied=False, pieces=True))
    size = write_tokenizer(model, home / "json")
    return Checkpoint("Llama", {}).write(home / "json", size)


def _tuned(real_model: Path, home: Path) -> Path:
    """As a training with transformers leaves it: in bf16, with tokens added, both saved by the library."""
    import torch
    from transformers import AddedToken, AutoTokenizer

    write_tokenizer(real_model, home / "before")
    Checkpoint("Llama", {}).write(home / "before", 49152)
    tokenizer: Any = AutoTokenizer.from_pretrained(home / "before")
    tokenizer.add_tokens(["<tool>", AddedToken("  two  ", normalized=False)])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|think|>"]})
    tokenizer.save_pretrained(home / "tuned")
    return Checkpoint("Llama", {}, torch.bfloat16).write(home / "tuned", len(tokenizer))


@pytest.fixture(scope="module")
def theirs(
    outside: Outside, checkpoints: dict[str, tuple[Path, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("theirs")
    files = {name: home / f"{number}.gguf" for number, name in enumerate(checkpoints)}
    outside.convert([(folder, files[name], precision) for name, (folder, precision) in checkpoints.items()])
    return files


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [SMOLLM2, *BYTES, *PIECES, JSON, TUNED])
def test_it_is_what_llama_cpp_s_converter_makes(
    case: str, checkpoints: dict[str, tuple[Path, str]], theirs: dict[str, Path], tmp_path: Path
) -> None:
    folder, precision = checkpoints[case]
    made = convert(folder, tmp_path / "made", precision)
    differing = compare(gguf.read(made.file), gguf.read(theirs[case]))
    assert differing == sorted(DELIBERATE.get(case, {}))


def compare(ours: gguf.Gguf, other: gguf.Gguf) -> list[str]:
    """The names of keys and tensors that are not the same, in type and in every byte."""
    keys = ours.metadata.keys() | other.metadata.keys()
    differing = {key for key in keys if not _same(ours.metadata.get(key), other.metadata.get(key))}
    differing |= ours.tensors.keys() ^ other.tensors.keys()
    for name in ours.tensors.keys() & other.tensors.keys():
        mine, theirs = ours.tensors[name], other.tensors[name]
        if (mine.kind, mine.shape) != (theirs.kind, theirs.shape) or not _same(ours.raw(mine), other.raw(theirs)):
            differing.add(name)
    return sorted(differing)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other
