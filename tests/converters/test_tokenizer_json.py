"""The rebuilt tokenizer against llama.cpp's own, over some thousands of strings."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

import numpy as np
import pytest
from gguf import GGUFWriter
from tokenizers import Tokenizer as Fast
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from converters import tokenizer_json
from converters.cuts import COMPOSED, PATTERNS
from converters.gguf_to_onnx import convert
from server.errors import InvalidValue
from server.models import gguf
from server.models.tokenizer import BYTES_OF, JsonTokenizer
from server.runners.base import Tokenizer

from .conftest import load, say
from .small import Small, write
from .texts import texts

PIECES = Small("llama", tied=False, pieces=True)


def rebuilt(model: Path, folder: Path) -> JsonTokenizer:
    file = gguf.read(model)
    vocabulary = tokenizer_json.read(file)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json.build(vocabulary)), encoding="utf-8")
    return JsonTokenizer(folder, frozenset(tokenizer_json.end_ids(file, vocabulary)), vocabulary.bos)


def special_names(model: Path) -> list[str]:
    return [token["content"] for token in tokenizer_json.added(tokenizer_json.read(gguf.read(model)))][:40]


def disagreements(ours: Tokenizer, theirs: Tokenizer, strings: Iterator[str]) -> list[tuple[str, bool]]:
    return [
        (text, special)
        for text in strings
        for special in (True, False)
        if ours.encode(text, special=special) != theirs.encode(text, special=special)
    ]


def composes(text: str) -> bool:
    """Whether another form of the text is what the models' own tokenizers cut."""
    return normalize("NFC", text) != text


@pytest.mark.real
@pytest.mark.timeout(180)
@pytest.mark.parametrize("model", ["real_model", "coder_model"])
def test_a_real_vocabulary_is_llama_cpp_s(model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    file: Path = request.getfixturevalue(model)
    runner, ours = load("llama", file), rebuilt(file, tmp_path)
    theirs = runner.tokenizer
    found = disagreements(ours, theirs, texts(4000, special_names(file)))
    bytes_differ = [t for t in range(runner.info.vocab_size) if ours.token_bytes(t) != theirs.token_bytes(t)]
    assert ours.eos_ids == theirs.eos_ids
    assert ours.bos_token in (theirs.bos_token, "")
    runner.close()
    say(f"{model}: {len(found)} of 8000 encodings differ, {len(bytes_differ)} tokens in their bytes")
    explained = composes if model == "coder_model" else lambda _: False
    assert [text for text, _ in found if not explained(text)] == []
    assert bytes_differ == []


@pytest.mark.parametrize("prefix", [True, False])
def test_pieces_are_joined_as_llama_cpp_joins_them(prefix: bool, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    model = write(tmp_path / "small.gguf", PIECES, lambda writer: writer.add_add_space_prefix(prefix))
    runner, ours = load("llama", model, 64), rebuilt(model, tmp_path)
    letters = ("".join(c for c in text if c in "thenigard o\u0301\n<s>") for text in texts(1500, ["<s>", "</s>"]))
    assert disagreements(ours, runner.tokenizer, letters) == []
    assert disagreements(ours, runner.tokenizer, texts(1500, ["<s>", "</s>"])) == []
    assert all(ours.token_bytes(t) == runner.tokenizer.token_bytes(t) for t in range(runner.info.vocab_size))
    runner.close()


def has_letters_or_marks_beyond_ascii(text: str) -> bool:
    return any(category(character)[0] in "LM" for character in text if character > "\x7f")


# Where llama.cpp's cuts come near to the patterns of the models' own tokenizers, which ours are.
APPROXIMATE: dict[str, tuple[str, Callable[[str], bool]]] = {
    "gpt-4o": ("no marks, and no case beyond ASCII, in llama.cpp", has_letters_or_marks_beyond_ascii),
    "tekken": ("no marks, and no case beyond ASCII, in llama.cpp", has_letters_or_marks_beyond_ascii),
    **dict.fromkeys(sorted(COMPOSED), ("no composition (NFC) in llama.cpp", composes)),
    "deepseek-coder": (
        "blanks from U+0800 on are in the range of ideographs, and llama.cpp hides blanks from ranges",
        lambda text: "\u2028" in text or "\u3000" in text,
    ),
}


@pytest.fixture(scope="module")
def greedy_merges() -> tuple[str, ...]:
    """Merges learnt from texts that were not cut at all: whatever a cut parts would merge."""
    learner = Fast(BPE())
    learner.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = list(BYTES_OF)
    trainer = BpeTrainer(vocab_size=2500, initial_alphabet=alphabet, show_progress=False, max_token_length=6)
    learner.train_from_iterator(texts(3000, [], seed=7), trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return tuple(" ".join(pair) for pair in merges)


@pytest.mark.parametrize("cut", sorted(PATTERNS))
def test_texts_are_cut_as_llama_cpp_cuts_them(cut: str, greedy_merges: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    model = write(tmp_path / "small.gguf", Small("llama", tied=False, cut=cut, merges=greedy_merges))
    runner, ours = load("llama", model, 64), rebuilt(model, tmp_path)
    found = disagreements(ours, runner.tokenizer, texts(1000, ["<|im_start|>"]))
    runner.close()
    reason, explained = APPROXIMATE.get(cut, ("", lambda text: False))
    say(f"{cut}: {len(found)} of 2000 encodings differ{': ' if reason else ''}{reason}")
    assert [text for text, _ in found if not explained(text)] == []


def test_no_text_breaks_it(tmp_path: Path) -> None:
    ours = rebuilt(write(tmp_path / "small.gguf", Small("llama", tied=False)), tmp_path)
    for text in ("", "\ud800", "a\udfffb", "\0", "\U0010ffff", "x" * 100_000, "\r" * 5000, "<|im_end|>" * 999):
        for special in (True, False):
            tokens = ours.encode(text, special=special)
            assert b"".join(map(ours.token_bytes, tokens)).decode("utf-8", "replace").count("\0") == text.count("\0")


def test_a_byte_without_a_token_is_left_out_and_joins_nothing(tmp_path: Path) -> None:
    """SmolLM2 has no token for some control characters: what stood around one must not merge."""
    pytest.importorskip("llama_cpp")

    def change(writer: GGUFWriter) -> None:
        tokens = writer.kv_data[0]["tokenizer.ggml.tokens"].value
        tokens[list(BYTES_OF.values()).index(0x1D)] = "[gap]"

    model = write(tmp_path / "small.gguf", Small("llama", tied=False), change)
    runner, ours = load("llama", model, 64), rebuilt(model, tmp_path)
    parted, joined = ours.encode("t\x1dh", special=True), ours.encode("th", special=True)
    assert (len(parted), len(joined)) == (2, 1)
    assert disagreements(ours, runner.tokenizer, iter(["t\x1dh", "\x1d", "the\x1d\x1d the"])) == []
    runner.close()


def test_the_engines_see_one_tokenizer(tmp_path: Path) -> None:
    """The whole way: converted, loaded, used."""
    pytest.importorskip("llama_cpp")
    model = write(tmp_path / "small.gguf", PIECES)
    convert(model, tmp_path / "folder")
    onnx, llama = load("onnx", tmp_path / "folder", 64), load("llama", model, 64)
    assert onnx.tokenizer.encode("the ring", special=True)[0] == 1
    assert onnx.tokenizer.encode("<s>the ring", special=True).count(1) == 1
    assert disagreements(onnx.tokenizer, llama.tokenizer, texts(200, ["<s>"])) == []
    assert onnx.tokenizer.eos_ids == llama.tokenizer.eos_ids
    onnx.close()
    llama.close()


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "no vocabulary": ("gpt2", {"tokenizer.ggml.tokens": None}, "no vocabulary"),
    "a token twice": ("gpt2", {"tokenizer.ggml.tokens": ["a", "a", "b"]}, "twice"),
    "another kind": ("gpt2", {"tokenizer.ggml.model": "bert"}, "gpt2, llama"),
    "a kind that is no word": ("gpt2", {"tokenizer.ggml.model": np.zeros(2)}, "gpt2, llama"),
    "a cut that is no word": ("gpt2", {"tokenizer.ggml.pre": np.zeros(2)}, "qwen2"),
    "another cut": ("gpt2", {"tokenizer.ggml.pre": "martian"}, "qwen2"),
    "no merges": ("gpt2", {"tokenizer.ggml.merges": None}, "no merges"),
    "merges of nothing": ("gpt2", {"tokenizer.ggml.merges": ["x yz"]}, "no tokens"),
    "merges without a gap": ("gpt2", {"tokenizer.ggml.merges": ["the"]}, "no tokens"),
    "too few types": ("gpt2", {"tokenizer.ggml.token_type": [1, 1]}, "token_type"),
    "types that are words": ("gpt2", {"tokenizer.ggml.token_type": ["a"]}, "token_type"),
    "no scores": ("llama", {"tokenizer.ggml.scores": None}, "scores"),
    "scores that are no numbers": ("llama", {"tokenizer.ggml.scores": [float("nan")] * 296}, "scores"),
    "a bos beyond the end": ("llama", {"tokenizer.ggml.bos_token_id": 10**6}, "bos"),
    "an unknown that is a word": ("llama", {"tokenizer.ggml.unknown_token_id": "x"}, "unknown"),
    "a flag that is a word": ("llama", {"tokenizer.ggml.add_space_prefix": "yes"}, "neither true nor false"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_vocabulary_that_cannot_be_rebuilt_is_refused(what: str, tmp_path: Path) -> None:
    kind, changes, reason = BROKEN[what]
    file = gguf.read(write(tmp_path / "small.gguf", PIECES if kind == "llama" else Small("llama")))
    for key, value in changes.items():
        if value is None:
            del file.metadata[key]
        else:
            file.metadata[key] = value
    with pytest.raises(InvalidValue, match=reason):
        tokenizer_json.read(file)


def test_a_vocabulary_without_an_end_is_refused(tmp_path: Path) -> None:
    file = gguf.read(write(tmp_path / "small.gguf", Small("llama")))
    del file.metadata["tokenizer.ggml.eos_token_id"]
    tokens = file.metadata["tokenizer.ggml.tokens"]
    tokens[:] = [token.replace("<|", "<!") for token in tokens]
    with pytest.raises(InvalidValue, match="no token that ends"):
        tokenizer_json.end_ids(file, tokenizer_json.read(file))
